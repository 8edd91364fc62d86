"""The twin is played with what production is set to now, whoever set it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chaos.catalogue import compile_fault
from tests.small_shop import small_shop
from twin.fit.observe import observe
from twin.fit.reproduce import set_scene
from twin.fit.since import _scaled_at_s, amendments_since
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import Metric, Series
from twin.spec.fault import parse_fault
from twin.spec.fields import container_path
from twin.spec.fleet import Fleet
from twin.spec.ids import ServiceId
from twin.spec.incident import Incident
from twin.spec.plan import ObjectRef
from twin.spec.signal import SignalKind, Symptom, SymptomKind
from twin.spec.units import NS_PER_S, ns, parse_bytes

CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
ROUTE = ObjectRef(kind="HTTPRoute", name="web--cart", namespace="shop")
SCALER = ObjectRef(kind="HorizontalPodAutoscaler", name="catalog", namespace="shop")


@pytest.fixture
def observed() -> tuple[World, Fleet]:
    world = World.build(small_shop(), seed=4)
    world.run(400 * NS_PER_S)
    return world, observe(plant_of(world))


def test_nothing_changed_means_no_amendment(observed: tuple[World, Fleet]) -> None:
    world, twin = observed
    world.run_for(120 * NS_PER_S)
    assert amendments_since(twin, plant_of(world), float(twin.epoch_s)) == ()


def test_a_config_map_is_played_as_it_is_now_and_read_when_its_readers_started(observed: tuple[World, Fleet]) -> None:
    world, twin = observed
    assert (twin.service(ServiceId("shop/cart")).reads, twin.config_maps) == (
        world.fleet.services[1].reads, (world.fleet.config_maps[0],),
    )  # fmt: skip
    kube = plant_of(world, writes=True).kube
    settings = ObjectRef(kind="ConfigMap", name="settings", namespace="shop")
    world.run_for(60 * NS_PER_S)
    kube.patch(settings, {("data", "POOL"): "1"})
    for amendment in amendments_since(twin, plant_of(world), float(twin.epoch_s)):
        assert (amendment.ref, amendment.fields) == (settings, {("data", "POOL"): "1"}), "nobody has started with it"
    kube.patch(CART, {("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"): "now"})
    world.run_for(60 * NS_PER_S)
    assert amendments_since(twin, plant_of(world), float(twin.epoch_s)) == ()
    symptom = Symptom(service=ServiceId("shop/cart"), kind=SymptomKind.ERRORS, value=0.5, usual=0.0)
    incident = Incident(id="1", title="t", onset_s=plant_of(world).clock.now_s() - 30.0, symptoms=(symptom,))
    played = set_scene(twin, plant_of(world), incident).play(None)
    state, cart = played.state, played.blueprint.service_index[ServiceId("shop/cart")]
    found = {state.templates[variant].settings for variant in state.pod_variant[state.pods_of(cart)]}
    assert found == {(("LEVEL", "info"), ("POOL", "1"))}


def test_budgets_and_quotas_are_played_as_they_are_now(observed: tuple[World, Fleet]) -> None:
    world, twin = observed
    budget = ObjectRef(kind="PodDisruptionBudget", name="cart", namespace="shop")
    quota = ObjectRef(kind="ResourceQuota", name="all", namespace="shop")
    kube = plant_of(world, writes=True).kube
    kube.patch(budget, {("spec", "minAvailable"): 1})
    kube.patch(quota, {("spec", "hard", "pods"): None, ("spec", "hard", "requests.cpu"): "7500m"})
    plant = plant_of(world)
    found = {amendment.ref: dict(amendment.fields) for amendment in amendments_since(twin, plant, float(twin.epoch_s))}
    assert found == {
        budget: {("spec", "minAvailable"): 1},
        quota: {("spec", "hard", "pods"): None, ("spec", "hard", "requests.cpu"): 7.5},
    }
    onset_s = plant.clock.now_s() - 60.0
    symptom = Symptom(service=ServiceId("shop/cart"), kind=SymptomKind.ERRORS, value=0.5, usual=0.0)
    scene = set_scene(twin, plant, Incident(id="1", title="t", onset_s=onset_s, symptoms=(symptom,)))
    played = plant_of(scene.play(None)).kube
    assert played.get(budget)["spec"] == kube.get(budget)["spec"]
    assert played.get(quota)["spec"] == kube.get(quota)["spec"]


def test_a_build_that_was_rolled_out_long_before_the_onset_is_played_too(observed: tuple[World, Fleet]) -> None:
    world, twin = observed
    kube = plant_of(world, writes=True).kube
    kube.patch(CART, {container_path("cart", "image"): "cart:v9"})
    world.run_for(600 * NS_PER_S)
    kube.patch(CART, {("spec", "paused"): True})
    world.run_for(60 * NS_PER_S)
    plant = plant_of(world, name="prod")
    symptom = Symptom(service=ServiceId("shop/cart"), kind=SymptomKind.ERRORS, value=0.5, usual=0.0)
    onset_s = plant.clock.now_s() - 60.0
    scene = set_scene(twin, plant, Incident(id="1", title="t", onset_s=onset_s, symptoms=(symptom,)))
    played = plant_of(scene.play(None)).kube.get(CART)
    assert played["spec"]["template"]["spec"]["containers"][0]["image"] == "cart:v9"
    assert played["spec"]["paused"] is True


def test_a_bad_value_that_was_seen_rolled_over_is_not_rolled_over_again(observed: tuple[World, Fleet]) -> None:
    world, twin = observed
    fault = parse_fault("bad_config(shop/cart, config=settings, key=LEVEL, value=loud, ratio=0.5)")
    world.inject(compile_fault(fault, world.fleet, start_ns=world.now_ns))
    rolled_out_s = plant_of(world).clock.now_s()
    world.run_for(150 * NS_PER_S)
    plant = plant_of(world, name="prod")
    symptom = Symptom(service=ServiceId("shop/cart"), kind=SymptomKind.ERRORS, value=0.5, usual=0.0)
    incident = Incident(id="1", title="t", onset_s=plant.clock.now_s() - 20.0, symptoms=(symptom,))
    played = set_scene(twin, plant, incident).play(fault)
    told = [s for _, s in plant_of(played).telemetry.signals(after=0) if s.kind is SignalKind.DEPLOY]
    assert [round(signal.at_s - rolled_out_s) for signal in told] == [0]


@pytest.mark.parametrize("late_s", [150.0, 500.0])
def test_a_fault_that_came_with_a_roll_out_struck_when_that_was(observed: tuple[World, Fleet], late_s: float) -> None:
    """Containers run into their crash from their start on, however late somebody notices."""
    world, twin = observed
    fault = parse_fault("crash_loop(shop/cart, name=POOL, value=many, after_s=100)")
    rolled_out_s = plant_of(world).clock.now_s()
    world.inject(compile_fault(fault, world.fleet, start_ns=world.now_ns))
    world.run_for(ns(late_s))
    plant = plant_of(world, name="prod")
    symptom = Symptom(service=ServiceId("shop/cart"), kind=SymptomKind.RESTARTS, value=1.0, usual=0.0)
    onset_s = plant.clock.now_s() - 20.0
    scene = set_scene(twin, plant, Incident(id="1", title="t", onset_s=onset_s, symptoms=(symptom,)))
    played = scene.play(fault)

    def ends_s(of: World) -> list[float]:
        signals = plant_of(of).telemetry.signals(after=0)
        return [s.at_s - rolled_out_s for _, s in signals if s.service == "shop/cart" and s.reason == "BackOff"]

    def deploys(of: World) -> int:
        return sum(s.kind is SignalKind.DEPLOY for _, s in plant_of(of).telemetry.signals(after=0))

    assert len(ends_s(played)) == len(ends_s(world)) > 0
    assert ends_s(played) == pytest.approx(ends_s(world), abs=16.0), "within a scrape, by which the clocks are set"
    assert deploys(played) == 1, "the roll-out that was seen, and none of the fault's own"


@pytest.mark.parametrize("wanted", [[2, 2, 4, 4, 4, 4], [2, 2, 4, 4, np.nan, 4], [2, 2, 4, 4, 4, np.nan]])
def test_a_lost_scrape_is_no_other_number_of_replicas(wanted: list[float]) -> None:
    class _Told:
        def series(self, _metric: Metric, _services: object, **_span: float) -> Series:
            return Series(np.arange(6) * 15.0, np.array(wanted)[:, None])

        def now_s(self) -> float:
            return 90.0

    plant: Any = SimpleNamespace(telemetry=_Told(), clock=_Told())
    assert _scaled_at_s(plant, ServiceId("shop/cart"), 0.0) == 30.0


def test_what_was_set_since_is_set_in_the_twin_at_its_time(observed: tuple[World, Fleet]) -> None:
    world, twin = observed
    kube = plant_of(world, writes=True).kube
    kube.patch(ROUTE, {("spec", "rules", "[0]", "retry", "attempts"): 0})
    kube.patch(SCALER, {("spec", "maxReplicas"): 11})
    kube.patch(ObjectRef(kind="Node", name="a-1"), {("spec", "unschedulable"): True})
    world.run_for(180 * NS_PER_S)
    kube.patch(CART, {("spec", "replicas"): 5})
    kube.patch(CART, {container_path("cart", "resources", "limits", "memory"): "512Mi"})
    world.run_for(120 * NS_PER_S)
    plant = plant_of(world, name="prod")
    now_s = plant.clock.now_s()
    symptom = Symptom(service=ServiceId("shop/cart"), kind=SymptomKind.ERRORS, value=0.5, usual=0.0)
    scene = set_scene(twin, plant, Incident(id="1", title="t", onset_s=now_s - 100.0, symptoms=(symptom,)))
    at_s = {amendment.ref.kind: amendment.at_s for amendment in scene.amendments if amendment.ref == CART}
    assert at_s["Deployment"] == pytest.approx(now_s - 120.0, abs=16.0), "within a scrape of when it was scaled"
    played = plant_of(scene.play(None)).kube
    for ref, path in (
        (CART, ("spec", "replicas")), (ROUTE, ("spec", "rules")), (SCALER, ("spec", "maxReplicas")),
    ):  # fmt: skip
        ours, theirs = played.get(ref), plant.kube.get(ref)
        for part in path:
            ours, theirs = ours[part], theirs[part]
        assert ours == theirs, ref
    limits = played.get(CART)["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert parse_bytes(limits["memory"]) == 512 * 2**20
    assert played.get(ObjectRef(kind="Node", name="a-1"))["spec"].get("unschedulable") is True
