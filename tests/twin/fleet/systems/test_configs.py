"""Pods have the values that ConfigMaps had when their containers started, and none start while something is missing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from chaos.catalogue import compile_fault
from tests.small_shop import small_shop
from twin.change.apply import Undo, apply_step, prepare_undo, undo_order, undo_step
from twin.change.compile import compile_change
from twin.fleet.perturbation import Behave, Timed
from twin.fleet.plant import plant_of
from twin.fleet.state import Phase
from twin.fleet.world import World
from twin.ports import KubeApi
from twin.spec.change import Action, Change
from twin.spec.config import ConfigMap, ConfigRead, Secret
from twin.spec.errors import BadInput, Forbidden
from twin.spec.fault import parse_fault
from twin.spec.fleet import Fleet, Service
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef
from twin.spec.units import NS_PER_S

CART = 1
SETTINGS = ObjectRef(kind="ConfigMap", name="settings", namespace="shop")
DEPLOYMENT = ObjectRef(kind="Deployment", name="cart", namespace="shop")
LEVEL = ("data", "LEVEL")
AGAIN = ("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")


def reading(*reads: ConfigRead, secrets: tuple[Secret, ...] = ()) -> Fleet:
    """The shop, with a cart that reads these."""
    fleet = small_shop()
    services: list[Service] = list(fleet.services)
    services[CART] = dataclasses.replace(services[CART], reads=reads)
    return dataclasses.replace(fleet, services=tuple(services), secrets=secrets)


def started(fleet: Fleet | None = None) -> tuple[World, KubeApi]:
    world = World.build(fleet or small_shop(), seed=1)
    world.run(30 * NS_PER_S)
    return world, plant_of(world, writes=True).kube


def values(world: World) -> list[dict[str, str]]:
    """What each of the cart's pods found, oldest first."""
    state = world.state
    rows = state.pods_of(CART)
    return [dict(state.templates[v].settings) for v in state.pod_variant[rows[state.pod_ready[rows]]]]


def waiting(kube: KubeApi) -> list[str]:
    """Why containers of the cart are not made."""
    states = [p["status"]["containerStatuses"][0]["state"] for p in kube.list_objects("Pod", "shop", {"app": "cart"})]
    found = [state["waiting"] for state in states if "waiting" in state]
    assert all(one["reason"] == "CreateContainerConfigError" for one in found)
    return [one["message"] for one in found]


def test_a_write_is_nothing_to_pods_until_they_start_anew() -> None:
    world, kube = started()
    kube.patch(SETTINGS, {LEVEL: "debug"})
    world.run_for(120 * NS_PER_S)
    assert values(world) == [{"LEVEL": "info"}] * 3
    pod = kube.list_objects("Pod", "shop", {"app": "cart"})[0]["metadata"]["name"]
    kube.delete(ObjectRef(kind="Pod", name=pod, namespace="shop"))
    world.run_for(60 * NS_PER_S)
    assert values(world) == [{"LEVEL": "info"}, {"LEVEL": "info"}, {"LEVEL": "debug"}], "by their age"
    kube.patch(DEPLOYMENT, {AGAIN: "2026-01-01T00:00:00Z"})
    world.run_for(120 * NS_PER_S)
    assert values(world) == [{"LEVEL": "debug"}] * 3


def test_a_value_matters_as_one_in_the_template_does() -> None:
    """Only to pods that started with it; and the template's own wins over a ConfigMap's."""
    world, kube = started()
    world.inject(
        [Timed(what=Behave(service=ServiceId("shop/cart"), env=("LEVEL", "debug"), error_ratio=1.0), start_ns=0)]
    )
    world.run_for(NS_PER_S)
    kube.patch(SETTINGS, {LEVEL: "debug"})
    kube.patch(DEPLOYMENT, {AGAIN: "2026-01-01T00:00:00Z"})
    world.run_for(120 * NS_PER_S)
    ours = world.state.conditions.pool_service == CART
    assert world.state.conditions.pool_error_ratio[ours].tolist() == [1.0]
    own = ("spec", "template", "spec", "containers", "[name=cart]", "env", "[name=LEVEL]", "value")
    kube.patch(DEPLOYMENT, {own: "warn"})
    world.run_for(120 * NS_PER_S)
    ours = world.state.conditions.pool_service == CART
    assert world.state.conditions.pool_error_ratio[ours].tolist() == [0.0]


