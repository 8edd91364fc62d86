"""What no processor and no declared limit accounts for becomes a delay, and nothing else does."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.small_shop import small_shop
from twin.fit.delays import OFF_CPU
from twin.fit.observe import observe
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import Metric
from twin.spec.fleet import Fleet
from twin.spec.generators import generate
from twin.spec.ids import ServiceId
from twin.spec.program import Operation, Station, Work
from twin.spec.units import NS_PER_S

CATALOG, WEB = ServiceId("shop/catalog"), ServiceId("shop/web")
DISK_S = 0.015


def with_a_disk() -> Fleet:
    """A shop whose catalog reads from a disk that nobody declares: it takes time and no processor."""
    shop = small_shop()
    catalog = shop.service(CATALOG)
    (serve,) = catalog.operations
    slow = dataclasses.replace(
        catalog,
        operations=(Operation(name=serve.name, steps=(*serve.steps, Work(mean_s=DISK_S, station="disk"))),),
        stations=(*catalog.stations, Station(name="disk", servers=500)),
    )
    return dataclasses.replace(shop, services=tuple(slow if s.id == CATALOG else s for s in shop.services))


def calm(fleet: Fleet) -> World:
    world = World.build(fleet, seed=4)
    world.run(600 * NS_PER_S)
    return world


def mean_latency_s(world: World, service: ServiceId) -> float:
    plant = plant_of(world)
    now_s = plant.clock.now_s()
    series = plant.telemetry.series(Metric.LATENCY_MEAN_S, [service], start_s=now_s - 120.0, end_s=now_s)
    return float(np.nanmean(series.values))


def delayed(twin: Fleet) -> list[ServiceId]:
    return [s.id for s in twin.services if any(station.name == OFF_CPU for station in s.stations)]


def test_a_disk_that_nobody_declares_is_a_delay_of_its_service_alone() -> None:
    production = calm(with_a_disk())
    twin = observe(plant_of(production))
    assert delayed(twin) == [CATALOG]
    (delay,) = (w for w in twin.service(CATALOG).operations[0].steps if isinstance(w, Work) and w.station == OFF_CPU)
    assert delay.mean_s == pytest.approx(DISK_S, rel=0.1)
    played = calm(twin)
    for service in (CATALOG, WEB):
        assert mean_latency_s(played, service) == pytest.approx(mean_latency_s(production, service), rel=0.06)


@pytest.mark.parametrize("fleet", [small_shop(), generate(50, 1)], ids=["small shop", "fifty services"])
def test_where_processors_account_for_all_there_is_none(fleet: Fleet) -> None:
    assert delayed(observe(plant_of(calm(fleet)))) == []
