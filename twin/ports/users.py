"""How a plant's users fare: one reading for agent, gate, promoter and report, each with its own window.

A scrape of a journey counts whole or not at all: who came without how they fared says nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.ports.plant import Metric, Plant, Telemetry
from twin.spec.ids import JourneyName
from twin.spec.verdict import Prediction

__all__ = ["UNSEEN", "UserSeries", "Users", "read_users", "users_of"]

F64 = NDArray[np.float64]
LATE_MAX_S: Final = 60.0  # of the newest scrape: monitoring is late, but not for ever


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
