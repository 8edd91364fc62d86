"""Stage 6 against a shadow whose cluster is a World: what each way of failing becomes, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.small_shop import small_shop
from tests.twin.gate.world_shadow import CART, IMAGE, WorldShadow
from twin.change.compile import compile_change
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.trial import try_on_shadow
from twin.spec.change import Action, Change
from twin.spec.errors import ApiError, Conflict, Forbidden, TwinError
from twin.spec.units import ns
from twin.spec.verdict import StageVerdict


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
