"""Whoever wants a promotion to stop is heard at every look, not at the next write alone; and what failed is counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from scenarios.lens import ComposedPlant
from tests.twin.promote.rehearsed import BAD_IMAGE, TOO_GOOD, UNDO, Rig, image_of, receipt_for, wounded
from tests.twin.promote.test_crash import Killed, killer
from tests.twin.promote.test_watch import CART, blinded, told
from twin.cli.commands import promotions
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.fleet.world_file import only_writer
from twin.ports.plant import Plant
from twin.ports.services import PromotionOutcome
from twin.promote.journal import Kind
from twin.promote.lease import Lease
from twin.promote.promoter import ask_to_abort
from twin.spec.errors import PromoterActive
from twin.spec.units import ns

MOMENTS = ("canary", "roll-out", "settling")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "rig")


class Clock:
    """The plant's clock; `do` is called once, in the middle of the wait that is named."""

    def __init__(self, plant: Plant, moment: str, do: Callable[[], Any]) -> None:
        self._plant, self._moment, self._do, self.done = plant, moment, do, False

    def now_s(self) -> float:
        return self._plant.clock.now_s()

    def sleep(self, duration_s: float) -> None:
        held = bool(self._plant.kube.get(CART)["spec"].get("paused"))
        now = "canary" if held else "roll-out" if duration_s < 10.0 else "settling"
        self._plant.clock.sleep(duration_s)
        if now == self._moment and not self.done:
            self.done = True
            self._do()


def during(rig: Rig, moment: str, do: Callable[[], Any]) -> Callable[[Plant], Plant]:
    def through(plant: Plant) -> Plant:
        clock = Clock(plant, moment, do)
        return ComposedPlant(
            name=plant.name, kube=plant.kube, ops=plant.ops, telemetry=plant.telemetry, clock=clock, live=plant.live
        )

    return through


def abort(rig: Rig) -> None:
    journal = rig.journal()
    ask_to_abort(journal, journal.promotions()[-1], 0.0)


@pytest.mark.requirement("R19", "R22")
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("who", ["kill switch", "aborted"])
def test_a_stop_is_heard_at_any_wait_and_takes_everything_back(rig: Rig, moment: str, who: str) -> None:
    engage = lambda: rig.guard.engage(by="ana", reason="it frightens me", now_s=0.0)  # noqa: E731
    rig.through = during(rig, moment, engage if who == "kill switch" else lambda: abort(rig))
    done = rig.run(lambda service: service.promote(receipt_for()))
    assert (done.outcome, done.exit_code) == (PromotionOutcome.ROLLED_BACK, 9), done.reason
    assert who in done.reason
    assert image_of(rig.world()) == BAD_IMAGE
    assert not rig.world().state.paused.any()
    assert ((Kind.INTENT, "Resume") in told(rig)) == (moment == "settling")
    assert rig.guard.failures() == {}


@pytest.mark.parametrize("runs", [True, False], ids=["it runs", "a dead holder's lease"])
def test_only_a_promoter_that_runs_is_asked_to_stop(rig: Rig, monkeypatch: pytest.MonkeyPatch, runs: bool) -> None:
    monkeypatch.setenv("TWIN_HOME", str(rig.folder))
    for folder in ("trusted", "keys"):
        (rig.folder / folder).mkdir()
    with pytest.raises(Killed):
        rig.run(lambda service: service.attempt(receipt_for()), step=killer(12))
    if not runs:
        world = rig.world()
        lease = Lease(plant_of(world, writes=True))
        lease.release(lease.holder())
        with lease.hold("somebody"):
            rig.file.write_bytes(world.save())
    name = rig.journal().promotions()[0].id
    with only_writer(rig.file) if runs else nullcontext():
        done = CliRunner().invoke(promotions.command, ["abort", name, "--prod", str(rig.file)])
    if runs:
        assert (done.exit_code, "asked to stop" in done.output) == (0, True)
    else:
        assert isinstance(done.exception, PromoterActive), done.output
    assert [kind for kind, _ in told(rig)].count(Kind.ABORT_ASKED) == 1


def test_every_write_is_the_guards_to_allow(rig: Rig) -> None:
    """Holding and letting go on are writes too."""
    asked: list[int] = []
    admit = rig.guard.admit
    rig.guard.admit = lambda **told: (asked.append(told["pod_terminations"]), admit(**told))[1]  # type: ignore
    receipt = receipt_for(dataclasses.replace(UNDO, strategy=dataclasses.replace(UNDO.strategy, settle_s=0.0)))
    stops: list[str] = []

    def stop(name: str) -> None:  # Right after the canary was judged, before the roll-out is let go on.
        if name == "after observed" and not stops:
            stops.append(name)
            rig.guard.fence(by="watchdog", reason="hung", now_s=0.0)

    done = rig.run(lambda service: service.promote(receipt), step=stop)
    assert (done.outcome, "fence" in done.reason) == (PromotionOutcome.ROLLED_BACK, True)
    assert (Kind.INTENT, "Resume") not in told(rig)
    assert sum(asked) > 0


def as_it_was(rig: Rig, *, later_s: float) -> None:
    """Production once more as nobody had touched it; later, so that no rate is in the way."""
    world = World.restore(wounded())
    world.run_for(ns(later_s))
    rig.file.write_bytes(world.save())


@pytest.mark.requirement("R11")
def test_three_fixes_in_a_row_that_failed_open_the_breaker_of_that_kind_and_scope(rig: Rig) -> None:
    for number in range(3):
        change = dataclasses.replace(UNDO, reason=f"try {number}")
        done = rig.run(lambda service, c=change: service.promote(receipt_for(c, prediction=TOO_GOOD)))
        assert done.outcome is PromotionOutcome.ROLLED_BACK
        as_it_was(rig, later_s=200.0 * (number + 1))
    assert [(b.kind, b.scope) for b in rig.guard.open_breakers()] == [("rollout_undo", "shop/cart")]
    done = rig.run(lambda service: service.promote(receipt_for()))
    assert (done.outcome, done.exit_code, "failed 3 times" in done.reason) == (PromotionOutcome.REFUSED, 5, True)


@pytest.mark.requirement("R11")
def test_a_success_ends_the_row_and_what_was_held_says_nothing(rig: Rig) -> None:
    failing = dataclasses.replace(UNDO, reason="another")
    rig.run(lambda service: service.promote(receipt_for(failing, prediction=TOO_GOOD)))
    assert rig.guard.failures() == {("rollout_undo", "shop/cart"): 1}
    as_it_was(rig, later_s=200.0)
    rig.through = blinded
    held = rig.run(lambda service: service.promote(receipt_for(dataclasses.replace(UNDO, reason="blind"))))
    assert held.outcome is PromotionOutcome.HELD
    assert rig.guard.failures() == {("rollout_undo", "shop/cart"): 1}
    as_it_was(rig, later_s=400.0)
    rig.through = lambda plant: plant
    assert rig.run(lambda service: service.promote(receipt_for())).exit_code == 0
    assert rig.guard.failures() == {}
