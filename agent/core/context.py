"""What is known of one incident: everything that the next step needs, and nothing that is not plain data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent.core.effects import Effect
from twin.spec.canonical import digest
from twin.spec.change import Change
from twin.spec.fault import Fault
from twin.spec.incident import Incident
from twin.spec.verdict import Outcome, Suspect

__all__ = ["Attempt", "Context", "Document", "Phase", "Settings", "change_key"]


class Phase(StrEnum):
    """How far an incident has come. HANDED_OVER: a human has it; the agent only looks whether it ends."""

    SIGNAL = "signal"
    CORRELATE = "correlate"
    ROUTE = "route"
    RETRIEVE = "retrieve"
    HYPOTHESISE = "hypothesise"
    GATE = "gate"
    PROMOTE = "promote"
    WATCH = "watch"
    HANDED_OVER = "handed_over"
    LEARN = "learn"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an agent goes about it; part of the context, so that a resumed incident goes on by the same rules.

    `young_s`: an incident that nothing explains is looked at again, `evidence_s` later, while it is so young.
    `gated`: candidates go through a Verifier; without, they are written as they come (baselines only).
    `stop_command`: what a human types to stop this very agent; it stands on every page.
    `rounds_max`: how often the brain may propose; `gather_s`: how long a storm may grow before reasoning.
    """

    gated: bool = True
    rounds_max: int = 3
    gather_s: float = 15.0
    watch_s: float = 120.0
    promote_harmless: bool = False
    promotions_max: int = 3
    young_s: float = 150.0
    evidence_s: float = 30.0
    stop_command: str = "twin takeover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document that was recalled. `relevance` is the cosine of its vector with the query's, 0 to 1."""

    id: str
    title: str
    sort: str
    relevance: float
    text: str
    query: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A candidate and what became of it. `promoted` is empty if it never reached production. `stale`: the verdict
    is about a production that is no more, or about an incident that was not reproduced; it may be asked anew."""

    change: Change
    round: int
    outcome: Outcome | None = None
    reason: str = ""
    promoted: str = ""
    stale: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One incident. `revision` counts what correlation has said of it, `sequence` the effects so far;
    `pending` are effects whose answers are awaited: a worker that takes over carries them out again."""

    incident: Incident
    settings: Settings = Settings()
    phase: Phase = Phase.SIGNAL
    revision: int = 0
    alerts_active: int = 0
    alerts_seen: int = 0
    opened_s: float = 0.0
    updated_s: float = 0.0
    specialist: str = ""
    specialist_confidence: float = 0.0
    documents: tuple[Document, ...] = ()
    thoughts: str = ""
    hypotheses: tuple[Fault, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    round: int = 0
    attempts: tuple[Attempt, ...] = ()
    chosen: Change | None = None
    queue: tuple[Change, ...] = ()  # Candidates that an ungated agent may still write.
    promotions: int = 0
    sequence: int = 0
    pending: tuple[Effect, ...] = ()
    paged: bool = False
    unattended: bool = False  # The brain wants nobody called, whatever happens.
    merged_into: str = ""
    outcome: str = ""
    notes: tuple[str, ...] = ()

    @property
    def tried(self) -> tuple[str, ...]:
        """Keys of all candidates that have been written, or judged by a verdict that still holds."""
        return tuple(change_key(attempt.change) for attempt in self.attempts if not attempt.stale)


def change_key(change: Change) -> str:
    """What a change does, whatever reason it gives: two candidates with one key are the same."""
    return digest([[a.kind, a.target, dict(a.parameters)] for a in change.actions])[:16]
