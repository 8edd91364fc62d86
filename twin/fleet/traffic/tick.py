"""The fluid engine: one compiled tick moves every request of a fleet at once.

A tick is four steps. Conditions are taken up (pools appear, vanish, change size); if they changed, the
figures of the last tick are brought up to date; `sweep_forward` moves requests; `sweep_backward` finds
how they end and how long they take. docs/traffic-model.md has the formulas and what they leave out.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.fleet.draws import Purpose, uniforms
from twin.fleet.traffic.arrivals import draw_arrivals
from twin.fleet.traffic.engine import F64, I64, Conditions, Sample
from twin.fleet.traffic.erlang import ErlangTables
from twin.fleet.traffic.kernels import (
    E_WIDTH,
    M_HOLD,
    M_NUMBER,
    M_WIDTH,
    O_CUT,
    O_LOST,
    O_WIDTH,
    X_ROWS,
    Y_FAILED,
    Y_ROWS,
    keep_state,
    read_utilisation,
    refresh_queues,
    sweep_backward,
    sweep_forward,
    take_back,
)
from twin.fleet.traffic.moments import ROW
from twin.fleet.traffic.network import CALLS, END, WORK, Network
from twin.fleet.traffic.queues import Q_NUMBER, Q_SERVICE, Q_VARIANCE, Q_WIDTH
from twin.spec.errors import BadInput
from twin.spec.units import NS_PER_S

__all__ = ["TickEngine"]

CORRECTIONS_MAX: Final = 2
UNSETTLED: Final = 0.01
MARGIN: Final = 16  # rows of work space beyond what a program can need
SAVED: Final = ("edges", "contents", "queues", "ops", "rows")


@dataclass(slots=True)
class _Layout:
    """What follows from the pool table and the conditions: which queues there are, and how big."""

    pool_key: I64  # (P,)
    pool_service: I64
    pool_start: I64  # (S+1,)
    pool_ready: F64
    pool_speed: F64
    station_servers: F64  # (K,)
    queue_start: I64  # (K+1,)
    queue_pool: I64  # (Q,) pool, or -1: shared by the service's pools
    queue_station: I64  # (Q,)
    queue_servers: F64  # (Q,)
    queue_limit: F64  # (Q,)
    queue_table: I64  # (Q,)
    content_start: I64  # (V,)
    content_pool: I64  # (M,)
    content_visit: I64  # (M,)
    pool_queue: I64  # (P,) the cpu station's


class TickEngine:
    """A TrafficEngine whose requests are a fluid. See docs/traffic-model.md."""

    name = "tick"

    def __init__(self, network: Network, *, seed: int, replication: int = 0) -> None:
        self.network = network
        self.seed, self.replication = seed, replication
        self._tables = ErlangTables()
        self._ticks = 0
        self._layout: _Layout | None = None
        edges, ops = len(network.edge_callee), len(network.ops)
        self._edges = np.zeros((E_WIDTH, edges))
        self._ops = np.zeros((ops, O_WIDTH))
        self._rows = np.zeros((ops, ROW))
        self._rows[:, 0] = 1.0  # Until the first sweep, a callee answers at once.
        self._contents = np.zeros((0, M_WIDTH))
        self._queues = np.zeros((0, Q_WIDTH))
        self._op_flat = _flat_ops(network)
        self._frames = np.zeros((len(network.code_kind) + 2 if len(network.ops) else 2, ROW))
        widest = int(np.diff(network.edge_start).max(initial=0))
        self._calls = np.zeros((widest + 1, ROW))
        self._attempt = np.zeros(24)
        self._drawn = np.zeros(len(network.journeys))
        self._uniform = np.zeros(len(network.journeys))
        self._stack = np.zeros((0, 5))
        self._blocks: list[F64] = []
        self._kept = np.zeros(0)
        self._hot = True

    def advance(self, conditions: Conditions, *, now_ns: int, dt_ns: int) -> Sample:
        """Move every request by `dt_ns`. Raises BadInput if the conditions do not fit this fleet."""
        if dt_ns <= 0:
            raise BadInput(f"a tick of {dt_ns} ns", "time only goes forwards", "give a positive dt_ns")
        dt_s = dt_ns / NS_PER_S
        before = self._layout
        lost = self._adopt(conditions)
        layout = self._layout
        assert layout is not None
        changed = layout is not before
        sample, out_edge, out_op = self._new_sample(dt_s, len(layout.pool_key))
        uniforms(
            self.seed,
            self.replication,
            self.network.journey_entity,
            Purpose.ARRIVALS.value,
            self._ticks,
            self._uniform,
        )
        draw_arrivals(self._uniform, conditions.journey_rate_rps, dt_s, self._drawn)
        self._ticks += 1
        troubled = self._hot or changed
        if troubled:
            self._keep_state()
        self._sweep_forward(conditions, layout, sample, dt_s, out_edge, out_op)
        unsettled, self._hot = self._sweep_backward(conditions, layout, out_edge, out_op)
        # The forward sweep took the last tick's figures for granted. Where they have moved, take it again.
        for _ in range(CORRECTIONS_MAX if troubled else 0):
            if unsettled <= UNSETTLED:
                break
            take_back(self._kept, self._edges, self._contents, self._queues, self._ops)
            self._sweep_forward(conditions, layout, sample, dt_s, out_edge, out_op)
            unsettled, self._hot = self._sweep_backward(conditions, layout, out_edge, out_op)
        if lost is not None:
            out_op[Y_FAILED] += lost
        read_utilisation(layout.pool_queue, layout.queue_servers, self._queues, sample.pool_utilisation)
        return sample

    def save(self) -> dict[str, NDArray[np.generic]]:
        """Every array that the next tick reads."""
        arrays: dict[str, NDArray[np.generic]] = {
            "identity": np.frombuffer(bytes.fromhex(self.network.digest), dtype=np.uint8).copy(),
            "counters": np.array([self.seed, self.replication, self._ticks, self._hot], dtype=np.int64),
        }
        for name in SAVED:
            arrays[name] = getattr(self, f"_{name}").copy()
        if self._layout is not None:
            for field in fields(_Layout):
                if field.name not in ("queue_table",):
                    arrays[f"layout.{field.name}"] = getattr(self._layout, field.name).copy()
        return arrays

    def load(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Take up a saved state. Raises BadInput if it does not fit this fleet."""
        identity = np.frombuffer(bytes.fromhex(self.network.digest), dtype=np.uint8)
        try:
            fits = np.array_equal(arrays["identity"], identity)
            counters = [int(figure) for figure in arrays["counters"].astype(np.int64)]
            state = {name: _floats(arrays[name]) for name in SAVED}
        except KeyError as missing:
            raise BadInput(
                f"a saved state without {missing}",
                "it is not the state of a tick engine",
                "load what save() of the same engine returned",
            ) from None
        if not fits:
            raise BadInput(
                "a saved state of another fleet",
                f"it does not fit the call graph of {self.network.fleet_name!r}",
                "load it into an engine of the fleet that it was saved from",
            )
        self.seed, self.replication, self._ticks = counters[:3]
        self._hot = bool(counters[3])
        for name, array in state.items():
            setattr(self, f"_{name}", array)
        self._layout = None
        if "layout.pool_key" in arrays:
            parts = {
                field.name: arrays[f"layout.{field.name}"].copy()
                for field in fields(_Layout)
                if field.name != "queue_table"
            }
            servers = _floats(parts["queue_servers"])
            self._layout = _Layout(**parts, queue_table=self._tables.rows_of(servers))  # type: ignore[arg-type]
            self._make_stack()

    def fork(self, *, replication: int | None = None) -> TickEngine:
        """An independent copy; with `replication`, its further draws come from that replication."""
        other = TickEngine(self.network, seed=self.seed, replication=self.replication)
        other.load(self.save())
        if replication is not None:
            other.replication = replication
        return other

    # Taking up conditions.

    def _adopt(self, conditions: Conditions) -> F64 | None:
        """Bring queues in line with the pool table; requests lost with vanished pools, by operation."""
        old = self._layout
        if old is None or not (
            np.array_equal(old.pool_key, conditions.pool_key) and np.array_equal(old.pool_start, conditions.pool_start)
        ):
            _check_shapes(self.network, conditions)
            self._layout = self._lay_out(conditions)
            lost = None if old is None else self._move_queues(old, self._layout)
            if old is None:
                self._first_figures(self._layout)
            self._make_stack()
        elif (
            np.array_equal(old.pool_ready, conditions.pool_ready)
            and np.array_equal(old.pool_speed, conditions.pool_speed)
            and np.array_equal(old.station_servers, conditions.station_servers)
        ):
            return None
        else:
            self._layout = self._lay_out(conditions)
            lost = self._move_queues(old, self._layout)
        layout = self._layout
        if old is not None:
            self._rescale_speed(old, layout)
        refresh_queues(layout.queue_servers, layout.queue_table, self._tables.rows, self._queues)
        # New conditions, old queues: what a call costs now, before anybody is let in on old figures.
        _, out_edge, out_op = self._new_sample(1.0, len(layout.pool_key))
        self._sweep_backward(conditions, layout, out_edge, out_op)
        return lost

    def _lay_out(self, conditions: Conditions) -> _Layout:
        network = self.network
        pools = np.diff(conditions.pool_start)
        by_station = np.where(network.station_shared == 1, 1, pools[network.station_service])
        queue_start = np.concatenate([[0], np.cumsum(by_station)]).astype(np.int64)
        queue_station = np.repeat(np.arange(len(by_station)), by_station)
        place = np.arange(len(queue_station)) - queue_start[queue_station]
        service = network.station_service[queue_station]
        shared = network.station_shared[queue_station] == 1
        pool = np.where(shared, -1, conditions.pool_start[service] + place).astype(np.int64)
        size = np.where(shared, 1.0, conditions.pool_ready[np.maximum(pool, 0)])
        servers = conditions.station_servers[queue_station] * size
        whole_limit = network.station_queue_limit[queue_station]
        with np.errstate(invalid="ignore"):
            limit = np.where(np.isinf(whole_limit), np.inf, whole_limit * size)
        by_visit = pools[network.op_service[network.visit_op]]
        content_start = np.concatenate([[0], np.cumsum(by_visit)]).astype(np.int64)
        content_visit = np.repeat(np.arange(len(by_visit)), by_visit)
        content_place = np.arange(len(content_visit)) - content_start[content_visit]
        content_service = network.op_service[network.visit_op[content_visit]]
        cpu = network.service_cpu[conditions.pool_service]
        pool_place = np.arange(len(conditions.pool_key)) - conditions.pool_start[conditions.pool_service]
        return _Layout(
            pool_key=conditions.pool_key.copy(),
            pool_service=conditions.pool_service.copy(),
            pool_start=conditions.pool_start.copy(),
            pool_ready=conditions.pool_ready.copy(),
            pool_speed=conditions.pool_speed.copy(),
            station_servers=conditions.station_servers.copy(),
            queue_start=queue_start,
            queue_pool=pool,
            queue_station=queue_station,
            queue_servers=servers,
            queue_limit=limit,
            queue_table=self._tables.rows_of(servers),
            content_start=content_start[:-1],
            content_pool=conditions.pool_start[content_service] + content_place,
            content_visit=content_visit,
            pool_queue=queue_start[cpu] + np.where(network.station_shared[cpu] == 1, 0, pool_place),
        )

    def _first_figures(self, layout: _Layout) -> None:
        self._queues = np.zeros((len(layout.queue_station), Q_WIDTH))
        self._contents = np.zeros((len(layout.content_visit), M_WIDTH))

    def _move_queues(self, old: _Layout, new: _Layout) -> F64 | None:
        """Carry queues over by pool key. A pool that is gone, or has nobody ready, fails its requests."""
        alive = old.pool_ready > 0.0
        came_from = _rows_by_key(old.pool_key, new.pool_key)  # (P_new,) old row, or -1
        kept = np.zeros(len(old.pool_key), dtype=bool)
        survivors = (came_from >= 0) & (new.pool_ready > 0.0)
        kept[came_from[survivors]] = True
        gone = alive & ~kept
        lost = self._fail_pools(old, gone) if bool(gone.any()) else None
        if len(old.pool_key) == len(new.pool_key) and np.array_equal(old.pool_key, new.pool_key):
            return lost
        old_place = came_from - old.pool_start[new.pool_service]
        pool = new.queue_pool
        from_queue = old.queue_start[new.queue_station] + np.where(pool < 0, 0, old_place[np.maximum(pool, 0)])
        known = (pool < 0) | (came_from[np.maximum(pool, 0)] >= 0)
        queues = np.zeros((len(new.queue_station), Q_WIDTH))
        queues[known] = self._queues[from_queue[known]]
        contents = np.zeros((len(new.content_visit), M_WIDTH))
        row = came_from[new.content_pool]
        content_known = row >= 0
        source = old.content_start[new.content_visit] + old_place[new.content_pool]
        contents[content_known] = self._contents[source[content_known]]
        # A new pool works like its neighbours until the sweep says otherwise.
        fresh = np.flatnonzero(~content_known)
        first = old.content_start[new.content_visit[fresh]]
        has_old = first < len(self._contents)
        contents[fresh[has_old], M_HOLD:] = self._contents[first[has_old], M_HOLD:]
        self._queues, self._contents = queues, contents
        return lost

    def _fail_pools(self, old: _Layout, gone: NDArray[np.bool_]) -> F64:
        """Empty the queues of vanished pools, and mark what their callers lose."""
        network, ops = self.network, len(self.network.ops)
        number = self._contents[:, M_NUMBER]
        op_of = network.visit_op[old.content_visit]
        dead = gone[old.content_pool]
        queued = np.bincount(op_of, weights=number, minlength=ops)
        queued_dead = np.bincount(op_of, weights=number * dead, minlength=ops)
        internal = network.edge_caller >= 0
        calling = np.bincount(
            network.edge_caller[internal], weights=self._edges[:7, internal].sum(axis=0), minlength=ops
        )
        services = len(network.services)
        ready = np.bincount(old.pool_service, weights=old.pool_ready, minlength=services)
        ready_dead = np.bincount(old.pool_service, weights=old.pool_ready * gone, minlength=services)
        ready_share = np.divide(ready_dead, ready, out=np.zeros(services), where=ready > 0.0)
        cut = ready_share[network.op_service]
        lost = queued_dead + calling * cut
        total = queued + calling
        self._ops[:, O_LOST] = np.divide(lost, total, out=cut.copy(), where=total > 0.0)
        self._ops[:, O_CUT] = cut
        # Out of the shared queues too: a request dies with its pool wherever it waits.
        visit_station = network.visit_station[old.content_visit]
        place = old.content_pool - old.pool_start[old.pool_service[old.content_pool]]
        queue = old.queue_start[visit_station] + np.where(network.station_shared[visit_station] == 1, 0, place)
        removed = np.bincount(queue, weights=number * dead, minlength=len(self._queues))
        self._queues[:, Q_NUMBER] = np.maximum(self._queues[:, Q_NUMBER] - removed, 0.0)
        empty = (old.queue_pool >= 0) & gone[np.maximum(old.queue_pool, 0)]
        self._queues[empty, Q_NUMBER] = 0.0
        self._queues[empty, Q_VARIANCE] = 0.0
        self._contents[dead, :M_HOLD] = 0.0
        return lost.astype(np.float64)

    def _rescale_speed(self, old: _Layout, new: _Layout) -> None:
        """A pool that slows down needs longer for those who wait already."""
        came_from = _rows_by_key(old.pool_key, new.pool_key)
        ratio = np.ones(len(new.pool_key))
        known = came_from >= 0
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio[known] = old.pool_speed[came_from[known]] / new.pool_speed[known]
        ratio[~np.isfinite(ratio)] = 1.0
        own = new.queue_pool >= 0
        self._queues[own, Q_SERVICE] *= ratio[new.queue_pool[own]]

    def _make_stack(self) -> None:
        assert self._layout is not None
        widest = int(np.diff(self._layout.pool_start).max(initial=1))
        codes = np.diff(self.network.code_start)
        per_service = np.bincount(self.network.op_service, weights=codes, minlength=max(len(self.network.services), 1))
        self._stack = np.zeros((int(per_service.max(initial=1)) * max(widest, 1) + MARGIN, 5))

    # Sweeping, and what comes out.

    def _keep_state(self) -> None:
        size = self._edges.size + self._contents.size + self._queues.size + self._ops.size
        if len(self._kept) < size:
            self._kept = np.zeros(size)
        keep_state(self._edges, self._contents, self._queues, self._ops, self._kept)

    def _sweep_forward(
        self, conditions: Conditions, layout: _Layout, sample: Sample, dt_s: float, out_edge: F64, out_op: F64
    ) -> None:
        n = self.network
        sweep_forward(
            dt_s, self._drawn,
            n.service_order, n.op_start, n.edge_start, n.edge_callee, n.edge_probability, n.edge_cancel,
            n.station_start, n.station_order, n.station_visit_start, n.station_visits, n.visit_op,
            n.visit_code, n.visit_hold, n.visit_mean_s, n.visit_cv2, n.visit_timeout_s, n.code_start,
            n.code_kind, n.code_a, n.code_b, n.code_x,
            layout.pool_start, conditions.pool_ready, conditions.pool_speed, conditions.pool_error_ratio,
            conditions.edge_retries, conditions.edge_backoff_s, conditions.op_shed_ratio,
            conditions.journey_rate_rps,
            layout.queue_start, layout.queue_servers, layout.queue_limit, layout.queue_table,
            layout.content_start, self._tables.rows,
            self._edges, self._contents, self._queues, self._ops, self._stack,
            out_edge, out_op, sample.station_busy, sample.station_capacity, sample.station_queue,
        )  # fmt: skip

    def _sweep_backward(
        self, conditions: Conditions, layout: _Layout, out_edge: F64, out_op: F64
    ) -> tuple[float, bool]:
        n = self.network
        return sweep_backward(
            n.service_order, n.op_start, self._op_flat, n.edge_start, n.edge_callee, n.edge_probability,
            n.edge_required, n.edge_publish, n.station_shared, n.visit_station, n.visit_mean_s, n.visit_cv2,
            n.visit_timeout_s, n.code_start, n.code_kind, n.code_a, n.code_b, n.code_x,
            layout.pool_start, conditions.pool_ready, conditions.pool_speed, conditions.pool_error_ratio,
            conditions.edge_timeout_s, conditions.edge_retries, conditions.edge_backoff_s,
            conditions.edge_delay_s, conditions.op_shed_ratio, layout.queue_start, layout.queue_servers,
            layout.content_start,
            self._queues, self._edges, self._contents, self._ops, self._rows, self._frames, self._calls,
            self._attempt, out_edge, out_op, len(n.journeys),
        )  # fmt: skip

    def _new_sample(self, dt_s: float, pools: int) -> tuple[Sample, F64, F64]:
        """A sample over one block of memory, and its edge and operation parts as tables."""
        edges, ops = len(self.network.edge_callee), len(self.network.ops)
        stations = len(self.network.stations)
        edge_end = X_ROWS * edges
        op_end = edge_end + Y_ROWS * ops
        block = self._free_block(op_end + 3 * stations + pools)
        e = block[:edge_end].reshape(X_ROWS, edges)
        o = block[edge_end:op_end].reshape(Y_ROWS, ops)
        k = block[op_end : op_end + 3 * stations].reshape(3, stations)
        # The order of the fields in Sample: operations, edges, stations, pools.
        parts: tuple[F64, ...] = (*o, *e, *k, block[op_end + 3 * stations :])
        return Sample(dt_s, *parts), e, o

    def _free_block(self, size: int) -> F64:
        """Memory for a sample: used again once nobody holds the sample that lay there.

        A fresh block would cost more in page faults than the tick costs in arithmetic. Every array of a
        sample keeps its block alive, so a count of references says whether a caller kept anything.
        """
        for block in self._blocks:
            # One reference from the list, one from the loop, one from the call.
            if len(block) == size and sys.getrefcount(block) == 3:
                return block
        if len(self._blocks) >= 4:
            self._blocks.clear()
        block = np.zeros(size)
        self._blocks.append(block)
        return block


