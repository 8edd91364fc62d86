"""What production shows of itself when it does not show all: noise, blind spots, late metrics.

A Plant in front of a Plant. Every figure gets an error of its own that does not change when it is read again, as
a scrape's would not; calls that tracing misses are missed for good; late metrics end a while ago. Signals come
through as they are: alerting has its own, faster path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np

from scenarios.model import Observed
from twin.fleet.draws import Purpose, entity_of, uniform, uniforms
from twin.ports.plant import (
    Clock,
    EdgeId,
    KubeApi,
    Metric,
    OperationStats,
    OpsApi,
    Plant,
    Series,
    Telemetry,
    TracedEdge,
)
from twin.spec.ids import ServiceId
from twin.spec.signal import Signal

__all__ = ["ComposedPlant", "through"]

_NORMAL: Final = NormalDist()
# Counts of things are known exactly; everything else is measured.
_EXACT: Final = frozenset({Metric.READY_REPLICAS, Metric.WANTED_REPLICAS, Metric.RESTARTS})
_SHARES: Final = frozenset({Metric.ERROR_RATIO, Metric.CPU_UTILISATION_RATIO, Metric.POOL_UTILISATION_RATIO})


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedPlant:
    """A Plant put together from parts."""

    name: str
    kube: KubeApi
    ops: OpsApi
    telemetry: Telemetry
    clock: Clock
    live: bool | None = None


def through(plant: Plant, observed: Observed, *, seed: int) -> Plant:
    """The plant as it shows itself; the plant itself if it shows everything."""
    if observed == Observed():
        return plant
    telemetry = _Telemetry(plant.telemetry, plant.clock, observed, seed)
    return ComposedPlant(
        name=plant.name, kube=plant.kube, ops=plant.ops, telemetry=telemetry, clock=plant.clock, live=plant.live
    )  # fmt: skip


class _Telemetry:
    def __init__(self, inner: Telemetry, clock: Clock, observed: Observed, seed: int) -> None:
        self._inner, self._clock, self._observed, self._seed = inner, clock, observed, seed

    def services(self) -> Sequence[ServiceId]:
        return self._inner.services()

    def series(self, metric: Metric, services: Sequence[ServiceId], *, start_s: float, end_s: float) -> Series:
        found = self._inner.series(metric, services, start_s=start_s, end_s=self._seen_until(end_s))
        return found if metric in _EXACT else self._noisy(found, metric, [str(service) for service in services])

    def edges(self) -> Sequence[TracedEdge]:
        """Users' edges are always seen: they are the front door's own metrics."""
        return [edge for edge in self._inner.edges() if edge.id.caller == "user" or not self._missed(edge.id)]

    def edge_series(self, metric: Metric, edges: Sequence[EdgeId], *, start_s: float, end_s: float) -> Series:
        found = self._inner.edge_series(metric, edges, start_s=start_s, end_s=self._seen_until(end_s))
        return self._noisy(found, metric, [_edge_name(edge) for edge in edges])

    def operations(self, *, start_s: float, end_s: float) -> Sequence[OperationStats]:
        return self._inner.operations(start_s=start_s, end_s=self._seen_until(end_s))

    def signals(self, *, after: int) -> Sequence[tuple[int, Signal]]:
        return self._inner.signals(after=after)

    def _seen_until(self, end_s: float) -> float:
        return min(end_s, self._clock.now_s() - self._observed.staleness_s)

    def _missed(self, edge: EdgeId) -> bool:
        draw = uniform(self._seed, 0, entity_of(_edge_name(edge)), int(Purpose.MEASUREMENT), 0)
        return bool(draw < self._observed.missing_edges_ratio)

    def _noisy(self, series: Series, metric: Metric, names: Sequence[str]) -> Series:
        sigma = self._observed.noise_ratio
        if sigma == 0.0 or not series.values.size:
            return series
        entities = np.array([entity_of(f"{metric}:{name}") for name in names], dtype=np.int64)
        draws = np.empty(entities.size)
        values = series.values.copy()
        for row, at_s in enumerate(series.times_s):
            uniforms(self._seed, 0, entities, int(Purpose.MEASUREMENT), 1 + round(float(at_s) * 1000.0), draws)
            values[row] *= [math.exp(sigma * _NORMAL.inv_cdf(draw)) for draw in draws.tolist()]
        if metric in _SHARES:
            values = np.minimum(values, 1.0)
        return Series(series.times_s, values)


def _edge_name(edge: EdgeId) -> str:
    return f"{edge.caller}:{edge.caller_operation}>{edge.callee}:{edge.callee_operation}:{edge.position}"
