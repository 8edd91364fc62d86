"""Invariant 4: a Plant shows what production would show, and nothing of what the simulation knows.

Everything that can be asked through the four ports is asked while a fault is at work, and read for words and figures
that only the simulator has: the fault's kind and parameters, perturbations, scenario names, replications, seeds.
"""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest

from chaos.catalogue import compile_fault, fault_types
from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import EdgeId, Metric, Plant
from twin.spec.errors import TwinError
from twin.spec.fault import Fault
from twin.spec.ids import FaultKind
from twin.spec.units import NS_PER_S

WORDS = re.compile(
    r"perturb|inject|chaos|scenario|replication|hypothes|held_slots|load_spike|node_loss|bad_rollout|crash_loop|"
    r"memory_leak|fault", re.IGNORECASE,
)  # fmt: skip
KINDS = (
    "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Pod", "Service", "HTTPRoute", "Node",
    "HorizontalPodAutoscaler", "PodDisruptionBudget", "ConfigMap",
)  # fmt: skip


def everything(plant: Plant) -> dict[str, Any]:
    """All that the ports tell, as plain JSON."""
    now_s = plant.clock.now_s()
    telemetry = plant.telemetry
    services = list(telemetry.services())
    edges = list(telemetry.edges())
    users = [edge.id for edge in edges if edge.id.caller == "user"]
    span = {"start_s": now_s - 600.0, "end_s": now_s}
    told: dict[str, Any] = {kind: plant.kube.list_objects(kind) for kind in KINDS}
    told["metrics"] = {metric: telemetry.series(metric, services, **span).values.tolist() for metric in Metric}
    told["edges"] = [dataclasses.asdict(edge) for edge in edges]
    told["users"] = [telemetry.edge_series(m, users, **span).values.tolist() for m in _EDGE_METRICS]
    told["operations"] = [dataclasses.asdict(found) for found in telemetry.operations(**span)]
    told["signals"] = [dataclasses.asdict(signal) for _, signal in telemetry.signals(after=0)]
    told["sessions"] = [
        list(dataclasses.asdict(s).values()) for service in services for s in plant.ops.sessions(service)
    ]
    return told


_EDGE_METRICS = (Metric.REQUESTS_RPS, Metric.ERROR_RATIO)


def a_fault(kind: str) -> Fault:
    """The kind with every parameter's default, on something that the shop has."""
    found = next(f for f in fault_types() if f.kind == kind)
    target = {"service": "shop/cart", "journey": "browse", "node": "a-0"}[found.target]
    if kind == "held_slots":
        target = "shop/db"
    return Fault(kind=FaultKind(kind), target=target)


@pytest.mark.requirement("R13")
@pytest.mark.parametrize("kind", sorted(str(found.kind) for found in fault_types()))
def test_nothing_that_a_plant_tells_is_the_simulators(kind: str) -> None:
    world = World.build(small_shop(), seed=914_207)
    world.run(60 * NS_PER_S)
    world.inject(compile_fault(a_fault(kind), world.fleet, start_ns=world.now_ns))
    world.run_for(180 * NS_PER_S)
    text = json.dumps(everything(plant_of(world, name="prod")), default=str)
    assert not WORDS.findall(text)
    assert "914207" not in text, "the seed"
    assert len(text) > 10_000, "nothing was asked"


def test_the_words_are_found_where_they_stand() -> None:
    """The check above, turned on a truth that would be told."""
    assert WORDS.findall('{"reason": "perturbation 3: held_slots(shop/db)"}')


def test_an_unknown_edge_is_refused_and_not_looked_up_elsewhere() -> None:
    world = World.build(small_shop(), seed=1)
    world.run(60 * NS_PER_S)
    edge = EdgeId(caller="shop/nobody", caller_operation="x", callee="shop/db", callee_operation="write")
    with pytest.raises(TwinError):
        plant_of(world).telemetry.edge_series(Metric.REQUESTS_RPS, [edge], start_s=0.0, end_s=1e12)
