"""Everything that must hold before the first write, each with a refusal and an exit code of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from policies import Policy
from twin.change.base import find_drift
from twin.change.facts import terminations_a_minute
from twin.change.questions import policy_questions
from twin.ports.plant import Plant
from twin.ports.services import WriteGuard
from twin.ports.users import users_of
from twin.receipt import CheckedReceipt, TrustedKeys, check_approvals
from twin.spec.errors import ApiError, BaseDrifted, Inconclusive, PolicyDenied
from twin.spec.plan import OpsStep, Plan
from twin.spec.units import counted

__all__ = ["check_guard", "check_preconditions", "refuse_by_policy"]


def check_preconditions(
    plant: Plant,
    policy: Policy,
    trusted: TrustedKeys,
    checked: CheckedReceipt,
    plan: Plan,
    approvals: Sequence[Mapping[str, Any]],
    guard: WriteGuard,
) -> None:
    """Raises BaseDrifted (6), PolicyDenied (5), ApprovalMissing (8), Inconclusive (4), ComponentMissing (11). Reads,
    and dry runs."""
    receipt = checked.receipt
    if receipt.target != plant.name:
        raise BaseDrifted(
            "the receipt is for another target", f"it names {receipt.target}, this is {plant.name}", "verify it here"
        )
    check_guard(plant, plan, guard)
    _check_adapters(plant, plan)
    refuse_by_policy(
        plant, policy, plan, guard, identity="promoter", purpose="promote",
        verdict=receipt.outcome.value, evidence_level=receipt.evidence_level.value,
    )  # fmt: skip
    check_approvals(checked, approvals, trusted, plant.clock.now_s())
    drift = find_drift(receipt.base, plant.kube)
    if drift:
        raise BaseDrifted(
            "production drifted since the rehearsal", f"{drift[0].ref}: {drift[0].what}", "verify the change again"
        )
    _check_envelope(plant, checked)


def refuse_by_policy(
    plant: Plant, policy: Policy, plan: Plan, guard: WriteGuard, *, identity: str, purpose: str, **evidence: str
) -> None:
    """Ask about every action, with what is true of the target now. Raises PolicyDenied with policy's reason."""
    used = guard.terminations(now_s=plant.clock.now_s())
    questions = policy_questions(
        plant, plan, identity=identity, purpose=purpose, live=plant.live, terminations_last_minute=used, **evidence
    )
    for question in questions:
        decision = policy.decide(question)
        if not decision.allow:
            raise PolicyDenied(
                f"policy refuses to {purpose.replace('_', ' ')}", decision.reason,
                "change the plan, or ask for break-glass" if purpose == "promote" else "there is no way around it",
            )  # fmt: skip


def check_guard(plant: Plant, plan: Plan, guard: WriteGuard) -> None:
    """What the guard would refuse half-way must not cost a receipt. Raises PolicyDenied."""
    now_s = plant.clock.now_s()
    for action in plan.change.actions:
        guard.admit(kind=action.kind, scope=action.target, pod_terminations=0, now_s=now_s)
    pods, most = terminations_a_minute(plan), guard.terminations_max
    if pods > most:
        raise PolicyDenied(
            "the change can never be admitted",
            f"it ends {counted(pods, 'pod')} within a minute, at most {most} are allowed",
            "split it, or watch its canary for a minute",
        )  # fmt: skip


def _check_adapters(plant: Plant, plan: Plan) -> None:
    """What nobody here can carry out must not be begun. What a system refuses it tells at the write itself."""
    for step in plan.steps:
        if isinstance(step, OpsStep):
            with suppress(ApiError):
                plant.ops.call(step.operation, step.arguments, dry_run=True)


def _check_envelope(plant: Plant, checked: CheckedReceipt) -> None:
    """Production must still be on the course that was predicted for doing nothing."""
    receipt = checked.receipt
    if not receipt.symptom_envelope:
        raise BaseDrifted(
            "nobody can tell whether this is the incident that was rehearsed",
            "the receipt says nothing of the course that was expected",
            "verify the change again",
        )
    users = users_of(plant, receipt.prediction)
    if math.isnan(users.let_down_rps):
        raise Inconclusive(
            "nobody can tell whether this is the incident that was rehearsed",
            "production's telemetry shows nothing of its users", "mend the telemetry and try again",
        )  # fmt: skip
    observed, elapsed_s = users.let_down_rps, users.at_s - receipt.issued_s
    for curve in receipt.symptom_envelope:
        times = [point.t_s for point in curve.points]
        low = float(np.interp(elapsed_s, times, [point.low for point in curve.points]))
        high = float(np.interp(elapsed_s, times, [point.high for point in curve.points]))
        if not low <= observed <= high:
            raise BaseDrifted(
                "the incident is no longer the one that was rehearsed",
                f"{observed:.1f} users/s are let down, {low:.1f} to {high:.1f} were expected by now",
                "verify the change again",
            )
