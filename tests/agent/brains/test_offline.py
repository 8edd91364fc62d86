"""The offline brain on small Worlds: what it suspects and proposes, by principle and not by name."""

from __future__ import annotations

import pytest

from agent.brains.baselines import (
    AdversarialBrain,
    AlwaysPageBrain,
    HallucinatingBrain,
    NaiveBrain,
    NoopBrain,
    RollbackLastBrain,
)  # fmt: skip
from agent.brains.brain import Brain, Diagnosis, View
from agent.brains.offline import CANDIDATES_MAX, HYPOTHESES_MAX, OfflineBrain
from agent.core import change_key
from agent.correlate import Correlator, Graph
from chaos.catalogue import compile_fault, fault_types
from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.spec.fault import parse_fault
from twin.spec.units import ns

ONSET_S = 420.0


def look(*faults: str, react_s: float = 75.0, tried: tuple[str, ...] = ()) -> tuple[View, Diagnosis]:
    """What the brain says `react_s` after the faults struck."""
    world = World.build(small_shop(), seed=3)
    world.run(ns(ONSET_S))
    for text in faults:
        world.inject(compile_fault(parse_fault(text), world.fleet, start_ns=ns(ONSET_S)))
    world.run(ns(ONSET_S + react_s))
    plant = plant_of(world)
    signals = [signal for _, signal in plant.telemetry.signals(after=0)]
    updates = Correlator().add(signals, Graph(plant.telemetry.edges()))
    view = View(plant=plant, incident=updates[0].incident, signals=signals, fault_types=fault_types(), tried=tried)
    return view, OfflineBrain().diagnose(view)


@pytest.mark.requirement("R16")
@pytest.mark.parametrize(
    ("fault", "suspect", "cure"),
    [
        ("bad_rollout(shop/cart)", ("bad_rollout", "shop/cart"), ("rollout_undo", "shop/cart")),
        ("bad_rollout(shop/orders, image=o:v9, ratio=0, factor=9)", ("bad_rollout", "shop/orders"),
         ("rollout_undo", "shop/orders")),
        ("crash_loop(shop/orders, name=POOL, value=many)", ("crash_loop", "shop/orders"),
         ("rollout_undo", "shop/orders")),
        ("memory_leak(shop/catalog, minutes=1)", ("memory_leak", "shop/catalog"), ("rollout_undo", "shop/catalog")),
        ("held_slots(shop/db, session=s-9)", ("held_slots", "shop/db"), ("terminate_session", "shop/db")),
        ("node_loss(a-0)", ("node_loss", "a-0"), ("cordon", "a-0")),
        ("load_spike(browse, factor=4)", ("load_spike", "browse"), ("scale", "")),
        ("errors(shop/orders)", ("errors", "shop/orders"), ("restart", "shop/orders")),
        ("slow(shop/db, factor=3)", ("slow", "shop/db"), ("set_route", "")),
    ],
)  # fmt: skip
def test_the_true_cause_is_suspected_first_and_its_cure_is_proposed(
    fault: str, suspect: tuple[str, str], cure: tuple[str, str]
) -> None:
    _, diagnosis = look(fault)
    first = diagnosis.hypotheses[0]
    assert (first.kind, first.target) == suspect, diagnosis.thoughts
    stated = parse_fault(fault).parameters
    for name in ("image", "name", "value", "session"):
        if name in stated:
            assert first.parameters[name] == stated[name]
    proposed = [(a.kind, a.target) for change in diagnosis.candidates for a in change.actions]
    assert any(kind == cure[0] and target.startswith(cure[1]) for kind, target in proposed)
    assert 2 <= len(diagnosis.candidates) <= CANDIDATES_MAX
    assert len(diagnosis.hypotheses) <= HYPOTHESES_MAX


@pytest.mark.requirement("R16")
@pytest.mark.parametrize(
    ("fault", "parameter", "scale_s"),
    [
        ("crash_loop(shop/orders, name=POOL, value=many, after_s=80)", "after_s", 1.0),
        ("memory_leak(shop/catalog, minutes=1.5)", "minutes", 60.0),
    ],
)
def test_how_long_containers_live_is_read_off_the_first_that_ended(fault: str, parameter: str, scale_s: float) -> None:
    _, diagnosis = look(fault, react_s=150.0)
    first, stated = diagnosis.hypotheses[0], parse_fault(fault)
    assert first.kind == stated.kind, diagnosis.thoughts
    guessed_s, real_s = (scale_s * float(f.parameters[parameter]) for f in (first, stated))
    assert guessed_s == pytest.approx(real_s, abs=20.0), "within a container's start"


@pytest.mark.requirement("R16")
def test_an_innocent_roll_out_is_not_the_first_suspect() -> None:
    innocent = "bad_rollout(shop/catalog, image=c:v2, ratio=0, factor=1)"
    view, diagnosis = look("held_slots(shop/db, session=s-9)", innocent)
    assert view.incident.services
    assert diagnosis.hypotheses[0].kind == "held_slots"
    assert diagnosis.candidates[0].actions[0].kind == "terminate_session"


def test_two_faults_at_once_are_both_suspected_and_cured_together() -> None:
    _, diagnosis = look("bad_rollout(shop/orders, image=o:v9, ratio=0.5)", "bad_rollout(shop/catalog, image=c:v9)")
    assert {(h.kind, h.target) for h in diagnosis.hypotheses} >= {
        ("bad_rollout", "shop/orders"),
        ("bad_rollout", "shop/catalog"),
    }
    undone = [{a.target for a in c.actions if a.kind == "rollout_undo"} for c in diagnosis.candidates]
    assert {"shop/orders", "shop/catalog"} in undone


def test_what_was_tried_is_not_proposed_again() -> None:
    _, first = look("bad_rollout(shop/cart)")
    _, second = look("bad_rollout(shop/cart)", tried=tuple(change_key(c) for c in first.candidates))
    assert not {change_key(c) for c in first.candidates} & {change_key(c) for c in second.candidates}


def test_the_same_world_gives_the_same_diagnosis() -> None:
    assert look("slow(shop/db, factor=3)")[1] == look("slow(shop/db, factor=3)")[1]


@pytest.mark.requirement("R16")
@pytest.mark.parametrize(
    ("brain", "kinds"),
    [
        (NoopBrain(), []),
        (AlwaysPageBrain(), []),
        (NaiveBrain(), ["restart"]),
        (RollbackLastBrain(), ["rollout_undo"]),
        (HallucinatingBrain(), ["restart", "flush_quantum_cache", "terminate_session", "scale"]),
        (AdversarialBrain(), ["drop_table", "set_firewall_rule", "scale"]),
    ],
)
def test_baselines_do_what_they_are_for(brain: Brain, kinds: list[str]) -> None:
    view, _ = look("bad_rollout(shop/cart)")
    diagnosis = brain.diagnose(view)
    assert [a.kind for c in diagnosis.candidates for a in c.actions] == kinds
    assert diagnosis.hand_over is (brain.name != "noop")
