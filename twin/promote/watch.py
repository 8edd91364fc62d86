"""Is it going as predicted? One-sided: better than predicted is no alarm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from twin.ports.plant import Metric, Plant
from twin.spec.verdict import Prediction

__all__ = ["UNSEEN", "Finding", "Users", "look", "users_of"]

SLACK_SHARE: Final = 0.3
SLACK_RPS: Final = 1.0
LATE_MAX_S: Final = 60.0  # of the newest scrape: monitoring is late, but not for ever
PHASE_S: Final = 45.0  # A restart may come so much earlier or later than predicted.


class Finding(StrEnum):
    AS_PREDICTED = "as predicted"
    UNCLEAR = "unclear"
    WORSE = "worse"


@dataclass(frozen=True, slots=True)
class Users:
    """How users fared up to the newest scrape, at `at_s`: let down a second, and the worst journey's share of users
    let down. Nothing seen: NaN, NaN and 1.0, for unseen is not well."""

    at_s: float
    let_down_rps: float
    worst_ratio: float


UNSEEN: Final = Users(math.nan, math.nan, 1.0)


def users_of(plant: Plant, journeys: Sequence[str], *, window_s: float = 30.0) -> Users:
    """Users of these journeys (none named: all) over the window that ends with the newest scrape.

    Scrapes come late; one that is older than LATE_MAX_S says nothing about now. A scrape counts whole or not at all.
    """
    now_s = plant.clock.now_s()
    edges = [
        edge.id
        for edge in plant.telemetry.edges()
        if edge.id.caller == "user" and (not journeys or edge.id.caller_operation in journeys)
    ]
    span = {"start_s": now_s - window_s - LATE_MAX_S, "end_s": now_s}
    rate = plant.telemetry.edge_series(Metric.REQUESTS_RPS, edges, **span)
    bad = rate.values * plant.telemetry.edge_series(Metric.ERROR_RATIO, edges, **span).values
    whole = np.isfinite(bad).all(axis=1) & np.isfinite(rate.values).all(axis=1)
    if set(journeys) - {edge.caller_operation for edge in edges} or not edges or not whole.any():
        return UNSEEN
    newest_s = float(rate.times_s[whole].max())
    rows = whole & (rate.times_s > newest_s - window_s)
    if newest_s < now_s - LATE_MAX_S:
        return UNSEEN
    total, let_down = rate.values[rows].sum(axis=0), bad[rows].sum(axis=0)
    ratios = np.divide(let_down, total, out=np.zeros_like(total), where=total > 0.0)
    worst = float(ratios.max()) if total.any() else 1.0
    return Users(newest_s, float(let_down.sum()) / int(rows.sum()), worst)


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
