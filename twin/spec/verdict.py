"""What the gate says of a change, stage by stage and as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from twin.spec.fault import Fault
from twin.spec.ids import ServiceId

__all__ = [
    "RECOVERED_RATIO",
    "Harm",
    "Interval",
    "Outcome",
    "Prediction",
    "StageName",
    "StageResult",
    "StageVerdict",
    "Suspect",
    "Verdict",
]

RECOVERED_RATIO: Final = 0.02  # Users are well while no journey lets down more of them than this beyond its usual.


class StageVerdict(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class StageName(StrEnum):
    """Cheapest first, the order in which the gate runs them."""

    FORM = "form"
    POLICY = "policy"
    REPRODUCTION = "reproduction"
    REHEARSAL = "rehearsal"
    CONTROL_PLANE = "control_plane"
    SHADOW = "shadow"


class Outcome(StrEnum):
    """`promotable` lists what may go on; everything else is refused by construction."""

    EFFECTIVE = "effective"
    HARMLESS = "harmless"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"
    DENIED = "denied"

    @property
    def exit_code(self) -> int:
        return {Outcome.EFFECTIVE: 0, Outcome.HARMLESS: 0, Outcome.REJECTED: 3, Outcome.INCONCLUSIVE: 4}.get(self, 5)

    @property
    def promotable(self) -> bool:
        return self in (Outcome.EFFECTIVE, Outcome.HARMLESS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A point estimate with the ends of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """`wall_s` is for people; it takes no part in any digest."""

    stage: StageName
    verdict: StageVerdict
    reason: str
    wall_s: float = 0.0
    evidence: str = ""  # digest of what the stage saw


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A fault that may explain the incident. `weight` is its share of belief; fault None is "none of these"."""

    fault: Fault | None
    weight: float
    residual: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What a change would do to one service, against doing nothing: failed requests per second at worst,
    over the time during which it is worse."""

    service: ServiceId
    worst_rps: float
    minutes: float
    failed_requests: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """How the incident is expected to go on: users let down a second, with and without the change.

    Series share `times_s` (seconds after the change starts); bands are the 10th and 90th percentile over
    replications. `recovery_s` None: still down at the horizon in most replications. `journeys`: whose users are
    counted, those that the incident can reach; empty: all. Trouble elsewhere is another incident's. `usual`: the share
    of each journey's users that is let down while all is well; empty: none.
    """

    times_s: tuple[float, ...] = ()
    nothing_rps: tuple[float, ...] = ()
    nothing_low_rps: tuple[float, ...] = ()
    nothing_high_rps: tuple[float, ...] = ()
    change_rps: tuple[float, ...] = ()
    change_low_rps: tuple[float, ...] = ()
    change_high_rps: tuple[float, ...] = ()
    recovery_s: Interval | None = None
    journeys: tuple[str, ...] = ()
    usual: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`effect` and `harm` are probabilities over paired replications with exact (Clopper–Pearson) intervals."""

    outcome: Outcome
    reason: str
    stages: tuple[StageResult, ...]
    effect: Interval | None = None
    harm: Interval | None = None
    harmed: tuple[Harm, ...] = ()
    helped: tuple[Harm, ...] = ()
    suspects: tuple[Suspect, ...] = ()
    prediction: Prediction = field(default_factory=Prediction)
    replications: int = 0
    seeds: tuple[int, ...] = ()
