"""A twin from telemetry: what can be measured is right within noise, what cannot is declared or a prior."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from chaos.catalogue import compile_fault
from tests.small_shop import small_shop
from twin.fit.calibration import _errors, calibrate
from twin.fit.cone import OUTSIDE, cone_of
from twin.fit.observe import _disruption, observe
from twin.fit.reproduce import reproduce, set_scene
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports import Plant
from twin.spec.errors import Inconclusive
from twin.spec.fault import parse_fault
from twin.spec.fleet import Fleet, Source
from twin.spec.generators import generate
from twin.spec.ids import OpId, ServiceId
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


@pytest.mark.parametrize(
    ("spec", "kept"),
    [({"minAvailable": 2}, 2), ({"minAvailable": "50%"}, 3), ({"maxUnavailable": 1}, 4), ({"maxUnavailable": "25%"}, 3),
     ({"maxUnavailable": 9}, 0), ({}, 0)],
)  # fmt: skip
def test_a_budget_keeps_pods_however_it_says_so(spec: dict[str, Any], kept: int) -> None:
    """Of five replicas; shares are rounded up, as Kubernetes does."""
    found = _disruption({"spec": spec}, 5)
    assert found is not None
    assert found.min_available == kept
