"""A fleet whose only machine goes dark has nobody left, and comes back with it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from chaos.catalogue import compile_fault
from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.spec.fault import parse_fault
from twin.spec.fleet import NodePool
from twin.spec.units import NS_PER_S


@pytest.mark.parametrize("engine", ["tick", "simpy"])
def test_nobody_is_left_when_the_only_machine_is_lost(engine: Any) -> None:
    fleet = dataclasses.replace(
        small_shop(rate_rps=5.0), node_pools=(NodePool(name="one", zone="a", count=1, cpu_cores=64.0),)
    )
    world = World.build(fleet, seed=1, traffic=engine)
    world.run(60 * NS_PER_S)
    fault, begins_ns = parse_fault("node_loss(one-0)"), world.now_ns
    world.inject(compile_fault(fault, fleet, start_ns=begins_ns, end_ns=begins_ns + 400 * NS_PER_S))
    world.run_for(390 * NS_PER_S)
    assert not world.state.pod_ready.any()
    world.run_for(300 * NS_PER_S)
    ready = [obj["status"]["readyReplicas"] for obj in plant_of(world).kube.list_objects("Deployment")]
    assert min(ready) > 0
