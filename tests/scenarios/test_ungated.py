"""The way around receipts leads into a simulated World and nowhere else, and past the WriteGuard never."""

from __future__ import annotations

import pytest

from agent.limits import MemoryWriteGuard
from scenarios.lens import ComposedPlant, through
from scenarios.model import Observed
from scenarios.ungated import UngatedWriter
from tests.small_shop import small_shop
from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.world import World
from twin.ports.services import PromotionOutcome
from twin.spec.canonical import plain
from twin.spec.change import Action, Change
from twin.spec.errors import Forbidden
from twin.spec.plan import ObjectRef

pytestmark = pytest.mark.requirement("R13", "R21")

ORDERS = ObjectRef(kind="Deployment", name="orders", namespace="shop")


def _guard() -> MemoryWriteGuard:
    return MemoryWriteGuard(terminations_max=20)


def _receipt(*actions: Action) -> dict[str, object]:
    return {"kind": "ungated", "change": plain(Change(actions=actions, reason="try", requester="agent"))}


SCALE = Action(kind="scale", target="shop/orders", parameters={"replicas": 5.0})


@pytest.fixture
def world() -> World:
    return World.build(small_shop(), seed=1)


class _Disguised(WorldPlant):
    """Looks like a World's Plant, and could be anything."""


def test_it_takes_nothing_but_a_worlds_own_plant(world: World) -> None:
    plant = plant_of(world, writes=True)
    composed = ComposedPlant(name="prod", kube=plant.kube, ops=plant.ops, telemetry=plant.telemetry, clock=plant.clock)
    noisy = through(plant, Observed(noise_ratio=0.1), seed=1)
    for other in (composed, noisy, _Disguised(world, name="prod", writes=True), object()):
        with pytest.raises(Forbidden):
            UngatedWriter(other, _guard())  # type: ignore[arg-type]


def test_it_writes_counts_and_tells(world: World) -> None:
    told: list[int] = []
    plant = plant_of(world, writes=True)
    writer = UngatedWriter(
        plant, _guard(), before_write=lambda: told.append(plant.kube.get(ORDERS)["spec"]["replicas"])
    )
    done = writer.promote(_receipt(SCALE, Action(kind="restart", target="shop/cart")))
    assert done.outcome is PromotionOutcome.DONE
    assert plant.kube.get(ORDERS)["spec"]["replicas"] == 5
    assert (writer.writes, told) == (2, [3]), "before_write comes once a change, before anything is different"


def test_the_guard_is_asked_before_every_step(world: World) -> None:
    guard = MemoryWriteGuard(terminations_max=3)
    plant = plant_of(world, writes=True)
    writer = UngatedWriter(plant, guard)
    assert writer.promote(_receipt(Action(kind="restart", target="shop/cart"))).outcome is PromotionOutcome.DONE
    refused = writer.promote(_receipt(Action(kind="restart", target="shop/orders")))
    assert refused.outcome is PromotionOutcome.REFUSED
    assert refused.exit_code == 5
    guard.engage(by="ana", reason="enough", now_s=plant.clock.now_s())
    assert writer.promote(_receipt(SCALE)).outcome is PromotionOutcome.REFUSED
    assert writer.writes == 1


def test_what_is_no_ungated_change_is_refused(world: World) -> None:
    told: list[int] = []
    writer = UngatedWriter(plant_of(world, writes=True), _guard(), before_write=lambda: told.append(1))
    nonsense = _receipt(Action(kind="restart", target="shop/nobody"))
    for receipt in ({"payload": "…"}, {"kind": "ungated"}, nonsense):
        assert writer.promote(receipt).outcome is PromotionOutcome.REFUSED
    assert (writer.writes, told) == (0, [])
