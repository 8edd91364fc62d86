"""The gate's own suspects: what nobody stated, and what can be seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest

from chaos.catalogue import compile_fault
from scenarios.lens import ComposedPlant
from tests.small_shop import small_shop
from twin.cli.commands.verify import incident_now
from twin.fit.observe import observe
from twin.fit.reproduce import reproduce, set_scene
from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.world import World
from twin.gate.rivals import rivals_of
from twin.spec.fault import Fault, parse_fault
from twin.spec.fleet import Fleet
from twin.spec.units import NS_PER_S, ns


def struck(*faults: str, after_s: float) -> tuple[Fleet, WorldPlant]:
    """(a twin of the calm shop, the shop `after_s` seconds after faults struck)."""
    world = World.build(small_shop(), seed=4)
    world.run(400 * NS_PER_S)
    twin = observe(plant_of(world))
    for text in faults:
        world.inject(compile_fault(parse_fault(text), world.fleet, start_ns=world.now_ns))
    world.run_for(ns(after_s))
    return twin, plant_of(world, name="prod")


def rivals(twin: Fleet, plant: WorldPlant, *stated: str) -> list[Fault]:
    return list(rivals_of(incident_now(plant), twin, plant, tuple(parse_fault(text) for text in stated)))


@pytest.mark.parametrize(
    ("fault", "after_s"),
    [
        ("bad_rollout(shop/cart, image=cart:v9, ratio=0.5)", 90.0),
        ("crash_loop(shop/orders, name=POOL, value=many, after_s=70)", 180.0),  # after the second time
        ("bad_config(shop/cart, config=settings, key=LEVEL, value=loud, ratio=0.5)", 120.0),
        ("memory_leak(shop/catalog, image=catalog:v9, minutes=1)", 150.0),
    ],
)
def test_what_was_rolled_out_is_suspected_without_being_told_and_found(fault: str, after_s: float) -> None:
    twin, plant = struck(fault, after_s=after_s)
    true = parse_fault(fault)
    found = rivals(twin, plant)
    mine = next((one for one in found if (one.kind, one.target) == (true.kind, true.target)), None)
    assert mine is not None, found
    for name in ("image", "name", "value", "config", "key"):
        assert mine.parameters.get(name) == true.parameters.get(name)
    best = reproduce(set_scene(twin, plant, incident_now(plant)), found).best.fault
    assert best is not None
    assert (best.kind, best.target) == (true.kind, true.target)


def test_a_roll_out_that_the_twin_was_built_with_is_no_suspect() -> None:
    world = World.build(small_shop(), seed=4)
    world.run(200 * NS_PER_S)
    harmless = parse_fault("bad_rollout(shop/cart, image=cart:v2, ratio=0, factor=1)")
    world.inject(compile_fault(harmless, world.fleet, start_ns=world.now_ns))
    world.run(400 * NS_PER_S)
    twin = observe(plant_of(world))
    world.inject(compile_fault(parse_fault("errors(shop/db, ratio=0.4)"), world.fleet, start_ns=world.now_ns))
    world.run_for(90 * NS_PER_S)
    kinds = {(one.kind, one.target) for one in rivals(twin, plant_of(world))}
    assert ("bad_rollout", "shop/cart") not in kinds
    assert ("errors", "shop/db") in kinds


def test_a_service_that_is_newer_than_the_twin_is_passed_over() -> None:
    """It suffers and was rolled out just now: the gate has to go on with what the twin knows."""
    twin, plant = struck("bad_rollout(shop/cart, image=cart:v9, ratio=0.5)", after_s=90.0)
    older = replace(twin, services=tuple(service for service in twin.services if service.id != "shop/cart"))
    assert not [one for one in rivals(older, plant) if one.target == "shop/cart"]


def test_what_was_stated_is_not_stated_again() -> None:
    fault = "bad_rollout(shop/cart, image=cart:v9, ratio=0.5)"
    twin, plant = struck(fault, after_s=90.0)
    assert not [one for one in rivals(twin, plant, fault) if one.kind == "bad_rollout"]


@pytest.mark.parametrize(("ready", "suspected"), [("True", False), ("Unknown", True)])
def test_a_node_is_suspected_by_its_readiness_whatever_else_it_says(ready: str, suspected: bool) -> None:
    """As a kubelet tells it: pressures first, and those are well when they are "False"."""
    twin, plant = struck("errors(shop/catalog, ratio=0.4)", after_s=60.0)
    kube = Mock(wraps=plant.kube)

    def listed(kind: str, *rest: Any) -> Any:
        found = plant.kube.list_objects(kind, *rest)
        conditions = [{"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": ready}]
        if kind != "Node":
            return found
        return [{**one, "status": {**one["status"], "conditions": conditions}} for one in found]

    kube.list_objects.side_effect = listed
    watched = ComposedPlant(
        name="prod", kube=kube, ops=plant.ops, telemetry=plant.telemetry, clock=plant.clock, live=False
    )
    found = rivals_of(incident_now(plant), twin, watched, ())
    assert any(one.kind == "node_loss" for one in found) is suspected
