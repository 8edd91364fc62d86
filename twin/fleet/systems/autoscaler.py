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
        for service in np.flatnonzero(state.autoscale_due_ns <= now_ns):
            state.autoscale_due_ns[service] += PERIOD_NS
            self._scale(state, int(service), now_ns)

    def _scale(self, state: State, service: int, now_ns: int) -> None:
        scaling = self._blueprint.fleet.services[service].autoscaling
        ready = int((state.pod_ready & (state.pod_service == service)).sum())
        if scaling is None or ready == 0:
            return
        ratio = float(state.cpu_utilisation[service]) / scaling.cpu_target_ratio
        wanted = int(state.wanted[service])
        asked = wanted if abs(ratio - 1.0) <= TOLERANCE_RATIO else int(np.ceil(ready * ratio))
        asked = min(max(asked, int(state.autoscale_min[service])), int(state.autoscale_max[service]))
        if asked >= wanted:
            state.autoscale_low_since_ns[service] = NEVER_NS
        elif state.autoscale_low_since_ns[service] == NEVER_NS:
            state.autoscale_low_since_ns[service] = now_ns
            return
        elif now_ns - int(state.autoscale_low_since_ns[service]) < STABLE_NS:
            return
        if asked == wanted:
            return
        state.wanted[service] = asked
        state.service_version[service] = state.new_version()
        state.reconcile_due_ns[service] = now_ns
        push(
            self._blueprint, state, kind=SignalKind.EVENT, service=service, reason="SuccessfulRescale",
            text=f"autoscaler: {wanted} → {asked} replicas at {ratio * scaling.cpu_target_ratio:.0%} cpu",
            now_ns=now_ns,
        )  # fmt: skip
