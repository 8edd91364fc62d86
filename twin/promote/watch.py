"""Is it going as predicted? One-sided: better than predicted is no alarm."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np

from twin.spec.verdict import Interval, Prediction

__all__ = ["Finding", "look", "recovery_told"]

SLACK_SHARE: Final = 0.3
SLACK_RPS: Final = 1.0
SCRAPE_S: Final = 15.0
PHASE_S: Final = 45.0  # A restart may come so much earlier or later than predicted.


class Finding(StrEnum):
    AS_PREDICTED = "as predicted"
    UNCLEAR = "unclear"
    WORSE = "worse"


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
