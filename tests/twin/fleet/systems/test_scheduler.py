"""Where pending pods go: by what each pod's own template asks for, not by what the fleet's file once declared."""

from __future__ import annotations

import dataclasses

import numpy as np

from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.state import Phase
from twin.fleet.world import World
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef
from twin.spec.units import NS_PER_S

CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
RESOURCES = ("spec", "template", "spec", "containers", "[name=cart]", "resources")


def shop() -> World:
    """Four nodes of 8 cores; three carts of half a core."""
    world = World.build(dataclasses.replace(small_shop(), quotas=()), seed=1)
    world.run(10 * NS_PER_S)
    return world


def ask(world: World, resource: str, quantity: str) -> None:
    fields = {(*RESOURCES, "requests", resource): quantity}
    if resource == "memory":
        fields = {(*RESOURCES, "limits", resource): quantity, **fields}  # First: no request may exceed its limit.
    plant_of(world, writes=True).kube.patch(CART, fields)


def carts(world: World, phase: Phase) -> int:
    cart = world.blueprint.service_index[ServiceId("shop/cart")]
    return int(np.count_nonzero((world.state.pod_service == cart) & (world.state.pod_phase == phase)))


def refusals(world: World) -> list[str]:
    return [s.text for _, s in plant_of(world).telemetry.signals(after=0) if s.reason == "FailedScheduling"]


def test_a_pod_whose_new_request_no_node_has_stays_pending_and_the_event_says_what_it_asked_for() -> None:
    for resource, quantity, said in (("cpu", "9", "9 cores"), ("memory", "128Gi", "131072 MiB")):
        world = shop()
        ask(world, resource, quantity)
        world.run_for(20 * NS_PER_S)
        assert carts(world, Phase.PENDING) == 1
        assert any(said in text for text in refusals(world))


def test_pods_with_a_raised_request_take_that_much_room() -> None:
    world = shop()
    ask(world, "cpu", "5")  # One a node: the others leave less than 8 - 5 cores for a second.
    world.run_for(60 * NS_PER_S)
    plant_of(world, writes=True).kube.patch(CART, {("spec", "replicas"): 6})
    world.run_for(60 * NS_PER_S)
    assert (carts(world, Phase.RUNNING), carts(world, Phase.PENDING)) == (4, 2)


def test_a_lowered_request_is_placed_where_the_raised_one_was_not() -> None:
    world = shop()
    ask(world, "cpu", "9")
    world.run_for(20 * NS_PER_S)
    assert carts(world, Phase.PENDING) == 1
    ask(world, "cpu", "250m")
    world.run_for(60 * NS_PER_S)
    assert (carts(world, Phase.RUNNING), carts(world, Phase.PENDING)) == (3, 0)
