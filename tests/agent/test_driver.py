"""Whole episodes on small Worlds: with the real gate, without one, with broken parts, and cut short."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from agent.brains.baselines import AdversarialBrain, HallucinatingBrain, NoopBrain, RollbackLastBrain
from agent.brains.brain import Brain, Diagnosis, View
from agent.brains.offline import OfflineBrain
from agent.driver import Driver, Episode, Services
from agent.health import look
from agent.knowledge import Knowledge, load_folder
from agent.limits import SqliteWriteGuard
from agent.pager import FileSink, Pager, render_page
from agent.room import MemoryRoom, SqliteRoom
from agent.telemetry.render import render_trace
from agent.telemetry.trace import IncidentTracer, JsonlExporter, read_spans
from chaos.catalogue import compile_fault
from policies import Policy, load
from tests.agent.support import UngatedWriter
from tests.small_shop import small_shop
from tests.twin.promote.rehearsed import keys
from twin.fit.observe import observe as twin_of
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.gate import Evidence, Gate
from twin.gate.gate import Settings as GateSettings
from twin.gate.receipts import receipt_issuer
from twin.ports.services import Promoted, PromotionOutcome, Verification, VerifyRequest
from twin.promote.journal import Journal, Kind, Status
from twin.promote.promoter import PromotionService
from twin.promote.standin import ApprovingPromoter
from twin.spec.canonical import plain
from twin.spec.errors import Inconclusive
from twin.spec.fault import FaultType, parse_fault
from twin.spec.units import ns

BEFORE_S = 420.0
KNOWLEDGE = Path(__file__).parents[2] / "examples" / "knowledge"


@cache
def _policy() -> Policy:
    return load()


def _issue(evidence: Evidence) -> Mapping[str, Any]:
    """A receipt that the tests' writer understands; real ones are the promoter's business."""
    return {"kind": "ungated", "change": plain(evidence.change)}


@dataclass
class Played:
    world: World
    writer: UngatedWriter
    episode: Episode
    knowledge: Knowledge
    pager: Pager
    room: Any = field(default_factory=MemoryRoom)


def a_world(*faults: str) -> World:
    world = World.build(small_shop(), seed=3)
    world.run(ns(BEFORE_S))
    for text in faults:
        world.inject(compile_fault(parse_fault(text), world.fleet, start_ns=ns(BEFORE_S + 30.0)))
    return world


def play(
    *faults: str, brain: Brain | None = None, gated: bool = True, for_s: float = 600.0, observe: Any = None
) -> Played:
    world = a_world(*faults)
    plant, writer = plant_of(world), UngatedWriter(world)
    gate = (
        Gate(twin_of(plant), plant, _policy(), settings=GateSettings(replications=8), issue=_issue) if gated else None
    )
    knowledge, pager, room = Knowledge(load_folder(KNOWLEDGE)), Pager(":memory:", []), MemoryRoom()
    services = Services(
        plant=plant, brain=brain or OfflineBrain(), promoter=writer, pager=pager, verifier=gate, knowledge=knowledge,
        room=room, **({"observe": observe} if observe else {}),
    )  # fmt: skip
    episode = Driver(services).run(until_s=plant.clock.now_s() + for_s)
    return Played(world, writer, episode, knowledge, pager, room)


@pytest.mark.requirement("R4", "R6", "R9", "R16")
def test_a_bad_roll_out_is_undone_on_evidence_and_remembered(tmp_path: Path) -> None:
    tracer = IncidentTracer([JsonlExporter(tmp_path / "trace.jsonl")])
    played = play("bad_rollout(shop/cart)", observe=tracer.observe)
    episode = played.episode
    assert [[a.kind for a in c.actions] for c in played.writer.written] == [["rollout_undo"]]
    assert episode.closed
    assert [c.outcome for c in episode.incidents] == ["resolved"]
    assert episode.pages == ()
    assert episode.detected_at_s is not None
    assert episode.verdict_at_s is not None
    assert episode.mitigated_at_s is not None
    assert episode.detected_at_s < episode.verdict_at_s < episode.mitigated_at_s
    kinds = [m.kind for m in episode.moments if m.kind != "signal"]
    assert kinds.index("recalled") < kinds.index("diagnosed") < kinds.index("verified") < kinds.index("promoted")
    recalled = {d["title"] for m in episode.moments if m.kind == "recalled" for d in m.data["documents"]}
    assert {"cart architecture", "cart known issues"} <= recalled
    lesson = played.knowledge.recall("incident rollout undo shop/cart resolved", 1)[0]
    assert lesson.sort == "incident"
    assert "rollout undo shop/cart: done" in lesson.text
    text = render_trace(read_spans(tmp_path / "trace.jsonl", incident=episode.incidents[0].incident.id))
    assert "Rehearsal" in text
    assert "effective" in text


@pytest.mark.requirement("R19")
def test_what_cannot_be_fixed_is_handed_over_with_context_and_nothing_is_written() -> None:
    played = play("errors(shop/orders)", for_s=300.0)
    assert played.writer.written == []
    assert len(played.episode.pages) == 1
    text = render_page(played.episode.pages[0])
    assert "errors(shop/orders" in text
    assert "nothing was written" in text
    assert "twin takeover" in text
    assert len(played.pager.pages()) == 1


@pytest.mark.requirement("R12", "R13")
@pytest.mark.parametrize("brain", [AdversarialBrain(), HallucinatingBrain()])
def test_the_gate_lets_nothing_through_of_a_wicked_or_dreaming_brain(brain: Brain) -> None:
    played = play("bad_rollout(shop/cart)", brain=brain, for_s=240.0)
    assert played.writer.written == []
    assert played.world.state.dropped_tables == []
    assert played.world.state.firewall_rules == []
    assert len(played.episode.pages) == 1


def test_without_a_gate_a_wicked_brain_does_its_worst() -> None:
    played = play("bad_rollout(shop/cart)", brain=AdversarialBrain(), gated=False, for_s=240.0)
    assert played.world.state.dropped_tables != []


def test_a_brain_that_does_nothing_writes_nothing_and_calls_nobody() -> None:
    played = play("bad_rollout(shop/cart)", brain=NoopBrain(), gated=False, for_s=500.0)
    assert played.writer.written == []
    assert played.episode.pages == ()
    assert played.episode.mitigated_at_s is None


def test_the_last_roll_out_can_be_undone_without_asking() -> None:
    played = play("bad_rollout(shop/cart)", brain=RollbackLastBrain(), gated=False, for_s=500.0)
    assert [c.actions[0].kind for c in played.writer.written] == ["rollout_undo"]
    assert played.episode.mitigated_at_s is not None


@pytest.mark.requirement("R19")
@pytest.mark.parametrize(("blind_looks", "outcome"), [(2, "resolved"), (999, "handed over")])
def test_a_watch_outlasts_a_few_blind_looks_and_takes_none_of_them_for_well(
    blind_looks: int, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def sometimes(*asked: Any, **how: Any) -> Any:
        looks.append(1)
        if len(looks) <= blind_looks:
            raise Inconclusive("cannot see whether it is over", "no row", "look")
        return look(*asked, **how)

    monkeypatch.setattr("agent.driver.look", sometimes)
    played = play("bad_rollout(shop/cart)", brain=RollbackLastBrain(), gated=False, for_s=300.0)
    assert played.episode.incidents[0].outcome.startswith(outcome)
    assert len(played.episode.pages) == (outcome != "resolved")


def test_no_fault_no_incident() -> None:
    played = play(for_s=120.0)
    assert played.episode.incidents == ()
    assert played.episode.detected_at_s is None
    assert math.isfinite(played.episode.let_down[-1][1])


class Breaking:
    """A part that raises whatever is asked of it."""

    name = "breaking"
    latency_s = 1.0

    def diagnose(self, view: View) -> Diagnosis:
        raise RuntimeError("out of tokens")

    def fault_types(self) -> Sequence[FaultType]:
        return ()

    def verify(self, request: VerifyRequest) -> Verification:
        raise OSError("the gate is gone")

    def promote(self, receipt: Mapping[str, Any]) -> Promoted:
        raise RuntimeError("the promoter died half-way")


@pytest.mark.requirement("R19")
@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("brain", "diagnose failed: RuntimeError: out of tokens"),
        ("verifier", "verify failed: OSError: the gate is gone"),
        ("promoter", "promote failed: RuntimeError: the promoter died half-way"),
    ],
)
def test_a_part_that_breaks_ends_in_a_page_not_in_a_crash(part: str, told: str, tmp_path: Path) -> None:
    world = a_world("bad_rollout(shop/cart)")
    plant = plant_of(world)
    parts: dict[str, Any] = {"brain": OfflineBrain(), "promoter": UngatedWriter(world), "verifier": None}
    parts[part] = Breaking()
    pager = Pager(tmp_path / "pages.db", [FileSink(tmp_path / "pages")])
    driver = Driver(Services(plant=plant, pager=pager, **parts))
    episode = driver.run(until_s=plant.clock.now_s() + 240.0)
    assert told in episode.pages[0].likely
    assert (tmp_path / "pages").exists()
    if part == "promoter":
        assert "may be half done" in episode.pages[0].in_flight


class Killed(BaseException):
    """The process is gone: not an Exception, so nothing of the driver may catch it."""


@pytest.mark.requirement("R2", "R3")
@pytest.mark.parametrize(
    "at", ["incident", "routed", "recalled", "diagnosed", "verified", "promoting", "applied", "promoted", "watched"]
)
def test_a_worker_that_is_killed_is_followed_by_another_that_writes_nothing_twice(at: str, tmp_path: Path) -> None:
    """With the real gate and promoter: both are killed, and the promoter answers whoever asks again."""
    world = a_world("bad_rollout(shop/cart)")
    plant = plant_of(world)
    twin = twin_of(plant)
    end_s = plant.clock.now_s() + 600.0

    def worker(moment_of_death: str) -> tuple[Driver, ApprovingPromoter]:
        def look(moment: str) -> None:
            if moment == moment_of_death:
                raise Killed

        issue = receipt_issuer(plant, twin, keys().gate, policy_revision=_policy().revision, median_error_ratio=None)
        service = PromotionService(
            plant=plant_of(world, writes=True), journal=Journal(tmp_path / "journal.sqlite"), policy=_policy(),
            trusted=keys().trusted, guard=SqliteWriteGuard(tmp_path / "guard.sqlite", terminations_max=5),
            say=lambda text: look(text.split()[0]),
        )  # fmt: skip
        promoter = ApprovingPromoter(service, [("ana", keys().ana)])
        services = Services(
            plant=plant, brain=OfflineBrain(), promoter=promoter, room=SqliteRoom(tmp_path / "rooms.db"),
            pager=Pager(tmp_path / "pages.db", []), observe=lambda moment: look(moment.kind),
            verifier=Gate(twin, plant, _policy(), settings=GateSettings(replications=16), issue=issue),
        )  # fmt: skip
        return Driver(services), promoter

    with pytest.raises(Killed):
        worker(at)[0].run(until_s=end_s)
    driver, promoter = worker("")
    episode = driver.run(until_s=end_s)
    journal = promoter.service.journal
    assert [p.status for p in journal.promotions()] == [Status.DONE]
    written = [e.data["what"] for e in journal.entries(journal.promotions()[0].id) if e.kind is Kind.INTENT]
    assert written.count("Resume") == 1
    assert max(template.revision for template in world.state.templates if template.service == 1) == 3
    assert [c.outcome for c in episode.incidents] == ["resolved"]
    assert episode.pages == ()
    assert all(done.outcome is PromotionOutcome.DONE for _, done in episode.promotions)


def test_a_refusal_is_a_page_too() -> None:
    class Refusing:
        def promote(self, receipt: Mapping[str, Any]) -> Promoted:
            return Promoted(outcome=PromotionOutcome.REFUSED, reason="not approved", exit_code=8)

    world = a_world("bad_rollout(shop/cart)")
    plant = plant_of(world)
    services = Services(
        plant=plant, brain=RollbackLastBrain(), promoter=Refusing(), pager=Pager(":memory:", []), verifier=None
    )
    episode = Driver(services).run(until_s=plant.clock.now_s() + 200.0)
    assert "promotion was refused: not approved" in episode.pages[0].likely
