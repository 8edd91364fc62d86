"""A rollback goes as far as it can, leaves alone what is no longer ours, and says what is left."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from scenarios.lens import ComposedPlant
from tests.twin.promote.rehearsed import AS_BAD_AS_NOTHING, UNDO, Rig, receipt_for
from tests.twin.promote.test_stopped import abort
from tests.twin.promote.test_watch import CART
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import Plant
from twin.ports.services import PromotionOutcome
from twin.promote.journal import Status
from twin.spec.change import Action
from twin.spec.errors import ApiError, Conflict, Forbidden
from twin.spec.plan import ObjectRef

ROUTE = ObjectRef(kind="HTTPRoute", namespace="shop", name="web--cart")
ORDERS = ObjectRef(kind="Deployment", namespace="shop", name="orders")
TWO = dataclasses.replace(
    UNDO,
    actions=(
        Action(kind="set_route", target="shop/web--cart", parameters={"retries": 0.0}),
        Action(kind="scale", target="shop/orders", parameters={"replicas": 4.0}),
    ),
)
SHED = dataclasses.replace(UNDO, actions=(Action(kind="shed_load", target="shop/web", parameters={"ratio": 0.2}),))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "rig")


class Failing:
    """A KubeApi on which writing one object fails, so many times, once `armed`."""

    def __init__(self, plant: Plant, ref: ObjectRef, error: ApiError, times: int) -> None:
        self._kube, self._ref, self._error, self.times = plant.kube, ref, error, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kube, name)

    def patch(self, ref: ObjectRef, fields: Any, *, dry_run: bool = False, **more: Any) -> Any:
        if ref == self._ref and not dry_run and self.times:
            self.times -= 1
            raise self._error
        return self._kube.patch(ref, fields, dry_run=dry_run, **more)


def failing(rig: Rig, ref: ObjectRef, error: ApiError, times: int = 99) -> None:
    def through(plant: Plant) -> Plant:
        return ComposedPlant(
            name=plant.name, kube=Failing(plant, ref, error, times), ops=plant.ops, telemetry=plant.telemetry,
            clock=plant.clock, live=plant.live,
        )  # fmt: skip

    rig.through = through


def retries(rig: Rig) -> Any:
    return plant_of(rig.world()).kube.get(ROUTE)["spec"]["rules"][0].get("retry", {}).get("attempts")


def replicas(rig: Rig) -> int:
    return int(plant_of(rig.world()).kube.get(ORDERS)["spec"]["replicas"])


@pytest.mark.requirement("R22")
def test_one_object_that_cannot_be_written_does_not_keep_the_others(rig: Rig) -> None:
    before = (retries(rig), replicas(rig))
    receipt = receipt_for(TWO, prediction=AS_BAD_AS_NOTHING)
    done = rig.run(lambda service: service.promote(receipt))
    assert (retries(rig), replicas(rig)) == (0, 4)
    failing(rig, ORDERS, Forbidden("cannot write", "somebody took the right away", "ask for it"))
    part = rig.run(lambda service: service.undo(done.promotion_id))
    assert (retries(rig), replicas(rig)) == (before[0], 4)
    assert [p.status for p in rig.journal().promotions()] == [Status.ROLLED_BACK_IN_PART]
    assert (part.exit_code, part.left) == (9, ("deployment/shop/orders: somebody took the right away",))
    rig.through = lambda plant: plant  # It is given back.
    assert rig.run(lambda service: service.undo(done.promotion_id)).exit_code == 0
    assert (retries(rig), replicas(rig)) == before
    assert [p.status for p in rig.journal().promotions()] == [Status.UNDONE]


def test_a_conflict_is_tried_again_on_what_is_there_now(rig: Rig) -> None:
    before = replicas(rig)
    done = rig.run(lambda service: service.promote(receipt_for(TWO)))
    failing(rig, ORDERS, Conflict("cannot write", "it moved", "read it again"), times=2)
    assert rig.run(lambda service: service.undo(done.promotion_id)).exit_code == 0
    assert replicas(rig) == before


def test_a_rollback_with_a_rest_is_never_left_open_and_lets_nothing_bad_roll_on(rig: Rig) -> None:
    """The template cannot be put back: then its hold stays as well."""
    failing(rig, CART, Conflict("cannot write", "it moved", "read it again"), times=0)
    inner = rig.through
    plants: list[Any] = []
    rig.through = lambda plant: (plants.append(inner(plant)), plants[-1])[1]  # type: ignore[func-returns-value]

    def stop(name: str) -> None:
        if name == "after observed" and not plants[-1].kube.times:
            plants[-1].kube.times = 99
            abort(rig)

    done = rig.run(lambda service: service.promote(receipt_for()), step=stop)
    assert (done.outcome, done.exit_code) == (PromotionOutcome.ROLLED_BACK, 9)
    assert "could not be taken back: deployment/shop/cart" in done.reason
    assert len(done.left) == 1
    assert [p.status for p in rig.journal().promotions()] == [Status.ROLLED_BACK_IN_PART]
    assert rig.world().state.paused.any()
    assert any("could not be taken back" in said for said in rig.said)


def test_load_that_somebody_sheds_by_now_is_theirs(rig: Rig) -> None:
    done = rig.run(lambda service: service.promote(receipt_for(SHED)))
    world = rig.world()
    assert world.state.op_shed_asked.max() == pytest.approx(0.2)
    plant_of(world, writes=True).ops.call("shed_load", {"service": "shop/web", "ratio": 0.6})
    rig.file.write_bytes(world.save())
    undone = rig.run(lambda service: service.undo(done.promotion_id))
    assert rig.world().state.op_shed_asked.max() == pytest.approx(0.6)
    assert "left alone, because somebody changed it since: shed_load shop/web" in undone.reason
    assert World.restore(rig.file.read_bytes()).state.op_shed_asked.max() == pytest.approx(0.6)
