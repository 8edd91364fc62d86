"""Stage 6 against a shadow whose cluster is a World: what each way of failing becomes, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.small_shop import small_shop
from twin.change.compile import compile_change
from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.world import World
from twin.gate.trial import try_on_shadow
from twin.ports.plant import KubeObject
from twin.ports.shadow import UserCount
from twin.spec.change import Action, Change
from twin.spec.errors import ApiError, Conflict, Forbidden, TwinError
from twin.spec.fields import container_path, get_field
from twin.spec.ids import JourneyName
from twin.spec.plan import ObjectRef, Plan
from twin.spec.units import ns
from twin.spec.verdict import StageVerdict

CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
IMAGE = container_path("cart", "image")
RATE_RPS = 50.0


class WorldShadow:
    """Users fare badly while cart runs its second build. `breaks` makes a call of the shadow or its API fail."""

    name, enforces = "world", {"egress": True}

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
        if name in ("get", "list_objects", "patch", "delete", "create", "watch", "evict", "logs"):
            self._fail(name)
            return getattr(self.plant.kube, name)
        return lambda *_: self.moves.append(name)

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


@pytest.fixture(scope="module")
def saved() -> bytes:
    world = World.build(small_shop(), seed=1)
    plant_of(world, writes=True).kube.patch(CART, {IMAGE: "cart:v2"})
    world.run(ns(120.0))
    return world.save()


def judged(shadow: WorldShadow, kind: str = "rollout_undo", **parameters: Any) -> tuple[StageVerdict, str]:
    change = Change(actions=(Action(kind=kind, target="shop/cart", parameters=parameters),), reason="r", requester="a")
    plan = compile_change(change, plant_of(World.restore(shadow._saved)).kube, at_s=0.0)
    result, trial = try_on_shadow(shadow, small_shop(), plan, None)  # type: ignore[arg-type]
    assert result.evidence
    assert trial.shadow == "world"
    return result.verdict, result.reason


def test_the_right_fix_passes_and_says_what_users_felt(saved: bytes) -> None:
    verdict, reason = judged(WorldShadow(saved))
    assert verdict is StageVerdict.PASS
    assert "40% before, 0% after" in reason


def test_a_fix_that_does_not_help_is_no_pass(saved: bytes) -> None:
    verdict, reason = judged(WorldShadow(saved), "set_env", name="LOG", value="debug")
    assert (verdict, "does not help" in reason) == (StageVerdict.INCONCLUSIVE, True)


def test_a_change_that_makes_it_worse_fails(saved: bytes) -> None:
    world = World.build(small_shop(), seed=1)
    world.run(ns(60.0))
    verdict, reason = judged(WorldShadow(world.save()), "set_image", image="cart:v2")
    assert (verdict, "fare worse" in reason) == (StageVerdict.FAIL, True)


def test_on_a_machine_that_has_no_time_users_say_nothing(saved: bytes) -> None:
    world = World.build(small_shop(), seed=1)
    world.run(ns(60.0))
    verdict, reason = judged(WorldShadow(world.save(), busy=0.97), "set_image", image="cart:v2")
    assert (verdict, "97% busy" in reason) == (StageVerdict.INCONCLUSIVE, True)


@pytest.mark.parametrize(
    ("breaks", "ends"),
    [
        ({"reset": ApiError("gone", "the API server does not answer", "x")}, StageVerdict.INCONCLUSIVE),
        ({"patch": ApiError("cannot patch", "etcd is away", "x")}, StageVerdict.INCONCLUSIVE),
        ({"patch": Forbidden("cannot patch", "exceeded quota", "x")}, StageVerdict.FAIL),
        ({"delete": Conflict("cannot delete", "it moved", "x")}, StageVerdict.PASS),
    ],
)
def test_what_fails_on_the_way(saved: bytes, breaks: Mapping[str, TwinError], ends: StageVerdict) -> None:
    shadow = WorldShadow(saved)
    change = Change(actions=(Action(kind="rollout_undo", target="shop/cart"),), reason="r", requester="a")
    plan = compile_change(change, shadow.plant.kube, at_s=0.0)
    shadow._breaks = breaks
    assert try_on_shadow(shadow, small_shop(), plan, None)[0].verdict is ends  # type: ignore[arg-type]


def test_what_no_stand_in_can_do_is_inconclusive(saved: bytes) -> None:
    shadow = WorldShadow(saved)
    change = Change(
        actions=(Action(kind="shed_load", target="shop/web", parameters={"ratio": 0.5}),), reason="r", requester="a"
    )
    plan = compile_change(change, shadow.plant.kube, at_s=0.0)
    result, _ = try_on_shadow(shadow, small_shop(), plan, None)  # type: ignore[arg-type]
    assert (result.verdict, "cannot do this" in result.reason) == (StageVerdict.INCONCLUSIVE, True)
