"""A World behind the ports: what an agent or an action may touch of it, and not one thing more."""

from __future__ import annotations

from twin.fleet.plant.clock import WorldClock
from twin.fleet.plant.kube import WorldKubeApi
from twin.fleet.plant.ops import WorldOpsApi
from twin.fleet.plant.telemetry import WorldTelemetry
from twin.fleet.world import World

__all__ = ["WorldPlant", "plant_of"]


class WorldPlant:
    """`writes`: whether this identity may change anything. Agents and gates get a plant that may not."""

    def __init__(self, world: World, *, name: str, writes: bool) -> None:
        self._name = name
        self._kube = WorldKubeApi(world, writes=writes)
        self._ops = WorldOpsApi(world, writes=writes)
        self._telemetry = WorldTelemetry(world)
        self._clock = WorldClock(world)

    @property
    def name(self) -> str:
        return self._name

    @property
    def live(self) -> bool:
        """A World has no users who could be hurt."""
        return False

    @property
    def kube(self) -> WorldKubeApi:
        return self._kube

    @property
    def ops(self) -> WorldOpsApi:
        return self._ops

    @property
    def telemetry(self) -> WorldTelemetry:
        return self._telemetry

    @property
    def clock(self) -> WorldClock:
        return self._clock


def plant_of(world: World, *, name: str | None = None, writes: bool = False) -> WorldPlant:
    """The World's Plant; read-only unless `writes`."""
    return WorldPlant(world, name=name or world.fleet.name, writes=writes)
