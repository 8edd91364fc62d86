"""What production pushes at whoever watches it: alerts, deploy records, Kubernetes events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from twin.spec.ids import ServiceId

__all__ = ["CRASH_REASONS", "Signal", "SignalKind", "Symptom", "SymptomKind", "first_end_s"]

CRASH_REASONS: Final = frozenset({"BackOff", "CrashLoopBackOff"})  # a container ended by itself, as Kubernetes says it
OUT_OF_MEMORY: Final = "OOMKilled"


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


def first_end_s(signals: Iterable[Signal], service: ServiceId, *, since_s: float) -> float | None:
    """When the first container of a service ended by itself after `since_s` (Unix seconds); None if none has."""
    ends = (
        signal.at_s
        for signal in signals
        if signal.service == service and (signal.reason in CRASH_REASONS or signal.reason == OUT_OF_MEMORY)
    )
    return min((at_s for at_s in ends if at_s >= since_s), default=None)
