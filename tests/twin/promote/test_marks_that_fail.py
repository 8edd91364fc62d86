"""The target refuses a mark of ours in the middle of it: what is told then is what happened, and no refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scenarios.lens import ComposedPlant
from tests.twin.promote.rehearsed import BAD_IMAGE, GOOD_IMAGE, TOO_GOOD, Rig, image_of, receipt_for
from tests.twin.promote.test_crash import statuses
from tests.twin.promote.test_take_back import Failing
from tests.twin.promote.test_watch import CART
from twin.fleet.plant import plant_of
from twin.ports.plant import KubeApi, KubeObject, Plant
from twin.ports.services import Promoted, PromotionOutcome
from twin.promote.journal import Status
from twin.promote.lease import LEASE, Lease
from twin.promote.target import MARKS, Target
from twin.spec.errors import ApiError, Conflict, Forbidden, Unreachable
from twin.spec.plan import ObjectRef

MOVED = Conflict("cannot write", "it moved", "read it again")
TAKEN = Forbidden("cannot write", "somebody took the right away", "ask for it")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "rig")


def promote(rig: Rig, receipt: Any, ref: ObjectRef, error: ApiError, times: int, when: str) -> Promoted:
    """Promote; writing `ref` fails so many times from that moment on."""
    broken: list[Failing] = []

    def through(plant: Plant) -> Plant:
        broken.append(Failing(plant, ref, error, 0))
        return with_kube(plant, broken[-1])

    def step(name: str) -> None:
        if name == when:
            broken[-1].times = times

    rig.through = through
    command: Callable[[Any], Any] = lambda service: service.promote(receipt)  # noqa: E731
    done: Promoted = rig.run(command, step=step)
    rig.through = lambda plant: plant
    return done


@pytest.mark.requirement("R2", "R22")
def test_marks_that_fail_while_it_is_taken_back_leave_it_for_a_human_and_the_next_run(rig: Rig) -> None:
    receipt = receipt_for(prediction=TOO_GOOD)
    done = promote(rig, receipt, MARKS, TAKEN, 99, "after rolling_back")
    assert (done.outcome, done.exit_code) == (PromotionOutcome.HELD, 4), done.reason
    assert TAKEN.why in done.reason
    assert [(p.id, p.status) for p in rig.journal().promotions()] == [(done.promotion_id, Status.OPEN)]
    again = rig.run(lambda service: service.promote(receipt))
    assert (again.outcome, again.promotion_id) == (PromotionOutcome.ROLLED_BACK, done.promotion_id)
    assert image_of(rig.world()) == BAD_IMAGE


@pytest.mark.requirement("R2")
@pytest.mark.parametrize(("error", "times"), [(MOVED, 2), (TAKEN, 99)], ids=["a conflict", "for good"])
def test_a_lease_that_cannot_be_given_back_hides_nothing(rig: Rig, error: ApiError, times: int) -> None:
    receipt = receipt_for()
    done = promote(rig, receipt, LEASE, error, times, "after finished")
    assert (done.outcome, done.exit_code) == (PromotionOutcome.DONE, 0), done.reason
    assert image_of(rig.world()) == GOOD_IMAGE
    assert (Lease(plant_of(rig.world())).holder() == "") == (error is MOVED)
    assert rig.run(lambda service: service.promote(receipt)) == done  # The next run ends it.
    assert Lease(plant_of(rig.world())).holder() == ""


def test_a_receipt_that_could_not_be_spent_was_refused(rig: Rig) -> None:
    world = rig.world()
    Target(plant_of(world, writes=True)).set_progress("another", 0)  # The marks exist: writing them is a patch.
    rig.file.write_bytes(world.save())
    receipt = receipt_for()
    done = promote(rig, receipt, MARKS, TAKEN, 99, "after begin")
    assert (done.outcome, done.exit_code) == (PromotionOutcome.REFUSED, TAKEN.exit_code), done.reason
    assert statuses(rig) == [Status.REFUSED]
    assert rig.run(lambda service: service.promote(receipt)).outcome is PromotionOutcome.DONE


@pytest.mark.requirement("R2", "R22")
@pytest.mark.parametrize("first", [True, False], ids=["created", "patched"])
def test_a_mark_that_was_made_and_only_its_answer_lost_is_no_refusal(rig: Rig, first: bool) -> None:
    if not first:
        world = rig.world()
        Target(plant_of(world, writes=True)).set_progress("another", 0)
        rig.file.write_bytes(world.save())
    kubes: list[Deaf] = []

    def through(plant: Plant) -> Plant:
        kubes.append(Deaf(plant.kube))
        return with_kube(plant, kubes[-1])

    rig.through = through
    done = rig.run(lambda service: service.promote(receipt_for()))
    assert kubes[-1].lost == ["create" if first else "patch"]
    assert (done.outcome, done.exit_code) == (PromotionOutcome.DONE, 0), done.reason
    assert image_of(rig.world()) == GOOD_IMAGE
    assert statuses(rig) == [Status.DONE]


@pytest.mark.requirement("R2", "R22")
def test_a_mark_of_which_nobody_can_say_whether_it_was_made_leaves_it_open(rig: Rig) -> None:
    receipt = receipt_for()
    rig.through = lambda plant: with_kube(plant, Deaf(plant.kube, and_then_silent=True))
    done = rig.run(lambda service: service.promote(receipt))
    assert (done.outcome, done.exit_code) == (PromotionOutcome.HELD, 4), done.reason
    assert statuses(rig) == [Status.OPEN]
    rig.through = lambda plant: plant
    again = rig.run(lambda service: service.promote(receipt))
    assert (again.outcome, again.promotion_id) == (PromotionOutcome.DONE, done.promotion_id), again.reason
    assert statuses(rig) == [Status.DONE]


@pytest.mark.requirement("R2", "R22")
def test_a_server_that_goes_away_while_it_is_taken_back_leaves_it_for_the_next_run(rig: Rig) -> None:
    """Not taken back in part: what could not be written is not known to be stuck."""
    receipt, silent = receipt_for(prediction=TOO_GOOD), Unreachable("cannot PATCH", "no answer", "check")
    done = promote(rig, receipt, CART, silent, 1, "after rolling_back")
    assert (done.outcome, done.exit_code) == (PromotionOutcome.HELD, 4), done.reason
    assert statuses(rig) == [Status.OPEN]
    again = rig.run(lambda service: service.promote(receipt))
    assert (again.outcome, again.promotion_id) == (PromotionOutcome.ROLLED_BACK, done.promotion_id)
    assert image_of(rig.world()) == BAD_IMAGE


class Deaf:
    """A KubeApi that makes the write of the spent mark, whose answer nobody hears; nor any other then, if it is so."""

    def __init__(self, kube: KubeApi, *, and_then_silent: bool = False) -> None:
        self._kube, self._silent = kube, and_then_silent
        self.lost: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if self.lost and self._silent:
            raise Unreachable(f"cannot {name}", "no answer", "check")
        return getattr(self._kube, name)

    def create(self, obj: KubeObject, *, dry_run: bool = False) -> KubeObject:
        made = self._kube.create(obj, dry_run=dry_run)
        self._lose("create", obj["metadata"]["name"], dry_run)
        return made

    def patch(self, ref: ObjectRef, fields: Any, *, dry_run: bool = False, **more: Any) -> KubeObject:
        made = self._kube.patch(ref, fields, dry_run=dry_run, **more)
        self._lose("patch", ref.name, dry_run)
        return made

    def _lose(self, what: str, name: str, dry_run: bool) -> None:
        if name == MARKS.name and not dry_run and not self.lost:
            self.lost.append(what)
            raise Unreachable(f"cannot {what}", "no answer", "check")


def with_kube(plant: Plant, kube: Any) -> Plant:
    return ComposedPlant(
        name=plant.name, kube=kube, ops=plant.ops, telemetry=plant.telemetry, clock=plant.clock, live=plant.live
    )
