"""A World's time: sleeping lets it run."""

from __future__ import annotations

from twin.fleet.signals import unix_s
from twin.fleet.world import World
from twin.spec.units import ns

__all__ = ["WorldClock"]


class WorldClock:
    def __init__(self, world: World) -> None:
        self._world = world

    def now_s(self) -> float:
        return unix_s(self._world.blueprint, self._world.now_ns)

    def sleep(self, duration_s: float) -> None:
        self._world.run_for(ns(duration_s))
