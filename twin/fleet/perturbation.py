"""What can be done to a World from outside: plain records that it stores as state.

The catalogue of faults compiles into these; the fleet model knows no catalogue. Each record says what is
true while it holds, never how to bring it about step by step.
"""

from __future__ import annotations

from dataclasses import dataclass

from twin.spec.ids import JourneyName, NodeName, ServiceId

__all__ = ["Behave", "Configure", "Deploy", "HoldSlots", "Load", "Perturbation", "SlowRoute", "StopNode", "Timed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behave:
    """How pods of a service behave whose template matches: `image` and `env` (name=value) both, if given.

    A wrong build or a wrong setting is this plus a Deploy: undoing the roll-out then really cures it.
    """

    service: ServiceId
    image: str | None = None
    env: tuple[str, str] | None = None
    error_ratio: float = 0.0
    speed: float = 1.0
    crash_after_s: float | None = None
    leak_bytes_per_s: float = 0.0
    never_ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """The service's owners roll out a new template. It stays when the perturbation ends."""

    service: ServiceId
    image: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    author: str = "deploy-bot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configure:
    """A service's owners set a value of a ConfigMap that it reads, and let it start anew. It stays, as a Deploy."""

    service: ServiceId
    config_map: str
    key: str
    value: str
    author: str = "config-bot"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A journey's first attempts are multiplied by `factor`."""

    journey: JourneyName
    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldSlots:
    """A session takes servers of a station and does not give them back: a lock, idle connections."""

    service: ServiceId
    station: str
    slots: int
    session: str
    text: str = "idle in transaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopNode:
    """A machine goes dark: its pods answer nobody."""

    node: NodeName


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowRoute:
    """Extra network time on every call from one service to another."""

    caller: ServiceId
    callee: ServiceId
    delay_s: float


Perturbation = Behave | Configure | Deploy | Load | HoldSlots | StopNode | SlowRoute


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A perturbation that holds from `start_ns` until `end_ns` (None: until somebody mends it)."""

    what: Perturbation
    start_ns: int
    end_ns: int | None = None
