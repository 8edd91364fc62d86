"""Horizontal autoscaling on CPU: every 15 s, up at once, down after five quiet minutes.

wanted = ceil(ready × utilisation / target), nothing within 10 % of the target (Kubernetes' defaults).
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from twin.fleet.blueprint import Blueprint
from twin.fleet.signals import push
from twin.fleet.state import NEVER_NS, State
from twin.fleet.systems.base import Rank
from twin.spec.signal import SignalKind
from twin.spec.units import NS_PER_S

__all__ = ["AutoscalerSystem"]

PERIOD_NS: Final = 15 * NS_PER_S
STABLE_NS: Final = 300 * NS_PER_S
TOLERANCE_RATIO: Final = 0.1


class AutoscalerSystem:
    rank: ClassVar = Rank.AUTOSCALER
    wakes_on: ClassVar = frozenset({"autoscale_due_ns"})
    writes: ClassVar = frozenset(
        """autoscale_due_ns autoscale_low_since_ns wanted service_version version reconcile_due_ns signals
        signal_cursor""".split()
    )

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint

    def next_due(self, state: State) -> int:
        return int(state.autoscale_due_ns.min())

    def step(self, state: State, now_ns: int) -> None:
        due = np.flatnonzero(state.autoscale_due_ns <= now_ns)
        state.autoscale_due_ns[due] += PERIOD_NS
        target = self._blueprint.cpu_target_ratio[due]
        ready = np.bincount(state.pod_service[state.pod_ready], minlength=state.wanted.size)[due]
        looks = np.isfinite(target) & (ready > 0)
        due, target, ready = due[looks], target[looks], ready[looks]
        ratio = state.cpu_utilisation[due] / target
        wanted = state.wanted[due]
        asked = np.where(np.abs(ratio - 1.0) <= TOLERANCE_RATIO, wanted, np.ceil(ready * ratio).astype(np.int64))
        asked = np.minimum(np.maximum(asked, state.autoscale_min[due]), state.autoscale_max[due])
        fewer = asked < wanted
        state.autoscale_low_since_ns[due[~fewer]] = NEVER_NS
        first = fewer & (state.autoscale_low_since_ns[due] == NEVER_NS)
        state.autoscale_low_since_ns[due[first]] = now_ns
        quiet = fewer & ~first & (now_ns - state.autoscale_low_since_ns[due] >= STABLE_NS)
        for i in np.flatnonzero(quiet | (asked > wanted)):
            self._scale(state, int(due[i]), int(asked[i]), now_ns)

    def _scale(self, state: State, service: int, asked: int, now_ns: int) -> None:
        wanted = int(state.wanted[service])
        state.wanted[service] = asked
        state.service_version[service] = state.new_version()
        state.reconcile_due_ns[service] = now_ns
        push(
            self._blueprint, state, kind=SignalKind.EVENT, service=service, reason="SuccessfulRescale",
            text=f"autoscaler: {wanted} → {asked} replicas at {state.cpu_utilisation[service]:.0%} cpu", now_ns=now_ns,
        )  # fmt: skip
