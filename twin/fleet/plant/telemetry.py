"""What a World's monitoring shows: scrapes, traces' statistics, pushed signals. Never its parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from twin.fleet.signals import unix_s
from twin.fleet.telemetry.history import SERVICE_METRICS, Scrape
from twin.fleet.traffic.engine import F64
from twin.fleet.world import World
from twin.ports.plant import EdgeId, Metric, OperationStats, Series, TracedEdge
from twin.spec.errors import BadInput
from twin.spec.ids import ServiceId
from twin.spec.signal import Signal

__all__ = ["WorldTelemetry"]


class WorldTelemetry:
    def __init__(self, world: World) -> None:
        self._world = world

    def services(self) -> Sequence[ServiceId]:
        return [service.id for service in self._world.fleet.services]

    def series(self, metric: Metric, services: Sequence[ServiceId], *, start_s: float, end_s: float) -> Series:
        row = SERVICE_METRICS.index(metric)
        columns = [self._world.blueprint.network.service_index(service) for service in services]
        scrapes = self._between(start_s, end_s)
        values = np.array([scrape.services[row, columns] for scrape in scrapes], dtype=np.float64)
        return Series(self._times(scrapes), values.reshape(len(scrapes), len(columns)))

    def edges(self) -> Sequence[TracedEdge]:
        """Edges on which something was seen; a World's tracing samples enough to see every live edge."""
        traced = self._world.blueprint.traced_edges
        return [traced[row] for row in np.flatnonzero(self._world.history.live_edges())]

    def edge_series(self, metric: Metric, edges: Sequence[EdgeId], *, start_s: float, end_s: float) -> Series:
        rows_of = self._world.blueprint.edge_rows
        unknown = next((edge for edge in edges if edge not in rows_of), None)
        if unknown is not None:
            raise BadInput(
                f"no traces of {unknown.caller} calling {unknown.callee}", "tracing has never seen this edge",
                "ask for one of edges()",
            )  # fmt: skip
        columns = [rows_of[edge] for edge in edges]
        outside = np.array([edge.caller == "user" for edge in edges], dtype=np.bool_)
        rows = {Metric.REQUESTS_RPS: (0, 3), Metric.ERROR_RATIO: (1, 4), Metric.LATENCY_MEAN_S: (2, 2)}.get(metric)
        if rows is None:
            raise BadInput(f"edges have no metric {metric}", "traces show rate, errors and latency", "ask for those")
        scrapes = self._between(start_s, end_s)
        values = np.array(
            [np.where(outside, scrape.edges[rows[1], columns], scrape.edges[rows[0], columns]) for scrape in scrapes],
            dtype=np.float64,
        )
        return Series(self._times(scrapes), values.reshape(len(scrapes), len(columns)))

    def operations(self, *, start_s: float, end_s: float) -> Sequence[OperationStats]:
        scrapes = self._between(start_s, end_s)
        if not scrapes:
            return []
        network = self._world.blueprint.network
        count = len(scrapes)
        operations = np.stack([scrape.operations for scrape in scrapes]).astype(np.float64)  # (T, 3, O)
        calls = np.stack([scrape.edges for scrape in scrapes]).astype(np.float64)  # (T, 5, E)
        rate: F64 = operations[:, 0].sum(axis=0) / count
        errors: F64 = operations[:, 1].sum(axis=0) / count
        busy_s: F64 = (operations[:, 0] * operations[:, 2]).sum(axis=0) / count
        latency = np.divide(busy_s, rate, out=np.zeros_like(rate), where=rate > 0.0)
        calls_rate: F64 = calls[:, 3].sum(axis=0) / count
        call_s: F64 = (calls[:, 3] * calls[:, 2]).sum(axis=0) / count
        inside = (network.edge_caller >= 0) & (network.edge_publish == 0) & (calls_rate > 0.0)
        children_s = np.zeros(rate.size)
        for op in np.unique(network.edge_caller[inside]):
            mine = np.arange(network.edge_start[op], network.edge_start[op + 1])
            mine = mine[inside[mine]]
            groups, busy = network.edge_group[mine], call_s[mine]
            parallel = sum(busy[groups == group].max() for group in np.unique(groups[groups >= 0]))
            children_s[op] = busy[groups < 0].sum() + parallel
        own = np.maximum(latency - np.divide(children_s, rate, out=np.zeros_like(rate), where=rate > 0.0), 0.0)
        return [
            OperationStats(
                service=service.id,
                operation=operation.name,
                rate_rps=float(rate[row]),
                error_ratio=float(errors[row]),
                own_time_s=float(own[row]),
            )
            for row, (service, operation) in enumerate(
                (service, operation) for service in self._world.fleet.services for operation in service.operations
            )
            if rate[row] > 0.0
        ]

    def signals(self, *, after: int) -> Sequence[tuple[int, Signal]]:
        return [(cursor, signal) for cursor, signal in self._world.state.signals if cursor > after]

    def _between(self, start_s: float, end_s: float) -> list[Scrape]:
        blueprint = self._world.blueprint
        return [s for s in self._world.history.scrapes if start_s < unix_s(blueprint, s.at_ns) <= end_s]

    def _times(self, scrapes: Sequence[Scrape]) -> F64:
        return np.array([unix_s(self._world.blueprint, scrape.at_ns) for scrape in scrapes])
