"""What a step asks the outside to do. Each effect's id is a hash of incident and sequence number: whoever
carries it out twice can see that he does. Each is answered by exactly one event that names it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from twin.spec.change import Change
from twin.spec.fault import Fault
from twin.spec.incident import Page

__all__ = [
    "Close",
    "Diagnose",
    "Effect",
    "Gather",
    "Promote",
    "Recall",
    "Remember",
    "Route",
    "SendPage",
    "Verify",
    "Watch",
    "effect_id",
]


def effect_id(incident: str, sequence: int) -> str:
    """The same incident and number give the same id, in every process and for ever."""
    return hashlib.sha256(f"{incident}/{sequence}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """Let a storm arrive for `duration_s` before thinking about its first drops."""

    id: str
    duration_s: float
    kind: Literal["gather"] = "gather"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Find the specialist."""

    id: str
    kind: Literal["route"] = "route"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Ask long-term knowledge, before any reasoning."""

    id: str
    queries: tuple[str, ...]
    kind: Literal["recall"] = "recall"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnose:
    """Ask the brain, which may read the plant. `tried`: keys of changes that need not come again."""

    id: str
    round: int
    tried: tuple[str, ...]
    kind: Literal["diagnose"] = "diagnose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Ask the gate about all candidates at once."""

    id: str
    hypotheses: tuple[Fault, ...]
    candidates: tuple[Change, ...]
    kind: Literal["verify"] = "verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """Hand a receipt to the promoter: the only way to production."""

    id: str
    change: Change
    receipt: Mapping[str, Any]
    kind: Literal["promote"] = "promote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Look whether the incident is over, for at most `duration_s`."""

    id: str
    duration_s: float
    kind: Literal["watch"] = "watch"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendPage:
    id: str
    page: Page
    kind: Literal["page"] = "page"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remember:
    """Write the outcome back to long-term knowledge."""

    id: str
    title: str
    text: str
    kind: Literal["remember"] = "remember"


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Nothing more to do: the room may expire in its time."""

    id: str
    outcome: str
    kind: Literal["close"] = "close"


Effect = Gather | Route | Recall | Diagnose | Verify | Promote | Watch | SendPage | Remember | Close
