"""Chaos Toolkit probes on a saved World: what its monitoring shows, never its truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twin.fleet.plant import plant_of
from twin.fleet.world_file import load_world
from twin.ports.plant import Metric
from twin.spec.ids import ServiceId

__all__ = ["alerts_firing", "metric", "users_let_down_ratio"]


def users_let_down_ratio(world: str, window_s: float = 60.0) -> float:
    """Share of users whose request failed for good over the last `window_s`; 1.0 if nothing was measured."""
    plant = plant_of(load_world(Path(world)))
    now_s = plant.clock.now_s()
    users = [edge.id for edge in plant.telemetry.edges() if edge.id.caller == "user"]
    rate = plant.telemetry.edge_series(Metric.REQUESTS_RPS, users, start_s=now_s - window_s, end_s=now_s).values
    bad = plant.telemetry.edge_series(Metric.ERROR_RATIO, users, start_s=now_s - window_s, end_s=now_s).values
    total = float(np.nansum(rate))
    return float(np.nansum(rate * bad)) / total if total > 0.0 else 1.0


def metric(world: str, service: str, name: str, window_s: float = 60.0) -> float:
    """Mean of one service's metric over the last `window_s`. NaN, which no tolerance admits, if nothing is there."""
    plant = plant_of(load_world(Path(world)))
    now_s = plant.clock.now_s()
    series = plant.telemetry.series(Metric(name), [ServiceId(service)], start_s=now_s - window_s, end_s=now_s)
    return float(np.nanmean(series.values)) if series.values.size else float("nan")


def alerts_firing(world: str) -> int:
    """Alerts that fire now."""
    return int(load_world(Path(world)).state.alert_on.sum())
