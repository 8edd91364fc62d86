"""Lets the requests flow: one tick a second on whichever engine the World has."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

import numpy as np

from twin.fleet.blueprint import Blueprint
from twin.fleet.state import NEVER_NS, State
from twin.fleet.systems.base import Rank
from twin.fleet.traffic.engine import Sample, TrafficEngine
from twin.spec.units import NS_PER_S

__all__ = ["TICK_NS", "TrafficSystem"]

TICK_NS: Final = NS_PER_S

Observer = Callable[[int, Sample], None]


class TrafficSystem:
    """Hands each tick's Sample to the observers, with the time at the tick's end."""

    rank: ClassVar = Rank.TRAFFIC
    wakes_on: ClassVar = frozenset({"tick_due_ns"})
    writes: ClassVar = frozenset({"tick_due_ns", "wait_s", "cpu_utilisation", "probe_due_ns", "conditions"})

    def __init__(self, blueprint: Blueprint, engine: TrafficEngine, observers: list[Observer]) -> None:
        self._blueprint = blueprint
        self._engine = engine
        self._observers = observers
        network = blueprint.network
        self._base_rate_rps = np.array([journey.rate_rps for journey in blueprint.fleet.journeys])
        self._op_service = network.op_service
        self._station_service = network.station_service
        self._probed = (blueprint.readiness_period_ns > 0) | (blueprint.liveness_period_ns > 0)
        patience = np.full(self._probed.size, np.inf)
        for period, timeout in (
            (blueprint.readiness_period_ns, blueprint.readiness_timeout_s),
            (blueprint.liveness_period_ns, blueprint.liveness_timeout_s),
        ):
            patience = np.where(period > 0, np.minimum(patience, timeout), patience)
        self._patience_s = patience

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
        """Little's law: wait = queue / throughput. No throughput with a queue: nobody is ever served."""
        size = state.wait_s.size
        queue = np.bincount(self._station_service, sample.station_queue, size)
        waiting = queue > 1e-9
        state.wait_s[:] = 0.0
        if waiting.any():
            done = np.bincount(self._op_service, sample.op_ok + sample.op_failed, size)[waiting] / sample.dt_s
            state.wait_s[waiting] = np.where(done > 0.0, queue[waiting] / np.maximum(done, 1e-12), np.inf)
            impatient = self._probed & (state.wait_s > self._patience_s) & (state.probe_due_ns == NEVER_NS)
            if impatient.any():
                state.probe_due_ns[impatient] = now_ns + TICK_NS
        conditions = state.conditions
        state.cpu_utilisation[:] = 0.0
        weight = conditions.pool_ready
        total = np.bincount(conditions.pool_service, weight, size)
        used = np.bincount(conditions.pool_service, weight * sample.pool_utilisation, size)
        np.divide(used, total, out=state.cpu_utilisation, where=total > 0.0)
