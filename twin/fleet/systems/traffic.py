"""Lets the requests flow: one tick a second on whichever engine the World has."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

import numpy as np
from numba import njit

from twin.fleet.blueprint import Blueprint
from twin.fleet.state import NEVER_NS, State
from twin.fleet.systems.base import Rank
from twin.fleet.systems.pools import DARK_SPEED
from twin.fleet.traffic.engine import F64, I64, Sample, TrafficEngine
from twin.spec.units import NS_PER_S

__all__ = ["TICK_NS", "TrafficSystem"]

TICK_NS: Final = NS_PER_S
NOBODY_WAITS: Final = 1e-9  # requests
SOMEBODY_WAITS: Final = 1.0

Observer = Callable[[int, Sample], None]


class TrafficSystem:
    """Hands each tick's Sample to the observers, with the time at the tick's end."""

    rank: ClassVar = Rank.TRAFFIC
    wakes_on: ClassVar = frozenset({"tick_due_ns"})
    writes: ClassVar = frozenset(
        {"tick_due_ns", "wait_s", "cpu_utilisation", "readiness_due_ns", "liveness_due_ns", "conditions"}
    )

    def __init__(self, blueprint: Blueprint, engine: TrafficEngine, observers: list[Observer]) -> None:
        self._blueprint = blueprint
        self._engine = engine
        self._observers = observers
        network = blueprint.network
        self._base_rate_rps = np.array([journey.rate_rps for journey in blueprint.fleet.journeys])
        self._op_service = network.op_service
        self._station_service = network.station_service
        ready, live = blueprint.readiness_period_ns > 0, blueprint.liveness_period_ns > 0
        self._readiness_patience_s = np.where(ready, blueprint.readiness_timeout_s, np.inf)
        self._liveness_patience_s = np.where(live, blueprint.liveness_timeout_s, np.inf)
        services = ready.size
        self._answered, self._ready = np.zeros(services), np.zeros(services)

    def next_due(self, state: State) -> int:
        return state.tick_due_ns

    def step(self, state: State, now_ns: int) -> None:
        if state.tick_due_ns > now_ns:
            return
        state.tick_due_ns = now_ns + TICK_NS
        conditions = state.conditions
        conditions.journey_rate_rps = self._base_rate_rps * state.journey_factor * state.journey_scale
        sample = self._engine.advance(conditions, now_ns=now_ns, dt_ns=TICK_NS)
        self._measure_waits(state, sample, now_ns)
        for observe in self._observers:
            observe(now_ns + TICK_NS, sample)

    def _measure_waits(self, state: State, sample: Sample, now_ns: int) -> None:
        conditions = state.conditions
        _measure(
            self._station_service, sample.station_queue, self._op_service, sample.op_ok, sample.op_failed,
            conditions.pool_service, conditions.pool_speed, conditions.pool_ready, sample.pool_utilisation,
            sample.dt_s, self._answered, self._ready, state.wait_s, state.cpu_utilisation,
        )  # fmt: skip
        _wake_prober(
            state.wait_s, self._readiness_patience_s, self._liveness_patience_s, now_ns + TICK_NS,
            state.readiness_due_ns, state.liveness_due_ns,
        )  # fmt: skip


@njit(cache=True, fastmath=False)
def _wake_prober(
    wait_s: F64, readiness_s: F64, liveness_s: F64, due_ns: int, out_readiness_ns: I64, out_liveness_ns: I64
) -> None:
    """Have probed where a request waits for longer than a probe would: (S,) seconds; inf: not probed."""
    for s in range(wait_s.shape[0]):
        if wait_s[s] > readiness_s[s] and out_readiness_ns[s] == NEVER_NS:
            out_readiness_ns[s] = due_ns
        if wait_s[s] > liveness_s[s] and out_liveness_ns[s] == NEVER_NS:
            out_liveness_ns[s] = due_ns


@njit(cache=True, fastmath=False)
def _measure(
    station_service: I64, station_queue: F64, op_service: I64, op_ok: F64, op_failed: F64, pool_service: I64,
    pool_speed: F64, pool_ready: F64, pool_utilisation: F64, dt_s: float, answered: F64, ready: F64,
    out_wait_s: F64, out_utilisation: F64,
) -> None:  # fmt: skip
    """How long a request waits at each service, and how much of its cpu is used.

    Little's law: wait = queue / throughput. No throughput while somebody waits: nobody is ever served. Where fewer
    than one request is expected to wait, none came in a tick without answers: a quiet service is not a blocked one.
    answered, ready: (S,) work space. out_wait_s, out_utilisation: (S,).
    """
    for s in range(out_wait_s.shape[0]):
        out_wait_s[s] = 0.0
        out_utilisation[s] = 0.0
        answered[s] = 0.0
        ready[s] = 0.0
    for k in range(station_queue.shape[0]):
        out_wait_s[station_service[k]] += station_queue[k]
    for o in range(op_ok.shape[0]):
        answered[op_service[o]] += op_ok[o] + op_failed[o]
    for p in range(pool_ready.shape[0]):
        s = pool_service[p]
        ready[s] += pool_ready[p]
        out_utilisation[s] += pool_ready[p] * pool_utilisation[p]
        if pool_speed[p] <= DARK_SPEED:
            out_wait_s[s] = 0.0  # Dark pods' queue is nobody's wait.
    for s in range(out_wait_s.shape[0]):
        if out_wait_s[s] > NOBODY_WAITS:
            rate = answered[s] / dt_s
            if rate > 0.0:
                out_wait_s[s] = out_wait_s[s] / max(rate, 1e-12)
            else:
                out_wait_s[s] = np.inf if out_wait_s[s] >= SOMEBODY_WAITS else 0.0
        else:
            out_wait_s[s] = 0.0
        out_utilisation[s] = out_utilisation[s] / ready[s] if ready[s] > 0.0 else 0.0
