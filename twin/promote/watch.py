"""Is it going as predicted? One-sided: better than predicted is no alarm."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.ports.plant import Metric, Plant
from twin.spec.verdict import Prediction

__all__ = ["Finding", "let_down_rps", "look", "worst_let_down_ratio"]

SLACK_SHARE: Final = 0.3
SLACK_RPS: Final = 1.0
PHASE_S: Final = 45.0  # A restart may come so much earlier or later than predicted.


class Finding(StrEnum):
    AS_PREDICTED = "as predicted"
    UNCLEAR = "unclear"
    WORSE = "worse"


def let_down_rps(plant: Plant, journeys: Sequence[str], *, window_s: float = 30.0) -> tuple[float, float]:
    """(users let down a second, users a second) of these journeys over the last scrapes; NaN without one. No journeys:
    all of them."""
    bad, rate = _users(plant, journeys, window_s)
    seen = np.isfinite(bad.sum(axis=1)) & np.isfinite(rate.sum(axis=1))  # A scrape counts whole or not at all.
    if not seen.any():
        return float("nan"), float("nan")
    return float(bad[seen].sum(axis=1).mean()), float(rate[seen].sum(axis=1).mean())


def worst_let_down_ratio(plant: Plant, journeys: Sequence[str], *, window_s: float = 30.0) -> float:
    """Share of users let down on the journey of these that fares worst; 1.0 if nothing was measured: unseen is not
    well."""
    bad, rate = _users(plant, journeys, window_s)
    total, let_down = np.nansum(rate, axis=0), np.nansum(bad, axis=0)
    if not total.size or not total.any():
        return 1.0
    return float(np.divide(let_down, total, out=np.zeros_like(total), where=total > 0.0).max())


def _users(plant: Plant, journeys: Sequence[str], window_s: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Users let down a second, and users a second, by scrape and journey: (T, J) both."""
    now_s = plant.clock.now_s()
    edges = [
        edge.id
        for edge in plant.telemetry.edges()
        if edge.id.caller == "user" and (not journeys or edge.id.caller_operation in journeys)
    ]
    rate = plant.telemetry.edge_series(Metric.REQUESTS_RPS, edges, start_s=now_s - window_s, end_s=now_s).values
    bad = plant.telemetry.edge_series(Metric.ERROR_RATIO, edges, start_s=now_s - window_s, end_s=now_s).values
    return rate * bad, rate


def look(observed_rps: float, prediction: Prediction, elapsed_s: float, *, canary: bool) -> Finding:
    """Compare what users feel with what was predicted for `elapsed_s` after the first write.

    During a canary most pods are old, so only "worse than doing nothing" is an alarm. A missing figure is
    unclear, never a pass.
    """
    if not np.isfinite(observed_rps) or not prediction.times_s:
        return Finding.UNCLEAR
    nothing = _highest(prediction.times_s, prediction.nothing_high_rps, elapsed_s)
    change = _highest(prediction.times_s, prediction.change_high_rps, elapsed_s)
    if observed_rps > max(nothing, change) * (1.0 + SLACK_SHARE) + SLACK_RPS:
        return Finding.WORSE
    if canary or observed_rps <= change * (1.0 + SLACK_SHARE) + SLACK_RPS:
        return Finding.AS_PREDICTED
    return Finding.UNCLEAR


def _highest(times_s: tuple[float, ...], values: tuple[float, ...], at_s: float) -> float:
    """The highest predicted value around a moment; the last one beyond the horizon."""
    near = [value for time_s, value in zip(times_s, values, strict=True) if abs(time_s - at_s) <= PHASE_S]
    return max(near) if near else values[-1]