def _flat_ops(network: Network) -> I64:
    flat = np.zeros(len(network.ops), dtype=np.int64)
    for o in range(len(network.ops)):
        kinds = network.code_kind[network.code_start[o] : network.code_start[o + 1]]
        flat[o] = bool(np.isin(kinds, (CALLS, WORK, END)).all())
    return flat


def _rows_by_key(old: I64, new: I64) -> I64:
    """For each new key the row of the old one, or -1."""
    if len(old) == 0:
        return np.full(len(new), -1, dtype=np.int64)
    order = np.argsort(old, kind="stable")
    at = np.minimum(np.searchsorted(old[order], new), len(old) - 1)
    rows = order[at]
    return np.where(old[rows] == new, rows, -1).astype(np.int64)


def _floats(array: NDArray[np.generic]) -> F64:
    return np.array(array, dtype=np.float64)


def _check_shapes(network: Network, conditions: Conditions) -> None:
    edges, ops, pools = len(network.edge_callee), len(network.ops), len(conditions.pool_key)
    wanted = {
        "pool_service": pools,
        "pool_ready": pools,
        "pool_speed": pools,
        "pool_error_ratio": pools,
        "pool_start": len(network.services) + 1,
        "station_servers": len(network.stations),
        "edge_timeout_s": edges,
        "edge_retries": edges,
        "edge_backoff_s": edges,
        "edge_delay_s": edges,
        "op_shed_ratio": ops,
        "journey_rate_rps": len(network.journeys),
    }
    for name, length in wanted.items():
        found = getattr(conditions, name).shape
        if found != (length,):
            raise BadInput(
                f"conditions.{name} has shape {found}",
                f"fleet {network.fleet_name!r} needs ({length},)",
                "start from initial_conditions of the same network",
            )
    if len(np.unique(conditions.pool_key)) < pools:
        raise BadInput("two pools share a key", "an engine keeps its queues by it", "give each pool its own")
