"""What a scenario is: a production, what befalls it, what helps, what only looks as if it did, and who judges.

Everything here is frozen and knows no file. Targets may be written as `{role}`: the role is found in the
production's fleet by fleet and seed (see roles.py), so that one scenario strikes different places.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from twin.spec.change import Action

__all__ = [
    "Answer",
    "Budgets",
    "FleetSource",
    "Observed",
    "Oracle",
    "Pick",
    "Remedy",
    "Role",
    "Scenario",
    "Strike",
]


class Answer(StrEnum):
    """What a good agent does: mend it, or call a human and write nothing."""

    FIX = "fix"
    HAND_OVER = "hand_over"


class Pick(StrEnum):
    """How a role is found in a fleet; roles.py says exactly what each means."""

    VITAL_SERVICE = "vital_service"
    BUSIEST_DATABASE = "busiest_database"
    BYSTANDER = "bystander"
    BUSIEST_CALLER = "busiest_caller"
    HOT_ROUTE = "hot_route"
    BUSIEST_JOURNEY = "busiest_journey"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One of the `among` best that fit, drawn by the episode's seed. `of` names another role.

    `replicas_min`: fewer make it too easy to say who it is; `replicas_max`: more would outlast the episode.
    """

    name: str
    pick: Pick
    among: int = 1
    of: str = ""
    replicas_min: int = 1
    replicas_max: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSource:
    """Where production's fleet comes from: Kubernetes `manifests` (with `hints`), a fleet `file`, or the generator
    (`services`, `seed` plus the episode's seed). With `manifests` or `file`, `around` more services are
    generated beside it. `rates_rps` sets the rates of the file's own journeys, by name."""

    manifests: Path | None = None
    hints: Path | None = None
    file: Path | None = None
    services: int = 0
    seed: int = 0
    rate_per_service_rps: float = 4.0
    around: int = 0
    rates_rps: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault as people write it, `at_s` seconds after the strike, for `for_s` (None: until somebody mends it).
    An `innocent` one hurts nobody: it lies near, and looks guilty."""

    fault: str
    at_s: float = 0.0
    for_s: float | None = None
    innocent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What production shows of itself. `noise_ratio`: standard deviation of the logarithm of every measured
    figure; `missing_edges_ratio`: share of calls between services that tracing never sees; `staleness_s`: how
    late metrics come. Signals always come, and come in time."""

    noise_ratio: float = 0.0
    missing_edges_ratio: float = 0.0
    staleness_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """A named list of actions: a right fix, or a trap. `refused`: production itself refuses it, so that the temptation
    is all there is to it; any other that cannot be carried out says nothing."""

    name: str
    actions: tuple[Action, ...]
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """Limits of a good end. Shares are of each journey's users within `window_s` after the episode.

    `sessions_lost_max`, `stateful_replaced_max`: what cannot be brought back and may be lost all the same.
    """

    window_s: float = 300.0
    let_down_max_ratio: float = 0.02
    users_min_ratio: float = 0.5
    sessions_lost_max: int = 0
    stateful_replaced_max: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """`episode_s`: production's time from the strike until the agent has to be done; `wall_s`: what an episode may
    cost on one core; `act_after_s`: when `twin bench validate` applies fixes and traps."""

    episode_s: float = 900.0
    act_after_s: float = 180.0
    wall_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`replay` comes after the fix, and must not bring the incident back; times in it count from then."""

    name: str
    title: str
    suites: tuple[str, ...]
    fleet: FleetSource
    engine: Literal["tick", "simpy"] = "tick"
    calm_s: float = 600.0
    roles: tuple[Role, ...] = ()
    timeline: tuple[Strike, ...] = ()
    replay: tuple[Strike, ...] = ()
    observed: Observed = Observed()
    answer: Answer = Answer.FIX
    fixes: tuple[Remedy, ...] = ()
    traps: tuple[Remedy, ...] = ()
    oracle: Oracle = Oracle()
    budgets: Budgets = Budgets()

    @property
    def onset_s(self) -> float:
        """Seconds from the strike until something really is wrong."""
        return min((strike.at_s for strike in self.timeline if not strike.innocent), default=0.0)
