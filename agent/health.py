"""Is it over? Asked of what users and pods show, not of the alerts alone: an alert can resolve between two
crashes of a container."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.ports.plant import Metric, Plant
from twin.spec.ids import ServiceId

__all__ = ["Health", "look", "users_let_down"]

LOOK_S: Final = 31.0  # Two scrapes.
WELL_RATIO: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """`let_down_ratio`: share of users; `missing`: pods not ready; `restarts`: in the time looked at."""

    let_down_ratio: float
    missing: int
    restarts: int

    def well(self, usual_ratio: float) -> bool:
        return self.let_down_ratio <= usual_ratio + WELL_RATIO and self.missing == 0 and self.restarts == 0

    @property
    def text(self) -> str:
        parts = [f"{self.let_down_ratio:.0%} of users let down"]
        parts += [f"{self.missing} pods missing"] if self.missing else []
        parts += [f"{self.restarts} restarts"] if self.restarts else []
        return ", ".join(parts)


def look(plant: Plant, services: Sequence[ServiceId], *, window_s: float = LOOK_S) -> Health:
    """What users and the services' pods show now. Raises TwinError if nothing can be seen: that is no health."""
    now_s = plant.clock.now_s()
    known = set(plant.telemetry.services())
    mine = [service for service in services if service in known]
    ready = plant.telemetry.series(Metric.READY_REPLICAS, mine, start_s=now_s - window_s, end_s=now_s).values
    wanted = plant.telemetry.series(Metric.WANTED_REPLICAS, mine, start_s=now_s - window_s, end_s=now_s).values
    restarts = plant.telemetry.series(Metric.RESTARTS, mine, start_s=now_s - window_s, end_s=now_s).values
    missing = int(np.nansum(np.maximum(wanted[-1] - ready[-1], 0.0))) if ready.shape[0] else 0
    return Health(
        let_down_ratio=users_let_down(plant, start_s=now_s - window_s, end_s=now_s),
        missing=missing,
        restarts=int(np.nansum(restarts)) if restarts.size else 0,
    )


def users_let_down(plant: Plant, *, start_s: float, end_s: float) -> float:
    """Share of users let down between two moments, on the journey that fares worst; NaN if nobody came.

    The worst, not the mean: a large fleet's happy users must not hide an unhappy few.
    """
    users = [edge.id for edge in plant.telemetry.edges() if edge.id.caller == "user"]
    if not users:
        return float("nan")
    rate = plant.telemetry.edge_series(Metric.REQUESTS_RPS, users, start_s=start_s, end_s=end_s).values
    bad = plant.telemetry.edge_series(Metric.ERROR_RATIO, users, start_s=start_s, end_s=end_s).values
    total, let_down = np.nansum(rate, axis=0), np.nansum(rate * bad, axis=0)
    if not (total > 0.0).any():
        return float("nan")
    return float(np.divide(let_down, total, out=np.zeros_like(total), where=total > 0.0).max())
