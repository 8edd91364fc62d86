"""Is it over? Asked of what users and pods show, not of the alerts alone: an alert can resolve between two
crashes of a container."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.ports.plant import Metric, Plant
from twin.ports.users import read_users
from twin.spec.errors import Inconclusive
from twin.spec.ids import ServiceId
from twin.spec.verdict import RECOVERED_RATIO

__all__ = ["Health", "look", "users_let_down"]

LOOK_S: Final = 31.0  # Two scrapes.


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """`let_down_ratio`: share of users; `missing`: pods not ready; `restarts`: in the time looked at."""

    let_down_ratio: float
    missing: int
    restarts: int

    def well(self, usual_ratio: float) -> bool:
        return self.let_down_ratio <= usual_ratio + RECOVERED_RATIO and self.missing == 0 and self.restarts == 0

    @property
    def text(self) -> str:
        parts = [f"{self.let_down_ratio:.0%} of users let down"]
        parts += [f"{self.missing} pods missing"] if self.missing else []
        parts += [f"{self.restarts} restarts"] if self.restarts else []
        return ", ".join(parts)


def look(plant: Plant, services: Sequence[ServiceId], *, window_s: float = LOOK_S) -> Health:
    """What users and the services' pods show now. Raises Inconclusive if anything asked for cannot be seen: a
    service that nobody knows, a series without a figure, no user. What was not looked at is not well."""
    now_s = plant.clock.now_s()
    unknown = sorted(set(services) - set(plant.telemetry.services()))
    if unknown:
        raise _blind(f"telemetry knows no {', '.join(unknown[:3])}")
    ready, wanted, restarts = (
        plant.telemetry.series(metric, services, start_s=now_s - window_s, end_s=now_s).values
        for metric in (Metric.READY_REPLICAS, Metric.WANTED_REPLICAS, Metric.RESTARTS)
    )
    missing = _last(wanted, services, "replicas") - _last(ready, services, "ready pods")
    _last(restarts, services, "restarts")
    let_down_ratio = users_let_down(plant, start_s=now_s - window_s, end_s=now_s)
    if not math.isfinite(let_down_ratio):
        raise _blind("no user was seen")
    return Health(
        let_down_ratio=let_down_ratio,
        missing=int(np.maximum(missing, 0.0).sum()),
        restarts=int(np.nansum(restarts)),
    )


def _last(values: NDArray[np.float64], services: Sequence[ServiceId], what: str) -> NDArray[np.float64]:
    """The last figure of each service, (S,) of (T, S). Raises Inconclusive if one has none."""
    last = np.zeros(len(services))
    for column, service in enumerate(services):
        seen = values[:, column][np.isfinite(values[:, column])]
        if not seen.size:
            raise _blind(f"{service} showed no {what}")
        last[column] = seen[-1]
    return last


def _blind(why: str) -> Inconclusive:
    return Inconclusive("cannot see whether it is over", why, "look at its telemetry")


def users_let_down(plant: Plant, *, start_s: float, end_s: float) -> float:
    """Share of users let down between two moments, on the journey that fares worst; NaN if nobody came, or if of
    those who came on a journey nobody knows how they fared.

    The worst, not the mean: a large fleet's happy users must not hide an unhappy few.
    """
    users = read_users(plant.telemetry, start_s=start_s, end_s=end_s)
    came = np.nan_to_num(users.came_rps, nan=0.0).sum(axis=0) > 0.0
    ratio = users.let_down_ratio()
    if not np.isfinite(ratio).any() or (came & ~users.whole.any(axis=0)).any():
        return float("nan")
    return float(np.nanmax(ratio))
