"""A twin from telemetry: what can be measured is right within noise, what cannot is declared or a prior."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from chaos.catalogue import compile_fault
from tests.small_shop import small_shop
from twin.change.apply import apply_step, is_applied
from twin.change.compile import compile_change
from twin.fit.calibration import _errors, calibrate
from twin.fit.cone import OUTSIDE, cone_of
from twin.fit.observe import _autoscaling, _disruption, observe
from twin.fit.reproduce import reproduce, set_scene
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports import Plant
from twin.spec.change import Action, Change
from twin.spec.errors import Inconclusive
from twin.spec.fault import parse_fault
from twin.spec.files import read_fleet, write_fleet
from twin.spec.fleet import Fleet, NodePool, Source
from twin.spec.generators import generate
from twin.spec.ids import NodeName, OpId, ServiceId
from twin.spec.incident import Incident
from twin.spec.program import Call, Hold, Step, Work, calls_of
from twin.spec.signal import SignalKind
from twin.spec.units import NS_PER_S


class OnlyPorts:
    """A Plant that has the four ports and nothing else: whoever looks behind them fails."""

    def __init__(self, plant: Plant) -> None:
        self.name, self.kube, self.ops = plant.name, plant.kube, plant.ops
        self.telemetry, self.clock = plant.telemetry, plant.clock


@pytest.fixture(scope="module")
def world() -> World:
    world = World.build(small_shop(), seed=4)
    world.run(600 * NS_PER_S)
    return world


@pytest.fixture(scope="module")
def twin(world: World) -> Fleet:
    return observe(OnlyPorts(plant_of(world, name="prod")))


def work_of(steps: Iterable[Step]) -> list[float]:
    found: list[float] = []
    for step in steps:
        if isinstance(step, Work):
            found.append(step.mean_s)
        elif isinstance(step, Hold):
            found += work_of(step.body)
    return found


def test_work_rates_and_calls_are_measured_within_noise(twin: Fleet) -> None:
    for true in small_shop().services:
        seen = twin.service(true.id)
        for operation in true.operations:
            ours = seen.operation(operation.name)
            assert work_of(ours.steps) == pytest.approx(work_of(operation.steps), rel=0.05)
            want = {(c.target, c.probability) for c in calls_of(operation.steps)}
            got = {(c.target, round(c.probability, 1)) for c in calls_of(ours.steps)}
            assert got == want
    assert twin.journeys[0].rate_rps == pytest.approx(120.0, rel=0.05)


def test_limits_and_routes_are_as_declared(twin: Fleet) -> None:
    true = small_shop()
    for service in true.services:
        assert twin.service(service.id).stations == service.stations
        assert twin.service(service.id).replicas == service.replicas
    call = next(iter(calls_of(twin.service(ServiceId("shop/web")).operation("serve").steps)))
    assert (getattr(call, "timeout_s", None), getattr(call, "retry", None)) == (1.0, call.retry)  # type: ignore[union-attr]


def test_every_figure_says_where_it_comes_from(twin: Fleet) -> None:
    sources = {belief.source for belief in twin.beliefs.values()}
    assert sources == {Source.MEASURED, Source.DECLARED, Source.PRIOR}
    assert all(b.spread > 0.0 for b in twin.beliefs.values() if b.source is not Source.DECLARED)


def test_the_twin_predicts_what_production_shows_next(world: World) -> None:
    assert calibrate(plant_of(world)).median_error_ratio < 0.1


def test_nothing_is_built_from_nothing() -> None:
    young = World.build(small_shop(), seed=4)
    young.run(20 * NS_PER_S)
    with pytest.raises(Inconclusive):
        observe(plant_of(young))


@pytest.mark.parametrize(
    "fault", ["errors(shop/catalog, ratio=0.4)", "slow(shop/catalog, factor=12)", "held_slots(shop/db)"]
)
def test_an_incident_is_reproduced_by_its_fault_and_not_by_another(world: World, twin: Fleet, fault: str) -> None:
    hurt = world.fork()
    hurt.inject(compile_fault(parse_fault(fault), hurt.fleet, start_ns=hurt.now_ns))
    hurt.run_for(90 * NS_PER_S)
    plant = plant_of(hurt, name="prod")
    symptoms = tuple(s.symptom for _, s in hurt.state.signals if s.kind is SignalKind.ALERT and s.symptom is not None)
    incident = Incident(id="1", title="t", onset_s=plant.clock.now_s() - 75.0, symptoms=symptoms)
    hypotheses = [parse_fault(text) for text in (fault, "errors(shop/cart)", "load_spike(browse)", "slow(shop/web)")]
    found = reproduce(set_scene(twin, plant, incident), hypotheses)
    best = found.best.fault
    assert best is not None
    assert (best.kind, best.target) == (hypotheses[0].kind, hypotheses[0].target)
    assert found.best.residual < 0.5


def test_the_cone_keeps_what_is_reached_and_stands_in_for_the_rest() -> None:
    fleet = small_shop()
    assert {s.id for s in cone_of(fleet, [ServiceId("shop/db")]).services} == {s.id for s in fleet.services}
    large = generate(60, seed=3)
    cone = cone_of(large, [large.services[5].id])
    names = {service.id for service in cone.services}
    for service in cone.services:
        for operation in service.operations:
            assert all(call.target.rsplit(":", 1)[0] in names for call in calls_of(operation.steps))
    outside: list[Any] = [journey for journey in cone.journeys if journey.name.startswith(OUTSIDE)]
    assert all(journey.rate_rps > 0.0 for journey in outside)


def test_load_that_only_the_twin_sees_is_an_error_and_so_is_a_figure_it_lacks() -> None:
    real, ours = np.array([2.0, 0.0, 1.0, np.nan, 0.0]), np.array([1.0, 3.0, np.nan, 5.0, 0.0])
    assert _errors(real, ours).tolist() == [0.5, 1.0, 1.0]


def test_a_call_that_its_caller_can_do_without_is_optional_in_the_twin_too() -> None:
    shop = small_shop()
    web = shop.service(ServiceId("shop/web"))
    steps = tuple(
        dataclasses.replace(step, required=False, cancel=True)
        if getattr(step, "target", "") == "shop/catalog:serve"
        else step
        for step in web.operation("serve").steps
    )
    changed = dataclasses.replace(web, operations=(dataclasses.replace(web.operation("serve"), steps=steps),))
    fleet = dataclasses.replace(shop, services=tuple(changed if s.id == web.id else s for s in shop.services))
    world = World.build(fleet, seed=4)
    world.run(300 * NS_PER_S)
    twin = observe(OnlyPorts(plant_of(world, name="prod")))
    calls = {c.target: c for c in calls_of(twin.service(web.id).operation("serve").steps) if isinstance(c, Call)}
    assert (calls[OpId("shop/catalog:serve")].required, calls[OpId("shop/catalog:serve")].cancel) == (False, True)
    assert (calls[OpId("shop/cart:serve")].required, calls[OpId("shop/cart:serve")].cancel) == (True, False)


def test_one_process_or_two_reproduce_the_same(world: World, twin: Fleet) -> None:
    hurt = world.fork()
    hurt.inject(compile_fault(parse_fault("errors(shop/catalog, ratio=0.4)"), hurt.fleet, start_ns=hurt.now_ns))
    hurt.run_for(90 * NS_PER_S)
    plant = plant_of(hurt, name="prod")
    symptoms = tuple(s.symptom for _, s in hurt.state.signals if s.kind is SignalKind.ALERT and s.symptom is not None)
    scene = set_scene(twin, plant, Incident(id="1", title="t", onset_s=plant.clock.now_s() - 75.0, symptoms=symptoms))
    hypotheses = [
        parse_fault("errors(shop/catalog)"),
        parse_fault("slow(shop/web)"),
        parse_fault("errors(shop/nobody)"),
    ]
    one, two = (reproduce(scene, hypotheses, jobs=jobs) for jobs in (1, 2))
    assert one.suspects == two.suspects
    assert len(one.suspects) == 3, "what this fleet does not have is left out; none of these stands beside"


def test_objects_and_machines_keep_the_names_that_they_have_in_production() -> None:
    """Else a change that names one could not be rehearsed."""
    fleet = small_shop()
    services = [
        dataclasses.replace(
            service,
            autoscaling=service.autoscaling and dataclasses.replace(service.autoscaling, name="hpa-7"),
            disruption=service.disruption and dataclasses.replace(service.disruption, name="cart-pdb"),
        )
        for service in fleet.services
    ]
    machines = {"zone-a": ("ip-10-0-1-5", "ip-10-0-1-6"), "zone-b": ("ip-10-0-1-7", "worker")}
    pools = [
        NodePool(name=zone, zone=zone, count=2, nodes=tuple(NodeName(name) for name in names))
        for zone, names in machines.items()
    ]
    production = World.build(dataclasses.replace(fleet, services=tuple(services), node_pools=tuple(pools)), seed=4)
    production.run(120 * NS_PER_S)
    plant = plant_of(production, name="prod")
    twin = observe(OnlyPorts(plant), window_s=90.0)
    twin = read_fleet(write_fleet(twin))  # As people keep one.
    ours = plant_of(World.build(twin, seed=1), writes=True)
    for kind, name in (("HorizontalPodAutoscaler", "hpa-7"), ("PodDisruptionBudget", "cart-pdb")):
        assert [obj["metadata"]["name"] for obj in ours.kube.list_objects(kind)] == [name]
    assert [obj["metadata"]["name"] for obj in ours.kube.list_objects("Node")] == [
        obj["metadata"]["name"] for obj in plant.kube.list_objects("Node")
    ]
    for action in (
        Action(kind="set_hpa", target="shop/catalog", parameters={"max_replicas": 12.0}),
        Action(kind="set_pdb", target="shop/cart", parameters={"min_available": 1.0}),
        Action(kind="cordon", target="worker"),
    ):
        change = Change(actions=(action,), reason="r", requester="ana")
        for step in compile_change(change, plant.kube, at_s=0.0).steps:
            apply_step(ours, step)
            assert is_applied(ours, step)


def test_a_budget_of_several_workloads_keeps_pods_of_each() -> None:
    plant = plant_of(World.build(small_shop(), seed=1))
    [mine] = plant.kube.list_objects("PodDisruptionBudget")
    shared = {**mine, "spec": {"maxUnavailable": 1, "selector": {}}}
    kube = Mock(wraps=plant.kube)
    kube.list_objects.side_effect = lambda kind: [shared] if kind == "PodDisruptionBudget" else []
    workloads = [obj for kind in ("Deployment", "StatefulSet") for obj in plant.kube.list_objects(kind)]
    kept = _disruption(kube, workloads)
    assert {service: (one.min_available, one.name) for service, one in kept.items()} == {
        f"shop/{obj['metadata']['name']}": (obj["spec"]["replicas"] - 1, "") for obj in workloads
    }


def test_an_autoscaler_that_makes_no_sense_is_none() -> None:
    plant = plant_of(World.build(small_shop(), seed=1))
    [mine] = plant.kube.list_objects("HorizontalPodAutoscaler")
    kube = Mock()
    for spec, found in (({"metrics": []}, True), ({"minReplicas": 9}, False), ({"maxReplicas": None}, False)):
        kube.list_objects.return_value = [{**mine, "spec": {**mine["spec"], **spec}}]
        assert bool(_autoscaling(kube)) is found
