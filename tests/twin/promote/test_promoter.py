"""Every refusal before the first write, with its code, and nothing changed; and what taking back may not do."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from scenarios.lens import ComposedPlant
from tests.twin.promote.rehearsed import AS_BAD_AS_NOTHING, TOO_GOOD, UNDO, Rig, image_of, keys, receipt_for, wounded
from tests.twin.promote.test_crash import Killed, killer, statuses
from twin.cli.commands.promote import stopped
from twin.cli.output import Stopped
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.services import PromotionOutcome
from twin.promote.journal import Kind, Status
from twin.promote.lease import Lease
from twin.promote.promoter import PromotionService, ask_to_abort
from twin.receipt import approve, check
from twin.spec.change import Action, Change, Risk
from twin.spec.errors import BadInput, ComponentMissing, PromoterActive, ReceiptInvalid
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef
from twin.spec.receipt import EnvelopeCurve, EnvelopePoint
from twin.spec.units import NS_PER_S
from twin.spec.verdict import Outcome, Prediction

CART = ObjectRef(kind="Deployment", namespace="shop", name="cart")
HIGH_RISK = dataclasses.replace(UNDO, risk=Risk.HIGH)
ANOTHER_INCIDENT = EnvelopeCurve(
    service=ServiceId("users"), metric="let_down_rps",
    points=(EnvelopePoint(t_s=0.0, low=400.0, high=500.0), EnvelopePoint(t_s=900.0, low=400.0, high=500.0)),
)  # fmt: skip


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "rig")


def edited(rig: Rig, edit: Callable[[World], Any]) -> None:
    world = rig.world()
    edit(world)
    rig.file.write_bytes(world.save())


def approval(receipt: Mapping[str, Any], name: str) -> dict[str, Any]:
    at_s = plant_of(World.restore(wounded())).clock.now_s()
    signer = {"ana": keys().ana, "ben": keys().ben}[name]
    return approve(check(receipt, keys().trusted, at_s), name, signer, at_s)


class NoAdapter:
    """Sheds load in the rehearsal's world, and nowhere here."""

    def sessions(self, service: Any) -> Sequence[Any]:
        return ()

    def call(self, operation: str, arguments: Mapping[str, Any], *, dry_run: bool = False) -> Mapping[str, Any]:
        raise ComponentMissing(f"nobody here can {operation}", "no adapter", "none")


def test_an_operation_that_nobody_here_can_carry_out_is_refused_before_anything_is_written(rig: Rig) -> None:
    """The first action could be, and is not."""
    shed = Action(kind="shed_load", target="shop/web", parameters={"ratio": 0.1})
    change = dataclasses.replace(UNDO, actions=(*UNDO.actions, shed))
    rig.through = lambda plant: ComposedPlant(
        name=plant.name, kube=plant.kube, ops=NoAdapter(), telemetry=plant.telemetry, clock=plant.clock, live=plant.live
    )
    before = rig.file.read_bytes()
    done = rig.run(lambda service: service.promote(receipt_for(change)))
    assert (done.outcome, done.exit_code) == (PromotionOutcome.REFUSED, 11), done.reason
    assert rig.file.read_bytes() == before


@pytest.mark.requirement("R13", "R22")
@pytest.mark.parametrize(
    ("make", "edit", "code"),
    [
        (lambda: {**receipt_for(), "payload": "e30="}, None, 7),
        (lambda: receipt_for(outcome=Outcome.REJECTED), None, 7),
        (receipt_for, lambda world: world.run_for(901 * NS_PER_S), 7),
        (lambda: receipt_for(target="other"), None, 6),
        (receipt_for, lambda world: plant_of(world, writes=True).kube.patch(CART, {("spec", "replicas"): 5}), 6),
        (lambda: receipt_for(symptom_envelope=(ANOTHER_INCIDENT,)), None, 6),
        (lambda: receipt_for(HIGH_RISK), None, 8),
        (lambda: receipt_for(outcome=Outcome.HARMLESS), None, 5),
    ],
    ids=["tampered", "rejected", "expired", "another target", "drift", "another incident", "no approval", "harmless"],
)  # fmt: skip
def test_a_refusal_has_its_code_and_leaves_everything_as_it_was(
    rig: Rig, make: Callable[[], Mapping[str, Any]], edit: Callable[[World], Any] | None, code: int
) -> None:
    if edit is not None:
        edited(rig, edit)
    before = rig.file.read_bytes()
    done = rig.run(lambda service: service.promote(make()))
    assert (done.outcome, done.exit_code) == (PromotionOutcome.REFUSED, code), done.reason
    assert rig.file.read_bytes() == before
    assert rig.journal().promotions() == []


