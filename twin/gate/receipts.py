"""Turn what the gate saw into a signed receipt."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from securesystemslib.signer import CryptoSigner

from twin.change.base import base_of
from twin.fit.beliefs import count_by_source
from twin.gate.gate import Evidence, Issuer
from twin.ports.plant import Plant
from twin.ports.users import users_of
from twin.receipt import issue
from twin.spec.canonical import plain
from twin.spec.change import Change, Reversibility, Risk
from twin.spec.errors import PolicyDenied
from twin.spec.fleet import Fleet, Source
from twin.spec.ids import ServiceId, Sha256
from twin.spec.plan import plan_digest, plan_to_json
from twin.spec.receipt import (
    Calibration,
    EnvelopeCurve,
    EnvelopePoint,
    Receipt,
    base_digest,
)
from twin.spec.verdict import Prediction, StageName, Verdict

__all__ = ["LET_DOWN", "VALID_S", "approvals_needed", "receipt_issuer"]

VALID_S: Final = 900
REPLICATIONS_MIN: Final = 16
LET_DOWN: Final = "let_down_rps"
_APPROVED: Final = frozenset({"suspend_gitops"})  # The owners have to know of it, and to end it.
_ENVELOPE_STEP: Final = 6  # every sixth bin: half a minute
_SLACK_SHARE: Final = 0.5  # The envelope is drawn wide: it is to catch another incident, not noise.
_SLACK_RPS: Final = 2.0
_PHASE_BINS: Final = 18
_LAG_S: Final = 45.0  # How far what is shown lags behind: half a minute's mean, and a scrape.


def receipt_issuer(
    production: Plant,
    twin: Fleet,
    signer: CryptoSigner,
    *,
    policy_revision: str,
    median_error_ratio: float | None,
) -> Issuer:
    """An Issuer that signs with the gate's key, for this production and this twin.

    It raises PolicyDenied for a verdict that no rehearsal stands behind.
    """

    def make(evidence: Evidence) -> Mapping[str, Any]:
        verdict, plan = evidence.verdict, evidence.plan
        _require_rehearsal(verdict)
        now_s = int(production.clock.now_s())
        sources = count_by_source(dict(twin.beliefs))
        base = base_of(production.kube, plan.reads)
        receipt = Receipt(
            plan_digest=plan_digest(plan),
            change=plain(evidence.change),
            plan=plan_to_json(plan),
            base_digest=base_digest(base),
            base=base,
            target=production.name,
            requester=evidence.change.requester,
            risk=evidence.change.risk,
            reversibility=plan.reversibility,
            approvals_needed=approvals_needed(evidence.change, plan.reversibility),
            outcome=verdict.outcome,
            reason=verdict.reason,
            effect=verdict.effect,
            harm=verdict.harm,
            stages=verdict.stages,
            symptom_envelope=_envelope(verdict.prediction, users_of(production, verdict.prediction).let_down_rps),
            prediction=verdict.prediction,
            evidence_level=evidence.level,
            calibration=Calibration(
                median_error_ratio=median_error_ratio,
                measured_count=sources[Source.MEASURED],
                declared_count=sources[Source.DECLARED],
                prior_count=sources[Source.PRIOR],
                age_s=float(max(now_s - twin.epoch_s, 0)),
            ),
            policy_revision=Sha256(policy_revision),
            seeds=tuple(str(seed) for seed in verdict.seeds),
            fingerprint=_fingerprint(),
            issued_s=now_s,
            expires_s=now_s + VALID_S,
        )
        return issue(receipt, signer)

    return make


def _require_rehearsal(verdict: Verdict) -> None:
    """No signature under what was not rehearsed, whatever outcome somebody wrote above it."""
    stages = {stage.stage for stage in verdict.stages}
    if not {StageName.REPRODUCTION, StageName.REHEARSAL} <= stages or verdict.replications < REPLICATIONS_MIN:
        raise PolicyDenied(
            "there is no receipt for this verdict",
            f"it rests on {verdict.replications} paired runs; a receipt needs at least {REPLICATIONS_MIN}",
            "verify it with the fleet gate",
        )


def approvals_needed(change: Change, reversibility: Reversibility) -> int:
    """Two for high risk, one for what cannot be undone or leaves a workload to nobody's source, none otherwise."""
    if change.risk is Risk.HIGH:
        return 2
    asked = any(action.kind in _APPROVED for action in change.actions)
    return 1 if asked or reversibility is Reversibility.IRREVERSIBLE else 0


def _envelope(prediction: Prediction, seen_rps: float) -> tuple[EnvelopeCurve, ...]:
    """The band in which users' failures are expected while nothing is done.

    `seen_rps`: what production shows now, NaN if nothing. It is a mean over half a minute, which reaches back behind
    the onset of an incident that has just begun; what was rehearsed is no other incident because of that.
    """
    points = []
    for i in range(0, len(prediction.times_s), _ENVELOPE_STEP):
        low, high = min(_near(prediction.nothing_low_rps, i)), max(_near(prediction.nothing_high_rps, i))
        if prediction.times_s[i] <= _LAG_S and math.isfinite(seen_rps):
            low, high = min(low, seen_rps), max(high, seen_rps)
        points.append(
            EnvelopePoint(
                t_s=prediction.times_s[i], low=max(low * (1.0 - _SLACK_SHARE) - _SLACK_RPS, 0.0),
                high=high * (1.0 + _SLACK_SHARE) + _SLACK_RPS,
            )
        )  # fmt: skip
    return (EnvelopeCurve(service=ServiceId("users"), metric=LET_DOWN, points=tuple(points)),) if points else ()


def _near(values: tuple[float, ...], index: int) -> tuple[float, ...]:
    """A minute and a half to either side: restarts make an incident swing, and nobody knows its phase."""
    return values[max(index - _PHASE_BINS, 0) : index + _PHASE_BINS + 1]


def _fingerprint() -> str:
    """A few results that differ between platforms whose arithmetic differs."""
    probe = float(np.sum(np.log1p(np.exp(np.sin(np.arange(1, 2000) / 7.0)))))
    return f"{platform.machine()}:{probe.hex()}"
