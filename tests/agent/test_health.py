"""Whether it is over is said on what was seen, and never on what was not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from agent.health import look
from scenarios.lens import ComposedPlant
from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import Metric, Plant, Series
from twin.spec.errors import Inconclusive
from twin.spec.ids import ServiceId
from twin.spec.units import NS_PER_S

CART, WEB = ServiceId("shop/cart"), ServiceId("shop/web")


def plant() -> Plant:
    world = World.build(small_shop(), seed=2)
    world.run(120 * NS_PER_S)
    return plant_of(world)


class Hidden:
    """Telemetry without one metric of one service: all NaN, or no row at all."""

    def __init__(self, inner: Plant, metric: Metric, *, rows: bool, last_only: bool = False) -> None:
        self._telemetry, self._metric, self._rows, self._last_only = inner.telemetry, metric, rows, last_only

    def __getattr__(self, name: str) -> Any:
        return getattr(self._telemetry, name)

    def series(self, metric: Metric, services: Sequence[ServiceId], *, start_s: float, end_s: float) -> Series:
        seen = self._telemetry.series(metric, services, start_s=start_s, end_s=end_s)
        if metric is not self._metric:
            return seen
        if not self._rows:
            return Series(seen.times_s[:0], seen.values[:0])
        values = seen.values.copy()
        values[-1 if self._last_only else slice(None), list(services).index(CART)] = np.nan
        return Series(seen.times_s, values)


def hidden(inner: Plant, metric: Metric, **how: bool) -> Plant:
    return ComposedPlant(
        name=inner.name, kube=inner.kube, ops=inner.ops, telemetry=Hidden(inner, metric, **how), clock=inner.clock
    )


def test_a_calm_shop_is_well() -> None:
    health = look(plant(), (CART, WEB))
    assert health.well(0.0)
    assert (health.missing, health.restarts) == (0, 0)


@pytest.mark.requirement("R19")
@pytest.mark.parametrize("metric", [Metric.READY_REPLICAS, Metric.WANTED_REPLICAS, Metric.RESTARTS])
@pytest.mark.parametrize("rows", [True, False], ids=["only NaN", "no row"])
def test_what_shows_nothing_is_no_health(metric: Metric, rows: bool) -> None:
    with pytest.raises(Inconclusive, match="shop/cart"):
        look(hidden(plant(), metric, rows=rows), (CART, WEB))


def test_a_service_that_nobody_knows_is_not_well() -> None:
    with pytest.raises(Inconclusive, match="knows no shop/nobody"):
        look(plant(), (CART, ServiceId("shop/nobody")))


def test_a_fleet_without_users_says_nothing() -> None:
    just_begun = plant_of(World.build(small_shop(), seed=2))
    with pytest.raises(Inconclusive, match="no user"):
        look(just_begun, ())


def test_one_scrape_that_is_missing_is_filled_by_the_one_before() -> None:
    assert look(hidden(plant(), Metric.READY_REPLICAS, rows=True, last_only=True), (CART, WEB)).well(0.0)
