"""What a system is: it looks at the state, never at what woke it.

A late, second or rebuilt wake does no harm, so nothing about pending wakes has to be saved. Systems that
wake at one instant run in the order of their rank.
"""

from __future__ import annotations

import enum
from typing import ClassVar, Protocol

from twin.fleet.state import State

__all__ = ["Rank", "System"]


class Rank(enum.IntEnum):
    """The order at one instant: causes before effects, traffic after all of them, watching last."""

    PERTURBATIONS = 10
    NODES = 20
    GITOPS = 25
    AUTOSCALER = 30
    ROLLOUT = 40
    SCHEDULER = 50
    KUBELET = 60
    PROBER = 70
    POOLS = 80
    TRAFFIC = 90
    SCRAPE = 100


class System(Protocol):
    """One kind of thing that happens at moments. `writes` names the state's fields that `step` may change;
    a test enforces it. `wakes_on` names those that `next_due` reads."""

    rank: ClassVar[Rank]
    writes: ClassVar[frozenset[str]]
    wakes_on: ClassVar[frozenset[str]]

    def next_due(self, state: State) -> int:
        """When to look next, in nanoseconds; NEVER_NS if nothing is pending."""
        ...

    def step(self, state: State, now_ns: int) -> None:
        """Do all that is due at `now_ns`; nothing if nothing is."""
        ...
