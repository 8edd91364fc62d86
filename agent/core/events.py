"""What the core is told. `at_s` is the target's Unix time. All but SignalArrived answer one effect, by its id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agent.core.context import Document
from twin.ports.services import PromotionOutcome
from twin.spec.change import Change
from twin.spec.fault import Fault
from twin.spec.incident import Incident
from twin.spec.verdict import Outcome, Suspect

__all__ = [
    "Closed",
    "Diagnosed",
    "Event",
    "Failed",
    "Gathered",
    "JudgedChange",
    "Paged",
    "Promoted",
    "Recalled",
    "Relapsed",
    "Remembered",
    "Routed",
    "SignalArrived",
    "Timeout",
    "Verified",
    "WatchedWell",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalArrived:
    """The incident as correlation sees it after new signals. Revisions rise; an old one changes nothing."""

    revision: int
    at_s: float
    incident: Incident
    alerts_active: int
    alerts_seen: int
    merged_into: str = ""
    kind: Literal["signal_arrived"] = "signal_arrived"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    effect_id: str
    at_s: float
    kind: Literal["gathered"] = "gathered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    effect_id: str
    at_s: float
    specialist: str
    confidence: float
    kind: Literal["routed"] = "routed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    effect_id: str
    at_s: float
    documents: tuple[Document, ...]
    kind: Literal["recalled"] = "recalled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosed:
    """`hand_over` False: the brain wants nobody called (only the baseline that does nothing says so)."""

    effect_id: str
    at_s: float
    hypotheses: tuple[Fault, ...]
    candidates: tuple[Change, ...]
    thoughts: str
    hand_over: bool = True
    kind: Literal["diagnosed"] = "diagnosed"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedChange:
    """One verdict, without its curves: those are kept as tool output in the incident room."""

    change: Change
    outcome: Outcome
    reason: str
    recovery_s: float | None = None
    receipt: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    effect_id: str
    at_s: float
    suspects: tuple[Suspect, ...]
    judged: tuple[JudgedChange, ...]
    kind: Literal["verified"] = "verified"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    effect_id: str
    at_s: float
    outcome: PromotionOutcome
    reason: str
    exit_code: int
    promotion_id: str = ""
    left: tuple[str, ...] = ()
    kind: Literal["promoted"] = "promoted"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedWell:
    effect_id: str
    at_s: float
    kind: Literal["watched_well"] = "watched_well"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relapsed:
    effect_id: str
    at_s: float
    reason: str
    kind: Literal["relapsed"] = "relapsed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Paged:
    """The pager has written the page down: from here on it is never lost."""

    effect_id: str
    at_s: float
    kind: Literal["paged"] = "paged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    effect_id: str
    at_s: float
    kind: Literal["remembered"] = "remembered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    effect_id: str
    at_s: float
    kind: Literal["closed"] = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """An effect did not answer in its time."""

    effect_id: str
    at_s: float
    after_s: float
    kind: Literal["timeout"] = "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An effect broke."""

    effect_id: str
    at_s: float
    reason: str
    kind: Literal["failed"] = "failed"


Event = (
    SignalArrived
    | Gathered
    | Routed
    | Recalled
    | Diagnosed
    | Verified
    | Promoted
    | WatchedWell
    | Relapsed
    | Paged
    | Remembered
    | Closed
    | Timeout
    | Failed
)
