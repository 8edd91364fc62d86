"""The literal engine: every request is a SimPy process that walks its program step by step.

It reads the same Network as the tick and is the truth for small systems. What the tick averages, this
draws: service times, which calls are made, which pool takes a request. Every draw has an address: a
request's own number, made from its caller's, and a count of its draws. So an extra draw in one request
moves nothing in another.

Generators cannot be copied. What is saved is the input: seed, replication, and every tick's conditions. Loading
replays them; a fork does when it is first advanced.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any, Final

import numpy as np
import simpy
from numpy.typing import NDArray

from twin.fleet.draws import Purpose, uniform
from twin.fleet.traffic.arrivals import poisson_quantile
from twin.fleet.traffic.engine import F64, Conditions, Sample
from twin.fleet.traffic.network import CACHED, CALLS, GROUP, HOLD, PUBLISHES, WORK, Network
from twin.spec.errors import BadInput
from twin.spec.units import NS_PER_S

__all__ = ["InterpreterEngine"]

_MASK64: Final = (1 << 64) - 1
_CONDITIONS: Final = tuple(field.name for field in fields(Conditions))

Steps = Generator[Any, Any, "End"]


class End(Enum):
    """How a request or an attempt ended."""

    OK = "ok"
    FAILED = "failed"
    REJECTED = "rejected"
    TIMED_OUT = "timed out"  # of an attempt only: its caller gave up


class _Lost(Exception):
    """Cause of an interrupt: the pool is gone, and its requests with it."""


class _Cancelled(Exception):
    """Cause of an interrupt: the caller gave up and said so."""


@dataclass(slots=True)
class _Pool:
    key: int
    service: int
    ready: int
    speed: float
    error_ratio: float
    requests: dict[_Request, None]  # in order of arrival


@dataclass(slots=True)
class _Caller:
    """What an attempt has to know of its caller when it ends."""

    waits: bool = True
    left_zombie: bool = False  # gave up, and let the attempt go on


class _Request:
    """One attempt inside its callee."""

    __slots__ = ("draws", "number", "op", "pool", "process")

    def __init__(self, op: int, number: int) -> None:
        self.op, self.number, self.draws = op, number, 0
        self.pool: _Pool | None = None
        self.process: simpy.Process | None = None


class _Queue:
    """A station: so many servers, and a line before them."""

    __slots__ = ("area", "busy", "env", "limit", "line", "servers", "since")

    def __init__(self, env: simpy.Environment) -> None:
        self.env = env
        self.servers, self.limit = 0, math.inf
        self.busy = 0
        self.line: deque[simpy.Event] = deque()
        self.area, self.since = 0.0, env.now

    def resize(self, servers: int, limit: float) -> None:
        self.servers, self.limit = servers, limit
        self._admit()

    def enter(self) -> simpy.Event | None:
        """An event that fires when a server is ours; None: the line is full."""
        if len(self.line) >= self.limit and self.busy >= self.servers:
            return None
        turn: simpy.Event = self.env.event()
        self.line.append(turn)
        self._admit()
        return turn

    def abandon(self, turn: simpy.Event) -> None:
        """Leave the line, or the server that came a moment too late."""
        if turn.triggered:
            self.leave()
        else:
            self.line.remove(turn)

    def leave(self) -> None:
        self._count()
        self.busy -= 1
        self._admit()

    def busy_mean(self, dt_s: float) -> float:
        """Mean servers in use since this was last asked."""
        self._count()
        mean = self.area / dt_s
        self.area = 0.0
        return mean

    def _admit(self) -> None:
        while self.line and self.busy < self.servers:
            self._count()
            self.busy += 1
            self.line.popleft().succeed()

    def _count(self) -> None:
        self.area += self.busy * (self.env.now - self.since)
        self.since = self.env.now


class InterpreterEngine:
    """A TrafficEngine of single requests. See docs/traffic-model.md for what both engines mean."""

    name = "simpy"  # as World.build knows it: a saved World is restored by it

    def __init__(self, network: Network, *, seed: int, replication: int = 0) -> None:
        self.network = network
        self.seed, self.replication = seed, replication
        self._inputs: list[tuple[Conditions, int, int, int]] = []  # conditions, now, dt, replication
        self._played = 0  # of these, so many; the rest is played before the next tick
        self._gammas: dict[float, tuple[F64, F64]] = {}
        self._reset()

    def _reset(self) -> None:
        self._env = simpy.Environment()
        self._ticks = 0
        self._pools: dict[int, _Pool] = {}
        self._routes: list[list[_Pool]] = []
        self._queues: dict[tuple[int, int], _Queue] = {}  # by station and pool key (-1: shared)
        edges, ops = len(self.network.edge_callee), len(self.network.ops)
        self._in_flight = np.zeros(edges)
        self._in_backoff = np.zeros(edges)
        self._zombie = np.zeros(edges)
        self._op_latency: list[list[float]] = [[] for _ in range(ops)]
        self._call_latency: list[list[float]] = [[] for _ in range(edges)]
        self._calls_made = [0] * edges
        self._journey_count = [0] * len(self.network.journeys)

    def advance(self, conditions: Conditions, *, now_ns: int, dt_ns: int) -> Sample:
        """Move every request by `dt_ns`. Raises BadInput if the conditions do not fit this fleet."""
        if dt_ns <= 0:
            raise BadInput(f"a tick of {dt_ns} ns", "time only goes forwards", "give a positive dt_ns")
        if len(conditions.edge_timeout_s) != len(self.network.edge_callee):
            raise BadInput(
                "conditions of another fleet",
                f"fleet {self.network.fleet_name!r} has {len(self.network.edge_callee)} edges",
                "start from initial_conditions of the same network",
            )
        self._catch_up()
        kept = self._remember(conditions)
        self._inputs.append((kept, now_ns, dt_ns, self.replication))
        self._played += 1
        return self._advance(kept, dt_ns / NS_PER_S)

    def _catch_up(self) -> None:
        """Play what was taken over from another engine and not played here yet."""
        replication = self.replication
        for conditions, _, dt_ns, theirs in self._inputs[self._played :]:
            self.replication = theirs
            self._advance(conditions, dt_ns / NS_PER_S)
        self._played = len(self._inputs)
        self.replication = replication

    def save(self) -> dict[str, NDArray[np.generic]]:
        """The inputs so far: conditions are stored once for as long as they hold."""
        distinct: list[Conditions] = []
        ticks = np.zeros((len(self._inputs), 4), dtype=np.int64)
        for row, (conditions, now_ns, dt_ns, replication) in enumerate(self._inputs):
            if not distinct or distinct[-1] is not conditions:
                distinct.append(conditions)
            ticks[row] = (len(distinct) - 1, now_ns, dt_ns, replication)
        arrays: dict[str, NDArray[np.generic]] = {
            "identity": np.frombuffer(bytes.fromhex(self.network.digest), dtype=np.uint8).copy(),
            "counters": np.array([self.seed, self.replication], dtype=np.int64),
            "ticks": ticks,
        }
        for index, conditions in enumerate(distinct):
            for name in _CONDITIONS:
                arrays[f"conditions.{index}.{name}"] = getattr(conditions, name).copy()
        return arrays

    def load(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Replay saved inputs. Raises BadInput if they do not fit this fleet."""
        identity = np.frombuffer(bytes.fromhex(self.network.digest), dtype=np.uint8)
        try:
            fits = np.array_equal(arrays["identity"], identity)
            counters = [int(figure) for figure in arrays["counters"].astype(np.int64)]
            ticks = arrays["ticks"].astype(np.int64)
            count = int(ticks[:, 0].max(initial=-1)) + 1
            distinct = [
                Conditions(**{name: arrays[f"conditions.{index}.{name}"].copy() for name in _CONDITIONS})  # type: ignore[arg-type]
                for index in range(count)
            ]
        except KeyError as missing:
            raise BadInput(
                f"a saved state without {missing}",
                "it is not the state of an interpreter",
                "load what save() of the same engine returned",
            ) from None
        if not fits:
            raise BadInput(
                "a saved state of another fleet",
                f"it does not fit the call graph of {self.network.fleet_name!r}",
                "load it into an engine of the fleet that it was saved from",
            )
        self.seed = counters[0]
        self._inputs = [(distinct[index], now_ns, dt_ns, theirs) for index, now_ns, dt_ns, theirs in ticks.tolist()]
        self._played = 0
        self._reset()
        self.replication = counters[1]
        self._catch_up()  # Now, so that what cannot be played is refused where it is read.

    def fork(self, *, replication: int | None = None) -> InterpreterEngine:
        """An independent copy, which plays what was so far when it is first advanced: many copies, those that admit a
        write or are kept for later, never are. `replication` is where its further draws come from."""
        other = InterpreterEngine(self.network, seed=self.seed)
        other._inputs = list(self._inputs)  # What an entry holds is never changed.
        other.replication = self.replication if replication is None else replication
        return other

    def _remember(self, conditions: Conditions) -> Conditions:
        """Our own copy; the last one, if nothing changed."""
        if self._inputs:
            last = self._inputs[-1][0]
            if all(np.array_equal(getattr(last, name), getattr(conditions, name)) for name in _CONDITIONS):
                return last
        return replace(conditions, **{name: getattr(conditions, name).copy() for name in _CONDITIONS})

    # One tick.

    def _advance(self, conditions: Conditions, dt_s: float) -> Sample:
        self._conditions = conditions
        self._timeout_s = conditions.edge_timeout_s.tolist()
        self._retries = conditions.edge_retries.tolist()
        self._backoff_s = conditions.edge_backoff_s.tolist()
        self._delay_s = conditions.edge_delay_s.tolist()
        self._shed = conditions.op_shed_ratio.tolist()
        self._begin_sample(dt_s)
        self._take_up_pools(conditions)
        for j in range(len(self.network.journeys)):
            self._schedule_arrivals(j, dt_s)
        self._ticks += 1
        self._env.run(until=self._env.now + dt_s)
        return self._end_sample(dt_s)

    def _take_up_pools(self, conditions: Conditions) -> None:
        network = self.network
        before = self._pools
        self._pools = {}
        self._routes = [[] for _ in network.services]
        for row, key in enumerate(conditions.pool_key.tolist()):
            ready = round(float(conditions.pool_ready[row]))
            if ready <= 0:
                continue
            service = int(conditions.pool_service[row])
            pool = before.get(key)
            if pool is None or pool.service != service:
                pool = _Pool(key, service, 0, 1.0, 0.0, {})
            else:
                del before[key]
            pool.ready = ready
            pool.speed = float(conditions.pool_speed[row])
            pool.error_ratio = float(conditions.pool_error_ratio[row])
            self._pools[key] = pool
            self._routes[service].append(pool)
        for gone in before.values():
            for request in list(gone.requests):
                _interrupt(request.process, _Lost())
        for k, service in enumerate(network.station_service.tolist()):
            servers, limit = float(conditions.station_servers[k]), float(network.station_queue_limit[k])
            if network.station_shared[k]:
                self._queue(k, -1).resize(round(servers), limit)
            else:
                for pool in self._routes[service]:
                    self._queue(k, pool.key).resize(round(servers * pool.ready), limit * pool.ready)

    def _queue(self, station: int, key: int) -> _Queue:
        queue = self._queues.get((station, key))
        if queue is None:
            queue = self._queues[station, key] = _Queue(self._env)
        return queue

    def _queue_for(self, station: int, pool: _Pool) -> _Queue:
        return self._queue(station, -1 if self.network.station_shared[station] else pool.key)

    def _schedule_arrivals(self, j: int, dt_s: float) -> None:
        """As many users as the tick engine sees, each at a time of its own."""
        entity = int(self.network.journey_entity[j])
        mean = float(self._conditions.journey_rate_rps[j]) * dt_s
        u = uniform(self.seed, self.replication, entity, Purpose.ARRIVALS.value, self._ticks)
        for _ in range(int(poisson_quantile(u, mean))):
            self._journey_count[j] += 1
            number = _number(entity, j, self._journey_count[j])
            at = uniform(self.seed, self.replication, number, Purpose.ARRIVALS.value, 0)
            self._env.process(self._user(j, at * dt_s, number))

    def _user(self, j: int, after_s: float, number: int) -> Generator[Any, Any, None]:
        yield self._env.timeout(after_s)
        yield from self._call(j, number)

    # One request.

    def _draw(self, request: _Request, purpose: Purpose) -> float:
        request.draws += 1
        u: float = uniform(self.seed, self.replication, request.number, purpose.value, request.draws)
        return u

    def _serve(self, request: _Request, answer: Callable[[End], None]) -> Generator[Any, Any, None]:
        """A request inside its callee, from the door to the answer."""
        op, started = request.op, self._env.now
        self._sample.op_arrivals[op] += 1.0
        end = self._at_the_door(request)
        if end is None:
            pool = request.pool
            assert pool is not None
            pool.requests[request] = None
            first, last = self.network.code_start[op], self.network.code_start[op + 1]
            try:
                end = yield from self._steps(request, pool, int(first), int(last) - 1)
            except simpy.Interrupt as interrupt:
                if isinstance(interrupt.cause, _Cancelled):
                    return  # Nobody waits for the answer, and it is no answer.
                end = End.FAILED
            finally:
                del pool.requests[request]
        if end is End.REJECTED:
            self._sample.op_rejected[op] += 1.0
        else:
            counts = self._sample.op_ok if end is End.OK else self._sample.op_failed
            counts[op] += 1.0
            self._op_latency[op].append(self._env.now - started)
        answer(end)

    def _at_the_door(self, request: _Request) -> End | None:
        """Shed, routed nowhere, failed at once; or None: come in."""
        shed = self._shed[request.op]
        if shed > 0.0 and self._draw(request, Purpose.ROUTING) < shed:
            return End.REJECTED
        routes = self._routes[int(self.network.op_service[request.op])]
        if not routes:
            return End.REJECTED
        pool = routes[0]
        if len(routes) > 1:
            at = self._draw(request, Purpose.ROUTING) * sum(route.ready for route in routes)
            for pool in routes:
                at -= pool.ready
                if at < 0.0:
                    break
        request.pool = pool
        if pool.error_ratio > 0.0 and self._draw(request, Purpose.FAULTS) < pool.error_ratio:
            return End.FAILED
        return None

    def _steps(self, request: _Request, pool: _Pool, at: int, last: int) -> Steps:
        """Walk the codes from `at` up to `last`."""
        network = self.network
        while at < last:
            kind, a, b = int(network.code_kind[at]), int(network.code_a[at]), int(network.code_b[at])
            at += 1
            if kind == WORK:
                end = yield from self._work(request, pool, a)
            elif kind == HOLD:
                end = yield from self._hold(request, pool, a, at, b)
                at = b + 1
            elif kind in (CALLS, PUBLISHES):
                end = yield from self._one_by_one(request, a, b)
            elif kind == GROUP:
                end = yield from self._all_at_once(request, a, b)
            elif kind == CACHED:
                if self._draw(request, Purpose.CALLS) < network.code_x[at - 1]:
                    at = b + 1
                continue
            else:
                continue
            if end is not End.OK:
                return end
        return End.OK

    def _work(self, request: _Request, pool: _Pool, visit: int) -> Steps:
        queue = self._queue_for(int(self.network.visit_station[visit]), pool)
        turn = queue.enter()
        if turn is None:
            return End.REJECTED
        try:
            yield turn
        except simpy.Interrupt:
            queue.abandon(turn)
            raise
        try:
            seconds = self._service_time(request, visit) / pool.speed if pool.speed > 0.0 else math.inf
            yield self._env.timeout(seconds) if seconds < math.inf else self._env.event()
        finally:
            queue.leave()
        return End.OK

    def _hold(self, request: _Request, pool: _Pool, visit: int, first: int, last: int) -> Steps:
        queue = self._queue_for(int(self.network.visit_station[visit]), pool)
        turn = queue.enter()
        if turn is None:
            return End.REJECTED
        patience = float(self.network.visit_timeout_s[visit])
        try:
            if turn.triggered or patience == math.inf:
                yield turn
            else:
                yield self._env.any_of([turn, self._env.timeout(patience)])
                if not turn.triggered:
                    queue.abandon(turn)
                    return End.REJECTED
        except simpy.Interrupt:
            queue.abandon(turn)
            raise
        try:
            return (yield from self._steps(request, pool, first, last))
        finally:
            queue.leave()

    def _service_time(self, request: _Request, visit: int) -> float:
        mean, cv2 = float(self.network.visit_mean_s[visit]), float(self.network.visit_cv2[visit])
        if cv2 == 0.0 or mean == 0.0:
            return mean
        u = self._draw(request, Purpose.SERVICE)
        if cv2 == 1.0:
            return float(-math.log(u) * mean)
        if cv2 not in self._gammas:
            self._gammas[cv2] = _gamma_table(cv2)
        levels, values = self._gammas[cv2]
        return float(np.interp(u, levels, values)) * mean

    # Calls.

    def _one_by_one(self, request: _Request, first: int, last: int) -> Steps:
        network = self.network
        for e in range(first, last):
            if not self._made(request, e):
                continue
            if network.edge_publish[e]:
                self._env.process(self._call(e, self._child(request, e)))
            elif not (yield from self._call(e, self._child(request, e))) and network.edge_required[e]:
                return End.FAILED
        return End.OK

    def _all_at_once(self, request: _Request, first: int, last: int) -> Steps:
        made = [e for e in range(first, last) if self._made(request, e)]
        calls = [self._env.process(self._call(e, self._child(request, e))) for e in made]
        try:
            yield self._env.all_of(calls)
        except simpy.Interrupt as interrupt:
            for call in calls:
                _interrupt(call, interrupt.cause)
            raise
        for e, call in zip(made, calls, strict=True):
            if not call.value and self.network.edge_required[e]:
                return End.FAILED
        return End.OK

    def _made(self, request: _Request, e: int) -> bool:
        probability = float(self.network.edge_probability[e])
        return probability >= 1.0 or self._draw(request, Purpose.CALLS) < probability

    def _child(self, request: _Request, e: int) -> int:
        """The number of a call: its caller's, the edge, and which time the caller makes it."""
        request.draws += 1
        return _number(request.number, e, request.draws)

    def _call(self, e: int, number: int) -> Generator[Any, Any, bool]:
        """A call with all its attempts; whether it ended well."""
        env, started = self._env, self._env.now
        attempt = 0
        while True:
            self._sample.edge_issued[e] += 1.0
            self._sample.edge_retried[e] += float(attempt > 0)
            self._in_flight[e] += 1.0
            child = _Request(int(self.network.edge_callee[e]), _number(number, e, attempt))
            known: simpy.Event = env.event()
            caller = _Caller()
            child.process = env.process(self._deliver(e, child, known, caller))
            if self._timeout_s[e] < math.inf:
                timer = env.timeout(self._timeout_s[e])
                assert timer.callbacks is not None
                timer.callbacks.append(lambda _, known=known: known.triggered or known.succeed(End.TIMED_OUT))
            try:
                end = yield known
            except simpy.Interrupt:
                # The caller is gone: as far as the ledger goes, it stopped waiting.
                self._give_up(e, child, caller)
                self._sample.call_failed[e] += 1.0
                self._call_latency[e].append(env.now - started)
                if self.network.edge_caller[e] >= 0 and env.active_process is not None:
                    raise
                return False
            if end is End.TIMED_OUT:
                self._give_up(e, child, caller)
            else:
                self._in_flight[e] -= 1.0
                counts = {
                    End.OK: self._sample.edge_ok,
                    End.FAILED: self._sample.edge_failed,
                    End.REJECTED: self._sample.edge_rejected,
                }
                counts[end][e] += 1.0
            if end is End.OK:
                self._sample.call_ok[e] += 1.0
                self._call_latency[e].append(env.now - started)
                return True
            if attempt >= self._retries[e]:
                self._sample.call_failed[e] += 1.0
                self._call_latency[e].append(env.now - started)
                return False
            attempt += 1
            if self._backoff_s[e] > 0.0:
                self._in_backoff[e] += 1.0
                try:
                    yield env.timeout(self._backoff_s[e])
                except simpy.Interrupt:
                    self._sample.call_failed[e] += 1.0
                    raise
                finally:
                    self._in_backoff[e] -= 1.0

    def _give_up(self, e: int, child: _Request, caller: _Caller) -> None:
        self._in_flight[e] -= 1.0
        self._sample.edge_timed_out[e] += 1.0
        caller.waits = False
        if self.network.edge_cancel[e]:
            _interrupt(child.process, _Cancelled())
        elif child.process is not None and child.process.is_alive:
            caller.left_zombie = True
            self._zombie[e] += 1.0

    def _deliver(self, e: int, child: _Request, known: simpy.Event, caller: _Caller) -> Generator[Any, Any, None]:
        """An attempt on its way, and its answer on the way back."""
        if self._delay_s[e] > 0.0:
            try:
                yield self._env.timeout(self._delay_s[e])
            except simpy.Interrupt:
                return

        def answer(end: End) -> None:
            if caller.left_zombie:
                self._zombie[e] -= 1.0
            elif caller.waits and not known.triggered:
                known.succeed(end)

        yield from self._serve(child, answer)

    # Samples.

    def _begin_sample(self, dt_s: float) -> None:
        network = self.network
        sizes = {"op": len(network.ops), "edge": len(network.edge_callee), "call": len(network.edge_callee)}
        sizes |= {"station": len(network.stations), "pool": len(self._conditions.pool_key)}
        arrays = {
            field.name: np.zeros(sizes[field.name.split("_", 1)[0]]) for field in fields(Sample) if field.name != "dt_s"
        }
        self._sample = Sample(dt_s=dt_s, **arrays)
        for latencies in (*self._op_latency, *self._call_latency):
            latencies.clear()

    def _end_sample(self, dt_s: float) -> Sample:
        sample, network = self._sample, self.network
        sample.edge_in_flight[:] = self._in_flight
        sample.edge_in_backoff[:] = self._in_backoff
        sample.edge_zombie[:] = self._zombie
        for o, latencies in enumerate(self._op_latency):
            if latencies:
                sample.op_latency_mean_s[o] = math.fsum(latencies) / len(latencies)
                latencies.sort()
                sample.op_latency_p50_s[o] = _quantile(latencies, 0.5)
                sample.op_latency_p99_s[o] = _quantile(latencies, 0.99)
        for e, latencies in enumerate(self._call_latency):
            if latencies:
                sample.call_latency_mean_s[e] = math.fsum(latencies) / len(latencies)
                latencies.sort()
                sample.call_latency_p99_s[e] = _quantile(latencies, 0.99)
        used: dict[tuple[int, int], float] = {}
        for (k, key), queue in self._queues.items():
            if key >= 0 and key not in self._pools:
                continue
            used[k, key] = queue.busy_mean(dt_s)
            sample.station_busy[k] += used[k, key]
            sample.station_capacity[k] += queue.servers
            sample.station_queue[k] += len(queue.line)
        for p, key in enumerate(self._conditions.pool_key.tolist()):
            cpu = int(network.service_cpu[self._conditions.pool_service[p]])
            at = (cpu, -1 if network.station_shared[cpu] else key)
            if at in used and self._queues[at].servers > 0:
                sample.pool_utilisation[p] = min(used[at] / self._queues[at].servers, 1.0)
        return sample


