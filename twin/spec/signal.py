"""What production pushes at whoever watches it: alerts, deploy records, Kubernetes events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from twin.spec.ids import ServiceId

__all__ = ["Signal", "SignalKind", "Symptom", "SymptomKind"]


class SignalKind(StrEnum):
    ALERT = "alert"
    RESOLVED = "resolved"
    DEPLOY = "deploy"
    EVENT = "event"


class SymptomKind(StrEnum):
    """What a service can be seen to suffer from."""

    ERRORS = "errors"  # share of its answers that fail
    LATENCY = "latency"  # p99 far above its usual
    SATURATION = "saturation"  # cpu or a pool near its limit
    RESTARTS = "restarts"  # containers restart
    UNREADY = "unready"  # fewer ready pods than wanted
    MEMORY = "memory"  # close to the limit and rising
    TRAFFIC = "traffic"  # far more or fewer requests than usual


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """One figure that left its usual range. `usual` and `value` share the unit that `kind` implies."""

    service: ServiceId
    kind: SymptomKind
    value: float
    usual: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One pushed event. `id` is stable under redelivery; `at_s` is the target's Unix time.

    For ALERT and RESOLVED `symptom` is set; for DEPLOY and EVENT `reason` and `text` say what happened,
    as Kubernetes does ("OOMKilled", "BackOff", "NodeNotReady", "ScalingReplicaSet").
    """

    id: str
    kind: SignalKind
    at_s: float
    service: ServiceId | None
    reason: str
    text: str
    symptom: Symptom | None = None