def test_a_crashed_container_reads_again() -> None:
    world, kube = started()
    rule = Behave(service=ServiceId("shop/cart"), env=("LEVEL", "info"), crash_after_s=5.0)
    kube.patch(SETTINGS, {LEVEL: "debug"})
    world.inject([Timed(what=rule, start_ns=world.now_ns)])
    world.run_for(60 * NS_PER_S)
    assert values(world) == [{"LEVEL": "debug"}] * 3
    assert world.state.pod_restarts[world.state.pods_of(CART)].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (ConfigRead(source="nobody"), 'configmap "nobody" not found'),
        (ConfigRead(source="settings", key="POOL", name="POOL"), "couldn't find key POOL in ConfigMap shop/settings"),
        (ConfigRead(source="token", secret=True), 'secret "token" not found'),
        (ConfigRead(source="kept", secret=True, key="b", name="B"), "couldn't find key b in Secret shop/kept"),
    ],
)
def test_a_pod_that_lacks_something_has_its_node_and_no_container(read: ConfigRead, why: str) -> None:
    kept = Secret(name="kept", namespace="shop", keys=("a",))
    _, kube = started(reading(read, secrets=(kept,)))
    assert waiting(kube) == [why] * 3
    assert kube.get(DEPLOYMENT)["status"]["readyReplicas"] == 0
    assert all(p["spec"].get("nodeName") for p in kube.list_objects("Pod", "shop", {"app": "cart"}))
    fine, kube = started(reading(dataclasses.replace(read, optional=True), secrets=(kept,)))
    assert (waiting(kube), len(values(fine))) == ([], 3)


def test_a_roll_out_without_its_key_stands_still_until_the_key_is_there() -> None:
    world, kube = started(reading(ConfigRead(source="settings", key="LEVEL", name="LEVEL")))
    kube.patch(SETTINGS, {LEVEL: None})
    kube.patch(DEPLOYMENT, {AGAIN: "2026-01-01T00:00:00Z"})
    world.run_for(300 * NS_PER_S)
    assert waiting(kube) == ["couldn't find key LEVEL in ConfigMap shop/settings"]
    assert values(world) == [{"LEVEL": "info"}] * 3, "the old pods serve on"
    assert sum(s.reason == "Failed" for _, s in world.state.signals) == 1
    kube.patch(SETTINGS, {LEVEL: "warn"})
    world.run_for(120 * NS_PER_S)
    assert values(world) == [{"LEVEL": "warn"}] * 3


def test_a_pod_without_a_container_is_no_business_of_a_budget() -> None:
    world, kube = started(reading(ConfigRead(source="nobody")))
    pod = kube.list_objects("Pod", "shop", {"app": "cart"})[0]["metadata"]["name"]
    kube.evict(ObjectRef(kind="Pod", name=pod, namespace="shop"))
    assert (world.state.pod_phase[world.state.pods_of(CART)] == Phase.TERMINATING).sum() == 1


def test_a_world_with_pods_of_several_ages_is_saved_whole() -> None:
    world, kube = started()
    kube.patch(SETTINGS, {LEVEL: "debug"})
    kube.patch(DEPLOYMENT, {AGAIN: "2026-01-01T00:00:00Z"})
    world.run_for(8 * NS_PER_S)
    assert len({tuple(one.items()) for one in values(world)}) == 2
    other = World.restore(world.save())
    for one in (world, other):
        one.run_for(60 * NS_PER_S)
    assert other.save() == world.save()


def set_config(**parameters: str) -> Change:
    return Change(
        actions=(Action(kind="set_config", target="shop/settings", parameters=parameters),), reason="t", requester="me"
    )


