"""A quota in a World: fewer pods than wanted, an event with its name, and tries that come ever more seldom."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest

from tests.small_shop import small_shop
from twin.fit.observe import observe
from twin.fleet.plant import plant_of
from twin.fleet.world import World, drive
from twin.spec.fleet import Fleet, Quota, Service
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef
from twin.spec.units import NS_PER_S

CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
GIB = 2**30


def quota(name: str = "all", namespace: str = "shop", **bounds: Any) -> Quota:
    return Quota(name=name, namespace=namespace, **bounds)


def shop(*quotas: Quota, services: Sequence[Service] = ()) -> Fleet:
    fleet = small_shop()
    return dataclasses.replace(fleet, quotas=quotas, services=(*fleet.services, *services))


def scaled(fleet: Fleet, replicas: int = 6) -> World:
    world = World.build(fleet, seed=1)
    world.run(10 * NS_PER_S)
    plant_of(world, writes=True).kube.patch(CART, {("spec", "replicas"): replicas})
    world.run_for(NS_PER_S)
    return world


def carts(world: World) -> int:
    return int(plant_of(world).kube.get(CART)["status"]["replicas"])


def refusals(world: World) -> list[tuple[float, str]]:
    """When, in seconds since the cart was scaled, and why."""
    told = [s for _, s in plant_of(world).telemetry.signals(after=0) if s.reason == "FailedCreate"]
    return [(s.at_s - world.fleet.epoch_s - 10.0, s.text) for s in told]


@pytest.mark.parametrize(
    ("bounds", "made", "why"),
    [
        ({"pods": 15}, 5, "requested: pods=1, used: pods=15, limited: pods=15"),
        ({"cpu_request_cores": 7.4}, 4, "requests.cpu=500m, used: requests.cpu=7, limited: requests.cpu=7400m"),
        ({"memory_request_bytes": 14 * 128 * 2**20}, 4, "used: requests.memory=1792Mi"),
        ({"memory_limit_bytes": 4 * GIB}, 6, ""),
        ({"memory_limit_bytes": 3 * GIB}, 3, "used: limits.memory=3328Mi, limited: limits.memory=3Gi"),
        ({"pods": 14, "cpu_request_cores": 7.0}, 4, "requested: pods=1,requests.cpu=500m"),
        ({"pods": 0}, 3, ""),
    ],
)  # fmt: skip
def test_so_many_pods_are_made_as_every_bound_has_room_for(bounds: dict[str, Any], made: int, why: str) -> None:
    world = World.build(shop(quota()), seed=1)
    world.run(10 * NS_PER_S)
    row = World.build(shop(quota(**bounds)), seed=1).state.quota_hard
    world.state.quota_hard[:] = row  # After the shop was there: a quota ends nothing.
    plant_of(world, writes=True).kube.patch(CART, {("spec", "replicas"): 6})
    world.run_for(NS_PER_S)
    assert carts(world) == made
    assert (made == 6) == (not refusals(world))
    assert all(why in text for _, text in refusals(world))


def test_the_tighter_of_two_quotas_counts_and_another_namespaces_does_not() -> None:
    big = Service(id=ServiceId("elsewhere/big"), operations=(), replicas=9)
    quotas = quota("b", pods=15), quota("a", pods=14), quota("c", "elsewhere", pods=9)
    world = scaled(shop(*quotas, services=(big,)))
    assert carts(world) == 4
    [(_, text)] = refusals(world)
    assert "2 of 3 pods are not made: exceeded quota: a" in text


def test_a_fleet_with_more_than_its_quota_allows_begins_with_fewer() -> None:
    world = World.build(shop(quota(pods=10)), seed=1)
    assert len(plant_of(world).kube.list_objects("Pod")) == 10
    world.run(120 * NS_PER_S)
    assert len(plant_of(world).kube.list_objects("Pod")) == 10


def test_tries_come_after_as_long_again_as_it_has_failed() -> None:
    world = scaled(shop(quota(pods=13)))
    world.run(400 * NS_PER_S)
    at_s = [when for when, _ in refusals(world)]
    assert at_s == pytest.approx([0.0, 5.115, 10.23, 20.46, 40.92, 81.84, 163.68, 327.36])


def test_room_is_taken_at_the_next_try_or_when_a_pod_of_its_own_goes() -> None:
    world = scaled(shop(quota(pods=13)))
    world.run(60 * NS_PER_S)
    api = plant_of(world, writes=True).kube
    api.patch(ObjectRef(kind="ResourceQuota", name="all", namespace="shop"), {("spec", "hard", "pods"): 14})
    world.run(91 * NS_PER_S)
    assert carts(world) == 3
    world.run(93 * NS_PER_S)  # 81.84 s after it was scaled.
    assert carts(world) == 4
    pod = api.list_objects("Pod", "shop", {"app": "cart"})[0]["metadata"]["name"]
    api.evict(ObjectRef(kind="Pod", name=pod, namespace="shop"))
    world.run_for(3 * NS_PER_S)
    assert carts(world) == 3, "a pod on its way out counts"
    world.run_for(3 * NS_PER_S)
    assert carts(world) == 4


def test_who_states_no_limit_is_refused_by_a_quota_of_limits() -> None:
    world = World.build(shop(quota(cpu_limit_cores=99.0)), seed=1)
    assert plant_of(world).kube.list_objects("Pod") == []
    assert all("must specify limits.cpu" in text for _, text in refusals(world))
    assert len(refusals(world)) == len(world.fleet.services)


def test_a_world_with_refused_pods_is_data_like_any_other() -> None:
    world = scaled(shop(quota(pods=14)))
    restored, forked, rebuilt = World.restore(world.save()), world.fork(), world.fork()
    for each in (world, restored, forked):
        each.run(200 * NS_PER_S)
    drive(rebuilt.state, lambda: rebuilt.systems()[::-1], 200 * NS_PER_S, rebuild_each_time=True)
    assert restored.save() == world.save() == forked.save() == rebuilt.save()


def test_a_twin_has_its_productions_quotas() -> None:
    extra = Service(id=ServiceId("shop/idle"), operations=())
    bounds = {"cpu_request_cores": 12.5, "memory_request_bytes": 64 * GIB, "memory_limit_bytes": 96 * GIB}
    fleet = shop(quota(pods=40, **bounds), quota("other", "elsewhere", pods=3), services=(extra,))
    world = World.build(fleet, seed=1)
    world.run(660 * NS_PER_S)
    api = plant_of(world, writes=True).kube
    api.patch(ObjectRef(kind="ResourceQuota", name="all", namespace="shop"), {("spec", "hard", "pods"): 41})
    assert observe(plant_of(world)).quotas == (quota(pods=41, **bounds),)
