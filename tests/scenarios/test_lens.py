"""What production shows may be noisy, late and blind in places, and is the same whenever it is read."""

from __future__ import annotations

import numpy as np
import pytest

from scenarios.lens import through
from scenarios.model import Observed
from tests.small_shop import small_shop
from twin.fit.observe import observe
from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.world import World
from twin.ports.plant import Metric
from twin.spec.units import ns

pytestmark = pytest.mark.requirement("R21")


@pytest.fixture(scope="module")
def plant() -> WorldPlant:
    world = World.build(small_shop(), seed=1)
    world.run(ns(300.0))
    return plant_of(world)


def test_without_flaws_the_plant_itself_is_given(plant: WorldPlant) -> None:
    assert through(plant, Observed(), seed=1) is plant


def test_noise_is_small_repeatable_and_never_in_counts(plant: WorldPlant) -> None:
    noisy = through(plant, Observed(noise_ratio=0.05), seed=3)
    now_s, services = plant.clock.now_s(), list(plant.telemetry.services())
    true = plant.telemetry.series(Metric.CPU_CORES, services, start_s=now_s - 200.0, end_s=now_s).values
    seen = noisy.telemetry.series(Metric.CPU_CORES, services, start_s=now_s - 200.0, end_s=now_s).values
    again = noisy.telemetry.series(Metric.CPU_CORES, services[::-1], start_s=now_s - 100.0, end_s=now_s).values
    assert np.array_equal(seen[-again.shape[0] :], again[:, ::-1])
    spread = np.std(np.log(seen[true > 0.0] / true[true > 0.0]))
    assert 0.02 < spread < 0.08
    for metric in (Metric.READY_REPLICAS, Metric.RESTARTS):
        exact = noisy.telemetry.series(metric, services, start_s=now_s - 200.0, end_s=now_s).values
        assert np.array_equal(
            exact, plant.telemetry.series(metric, services, start_s=now_s - 200.0, end_s=now_s).values
        )


def test_late_metrics_end_a_while_ago(plant: WorldPlant) -> None:
    late = through(plant, Observed(staleness_s=60.0), seed=1)
    now_s = plant.clock.now_s()
    times = late.telemetry.series(Metric.CPU_CORES, [], start_s=now_s - 200.0, end_s=now_s).times_s
    assert times.size
    assert times[-1] <= now_s - 60.0


def test_missing_edges_are_missing_for_good_and_users_are_seen(plant: WorldPlant) -> None:
    blind = through(plant, Observed(missing_edges_ratio=0.5), seed=2)
    edges = [edge.id for edge in blind.telemetry.edges()]
    assert edges == [edge.id for edge in blind.telemetry.edges()]
    assert (
        0
        < sum(edge.caller != "user" for edge in edges)
        < sum(edge.id.caller != "user" for edge in plant.telemetry.edges())
    )
    assert any(edge.caller == "user" for edge in edges)
    assert observe(blind, window_s=240.0).services