def test_set_config_rolls_over_its_readers_and_back() -> None:
    world, kube = started()
    plant = plant_of(world, writes=True)
    plan = compile_change(set_config(key="LEVEL", value="debug"), kube, at_s=plant.clock.now_s())
    assert [str(step.ref) for step in plan.steps] == ["configmap/shop/settings", "deployment/shop/cart"]  # type: ignore[union-attr]
    undos: list[Undo] = []
    for step in plan.steps:
        undo, _ = prepare_undo(plant, step)
        undos.append(undo)
        apply_step(plant, step)
    world.run_for(120 * NS_PER_S)
    assert values(world) == [{"LEVEL": "debug"}] * 3
    back = undo_order(undos)
    assert [str(undo.ref) for undo in back] == ["configmap/shop/settings", "deployment/shop/cart"]
    for undo in back:
        assert undo_step(plant, undo) == ()
    world.run_for(120 * NS_PER_S)
    assert values(world) == [{"LEVEL": "info"}] * 3


def test_set_config_without_a_restart_is_one_write() -> None:
    _, kube = started()
    plan = compile_change(set_config(key="LEVEL", value="debug", restart="no"), kube, at_s=0.0)
    assert len(plan.steps) == 1


@pytest.mark.parametrize(
    ("target", "parameters", "why"),
    [
        ("shop/frozen", {"key": "a", "value": "2"}, "immutable"),
        ("shop/settings", {"value": "2"}, "no key"),
        ("shop/settings", {"key": "a", "restart": "perhaps"}, "neither yes nor no"),
        ("settings", {"key": "a"}, "namespace/name"),
        ("shop/token", {"key": "a", "value": "hunter2"}, "it is a Secret"),
    ],
)
def test_what_is_no_plan(target: str, parameters: dict[str, str], why: str) -> None:
    fleet = reading(ConfigRead(source="token", secret=True), secrets=(Secret(name="token", namespace="shop"),))
    _, kube = started(fleet)
    change = Change(
        actions=(Action(kind="set_config", target=target, parameters=parameters),), reason="t", requester="me"
    )
    with pytest.raises(BadInput, match=why):
        compile_change(change, kube, at_s=0.0)


def test_a_secret_shows_its_keys_and_nothing_else_and_is_nobodys_to_write() -> None:
    _, kube = started(reading(secrets=(Secret(name="token", namespace="shop", keys=("a",)),)))
    ref = ObjectRef(kind="Secret", name="token", namespace="shop")
    assert kube.get(ref)["data"] == {"a": "cmVkYWN0ZWQ="}
    with pytest.raises(Forbidden):
        kube.patch(ref, {("data", "a"): "aHVudGVyMg=="})


def test_a_bad_value_hurts_until_the_old_one_is_rolled_over() -> None:
    world, kube = started()
    fault = parse_fault("bad_config(shop/cart, config=settings, key=LEVEL, value=loud, ratio=0.5)")
    world.inject(compile_fault(fault, world.fleet, start_ns=world.now_ns))
    world.run_for(120 * NS_PER_S)
    ours = world.state.conditions.pool_service == CART
    assert np.allclose(world.state.conditions.pool_error_ratio[ours], 0.5)
    plant = plant_of(world, writes=True)
    for step in compile_change(set_config(key="LEVEL", value="info"), kube, at_s=plant.clock.now_s()).steps:
        apply_step(plant, step)
    world.run_for(120 * NS_PER_S)
    ours = world.state.conditions.pool_service == CART
    assert world.state.conditions.pool_error_ratio[ours].tolist() == [0.0]


def test_the_fault_is_no_fault_of_who_reads_no_such_value() -> None:
    with pytest.raises(BadInput, match="reads no such value"):
        compile_fault(parse_fault("bad_config(shop/web)"), small_shop(), start_ns=0)
    fleet = dataclasses.replace(small_shop(), config_maps=(ConfigMap(name="settings", namespace="other"),))
    with pytest.raises(BadInput, match="reads no such value"):
        compile_fault(parse_fault("bad_config(shop/cart)"), fleet, start_ns=0)
