"""R10 as the safety nets say it: one figure for policy and guard, over all writers, asked before a receipt is spent."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import policies
from agent.limits import MemoryWriteGuard
from scenarios.lens import ComposedPlant
from tests.twin.promote.rehearsed import TARGET, UNDO, Rig, keys, policy, receipt_for
from tests.twin.promote.test_take_back import failing
from tests.twin.promote.test_watch import CART
from twin.change.facts import terminations_a_minute, terminations_by_move
from twin.change.moves import Apply, Resume, moves_of
from twin.cli.commands.promote import service_for
from twin.cli.targets import write_target
from twin.fleet.plant import plant_of
from twin.ports.plant import Plant
from twin.ports.services import PromotionOutcome
from twin.promote.preconditions import check_preconditions
from twin.receipt import check
from twin.spec.change import Action
from twin.spec.errors import Conflict, PolicyDenied

SLOW = dataclasses.replace(UNDO, strategy=dataclasses.replace(UNDO.strategy, watch_s=60.0))


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "rig")


@pytest.mark.requirement("R10")
def test_a_roll_out_is_spread_by_the_watch_of_its_canary_and_by_nothing_else(rig: Rig) -> None:
    slow = rig.plan(SLOW)
    by_move = dict(zip(moves_of(slow), terminations_by_move(slow), strict=True))
    assert [pods for move, pods in by_move.items() if isinstance(move, Apply | Resume)] == [2, 1]
    assert sum(by_move.values()) == 3
    assert terminations_a_minute(slow) == 2
    assert terminations_a_minute(rig.plan(UNDO)) == 3  # Watched for 15 s: all within the minute.
    whole = dataclasses.replace(UNDO, strategy=dataclasses.replace(UNDO.strategy, canary_ratio=0.0))
    assert terminations_a_minute(rig.plan(whole)) == 3
    fewer = dataclasses.replace(UNDO, actions=(Action(kind="scale", target="shop/cart", parameters={"replicas": 1.0}),))
    assert terminations_a_minute(rig.plan(fewer)) == 2


@pytest.mark.requirement("R10")
def test_what_can_never_be_admitted_is_refused_before_its_receipt_is_spent(rig: Rig) -> None:
    rig.guard = MemoryWriteGuard(terminations_max=2)
    done = rig.run(lambda service: service.promote(receipt_for()))
    assert (done.outcome, done.exit_code) == (PromotionOutcome.REFUSED, 5)
    assert "ends 3 pods within a minute, at most 2" in done.reason
    assert rig.journal().promotions() == []
    assert rig.run(lambda service: service.promote(receipt_for(SLOW))).exit_code == 0


@pytest.mark.requirement("R10", "R12")
def test_policy_counts_what_every_other_writer_ended_in_the_last_minute(rig: Rig) -> None:
    plant = plant_of(rig.world(), name=TARGET)
    now_s = plant.clock.now_s()
    checked = check(receipt_for(), keys().trusted, now_s)
    asked = (plant, policy(), keys().trusted, checked, rig.plan(), ())
    check_preconditions(*asked, rig.guard)
    rig.guard.admit(kind="restart", scope="shop/orders", pod_terminations=3, now_s=now_s - 10.0)
    with pytest.raises(PolicyDenied, match="6 pod terminations in a minute, more than 5"):
        check_preconditions(*asked, rig.guard)


@pytest.mark.requirement("R10")
def test_a_rate_slows_down_and_refuses_nothing_that_fits_a_minute_later(rig: Rig) -> None:
    rig.guard = MemoryWriteGuard(terminations_max=policy().pod_terminations_per_minute_max)
    now_s = plant_of(rig.world()).clock.now_s()
    rig.guard.admit(kind="restart", scope="shop/orders", pod_terminations=3, now_s=now_s - 10.0)
    done = rig.run(lambda service: service.promote(receipt_for()))
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert any("waiting" in said for said in rig.said)
    assert rig.journal().promotions()[0].at_s >= now_s + 50.0


@pytest.mark.requirement("R10")
def test_a_canary_waits_for_room_that_another_writer_has_taken(rig: Rig) -> None:
    rig.guard = MemoryWriteGuard(terminations_max=policy().pod_terminations_per_minute_max)

    def take(name: str) -> None:
        if name == "after observed" and rig.guard.terminations(now_s=0.0) == 2:
            now_s = rig.journal().promotions()[0].at_s
            rig.guard.admit(kind="restart", scope="shop/orders", pod_terminations=3, now_s=now_s + 1.0)

    done = rig.run(lambda service: service.promote(receipt_for()), step=take)
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert any("waiting" in said for said in rig.said)


@pytest.mark.requirement("R10")
def test_what_is_taken_back_waits_for_nobody_and_counts_for_everybody(rig: Rig) -> None:
    done = rig.run(lambda service: service.promote(receipt_for()))
    now_s = plant_of(rig.world()).clock.now_s()
    before = rig.guard.terminations(now_s=now_s)
    rig.guard.admit(kind="restart", scope="shop/web", pod_terminations=20 - before, now_s=now_s)  # No room is left.
    assert rig.run(lambda service: service.undo(done.promotion_id)).exit_code == 0
    assert rig.guard.terminations(now_s=now_s) == 20 + 3  # The three pods of the roll-out go again.


@pytest.mark.requirement("R10")
def test_pods_of_an_undo_that_needs_three_tries_are_counted_once(rig: Rig) -> None:
    done = rig.run(lambda service: service.promote(receipt_for()))
    now_s = plant_of(rig.world()).clock.now_s()
    before = rig.guard.terminations(now_s=now_s)
    failing(rig, CART, Conflict("cannot write", "it moved", "read it again"), times=2)
    assert rig.run(lambda service: service.undo(done.promotion_id)).exit_code == 0
    assert rig.guard.terminations(now_s=now_s) == before + 3


@pytest.mark.requirement("R10")
def test_the_commands_guard_has_the_nets_figure_and_its_targets_count(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWIN_HOME", str(rig.folder / "home"))
    for folder in ("trusted", "keys"):
        (rig.folder / "home" / folder).mkdir(parents=True)
    rig.file.with_name("other.world").write_bytes(rig.file.read_bytes())
    with write_target(str(rig.file)) as mine, write_target(str(rig.folder / "other.world")) as another:
        one, other = service_for(mine), service_for(another)
    most = policies.load().pod_terminations_per_minute_max
    assert (one.guard.terminations_max, other.guard.terminations_max) == (most, most)
    one.guard.admit(kind="restart", scope="shop/cart", pod_terminations=most, now_s=1000.0)
    assert other.guard.terminations(now_s=1000.0) == 0


@pytest.mark.requirement("R13", "R18")
@pytest.mark.parametrize(("live", "code"), [(False, 0), (True, 5), (None, 5)], ids=["a World", "live", "unknown"])
def test_a_live_target_asks_for_more_evidence_and_so_does_one_that_cannot_say(
    rig: Rig, live: bool | None, code: int
) -> None:
    def through(plant: Plant) -> Plant:
        return ComposedPlant(
            name=plant.name, kube=plant.kube, ops=plant.ops, telemetry=plant.telemetry, clock=plant.clock, live=live
        )

    assert plant_of(rig.world()).live is False
    rig.through = through
    done = rig.run(lambda service: service.promote(receipt_for()))  # Rehearsed on the fleet model alone.
    assert done.exit_code == code, done.reason
