"""A whole receipt, keys and envelopes for the tests beside this file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from securesystemslib.signer import CryptoSigner

from twin.receipt import CheckedReceipt, KeyRole, TrustedKey, TrustedKeys, check, issue
from twin.spec.canonical import digest
from twin.spec.change import Reversibility, Risk
from twin.spec.errors import BadInput
from twin.spec.ids import ServiceId, Sha256
from twin.spec.plan import ObjectRef
from twin.spec.receipt import (
    BaseObject,
    Calibration,
    EnvelopeCurve,
    EnvelopePoint,
    EvidenceLevel,
    FieldRange,
    Receipt,
    base_digest,
)
from twin.spec.verdict import Interval, Outcome, Prediction, StageName, StageResult, StageVerdict

__all__ = ["CHANGE", "NOW_S", "PLAN", "RECEIPT", "Keys", "changed", "checked", "new_keys"]

NOW_S = 1_796_126_400
BASE = (
    BaseObject(
        ref=ObjectRef(kind="Deployment", namespace="shop", name="orders"),
        uid="6f1c",
        fields_digest=Sha256("a" * 64),
        ranges=(FieldRange(path="spec.replicas", low=2, high=8),),
    ),
    BaseObject(ref=ObjectRef(kind="Node", name="node-3"), uid="77aa", fields_digest=Sha256("b" * 64)),
)
CHANGE: dict[str, Any] = {
    "actions": [{"kind": "restart", "target": "shop/orders", "parameters": {}}],
    "reason": "stück – fest",
    "requester": "agent:offline",
    "risk": "low",
    "strategy": {"canary_ratio": 0.34},
}
PLAN: dict[str, Any] = {
    "change": CHANGE,
    "steps": [{"ref": {"kind": "Deployment"}, "fields": [[["spec", "replicas"], 6]]}],
    "reads": [],
    "reversibility": "compensable",
    "strategy": {"canary_ratio": 0.34},
}
RECEIPT = Receipt(
    plan_digest=digest(PLAN),
    change=CHANGE,
    plan=PLAN,
    base_digest=base_digest(BASE),
    base=BASE,
    target="kube:shop",
    requester="agent:offline",
    risk=Risk.LOW,
    reversibility=Reversibility.COMPENSABLE,
    approvals_needed=1,
    outcome=Outcome.EFFECTIVE,
    reason="recovers in 38 s",
    effect=Interval(value=0.97, low=0.91, high=1.0),
    harm=Interval(value=0.0, low=0.0, high=0.06),
    stages=(
        StageResult(stage=StageName.FORM, verdict=StageVerdict.PASS, reason="", wall_s=0.01, evidence="d" * 64),
        StageResult(stage=StageName.SHADOW, verdict=StageVerdict.INCONCLUSIVE, reason="no memory limits", wall_s=31.5),
    ),
    symptom_envelope=(
        EnvelopeCurve(
            service=ServiceId("shop/orders"),
            metric="error_ratio",
            points=(EnvelopePoint(t_s=0.0, low=0.1, high=0.3), EnvelopePoint(t_s=30.0, low=0.1, high=0.5)),
        ),
    ),
    prediction=Prediction(
        times_s=(0.0, 30.0), nothing_rps=(9.0, 9.5), recovery_s=Interval(value=38.0, low=31.0, high=52.0)
    ),
    evidence_level=EvidenceLevel.STAND_INS,
    calibration=Calibration(median_error_ratio=0.031, measured_count=40, declared_count=2, prior_count=92, age_s=600.0),
    policy_revision=Sha256("e" * 64),
    seeds=("18446744073709551615", "7"),
    fingerprint="x86-64 0x1.8p+1",
    issued_s=NOW_S,
    expires_s=NOW_S + 900,
)


@dataclass(frozen=True)
class Keys:
    gate: CryptoSigner
    ana: CryptoSigner
    ben: CryptoSigner
    trusted: TrustedKeys


def new_keys() -> Keys:
    gate, ana, ben = (CryptoSigner.generate_ed25519() for _ in range(3))
    trusted = {
        signer.public_key.keyid: TrustedKey(name=name, role=role, key=signer.public_key)
        for name, role, signer in (
            ("gate", KeyRole.GATE, gate),
            ("ana", KeyRole.APPROVER, ana),
            ("ben", KeyRole.APPROVER, ben),
        )
    }
    return Keys(gate, ana, ben, trusted)


def changed(**fields: Any) -> Receipt:
    """The sample with some fields moved, and its change and plan moved along, unless they are given."""
    receipt = dataclasses.replace(RECEIPT, **fields)
    change = {**receipt.change, "requester": receipt.requester, "risk": str(receipt.risk)}
    plan = {**receipt.plan, "change": change, "reversibility": str(receipt.reversibility)}
    if {"requester", "risk", "reversibility", "change", "plan"} & set(fields) and "plan_digest" not in fields:
        try:
            return dataclasses.replace(receipt, change=change, plan=plan, plan_digest=digest(plan))
        except BadInput:  # No JSON: for the code under test to say.
            return receipt
    return receipt


def checked(keys: Keys, receipt: Receipt = RECEIPT) -> CheckedReceipt:
    return check(issue(receipt, keys.gate), keys.trusted, NOW_S)
