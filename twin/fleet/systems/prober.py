"""Readiness and liveness probes of pods that are too busy to answer them.

A probe waits in the same queue as every request. While the wait is longer than the probe's time-out,
probes fail; enough of them in a row take pods out of the endpoints (readiness) or restart them (liveness),
which is how overload spreads by way of well-meant probes. Each kind keeps its own period: readiness that is
asked more often takes an overloaded pod out before liveness kills it, and lets it work off what it has. Idle
services cost nothing: only those with a wait, or with failures to forget, are looked at.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numba import njit

from twin.fleet.blueprint import Blueprint
from twin.fleet.signals import push
from twin.fleet.state import NEVER_NS, Phase, State
from twin.fleet.systems.base import Rank
from twin.fleet.systems.kubelet import BACKOFF_FIRST_NS
from twin.fleet.traffic.engine import I64
from twin.spec.signal import SignalKind

__all__ = ["ProberSystem"]


class ProberSystem:
    rank: ClassVar = Rank.PROBER
    wakes_on: ClassVar = frozenset({"readiness_due_ns", "liveness_due_ns"})
    writes: ClassVar = frozenset(
        """readiness_due_ns liveness_due_ns pod_ready pod_ready_fails pod_live_fails pod_phase pod_due_ns
        pod_restarts pod_crashes pod_version version reconcile_due_ns pools_due_ns restarts_since_scrape
        signals signal_cursor""".split()
    )

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint

    def next_due(self, state: State) -> int:
        return int(_earliest(state.readiness_due_ns, state.liveness_due_ns))

    def step(self, state: State, now_ns: int) -> None:
        blueprint = self._blueprint
        for service in np.flatnonzero((state.readiness_due_ns <= now_ns) | (state.liveness_due_ns <= now_ns)):
            rows = np.flatnonzero((state.pod_service == service) & (state.pod_phase == Phase.RUNNING))
            rows = rows[state.node_dark_ns[state.pod_node[rows]] == NEVER_NS]
            wait_s = float(state.wait_s[service])
            if state.readiness_due_ns[service] <= now_ns:
                failing = wait_s > blueprint.readiness_timeout_s[service]
                self._readiness(state, int(service), rows, failing, now_ns)
                period = int(blueprint.readiness_period_ns[service])
                state.readiness_due_ns[service] = now_ns + period if failing else NEVER_NS
            if state.liveness_due_ns[service] <= now_ns:
                failing = wait_s > blueprint.liveness_timeout_s[service]
                self._liveness(state, int(service), rows, failing, now_ns)
                period = int(blueprint.liveness_period_ns[service])
                state.liveness_due_ns[service] = now_ns + period if failing else NEVER_NS

    def _readiness(self, state: State, service: int, rows: np.ndarray, failing: bool, now_ns: int) -> None:
        if failing:
            state.pod_ready_fails[rows] += 1
            out = rows[(state.pod_ready_fails[rows] >= self._blueprint.readiness_threshold[service])]
            out = out[state.pod_ready[out]]
            ready = False
        else:
            state.pod_ready_fails[rows] = 0
            out = rows[~state.pod_ready[rows]]
            ready = True
        if out.size:
            state.pod_ready[out] = ready
            for row in out:
                state.pod_version[row] = state.new_version()
            state.reconcile_due_ns[service] = now_ns
            state.pools_due_ns = min(state.pools_due_ns, now_ns)
            if not ready:
                self._say(state, service, f"readiness probe failed on {out.size} pods", now_ns)

    def _liveness(self, state: State, service: int, rows: np.ndarray, failing: bool, now_ns: int) -> None:
        if not failing:
            state.pod_live_fails[rows] = 0
            return
        state.pod_live_fails[rows] += 1
        dead = rows[state.pod_live_fails[rows] >= self._blueprint.liveness_threshold[service]]
        for row in dead:
            wait_ns = BACKOFF_FIRST_NS << min(int(state.pod_crashes[row]), 5)
            state.pod_phase[row] = Phase.BACKOFF
            state.pod_ready[row] = False
            state.pod_live_fails[row] = state.pod_ready_fails[row] = 0
            state.pod_crashes[row] += 1
            state.pod_restarts[row] += 1
            state.pod_due_ns[row] = now_ns + wait_ns
            state.pod_version[row] = state.new_version()
        if dead.size:
            state.restarts_since_scrape[service] += dead.size
            state.reconcile_due_ns[service] = now_ns
            state.pools_due_ns = min(state.pools_due_ns, now_ns)
            self._say(state, service, f"liveness probe failed: {dead.size} containers restart", now_ns)

    def _say(self, state: State, service: int, text: str, now_ns: int) -> None:
        push(
            self._blueprint, state, kind=SignalKind.EVENT, service=service, reason="Unhealthy", text=text, now_ns=now_ns
        )


@njit(cache=True, fastmath=False)
def _earliest(readiness_ns: I64, liveness_ns: I64) -> int:
    """The least of both, (S,) each. Asked after every tick."""
    least = NEVER_NS
    for s in range(readiness_ns.shape[0]):
        least = min(least, readiness_ns[s], liveness_ns[s])
    return least
