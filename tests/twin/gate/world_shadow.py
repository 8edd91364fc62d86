"""A shadow whose cluster is a World: for what the gate makes of a shadow, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.world import World
from twin.ports.plant import KubeObject
from twin.ports.shadow import UserCount
from twin.spec.errors import TwinError
from twin.spec.fields import container_path, get_field
from twin.spec.ids import JourneyName
from twin.spec.plan import ObjectRef, Plan
from twin.spec.receipt import EvidenceLevel
from twin.spec.units import ns

__all__ = ["CART", "IMAGE", "WorldShadow"]

CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
IMAGE = container_path("cart", "image")
RATE_RPS = 50.0


class WorldShadow:
    """Users fare badly while cart runs its second build. `breaks` makes a call of the shadow or its API fail."""

    name, enforces, level = "world", {"egress": True}, EvidenceLevel.STAND_INS

    def __init__(self, saved: bytes, *, busy: float = 0.1, breaks: Mapping[str, TwinError] = {}) -> None:
        self._saved, self._busy, self._breaks = saved, busy, breaks
        self._came = self._let_down = 0.0
        self.moves: list[str] = []
        self.reset()

    def reset(self) -> None:
        self._fail("reset")
        self._world = World.restore(self._saved)
        self.plant: WorldPlant = plant_of(self._world, writes=True)
        self.kube: Any = self

    # Its API: the World's, but for what is to break.

    def __getattr__(self, name: str) -> Any:
        if name in ("get", "list_objects", "patch", "delete", "watch", "evict", "logs"):
            self._fail(name)
            return getattr(self.plant.kube, name)
        return lambda *_: self.moves.append(name)

    def create(self, obj: KubeObject, *, dry_run: bool = False) -> KubeObject:
        """A World takes no pods; this one admits them, since somebody asks."""
        self._fail("create")
        return obj if dry_run else self.plant.kube.create(obj)

    def _fail(self, name: str) -> None:
        if name in self._breaks:
            raise self._breaks[name]

    def fit(self, plan: Plan) -> Plan:
        return plan

    def users(self) -> Mapping[JourneyName, UserCount]:
        return {JourneyName("browse"): UserCount(came=self._came, let_down=self._let_down)}

    def processor_s(self) -> tuple[float, float]:
        now_s = self.now_s()
        return self._busy * now_s, now_s

    def events(self) -> Sequence[KubeObject]:
        return []

    def now_s(self) -> float:
        return self.plant.clock.now_s()

    def sleep(self, duration_s: float) -> None:
        bad = get_field(self.plant.kube.get(CART), IMAGE) == "cart:v2"
        self._came += RATE_RPS * duration_s
        self._let_down += RATE_RPS * duration_s * (0.4 if bad else 0.0)
        self._world.run(self._world.now_ns + ns(duration_s))
