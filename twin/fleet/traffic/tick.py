"""The fluid engine: one compiled tick moves every request of a fleet at once.

A tick is four steps. Conditions are taken up (pools appear, vanish, change size); if they changed, the
figures of the last tick are brought up to date; `sweep_forward` moves requests; `sweep_backward` finds
how they end and how long they take. docs/traffic-model.md has the formulas and what they leave out.

Both sweeps pass over what is at rest (forward.py). When all is, and the conditions are what they were, a
tick is `drift` alone. What stands meanwhile (durations, use of stations) lies in one block of memory that
the samples share; a sweep goes on with a copy of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.fleet.draws import Purpose, uniforms
from twin.fleet.traffic.arrivals import draw_arrivals
from twin.fleet.traffic.backward import sweep_backward
from twin.fleet.traffic.engine import F64, I64, Conditions, Sample
from twin.fleet.traffic.erlang import ErlangTables
from twin.fleet.traffic.forward import drift, sweep_forward
from twin.fleet.traffic.memory import Memory, MemoryPool
from twin.fleet.traffic.moments import ROW
from twin.fleet.traffic.network import Network
from twin.fleet.traffic.queues import Q_NUMBER, Q_SERVICE, Q_VARIANCE, Q_WIDTH
from twin.fleet.traffic.state import (
    C_CERTAIN,
    C_WIDTH,
    CALL_MEAN,
    CALL_P99,
    CALL_ROWS,
    E_OK,
    E_PASS,
    E_WIDTH,
    G_WIDTH,
    M_HOLD,
    M_NUMBER,
    M_WIDTH,
    O_CUT,
    O_LOST,
    O_STALE,
    O_WIDTH,
    REST_TOLERANCE,
    STATION_BUSY,
    STATION_CAPACITY,
    STATION_QUEUE,
    STATION_ROWS,
    T_BACKOFF,
    T_CALL_FAILED,
    T_CALL_OK,
    T_FAILED,
    T_REJECTED,
    T_RETRIED,
    T_ROWS,
    T_TIMED_OUT,
    T_ZOMBIE,
    TIME_MEAN,
    TIME_P50,
    TIME_P99,
    TIME_ROWS,
    X_FLIGHT,
    X_ISSUED,
    X_OK,
    X_ROWS,
    Y_CAME,
    Y_FAILED,
    Y_OK,
    Y_REJECTED,
    Y_ROWS,
)
from twin.fleet.traffic.upkeep import (
    keep_state,
    mend,
    read_utilisation,
    refresh_queues,
    same_conditions,
    take_back,
)
from twin.spec.errors import BadInput
from twin.spec.units import NS_PER_S

__all__ = ["TickEngine"]

CORRECTIONS_MAX: Final = 5
UNSETTLED: Final = 0.01
LAID_OUT: Final = ("pool_key", "pool_service", "pool_start", "pool_ready", "pool_speed", "station_servers")
MARGIN: Final = 16  # rows of work space beyond what a program can need
SAVED: Final = ("edges", "contents", "queues", "ops", "rows", "calm", "groups")
SAVED_FLAGS: Final = ("rest", "moved")
_NEEDED: Final = ("identity", "counters", "tables", "standing", *SAVED, *SAVED_FLAGS)


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


@dataclass(slots=True)
class _Output:
    """One tick's sample, and the memory that the kernels fill it through."""

    sample: Sample
    flow: Memory  # op (Y_ROWS, O), edge (X_ROWS, E), trouble (T_ROWS, E), or (T_ROWS, 0) in calm
    standing: Memory  # call (CALL_ROWS, E), time (TIME_ROWS, O), station (STATION_ROWS, K), utilisation (1, P)


