"""How well a twin fits: what it predicts beside what production showed afterwards, before anything went wrong.

The twin that is tried here is built from all but the last minutes, and compared with just these: a figure that is
compared with what it was fitted on says nothing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.fit.observe import WINDOW_S, observe
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import Metric, Plant
from twin.spec.errors import Inconclusive
from twin.spec.units import ns

__all__ = ["Calibration", "calibrate"]

HELD_OUT_MAX_S: Final = 120.0
HELD_OUT_SHARE: Final = 0.25  # of a short window
RUN_S: Final = 180.0
SKIP_S: Final = 60.0
NOTHING: Final = 1e-6  # Below, a service does nothing, in either.
_METRICS: Final = (Metric.REQUESTS_RPS, Metric.CPU_CORES, Metric.LATENCY_MEAN_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Relative errors over services and over rate, cpu and mean latency."""

    median_error_ratio: float
    p90_error_ratio: float


def calibrate(plant: Plant, *, seed: int = 2, window_s: float = WINDOW_S) -> Calibration:
    """Build a twin without the last two minutes (of a short window: its last quarter), and compare it with them.

    Raises Inconclusive if telemetry shows too little, and ApiError.
    """
    now_s = plant.clock.now_s()
    held_out_s = min(HELD_OUT_MAX_S, HELD_OUT_SHARE * window_s)
    twin = observe(plant, window_s=window_s - held_out_s, until_s=now_s - held_out_s)
    world = World.build(dataclasses.replace(twin, epoch_s=0), seed=seed)
    world.run(ns(RUN_S))
    services = [service.id for service in twin.services]
    model = plant_of(world).telemetry
    errors = []
    for metric in _METRICS:
        real = plant.telemetry.series(metric, services, start_s=now_s - held_out_s, end_s=now_s).values
        ours = model.series(metric, services, start_s=SKIP_S, end_s=RUN_S).values
        errors.append(_errors(_means(real), _means(ours)))
    found = np.concatenate(errors)
    if found.size == 0:
        raise Inconclusive("cannot calibrate the twin", "telemetry shows no work of late", "let production run on")
    return Calibration(
        median_error_ratio=round(float(np.median(found)), 5),
        p90_error_ratio=round(float(np.quantile(found, 0.9)), 5),
    )


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of what there is, by column; NaN where there is nothing."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    means: NDArray[np.float64] = np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)
    return means


def _errors(real: NDArray[np.float64], ours: NDArray[np.float64]) -> NDArray[np.float64]:
    """|ours - real| over the larger of the two, where either does anything: load that only the twin sees is an
    error too, and a figure that the twin does not have is wholly wrong."""
    known = np.isfinite(real)
    real, ours = real[known], ours[known]
    larger = np.maximum(real, np.where(np.isfinite(ours), ours, 0.0))
    used = larger > NOTHING
    gap = np.where(np.isfinite(ours), np.abs(ours - real), real)
    ratio: NDArray[np.float64] = gap[used] / larger[used]
    return ratio