def test_two_humans_let_a_high_risk_through_and_one_does_not(rig: Rig) -> None:
    receipt = receipt_for(HIGH_RISK)
    rig.approvals = (approval(receipt, "ana"),)
    assert rig.run(lambda service: service.promote(receipt)).exit_code == 8
    rig.approvals = (approval(receipt, "ana"), approval(receipt, "ben"))
    assert rig.run(lambda service: service.promote(receipt)).exit_code == 0


def test_a_receipt_is_spent_by_its_promotion_even_for_another_journal(rig: Rig) -> None:
    receipt = receipt_for()
    done = rig.run(lambda service: service.promote(receipt))
    assert done.exit_code == 0
    with pytest.raises(ReceiptInvalid, match=f"spent by promotion {done.promotion_id}"):
        rig.run(lambda service: service.attempt(receipt))
    elsewhere = Rig(rig.folder.parent / "second-laptop")
    shutil.copy(rig.file, elsewhere.file)
    done = elsewhere.run(lambda service: service.promote(receipt))
    assert (done.exit_code, "spent" in done.reason) == (7, True)


@pytest.mark.requirement("R2")
@pytest.mark.parametrize("prediction", [AS_BAD_AS_NOTHING, TOO_GOOD], ids=["done", "rolled back"])
def test_whoever_asks_again_with_one_receipt_gets_the_same_answer(rig: Rig, prediction: Prediction) -> None:
    receipt = receipt_for(prediction=prediction)
    done = rig.run(lambda service: service.promote(receipt))
    after = rig.file.read_bytes()
    assert rig.run(lambda service: service.promote(receipt)) == done
    edited(rig, lambda world: world.run_for(1000 * NS_PER_S))  # Long expired; the answer is the same.
    assert rig.run(lambda service: service.promote(receipt)) == done
    rig.file.write_bytes(after)
    if done.exit_code == 0:
        rig.run(lambda service: service.undo(done.promotion_id))
        again = rig.run(lambda service: service.promote(receipt))
        assert (again.outcome, again.promotion_id) == (PromotionOutcome.ROLLED_BACK, done.promotion_id)
    rig.file.write_bytes(wounded())  # A copy of before knows nothing of it: there, nothing was promoted.
    assert rig.run(lambda service: service.promote(receipt)).promotion_id != done.promotion_id


def test_a_held_lease_keeps_a_second_promoter_out(rig: Rig) -> None:
    world = rig.world()
    with Lease(plant_of(world, writes=True)).hold("somebody"):
        rig.file.write_bytes(world.save())
    done = rig.run(lambda service: service.promote(receipt_for()))
    assert (done.outcome, done.exit_code) == (PromotionOutcome.REFUSED, PromoterActive.exit_code)
    assert statuses(rig) == [Status.REFUSED]  # Nothing is left open that a later run would take up.


@pytest.mark.requirement("R11")
def test_a_kill_switch_stops_a_promotion_before_its_receipt_is_spent(rig: Rig) -> None:
    receipt = receipt_for()
    rig.guard.engage(by="ana", reason="wait", now_s=0.0)
    done = rig.run(lambda service: service.promote(receipt))
    assert (done.outcome, done.exit_code, "kill switch" in done.reason) == (PromotionOutcome.REFUSED, 5, True)
    rig.guard.release()
    assert rig.run(lambda service: service.promote(receipt)).exit_code == 0


