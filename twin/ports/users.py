"""How a plant's users fare: one reading for agent, gate, promoter and report, each with its own window.

A scrape of a journey counts whole or not at all: who came without how they fared says nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twin.ports.plant import Metric, Telemetry
from twin.spec.ids import JourneyName

__all__ = ["UserSeries", "read_users"]

F64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class UserSeries:
    """Shapes: (T,) scrapes, (J,) journeys. `times_s` (T,) Unix seconds, `came_rps` (T, J) users a second, NaN where
    nothing was seen; `let_down_rps` (T, J) those of them who gave up, NaN unless both were seen."""

    journeys: tuple[JourneyName, ...]
    times_s: F64
    came_rps: F64
    let_down_rps: F64

    @property
    def whole(self) -> NDArray[np.bool_]:
        """(T, J) scrapes that count."""
        seen: NDArray[np.bool_] = np.isfinite(self.let_down_rps)
        return seen

    def let_down_ratio(self) -> F64:
        """(J,) share of users let down over all that counts; NaN where nobody came in any of it."""
        whole = self.whole
        came = np.where(whole, self.came_rps, 0.0).sum(axis=0)
        let_down = np.where(whole, self.let_down_rps, 0.0).sum(axis=0)
        ratio: F64 = np.divide(let_down, came, out=np.full(came.shape, np.nan), where=came > 0.0)
        return ratio


def read_users(
    telemetry: Telemetry, *, start_s: float, end_s: float, only: Collection[str] | None = None
) -> UserSeries:
    """Users in the scrapes after `start_s` up to `end_s`, of the journeys in `only`, or of all that are traced."""
    edges = [
        edge.id
        for edge in telemetry.edges()
        if edge.id.caller == "user" and (only is None or edge.id.caller_operation in only)
    ]
    came = telemetry.edge_series(Metric.REQUESTS_RPS, edges, start_s=start_s, end_s=end_s)
    bad = telemetry.edge_series(Metric.ERROR_RATIO, edges, start_s=start_s, end_s=end_s)
    journeys = tuple(JourneyName(edge.caller_operation) for edge in edges)
    return UserSeries(journeys, came.times_s, came.values, came.values * bad.values)
