"""How well a twin fits: what it predicts beside what production shows, before anything went wrong."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import Metric, Plant
from twin.spec.fleet import Fleet
from twin.spec.units import ns

__all__ = ["Calibration", "calibrate"]

RUN_S: Final = 180.0
SKIP_S: Final = 60.0
_METRICS: Final = (Metric.REQUESTS_RPS, Metric.CPU_CORES, Metric.LATENCY_MEAN_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Relative errors over services and over rate, cpu and mean latency."""

    median_error_ratio: float
    p90_error_ratio: float


def calibrate(twin: Fleet, plant: Plant, *, seed: int = 2) -> Calibration:
    """Run the twin for three minutes and compare it with production's last ten. Raises ApiError."""
    world = World.build(dataclasses.replace(twin, epoch_s=0), seed=seed)
    world.run(ns(RUN_S))
    now_s = plant.clock.now_s()
    services = [service.id for service in twin.services]
    model = plant_of(world).telemetry
    errors = []
    for metric in _METRICS:
        real = plant.telemetry.series(metric, services, start_s=now_s - 600.0, end_s=now_s).values
        ours = model.series(metric, services, start_s=SKIP_S, end_s=RUN_S).values
        real_mean, our_mean = np.nanmean(real, axis=0), np.nanmean(ours, axis=0)
        used = real_mean > 1e-6
        errors.append(np.abs(our_mean[used] - real_mean[used]) / real_mean[used])
    all_errors = np.concatenate(errors)
    return Calibration(
        median_error_ratio=round(float(np.median(all_errors)), 5),
        p90_error_ratio=round(float(np.quantile(all_errors, 0.9)), 5),
    )
