"""What the agent may ask of the rooms that it must not import: the gate, the promoter, the guard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from twin.spec.change import Change
from twin.spec.fault import Fault, FaultType
from twin.spec.incident import Incident
from twin.spec.verdict import Suspect, Verdict

__all__ = [
    "Judged",
    "Promoted",
    "Promoter",
    "PromotionOutcome",
    "Verification",
    "Verifier",
    "VerifyRequest",
    "WriteGuard",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """All candidates of one incident at once: they share one error budget."""

    incident: Incident
    hypotheses: tuple[Fault, ...]
    candidates: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One candidate's verdict. `receipt` is the signed envelope, only for what may be promoted."""

    change: Change
    verdict: Verdict
    receipt: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """`suspects` is sorted, most likely first; `modelled_s` is what the answer costs in the target's time."""

    suspects: tuple[Suspect, ...]
    judged: tuple[Judged, ...]
    modelled_s: float


class Verifier(Protocol):
    """The gate as its clients see it."""

    def fault_types(self) -> Sequence[FaultType]:
        """What a hypothesis may say."""
        ...

    def verify(self, request: VerifyRequest) -> Verification:
        """Reproduce, rehearse, judge. Never raises for a bad candidate: its verdict says so."""
        ...


class PromotionOutcome(StrEnum):
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    HELD = "held"  # unclear canary: kept as it is, a human decides
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """`exit_code` is the one that `twin promote` would give; `observed_recovery_s` from the first write; `left`:
    what could not be taken back, and why, each for a human to look at."""

    outcome: PromotionOutcome
    reason: str
    exit_code: int
    promotion_id: str = ""
    observed_recovery_s: float | None = None
    left: tuple[str, ...] = ()


class Promoter(Protocol):
    """Promotion as its clients see it. Approvals are the promoter's business, not the agent's."""

    def promote(self, receipt: Mapping[str, Any]) -> Promoted: ...


class WriteGuard(Protocol):
    """Asked before every step of every write: rate, breaker, fence, kill switch."""

    def admit(self, *, kind: str, scope: str, pod_terminations: int, now_s: float) -> None:
        """Returns if the write may go ahead. Raises PolicyDenied with the reason."""
        ...

    def count(self, *, kind: str, scope: str, pod_terminations: int, now_s: float) -> None:
        """Count what is written without asking: taking back waits for nobody, but others wait for it.

        Raises PolicyDenied if it cannot be counted.
        """
        ...

    @property
    def terminations_max(self) -> int:
        """The most pod terminations of any minute: what needs more can never be admitted."""
        ...

    def terminations(self, *, now_s: float) -> int:
        """Those of the last minute, by all writers of the target. Raises PolicyDenied if it cannot tell."""
        ...

    def record(self, *, kind: str, scope: str, ok: bool, now_s: float) -> None:
        """Say how it went: three failures in a row open the breaker of that kind and scope."""
        ...