def _quantile(ordered: list[float], q: float) -> float:
    """As np.quantile, by linear interpolation, to the last digit: for a handful of figures, calling NumPy takes longer
    than what is measured."""
    place = (len(ordered) - 1) * q
    below = math.floor(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    share = place - below
    return high - (high - low) * (1.0 - share) if share >= 0.5 else low + (high - low) * share


def _number(parent: int, edge: int, count: int) -> int:
    """A request's own number: a SplitMix64 finaliser over where it comes from."""
    z = (parent + edge * 0x9E3779B97F4A7C15 + count * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) & _MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    return (z ^ (z >> 31)) >> 1


def _interrupt(process: simpy.Process | None, cause: object) -> None:
    if process is not None and process.is_alive:
        process.defused = True
        process.interrupt(cause)


def _gamma_table(cv2: float) -> tuple[F64, F64]:
    """(levels, values) of a gamma distribution with mean 1: the density summed over a fine grid.

    The grid is even in x^shape for shapes below one, where the density has a pole at zero.
    """
    shape = 1.0 / cv2
    power = 1.0 / min(shape, 1.0)
    top = (shape + 12.0 * math.sqrt(shape) + 40.0) ** (1.0 / power)
    edges = np.linspace(0.0, top, 200_001)
    middle = 0.5 * (edges[1:] + edges[:-1])
    x = middle**power
    log_density = (shape - 1.0) * np.log(x) - x - math.lgamma(shape)
    mass = np.exp(log_density) * power * middle ** (power - 1.0) * (edges[1] - edges[0])
    levels = np.concatenate([[0.0], np.cumsum(mass)])
    return levels / levels[-1], edges**power / shape