def test_undo_takes_back_once_and_only_what_was_promoted(rig: Rig) -> None:
    done = rig.run(lambda service: service.promote(receipt_for()))
    assert rig.run(lambda service: service.undo(done.promotion_id)).exit_code == 0
    after = rig.file.read_bytes()
    for wrong in (done.promotion_id, "p99-unknown"):
        with pytest.raises(BadInput):
            rig.run(lambda service, wrong=wrong: service.undo(wrong))
        with pytest.raises(BadInput):
            rig.run(lambda service, wrong=wrong: service.abort(wrong))
    assert rig.file.read_bytes() == after


def test_whoever_is_asked_to_abort_takes_everything_back(rig: Rig) -> None:
    receipt, asked = receipt_for(), list[str]()

    def ask(name: str) -> None:  # What another process does while this one is under way.
        if name == "after done" and not asked:
            asked.append(name)
            journal = rig.journal()
            ask_to_abort(journal, journal.promotions()[-1], 0.0)

    before = image_of(rig.world())
    done = rig.run(lambda service: service.promote(receipt), step=ask)
    assert (done.outcome, done.exit_code) == (PromotionOutcome.ROLLED_BACK, 9)
    assert image_of(rig.world()) == before


def test_another_target_of_the_same_name_does_not_close_a_promotion_that_is_under_way_here(rig: Rig) -> None:
    receipt = receipt_for()
    with pytest.raises(Killed):
        rig.run(lambda service: service.attempt(receipt), step=killer(12))
    other = Rig(rig.folder.parent / "other")
    other.run(lambda service: service.recover(), where="elsewhere/prod.world")
    namesake = World.restore(wounded())
    shutil.copy(rig.folder / "journal.sqlite", other.folder / "journal.sqlite")
    other.file.write_bytes(namesake.save())
    assert other.run(lambda service: service.recover(), where="elsewhere/prod.world") == []
    assert [p.status for p in other.journal().promotions()] == [Status.OPEN]
    assert rig.run(lambda service: service.attempt(receipt)).exit_code == 0


def test_a_journal_that_somebody_rewrote_is_not_believed(rig: Rig) -> None:
    done = rig.run(lambda service: service.promote(receipt_for()))
    journal = rig.journal()
    journal._db.execute("UPDATE entries SET data = '{}' WHERE number = 2")
    with pytest.raises(Exception, match="the journal was changed"):
        rig.run(lambda service: service.undo(done.promotion_id))


def test_two_changes_of_one_second_break_the_glass_under_two_names(rig: Rig) -> None:
    for replicas in (4.0, 5.0):
        change = Change(
            actions=(Action(kind="scale", target="shop/orders", parameters={"replicas": replicas}),),
            reason="fire", requester="ana",
        )  # fmt: skip
        rig.run(lambda service, change=change: service.break_glass(rig.plan(change), who="ana", reason="fire"))
    assert len({p.id for p in rig.journal().promotions()}) == 2
    kinds = [entry.kind for entry in rig.journal().entries(rig.journal().promotions()[0].id)]
    assert kinds == [Kind.BEGUN, Kind.INTENT, Kind.DONE, Kind.FINISHED]


def test_ctrl_c_says_how_far_the_promotion_came_and_both_ways_on(rig: Rig) -> None:
    receipt, notes = receipt_for(), list[Stopped]()

    def stop(name: str) -> None:
        if name == "after done":
            raise KeyboardInterrupt

    def promote(service: PromotionService) -> None:
        try:
            service.attempt(receipt)
        except KeyboardInterrupt:
            notes.append(stopped(service, "prod.world", Path("receipt.json")))
            raise

    with pytest.raises(KeyboardInterrupt):
        rig.run(promote, step=stop)
    name = rig.journal().promotions()[0].id
    assert notes[0].during == f"promotion {name}, 1 moves done, the one under way not"
    assert "twin promote receipt.json --prod prod.world" in notes[0].next_step
    assert f"twin promotions abort {name} --prod prod.world" in notes[0].next_step
    assert rig.run(lambda service: service.abort(name)).exit_code == 9
    assert statuses(rig) == [Status.ROLLED_BACK]
