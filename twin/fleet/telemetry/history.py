"""What has been measured: one scrape every 15 s, kept for 40 minutes.

A scrape is never changed once it is written, so forks share the old ones and copy only what is being
counted at the moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from twin.fleet.blueprint import Blueprint
from twin.fleet.state import State
from twin.fleet.systems.kubelet import memory_bytes
from twin.fleet.traffic.engine import F64, I64, Sample
from twin.ports.plant import Metric
from twin.spec.units import NS_PER_S

__all__ = ["SCRAPES_KEPT", "SCRAPE_NS", "SERVICE_METRICS", "Accumulator", "History", "Scrape"]

F32 = NDArray[np.float32]
SCRAPE_NS: Final = 15 * NS_PER_S
SCRAPES_KEPT: Final = 160
LATENCY_MAX_S: Final = 60.0  # A histogram's last bucket: beyond it nobody measures.
SERVICE_METRICS: Final = tuple(Metric)  # row order of Scrape.services


@dataclass(frozen=True, slots=True)
class Scrape:
    """`services` (metric, S) in the order of Metric; `edges` (5, E): attempts/s, bad attempts' ratio, mean
    call latency, calls/s, ratio of calls failed for good; `operations` (3, O): answers/s, error ratio, latency."""

    at_ns: int
    services: F32
    edges: F32
    operations: F32


@njit(cache=True, fastmath=False)
def _add_operations(arrivals: F64, ok: F64, failed: F64, rejected: F64, mean: F64, p99: F64, out: F64) -> None:
    """out (6, O): arrivals, answered well, bad, latency × answers, p99 × answers, answers."""
    for i in range(arrivals.shape[0]):
        answers = ok[i] + failed[i]
        out[0, i] += arrivals[i]
        out[1, i] += ok[i]
        out[2, i] += failed[i] + rejected[i]
        out[3, i] += mean[i] * answers
        out[4, i] += p99[i] * answers
        out[5, i] += answers


@njit(cache=True, fastmath=False)
def _add_edges(
    issued: F64, failed: F64, rejected: F64, timed_out: F64, mean: F64, call_ok: F64, call_failed: F64, out: F64
) -> None:
    """out (5, E): attempts, bad attempts, call latency × calls, calls well, calls failed for good."""
    for e in range(issued.shape[0]):
        out[0, e] += issued[e]
        out[1, e] += failed[e] + rejected[e] + timed_out[e]
        out[2, e] += mean[e] * (call_ok[e] + call_failed[e])
        out[3, e] += call_ok[e]
        out[4, e] += call_failed[e]


@njit(cache=True, fastmath=False)
def _add_stations(busy: F64, capacity: F64, out_busy: F64, out_capacity: F64) -> None:
    """All (K,)."""
    for k in range(busy.shape[0]):
        out_busy[k] += busy[k]
        out_capacity[k] += capacity[k]


@dataclass(slots=True)
class Accumulator:
    """Counts since the last scrape."""

    operations: F64  # (6, O)
    edges: F64  # (5, E)
    station_busy: F64  # (K,)
    station_capacity: F64  # (K,)
    ticks: int = 0

    def add(self, sample: Sample) -> None:
        _add_operations(
            sample.op_arrivals, sample.op_ok, sample.op_failed, sample.op_rejected,
            sample.op_latency_mean_s, sample.op_latency_p99_s, self.operations,
        )  # fmt: skip
        _add_edges(
            sample.edge_issued, sample.edge_failed, sample.edge_rejected, sample.edge_timed_out,
            sample.call_latency_mean_s, sample.call_ok, sample.call_failed, self.edges,
        )  # fmt: skip
        _add_stations(sample.station_busy, sample.station_capacity, self.station_busy, self.station_capacity)
        self.ticks += 1

    def clear(self) -> None:
        for array in (self.operations, self.edges, self.station_busy, self.station_capacity):
            array[:] = 0.0
        self.ticks = 0


@dataclass(slots=True)
class History:
    """All scrapes that are kept, oldest first, and the counts of the running one."""

    blueprint: Blueprint
    running: Accumulator
    scrapes: list[Scrape] = field(default_factory=list)
    _live: tuple[int, NDArray[np.bool_]] | None = None  # live_edges, and the newest scrape that it rests on

    @classmethod
    def empty(cls, blueprint: Blueprint) -> History:
        network = blueprint.network
        ops, edges, stations = len(network.ops), len(network.edge_callee), len(network.stations)
        running = Accumulator(
            np.zeros((6, ops)), np.zeros((5, edges)), np.zeros(stations), np.zeros(stations)
        )  # fmt: skip
        return cls(blueprint, running)

    def copy(self) -> History:
        running = Accumulator(
            self.running.operations.copy(),
            self.running.edges.copy(),
            self.running.station_busy.copy(),
            self.running.station_capacity.copy(),
            self.running.ticks,
        )
        return History(self.blueprint, running, list(self.scrapes))

    def live_edges(self) -> NDArray[np.bool_]:
        """(E,) edges on which something was seen in any scrape that is kept."""
        newest_ns = self.scrapes[-1].at_ns if self.scrapes else -1
        if self._live is None or self._live[0] != newest_ns:
            seen = np.zeros(self.blueprint.network.edge_callee.size, dtype=np.bool_)
            for scrape in self.scrapes:
                seen |= scrape.edges[0] > 0.0
            self._live = (newest_ns, seen)
        return self._live[1]

    def scrape(self, state: State, now_ns: int) -> Scrape:
        """Turn the running counts into one scrape and begin anew."""
        elapsed_s = max(self.running.ticks, 1) * 1.0  # One tick is one second.
        scrape = Scrape(
            at_ns=now_ns,
            services=self._services(state, now_ns, elapsed_s),
            edges=self._edges(elapsed_s),
            operations=self._operations(elapsed_s),
        )
        self.scrapes.append(scrape)
        del self.scrapes[:-SCRAPES_KEPT]
        self.running.clear()
        return scrape

    def _services(self, state: State, now_ns: int, elapsed_s: float) -> F32:
        network, running = self.blueprint.network, self.running
        size = len(self.blueprint.fleet.services)
        by_service = np.zeros((running.operations.shape[0], size))
        _add_by_service(network.op_service, running.operations, by_service)
        arrivals, _ok, bad, latency, p99, answers = by_service
        busy = running.station_busy / elapsed_s
        usage = _ratio(running.station_busy, running.station_capacity)
        usage[network.service_cpu] = 0.0
        pool_usage = np.zeros(size)
        _find_largest(network.station_service, usage, pool_usage)
        ready = np.bincount(state.pod_service[state.pod_ready], minlength=size)
        rows = {
            Metric.REQUESTS_RPS: arrivals / elapsed_s,
            Metric.ERROR_RATIO: _ratio(bad, arrivals).clip(0.0, 1.0),
            Metric.LATENCY_MEAN_S: _ratio(latency, answers).clip(max=LATENCY_MAX_S),
            Metric.LATENCY_P99_S: _ratio(p99, answers).clip(max=LATENCY_MAX_S),
            Metric.CPU_CORES: busy[network.service_cpu],
            Metric.CPU_UTILISATION_RATIO: state.cpu_utilisation,
            Metric.POOL_UTILISATION_RATIO: pool_usage,
            Metric.MEMORY_BYTES: memory_bytes(self.blueprint, state, now_ns),
            Metric.READY_REPLICAS: ready,
            Metric.WANTED_REPLICAS: state.wanted,
            Metric.RESTARTS: state.restarts_since_scrape,
        }
        return np.array([rows[metric] for metric in SERVICE_METRICS], dtype=np.float32)

    def _edges(self, elapsed_s: float) -> F32:
        issued, bad, latency, ok, failed = self.running.edges
        calls = ok + failed
        return np.array(
            [issued / elapsed_s, _ratio(bad, issued).clip(0.0, 1.0), _ratio(latency, calls), calls / elapsed_s,
             _ratio(failed, calls)],
            dtype=np.float32,
        )  # fmt: skip

    def _operations(self, elapsed_s: float) -> F32:
        arrivals, _ok, bad, latency, _p99, answers = self.running.operations
        return np.array(
            [answers / elapsed_s, _ratio(bad, arrivals).clip(0.0, 1.0), _ratio(latency, answers)], dtype=np.float32
        )


@njit(cache=True, fastmath=False)
def _add_by_service(op_service: I64, rows: F64, out: F64) -> None:
    """rows (n, O), out (n, S)."""
    for row in range(rows.shape[0]):
        for o in range(op_service.shape[0]):
            out[row, op_service[o]] += rows[row, o]


@njit(cache=True, fastmath=False)
def _find_largest(station_service: I64, usage: F64, out: F64) -> None:
    """usage (K,), out (S,): the fullest of a service's stations."""
    for k in range(usage.shape[0]):
        out[station_service[k]] = max(out[station_service[k]], usage[k])


@njit(cache=True, fastmath=False)
def _ratio(part: F64, whole: F64) -> F64:
    """part / whole, 0 where there is nothing."""
    out = np.zeros(part.shape[0])
    for i in range(part.shape[0]):
        if whole[i] > 0.0:
            out[i] = part[i] / whole[i]
    return out
