"""A promoter that is killed at any moment: the next run finishes or undoes; never twice, never half and forgotten.

Killed here is a process that loses its memory between two durable steps; tests/end_to_end kills real ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.twin.promote.rehearsed import BAD_IMAGE, GOOD_IMAGE, TOO_GOOD, UNDO, Rig, image_of, receipt_for
from twin.fleet.plant import plant_of
from twin.ports.services import PromotionOutcome
from twin.promote.journal import Kind, Status
from twin.promote.lease import Lease
from twin.promote.promoter import PromotionService
from twin.spec.change import Action
from twin.spec.errors import TwinError
from twin.spec.plan import ObjectRef


class Killed(BaseException):
    """kill -9: nothing of ours catches it."""


def killer(at: int) -> Callable[[str], None]:
    """A step that kills at the `at`-th durable moment."""
    moments: list[str] = []

    def step(name: str) -> None:
        moments.append(name)
        if len(moments) == at:
            raise Killed(name)

    return step


def statuses(rig: Rig) -> list[Status]:
    return [promotion.status for promotion in rig.journal().promotions()]


def killed_everywhere(
    tmp_path: Path, before: Callable[[Rig], Any], command: Callable[[PromotionService], Any],
    again: Callable[[PromotionService], Any], check: Callable[[Rig, str], None],
) -> int:  # fmt: skip
    """Kill `command` at each moment in turn, run `again`, and look. Returns how many moments there were."""
    at = 0
    while True:
        at += 1
        rig = Rig(tmp_path / f"{at}")
        before(rig)
        try:
            rig.run(command, step=killer(at))
        except Killed as killed:
            told = f"killed at {at}, {killed}"
        else:
            return at
        try:
            rig.run(again)
        except TwinError as error:
            told += f", then {error}"
        plant = plant_of(rig.world())
        assert Status.OPEN not in statuses(rig), told
        assert not rig.world().state.paused.any(), told
        assert Lease(plant).holder() == "", told
        check(rig, told)


@pytest.mark.requirement("R2", "R22")
@pytest.mark.timeout(600)
def test_a_promotion_killed_anywhere_is_finished_by_the_same_command(tmp_path: Path) -> None:
    receipt = receipt_for()

    def check(rig: Rig, told: str) -> None:
        assert image_of(rig.world()) == GOOD_IMAGE, told
        assert statuses(rig).count(Status.DONE) == 1, told
        assert max(t.revision for t in rig.world().state.templates if t.service == 1) == 3, told  # applied once

    moments = killed_everywhere(
        tmp_path, lambda _: None, lambda service: service.attempt(receipt), lambda service: service.attempt(receipt),
        check,
    )  # fmt: skip
    assert moments > 20


@pytest.mark.timeout(600)
def test_a_rollback_killed_anywhere_is_carried_to_its_end_and_never_turned_round(tmp_path: Path) -> None:
    no_cure = dataclasses.replace(
        UNDO,
        actions=(Action(kind="set_env", target="shop/cart", parameters={"name": "LOG", "value": "debug"}),),
        strategy=dataclasses.replace(UNDO.strategy, watch_s=45.0),
    )
    receipt = receipt_for(no_cure, prediction=TOO_GOOD)

    def roll_back(service: PromotionService) -> None:
        assert service.attempt(receipt).outcome is PromotionOutcome.ROLLED_BACK

    def check(rig: Rig, told: str) -> None:
        cart = plant_of(rig.world()).kube.get(ObjectRef(kind="Deployment", namespace="shop", name="cart"))
        assert "LOG" not in str(cart["spec"]["template"]), told
        assert Status.DONE not in statuses(rig), told
        for promotion in rig.journal().promotions():
            kinds = [entry.kind for entry in rig.journal().entries(promotion.id)]
            after = kinds[kinds.index(Kind.ROLLING_BACK) :] if Kind.ROLLING_BACK in kinds else []
            assert set(after) <= {Kind.ROLLING_BACK, Kind.FINISHED}, told

    assert killed_everywhere(tmp_path, lambda _: None, roll_back, lambda s: s.attempt(receipt), check) > 15


@pytest.mark.timeout(600)
def test_an_undo_killed_anywhere_is_carried_to_its_end_by_the_same_command(tmp_path: Path) -> None:
    receipt = receipt_for()

    def undo(service: PromotionService) -> None:
        assert "left alone" not in service.undo(service.journal.promotions()[-1].id).reason

    def check(rig: Rig, told: str) -> None:
        assert image_of(rig.world()) == BAD_IMAGE, told
        assert statuses(rig) == [Status.UNDONE], told

    assert killed_everywhere(tmp_path, lambda rig: rig.run(lambda s: s.attempt(receipt)), undo, undo, check) > 3


@pytest.mark.timeout(600)
def test_breaking_the_glass_is_all_or_nothing_too(tmp_path: Path) -> None:
    def break_glass(service: PromotionService) -> None:
        service.break_glass(Rig.plan(rigs[-1]), who="ana", reason="fire")

    rigs: list[Rig] = []

    def check(rig: Rig, told: str) -> None:
        assert (image_of(rig.world()) == GOOD_IMAGE) == (Status.DONE in statuses(rig)), told

    killed_everywhere(tmp_path, rigs.append, break_glass, lambda service: service.recover(), check)
    rig = rigs[-1]
    assert statuses(rig) == [Status.DONE]
    rig.run(lambda service: service.undo(service.journal.promotions()[-1].id))
    assert image_of(rig.world()) == BAD_IMAGE
