"""Is it going as predicted? One-sided: better than predicted is no alarm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from twin.ports.plant import Plant
from twin.ports.users import read_users
from twin.spec.verdict import Interval, Prediction

__all__ = ["UNSEEN", "Finding", "Users", "look", "recovery_told", "users_of"]

SLACK_SHARE: Final = 0.3
SLACK_RPS: Final = 1.0
LATE_MAX_S: Final = 60.0  # of the newest scrape: monitoring is late, but not for ever
SCRAPE_S: Final = 15.0
PHASE_S: Final = 45.0  # A restart may come so much earlier or later than predicted.


class Finding(StrEnum):
    AS_PREDICTED = "as predicted"
    UNCLEAR = "unclear"
    WORSE = "worse"


@dataclass(frozen=True, slots=True)
class Users:
    """How users fared up to the newest scrape, at `at_s`: let down a second, and by how much more than its usual share
    the worst journey lets down. Nothing seen: NaN, NaN and 1.0, for unseen is not well."""

    at_s: float
    let_down_rps: float
    worst_excess: float


UNSEEN: Final = Users(math.nan, math.nan, 1.0)


def users_of(plant: Plant, prediction: Prediction, *, window_s: float = 30.0) -> Users:
    """Users of the prediction's journeys (none named: all) over the window that ends with the newest scrape.

    Scrapes come late; one that is older than LATE_MAX_S says nothing about now. A scrape counts whole or not at all.
    """
    now_s = plant.clock.now_s()
    wanted = set(prediction.journeys)
    users = read_users(
        plant.telemetry, start_s=now_s - window_s - LATE_MAX_S, end_s=now_s, only=wanted if wanted else None
    )
    whole = users.whole.all(axis=1)
    if wanted - set(users.journeys) or not users.journeys or not whole.any():
        return UNSEEN
    newest_s = float(users.times_s[whole].max())
    rows = whole & (users.times_s > newest_s - window_s)
    if newest_s < now_s - LATE_MAX_S:
        return UNSEEN
    total, let_down = users.came_rps[rows].sum(axis=0), users.let_down_rps[rows].sum(axis=0)
    usual_of = dict(zip(prediction.journeys, prediction.usual, strict=bool(prediction.usual)))
    usual = np.array([usual_of.get(journey, 0.0) for journey in users.journeys])
    excess = np.divide(let_down, total, out=np.zeros_like(total), where=total > 0.0) - usual
    worst = float(excess[total > 0.0].max()) if total.any() else 1.0
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


def recovery_told(predicted: Interval | None, seen_s: float | None) -> str:
    """How a recovery that was seen `seen_s` after the first write compares with what was predicted, in words.

    A scrape tells of the 15 s before it, and the first that is well all through is the first that can be seen to be:
    so a recovery is seen up to two scrapes after it happens.
    """
    if seen_s is None:
        return "no worse than predicted; users are not seen to be well yet"
    if predicted is None:
        return "no worse than predicted; users are well, which was not predicted"
    if seen_s > predicted.high + 2.0 * SCRAPE_S:
        return "users are well, later than predicted"
    if seen_s < predicted.low:
        return "users are well, sooner than predicted"
    return "as predicted"


def _highest(times_s: tuple[float, ...], values: tuple[float, ...], at_s: float) -> float:
    """The highest predicted value around a moment; the last one beyond the horizon."""
    near = [value for time_s, value in zip(times_s, values, strict=True) if abs(time_s - at_s) <= PHASE_S]
    return max(near) if near else values[-1]
