"""Nodes: the control plane notices a dark one after a grace period, and gives its pods up after another.

Kubernetes' defaults: node-monitor-grace-period 40 s, toleration of not-ready 300 s.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from twin.fleet.blueprint import Blueprint
from twin.fleet.signals import push
from twin.fleet.state import NEVER_NS, Phase, State
from twin.fleet.systems.base import Rank
from twin.fleet.traffic.engine import I64
from twin.spec.signal import SignalKind
from twin.spec.units import NS_PER_S

__all__ = ["NodeSystem"]

GRACE_NS: Final = 40 * NS_PER_S
TOLERATION_NS: Final = 300 * NS_PER_S


class NodeSystem:
    rank: ClassVar = Rank.NODES
    wakes_on: ClassVar = frozenset({"node_dark_ns", "node_ready", "node_evicted"})
    writes: ClassVar = frozenset(
        """node_ready node_evicted node_version version pods_terminated pools_due_ns reconcile_due_ns
        schedule_due_ns signals signal_cursor pod_service pod_template pod_variant pod_node pod_phase pod_ready
        pod_number pod_created_ns pod_started_ns pod_due_ns pod_restarts pod_crashes pod_ready_fails pod_live_fails
        pod_version""".split()
    )

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint

    def next_due(self, state: State) -> int:
        return int(self._due(state).min())

    def step(self, state: State, now_ns: int) -> None:
        for node in np.flatnonzero(self._due(state) <= now_ns):
            if state.node_dark_ns[node] == NEVER_NS:
                self._came_back(state, int(node), now_ns)
            elif state.node_ready[node]:
                self._noticed(state, int(node), now_ns)
            else:
                self._give_up(state, int(node), now_ns)

    @staticmethod
    def _due(state: State) -> I64:
        """When each node wants a look: (N,)."""
        dark = state.node_dark_ns != NEVER_NS
        due = np.full(dark.size, NEVER_NS, dtype=np.int64)
        if dark.any() or not state.node_ready.all():
            unseen = dark & state.node_ready
            held = dark & ~state.node_ready & ~state.node_evicted
            due[unseen] = state.node_dark_ns[unseen] + GRACE_NS
            due[held] = state.node_dark_ns[held] + GRACE_NS + TOLERATION_NS
            due[~dark & ~state.node_ready] = 0
        return due

    def _noticed(self, state: State, node: int, now_ns: int) -> None:
        here = state.pod_node == node
        state.node_ready[node] = False
        state.node_version[node] = state.new_version()
        state.pod_ready[here] = False
        state.reconcile_due_ns[state.pod_service[here]] = now_ns
        state.pools_due_ns = min(state.pools_due_ns, now_ns)
        self._say(state, "NodeNotReady", f"stopped posting its status; {int(here.sum())} pods", node, now_ns)

    def _give_up(self, state: State, node: int, now_ns: int) -> None:
        rows = np.flatnonzero(state.pod_node == node)
        state.reconcile_due_ns[state.pod_service[rows]] = now_ns
        state.pods_terminated += rows.size
        state.free_pod_rows(rows)
        state.node_evicted[node] = True
        state.pools_due_ns = min(state.pools_due_ns, now_ns)
        self._say(state, "TaintManagerEviction", f"{rows.size} pods are given up", node, now_ns)

    def _came_back(self, state: State, node: int, now_ns: int) -> None:
        """Containers start anew after a power loss; a blip that nobody noticed never gets here."""
        here = (state.pod_node == node) & (state.pod_phase == Phase.RUNNING)
        state.node_ready[node] = True
        state.node_evicted[node] = False
        state.node_version[node] = state.new_version()
        state.pod_phase[here] = Phase.STARTING
        state.pod_started_ns[here] = now_ns
        state.pod_due_ns[here] = now_ns
        state.schedule_due_ns = min(state.schedule_due_ns, now_ns)
        state.pools_due_ns = min(state.pools_due_ns, now_ns)
        self._say(state, "NodeReady", "is ready again", node, now_ns)

    def _say(self, state: State, reason: str, what: str, node: int, now_ns: int) -> None:
        text = f"node {self._blueprint.node_names[node]}: {what}"
        push(self._blueprint, state, kind=SignalKind.EVENT, service=None, reason=reason, text=text, now_ns=now_ns)
