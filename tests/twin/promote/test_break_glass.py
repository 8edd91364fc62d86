"""Break-glass skips evidence, and nothing else: hard nets, guard, journal and the way back stand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from agent.limits import MemoryWriteGuard
from tests.twin.promote.rehearsed import BAD_IMAGE, GOOD_IMAGE, UNDO, Rig, image_of
from tests.twin.promote.test_stopped import abort, during
from tests.twin.promote.test_watch import told
from twin.ports.plant import Plant
from twin.ports.services import Promoted, PromotionOutcome
from twin.promote.journal import Kind, Status
from twin.spec.change import Action, Change
from twin.spec.errors import PolicyDenied


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "rig")


def break_glass(rig: Rig, change: Change = UNDO) -> Promoted:
    done: Any = rig.run(lambda service: service.break_glass(rig.plan(change), who="ana", reason="fire"))
    assert isinstance(done, Promoted)
    return done


@pytest.mark.requirement("R22")
def test_it_writes_at_once_without_canary_and_can_be_undone(rig: Rig) -> None:
    done = break_glass(rig)
    assert (done.outcome, image_of(rig.world())) == (PromotionOutcome.DONE, GOOD_IMAGE)
    assert {what for kind, what in told(rig) if kind is Kind.INTENT} == {"Apply", "WaitRollout"}
    rig.run(lambda service: service.undo(done.promotion_id))
    assert image_of(rig.world()) == BAD_IMAGE


@pytest.mark.requirement("R12")
def test_a_hard_net_stands_whoever_asks(rig: Rig) -> None:
    table = Action(kind="drop_table", target="shop/db", parameters={"table": "orders"})
    with pytest.raises(PolicyDenied, match="never drop a table"):
        break_glass(rig, dataclasses.replace(UNDO, actions=(table,)))
    assert rig.journal().promotions() == []
    assert rig.world().state.dropped_tables == []


@pytest.mark.requirement("R10", "R19")
@pytest.mark.parametrize("why", ["kill switch", "never be admitted"])
def test_the_guard_is_asked_before_anything_is_begun(rig: Rig, why: str) -> None:
    if why == "kill switch":
        rig.guard.engage(by="ben", reason="hands off", now_s=0.0)
    else:
        rig.guard = MemoryWriteGuard(terminations_max=2)
    with pytest.raises(PolicyDenied) as refused:
        break_glass(rig)
    assert why in str(refused.value)
    assert rig.journal().promotions() == []


@pytest.mark.requirement("R19")
@pytest.mark.parametrize("who", ["kill switch", "aborted"])
def test_a_stop_while_it_rolls_out_takes_it_back(rig: Rig, who: str) -> None:
    engage = lambda: rig.guard.engage(by="ben", reason="hands off", now_s=0.0)  # noqa: E731
    rig.through = during(rig, "roll-out", engage if who == "kill switch" else lambda: abort(rig))
    done = break_glass(rig)
    assert (done.outcome, done.exit_code, who in done.reason) == (PromotionOutcome.ROLLED_BACK, 9, True)
    assert image_of(rig.world()) == BAD_IMAGE
    assert [p.status for p in rig.journal().promotions()] == [Status.ROLLED_BACK]


def test_it_lasts_for_minutes_only(rig: Rig) -> None:
    two = dataclasses.replace(
        UNDO, actions=(*UNDO.actions, Action(kind="scale", target="shop/orders", parameters={"replicas": 4.0}))
    )

    def late() -> None:
        rig_plants[-1].sleep(700.0)

    rig_plants: list[Any] = []
    through = during(rig, "roll-out", late)
    rig.through = lambda plant: (rig_plants.append(plant.clock), through(plant))[1]  # type: ignore[func-returns-value]
    done = break_glass(rig, two)
    assert (done.outcome, "10 minutes" in done.reason) == (PromotionOutcome.ROLLED_BACK, True)
    assert image_of(rig.world()) == BAD_IMAGE


@pytest.mark.parametrize("when", ["while it rolls out", "after the last write"])
def test_the_minutes_are_looked_at_while_it_waits_and_before_its_end(rig: Rig, when: str) -> None:
    clocks: list[Any] = []

    def through(plant: Plant) -> Plant:
        clocks.append(plant.clock)
        return during(rig, "roll-out", lambda: plant.clock.sleep(700.0))(plant) if when.startswith("while") else plant

    def late(name: str) -> None:
        if name == "after done" and when.startswith("after"):
            clocks[-1].sleep(700.0)

    scale = Action(kind="scale", target="shop/orders", parameters={"replicas": 4.0})
    change = UNDO if when.startswith("while") else dataclasses.replace(UNDO, actions=(scale,))
    rig.through = through
    done: Any = rig.run(lambda s: s.break_glass(rig.plan(change), who="ana", reason="fire"), step=late)
    assert (done.outcome, "10 minutes" in done.reason) == (PromotionOutcome.ROLLED_BACK, True), done.reason