class TickEngine:
    """A TrafficEngine whose requests are a fluid. See docs/traffic-model.md."""

    name = "tick"

    def __init__(self, network: Network, *, seed: int, replication: int = 0, rests: bool = True) -> None:
        """`rests=False`: no short cuts for what is at rest. For tests: the same but for rounding, and slow."""
        self.network = network
        self.seed, self.replication = seed, replication
        self._tolerance = REST_TOLERANCE if rests else -1.0
        self._tables = ErlangTables()
        self._ticks = 0
        self._layout: _Layout | None = None
        edges, ops = len(network.edge_callee), len(network.ops)
        self._edges = np.zeros((E_WIDTH, edges))
        self._edges[E_OK] = 1.0
        self._edges[E_PASS] = 1.0
        self._ops = np.zeros((O_WIDTH, ops))
        self._rows = np.zeros((ops, ROW))
        self._calm = np.zeros((ops, C_WIDTH))  # Until the first sweep, a callee answers at once.
        self._groups = np.zeros((len(network.code_kind), G_WIDTH))
        self._contents = np.zeros((0, M_WIDTH))
        self._queues = np.zeros((0, Q_WIDTH))
        self._codes = np.stack([network.code_kind, network.code_a, network.code_b], axis=1)
        self._visits = np.stack([network.visit_mean_s, network.visit_cv2, network.visit_timeout_s], axis=1)
        self._callee = network.edge_callee.astype(np.int32)  # half the memory to pass over
        self._rest = np.zeros(len(network.services), dtype=np.int8)
        self._moved = np.zeros(ops, dtype=np.int8)
        self._known: Conditions | None = None  # the conditions of the last tick
        self._dt_ns = 0  # and its length
        self._all_at_rest = False
        self._frames = np.zeros((int(np.diff(network.code_start).max(initial=0)) + 2, ROW))
        widest_op = int(np.diff(network.edge_start).max(initial=0))
        self._calls = np.zeros((widest_op + 1, ROW))
        widest_service = int(np.diff(network.edge_start[network.op_start]).max(initial=0))
        self._first = np.zeros((2, widest_service))
        self._attempt = np.zeros(24)
        self._drawn = np.zeros(len(network.journeys))
        self._uniform = np.zeros(len(network.journeys))
        self._stack = np.zeros((0, 5))
        self._memories = MemoryPool()
        self._calm_shapes = ((Y_ROWS, ops), (X_ROWS, edges), (T_ROWS, 0))
        self._troubled_shapes = ((Y_ROWS, ops), (X_ROWS, edges), (T_ROWS, edges))
        self._no_edges, self._no_ops = np.zeros(edges), np.zeros(ops)
        self._no_edges.setflags(write=False)
        self._no_ops.setflags(write=False)
        self._standing = Memory(self._standing_shapes(0))  # what stands until something moves
        self._kept = np.zeros(0)
        self._hot = True

    @property
    def at_rest(self) -> bool:
        """Whether nothing moves in the whole fleet but what is drawn, as long as the conditions hold."""
        return self._all_at_rest

    def wake(self) -> None:
        """Let the next tick look at every service. It finds what it would have taken for granted."""
        self._all_at_rest = False

    def advance(self, conditions: Conditions, *, now_ns: int, dt_ns: int) -> Sample:
        """Move every request by `dt_ns`. Raises BadInput if the conditions do not fit this fleet."""
        if dt_ns <= 0:
            raise BadInput(f"a tick of {dt_ns} ns", "time only goes forwards", "give a positive dt_ns")
        dt_s = dt_ns / NS_PER_S
        same = self._known is not None and dt_ns == self._dt_ns and same_conditions(self._known, conditions)
        self._dt_ns = dt_ns
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
        if same and self._all_at_rest:
            return self._drift(dt_s)
        return self._sweep(conditions, dt_s, same=same)

    def _drift(self, dt_s: float) -> Sample:
        n = self.network
        out = self._new_output(dt_s, troubled=False, at_rest=True)
        op, edge, _ = out.flow.tables
        drift(
            dt_s, self._drawn, n.service_order, n.op_start, n.edge_start, self._callee, n.edge_visit_ratio,
            self._edges, self._ops, edge, op,
        )  # fmt: skip
        return out.sample

    def _sweep(self, conditions: Conditions, dt_s: float, *, same: bool) -> Sample:
        before = self._layout
        lost = None if same else self._adopt(conditions)
        layout = self._layout
        assert layout is not None
        changed = layout is not before
        troubled = self._hot or changed
        out = self._new_output(dt_s, troubled=troubled)
        if changed:
            # New conditions, old queues: what a call costs now, before anybody is let in on old figures.
            self._sweep_backward(conditions, layout, out)
        if troubled:
            self._keep_state()
        awake = self._sweep_forward(conditions, layout, out, dt_s, troubled)
        unsettled, moves = self._sweep_backward(conditions, layout, out)
        # The forward sweep took the last tick's figures for granted. Where they have moved, take it again.
        for _ in range(CORRECTIONS_MAX if troubled else 0):
            if unsettled <= UNSETTLED:
                break
            take_back(self._kept, self._edges, self._contents, self._queues, self._ops)
            awake = self._sweep_forward(conditions, layout, out, dt_s, troubled)
            unsettled, moves = self._sweep_backward(conditions, layout, out)
        self._all_at_rest = awake == 0 and moves == 0 and not self._hot and not troubled
        if lost is not None:
            out.sample.op_failed += lost
        read_utilisation(layout.pool_queue, layout.queue_servers, self._queues, out.sample.pool_utilisation)
        if troubled or self._hot:
            self._mend_overflow(out)
        return out.sample

    def _mend_overflow(self, out: _Output) -> None:
        """Deep in a storm moments of durations can overflow: such figures begin anew (docs/LIMITS.md).

        A figure that is not one would spread over the fleet within a few ticks and never go away.
        """
        mended = mend(
            self._edges, self._contents, self._queues, self._ops,
            self._calm[:, :C_CERTAIN],  # itself infinite out of calm
            out.flow.block, out.standing.block,
        )  # fmt: skip
        if mended:  # Nothing that was worked out from such figures may stand.
            self._rest[:] = 0
            self._groups[:] = 0.0
            self._ops[O_STALE] = 1.0

    def save(self) -> dict[str, NDArray[np.generic]]:
        """Every array that the next tick reads."""
        arrays: dict[str, NDArray[np.generic]] = {
            "identity": np.frombuffer(bytes.fromhex(self.network.digest), dtype=np.uint8).copy(),
            "counters": np.array(
                [self.seed, self.replication, self._ticks, self._hot, self._all_at_rest, self._dt_ns], dtype=np.int64
            ),
        }
        arrays["tables"] = self._tables.counts()
        for name in (*SAVED, *SAVED_FLAGS):
            arrays[name] = getattr(self, f"_{name}").copy()
        arrays["standing"] = self._standing.block.copy()
        if self._known is not None:
            for field in fields(Conditions):
                arrays[f"known.{field.name}"] = getattr(self._known, field.name).copy()
        if self._layout is not None:
            for field in fields(_Layout):
                if field.name not in ("queue_table",):
                    arrays[f"layout.{field.name}"] = getattr(self._layout, field.name).copy()
        return arrays

    def load(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Take up a saved state. Raises BadInput if it does not fit this fleet."""
        missing = next((name for name in _NEEDED if name not in arrays), None)
        if missing is not None:
            raise BadInput(
                f"a saved state without '{missing}'",
                "it is not the state of a tick engine",
                "load what save() of the same engine returned",
            )
        if not np.array_equal(arrays["identity"], np.frombuffer(bytes.fromhex(self.network.digest), dtype=np.uint8)):
            raise BadInput(
                "a saved state of another fleet",
                f"it does not fit the call graph of {self.network.fleet_name!r}",
                "load it into an engine of the fleet that it was saved from",
            )
        tables = ErlangTables()
        for count in arrays["tables"].astype(np.int64):  # One by one: a saved layout names rows by their order.
            tables.rows_of(np.array([float(count)]))
        self._take_up(arrays, tables)

    def _take_up(self, arrays: dict[str, NDArray[np.generic]], tables: ErlangTables) -> None:
        counters = [int(figure) for figure in arrays["counters"].astype(np.int64)]
        self.seed, self.replication, self._ticks = counters[:3]
        self._hot, self._all_at_rest, self._dt_ns = bool(counters[3]), bool(counters[4]), counters[5]
        for name in SAVED:
            setattr(self, f"_{name}", _floats(arrays[name]))
        for name in SAVED_FLAGS:
            setattr(self, f"_{name}", np.array(arrays[name], dtype=np.int8))
        standing = _floats(arrays["standing"])
        self._standing = Memory(self._standing_shapes(standing.size - self._standing_size(0)))
        self._standing.block[:] = standing
        self._tables = tables
        self._layout = self._known = None
        if "known.pool_key" in arrays:
            self._known = Conditions(**{f.name: arrays[f"known.{f.name}"].copy() for f in fields(Conditions)})  # type: ignore[arg-type]
        if "layout.pool_key" in arrays:
            parts = {
                field.name: arrays[f"layout.{field.name}"].copy()
                for field in fields(_Layout)
                if field.name != "queue_table"
            }
            servers = _floats(parts["queue_servers"])
            self._layout = _Layout(**parts, queue_table=tables.rows_of(servers))  # type: ignore[arg-type]
            self._make_stack()

    def fork(self, *, replication: int | None = None) -> TickEngine:
        """An independent copy; with `replication`, its further draws come from that replication."""
        other = TickEngine(self.network, seed=self.seed, replication=self.replication, rests=self._tolerance >= 0.0)
        other._take_up(self.save(), self._tables.copy())
        if replication is not None:
            other.replication = replication
        return other

    # Taking up conditions.

    def _adopt(self, conditions: Conditions) -> F64 | None:
        """Take up conditions that have changed: new queues if pools or stations did, and wake up whom it concerns.

        Returns the requests lost with vanished pools, by operation.
        """
        known, network = self._known, self.network
        _check_shapes(network, conditions)
        touched = np.ones(len(network.services), dtype=bool) if known is None else _touched(network, known, conditions)
        self._known = Conditions(**{f.name: getattr(conditions, f.name).copy() for f in fields(Conditions)})
        lost = None
        old = self._layout
        if (
            known is None
            or old is None
            or not all(np.array_equal(getattr(known, name), getattr(conditions, name)) for name in LAID_OUT)
        ):
            layout = self._layout = self._lay_out(conditions)
            if old is None:
                self._queues = np.zeros((len(layout.queue_station), Q_WIDTH))
                self._contents = np.zeros((len(layout.content_visit), M_WIDTH))
            else:
                lost = self._move_queues(old, layout)
                self._rescale_speed(old, layout)
            self._make_stack()
            if lost is not None:  # Callers lose what they wait for.
                callers = network.edge_caller[self._ops[O_LOST, network.edge_callee] > 0.0]
                touched[network.op_service[callers[callers >= 0]]] = True
            queues = np.flatnonzero(touched[network.station_service[layout.queue_station]])
            refresh_queues(queues, layout.queue_servers, layout.queue_table, self._tables.rows, self._queues)
        self._rest[touched] = 0
        self._ops[O_STALE, touched[network.op_service]] = 1.0
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
        size = np.ones(len(pool))
        size[~shared] = conditions.pool_ready[pool[~shared]]  # Of a fleet whose last pod is gone there is no pool.
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
        table = self._tables.rows_of(servers)
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
            queue_table=table,
            content_start=content_start[:-1],
            content_pool=conditions.pool_start[content_service] + content_place,
            content_visit=content_visit,
            pool_queue=queue_start[cpu] + np.where(network.station_shared[cpu] == 1, 0, pool_place),
        )

    def _move_queues(self, old: _Layout, new: _Layout) -> F64 | None:
        """Carry queues over by pool key. A pool that is gone, or has nobody ready, fails its requests."""
        alive = old.pool_ready > 0.0
        came_from = _rows_before(old, new)
        kept = np.zeros(len(old.pool_key), dtype=bool)
        survivors = (came_from >= 0) & (new.pool_ready > 0.0)
        kept[came_from[survivors]] = True
        gone = alive & ~kept
        lost = self._fail_pools(old, gone) if bool(gone.any()) else None
        if np.array_equal(old.pool_key, new.pool_key) and np.array_equal(old.pool_start, new.pool_start):
            return lost
        old_place = came_from - old.pool_start[new.pool_service]
        own = new.queue_pool >= 0
        from_queue, known = old.queue_start[new.queue_station], ~own  # A copy: indexed by an array.
        from_queue[own] += old_place[new.queue_pool[own]]
        known[own] = came_from[new.queue_pool[own]] >= 0
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
        self._ops[O_LOST] = np.divide(lost, total, out=cut.copy(), where=total > 0.0)
        self._ops[O_CUT] = cut
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
        came_from = _rows_before(old, new)
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

    def _sweep_forward(self, conditions: Conditions, layout: _Layout, out: _Output, dt_s: float, troubled: bool) -> int:
        n = self.network
        op, edge, trouble = out.flow.tables
        return sweep_forward(
            dt_s, self._tolerance, troubled, self._drawn,
            n.service_order, n.op_start, n.edge_start, self._callee, n.edge_probability, n.edge_visit_ratio,
            n.edge_cancel, n.station_start, n.station_order, n.station_visit_start, n.station_visits, n.visit_op,
            n.visit_code, n.visit_hold, self._visits, n.code_start,
            self._codes, n.code_x,
            layout.pool_start, conditions.pool_ready, conditions.pool_speed, conditions.pool_error_ratio,
            conditions.edge_retries, conditions.edge_backoff_s, conditions.edge_delay_s,
            conditions.op_shed_ratio, conditions.journey_rate_rps,
            layout.queue_start, layout.queue_servers, layout.queue_limit, layout.queue_table,
            layout.content_start, self._tables.rows,
            self._edges, self._contents, self._queues, self._ops, self._calm, self._rest, self._stack, self._first,
            edge, trouble, op, out.standing.tables[2],
        )  # fmt: skip

    def _sweep_backward(self, conditions: Conditions, layout: _Layout, out: _Output) -> tuple[float, int]:
        """Returns how far the forward sweep's assumptions were off, and how many operations' rows moved."""
        n = self.network
        call, time, _, _ = out.standing.tables
        unsettled, self._hot, moves = sweep_backward(
            self._tolerance,
            n.service_order, n.op_start, n.edge_start, self._callee, n.edge_probability,
            n.edge_required, n.edge_publish, n.station_shared, n.visit_station, self._visits,
            n.code_start, self._codes, n.code_x,
            layout.pool_start, conditions.pool_ready, conditions.pool_speed, conditions.pool_error_ratio,
            conditions.edge_timeout_s, conditions.edge_retries, conditions.edge_backoff_s,
            conditions.edge_delay_s, conditions.op_shed_ratio, layout.queue_start, layout.queue_servers,
            layout.content_start,
            self._queues, self._edges, self._contents, self._ops, self._rows, self._calm, self._groups,
            self._rest, self._moved, self._frames, self._calls, self._attempt,
            out.flow.tables[1], call, time, len(n.journeys),
        )  # fmt: skip
        return unsettled, moves

    def _new_output(self, dt_s: float, *, troubled: bool, at_rest: bool = False) -> _Output:
        """A sample over two memories: what flows, and what stands.

        In calm, its rows of trouble are one row of zeros; at rest, what stands is the last sample's.
        """
        flow = self._memories.take(self._troubled_shapes if troubled else self._calm_shapes)
        standing = self._standing if at_rest else self._standing_anew()
        op, edge, trouble = flow.rows
        call, time, station, (utilisation,) = standing.rows
        no_edges, no_ops = self._no_edges, self._no_ops
        if troubled:
            flow.tables[2][:] = 0.0
        sample = Sample(
            dt_s=dt_s,
            op_arrivals=op[Y_CAME],
            op_ok=op[Y_OK],
            op_failed=no_ops if at_rest else op[Y_FAILED],
            op_rejected=no_ops if at_rest else op[Y_REJECTED],
            op_latency_mean_s=time[TIME_MEAN],
            op_latency_p50_s=time[TIME_P50],
            op_latency_p99_s=time[TIME_P99],
            edge_issued=edge[X_ISSUED],
            edge_ok=edge[X_OK],
            edge_failed=trouble[T_FAILED] if troubled else no_edges,
            edge_rejected=trouble[T_REJECTED] if troubled else no_edges,
            edge_timed_out=trouble[T_TIMED_OUT] if troubled else no_edges,
            edge_retried=trouble[T_RETRIED] if troubled else no_edges,
            edge_in_flight=edge[X_FLIGHT],
            edge_in_backoff=trouble[T_BACKOFF] if troubled else no_edges,
            edge_zombie=trouble[T_ZOMBIE] if troubled else no_edges,
            call_ok=trouble[T_CALL_OK] if troubled else edge[X_OK],
            call_failed=trouble[T_CALL_FAILED] if troubled else no_edges,
            call_latency_mean_s=call[CALL_MEAN],
            call_latency_p99_s=call[CALL_P99],
            station_busy=station[STATION_BUSY],
            station_capacity=station[STATION_CAPACITY],
            station_queue=station[STATION_QUEUE],
            pool_utilisation=utilisation,
        )
        return _Output(sample, flow, standing)

    def _standing_anew(self) -> Memory:
        """What stands, in a copy that may be written to: samples share what they were given."""
        assert self._layout is not None
        old = self._standing
        new = self._memories.take(self._standing_shapes(len(self._layout.pool_key)), but=old)
        size = self._standing_size(0)
        new.block[:size] = old.block[:size]
        self._standing = new
        return new

    def _standing_shapes(self, pools: int) -> tuple[tuple[int, int], ...]:
        n = self.network
        return (CALL_ROWS, len(n.edge_callee)), (TIME_ROWS, len(n.ops)), (STATION_ROWS, len(n.stations)), (1, pools)

    def _standing_size(self, pools: int) -> int:
        return sum(rows * width for rows, width in self._standing_shapes(pools))


def _touched(network: Network, known: Conditions, now: Conditions) -> NDArray[np.bool_]:
    """(S,) services for which anything changed but the users' rates, which show in what arrives."""
    services = len(network.services)
    pools_then, pools_now = np.diff(known.pool_start), np.diff(now.pool_start)
    touched: NDArray[np.bool_] = pools_then != pools_now
    place = np.arange(len(now.pool_key)) - now.pool_start[now.pool_service]
    alike = ~touched[now.pool_service]
    rows, before = np.flatnonzero(alike), (known.pool_start[now.pool_service] + place)[alike]
    for name in ("pool_key", "pool_ready", "pool_speed", "pool_error_ratio"):
        differs = getattr(now, name)[rows] != getattr(known, name)[before]
        touched[now.pool_service[rows[differs]]] = True
    touched[network.station_service[now.station_servers != known.station_servers]] = True
    touched[network.op_service[now.op_shed_ratio != known.op_shed_ratio]] = True
    for name in ("edge_timeout_s", "edge_retries", "edge_backoff_s", "edge_delay_s"):
        callers = network.edge_caller[getattr(now, name) != getattr(known, name)]
        touched[network.op_service[callers[callers >= 0]]] = True
    assert touched.shape == (services,)
    return touched


def _rows_before(old: _Layout, new: _Layout) -> I64:
    """For each new pool its row in the old table, or -1. A key belongs to one service for ever."""
    if len(old.pool_key) == 0:
        return np.full(len(new.pool_key), -1, dtype=np.int64)
    order = np.argsort(old.pool_key, kind="stable")
    at = np.minimum(np.searchsorted(old.pool_key[order], new.pool_key), len(order) - 1)
    rows = order[at]
    same = (old.pool_key[rows] == new.pool_key) & (old.pool_service[rows] == new.pool_service)
    return np.where(same, rows, -1).astype(np.int64)


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
