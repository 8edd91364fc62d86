"""A Receipt: what the gate saw of one plan on one base, in the form that it signs. And a human's Approval of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from twin.spec.canonical import digest, plain
from twin.spec.change import Reversibility, Risk
from twin.spec.ids import ServiceId, Sha256
from twin.spec.plan import ObjectRef
from twin.spec.verdict import Interval, Outcome, Prediction, StageResult

__all__ = [
    "Approval",
    "BaseObject",
    "Calibration",
    "EnvelopeCurve",
    "EnvelopePoint",
    "EvidenceLevel",
    "FieldRange",
    "Receipt",
    "base_digest",
    "receipt_digest",
]


class EvidenceLevel(StrEnum):
    """How close to production the rehearsal came; a later member is worth more than an earlier one."""

    SIMULATED = "simulated"  # the fleet model alone
    CONTROL_PLANE = "control_plane"  # a real API server admitted it
    STAND_INS = "stand_ins"  # a shadow cluster ran it on workloads that play the services
    REAL_IMAGES = "real_images"

    @property
    def rank(self) -> int:
        return list(EvidenceLevel).index(self)

    # A StrEnum would compare by the alphabet, and find "simulated" above "control_plane".
    def __lt__(self, other: str) -> bool:
        return self.rank < EvidenceLevel(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= EvidenceLevel(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > EvidenceLevel(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= EvidenceLevel(other).rank


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldRange:
    """A field that an autoscaler owns: anything between the ends is no drift. `path` as "spec.replicas"."""

    path: str
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseObject:
    """One object that the rehearsal read: who it was, and the digest of the spec fields that were looked at.

    Never its resourceVersion, which moves with every status.
    """

    ref: ObjectRef
    uid: str
    fields_digest: Sha256
    ranges: tuple[FieldRange, ...] = ()
    note: str = ""  # for people, so that drift can be told in words: the image


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopePoint:
    """At `t_s` seconds after issue, without the change, the metric is expected between the ends."""

    t_s: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeCurve:
    """One symptom's predicted course if nothing is done. If production leaves it, verify again."""

    service: ServiceId
    metric: str
    points: tuple[EnvelopePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How well the twin knew production. `median_error_ratio` None: never compared."""

    median_error_ratio: float | None
    measured_count: int
    declared_count: int
    prior_count: int
    age_s: float  # of the telemetry that it was fitted on


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The subject is the plan. `change` and `plan` are plain JSON, so that a reader needs no catalogue of actions.

    `seeds` are decimal words, since JSON readers do not agree on integers beyond 2^53. `issued_s` and `expires_s`
    are whole seconds on the target's Clock.
    """

    plan_digest: Sha256
    change: Mapping[str, Any]
    plan: Mapping[str, Any]
    base_digest: Sha256
    base: tuple[BaseObject, ...]
    target: str
    requester: str
    risk: Risk
    reversibility: Reversibility
    approvals_needed: int
    outcome: Outcome
    reason: str
    effect: Interval | None  # probability that it ends the incident
    harm: Interval | None  # probability that it harms somebody
    stages: tuple[StageResult, ...]
    symptom_envelope: tuple[EnvelopeCurve, ...]
    prediction: Prediction
    evidence_level: EvidenceLevel
    calibration: Calibration
    policy_revision: Sha256
    seeds: tuple[str, ...]
    fingerprint: str  # of the platform's arithmetic
    issued_s: int
    expires_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """`approver` is the name under which the key is trusted, not one that the approver claims."""

    receipt_digest: Sha256
    target: str
    approver: str
    key_id: str
    at_s: int


def base_digest(base: tuple[BaseObject, ...]) -> Sha256:
    """The base's name, whatever the order in which its objects were read."""
    return digest({"base": sorted((plain(one) for one in base), key=lambda one: sorted(one["ref"].items()))})


def receipt_digest(receipt: Receipt) -> Sha256:
    """The receipt's name: what an approver signs and a spent mark holds. The stages' wall times are left out,
    so that the same evidence has one name however long it took to gather."""
    document = plain(receipt)
    for stage in document["stages"]:
        del stage["wall_s"]
    return digest(document)
