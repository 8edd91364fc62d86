"""Puts pending pods on nodes: enough free requests, then spread over zones, then the emptiest node."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from twin.fleet.blueprint import Blueprint
from twin.fleet.signals import push
from twin.fleet.state import NEVER_NS, Phase, State
from twin.fleet.systems.base import Rank
from twin.spec.signal import SignalKind
from twin.spec.units import NS_PER_S

__all__ = ["SchedulerSystem"]

RETRY_NS: Final = 30 * NS_PER_S  # An unschedulable pod is tried again; other wakes come with free room.


class SchedulerSystem:
    rank: ClassVar = Rank.SCHEDULER
    wakes_on: ClassVar = frozenset({"schedule_due_ns"})
    writes: ClassVar = frozenset(
        """schedule_due_ns pod_node pod_phase pod_started_ns pod_due_ns pod_version version signals
        signal_cursor""".split()
    )

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint

    def next_due(self, state: State) -> int:
        return state.schedule_due_ns

    def step(self, state: State, now_ns: int) -> None:
        if state.schedule_due_ns > now_ns:
            return
        state.schedule_due_ns = NEVER_NS
        pending = np.flatnonzero(state.pod_phase == Phase.PENDING)
        if pending.size == 0:
            return
        blueprint = self._blueprint
        placed = np.flatnonzero(state.pod_node >= 0)
        nodes, owners = state.pod_node[placed], state.pod_service[placed]
        count = len(blueprint.node_names)
        # By each pod's own template: pods of two revisions stand side by side in a roll-out that changes requests.
        resources = [template.resources for template in state.templates]
        cpu_asked = np.array([r.cpu_request_cores for r in resources])[state.pod_template]
        memory_asked = np.array([float(r.memory_request_bytes) for r in resources])[state.pod_template]
        free_cpu = blueprint.node_cpu - np.bincount(nodes, cpu_asked[placed], count)
        free_memory = blueprint.node_memory - np.bincount(nodes, memory_asked[placed], count)
        open_node = state.node_ready & ~state.node_cordoned & (state.node_dark_ns == NEVER_NS)
        in_zone: dict[int, np.ndarray] = {}
        for row in pending[np.lexsort((state.pod_number[pending], state.pod_service[pending]))]:
            service = int(state.pod_service[row])
            cpu, memory = cpu_asked[row], memory_asked[row]
            if service not in in_zone:
                mine = nodes[owners == service]
                in_zone[service] = np.bincount(blueprint.node_zone[mine], minlength=len(blueprint.zones))
            fits = open_node & (free_cpu >= cpu) & (free_memory >= memory)
            if not fits.any():
                state.schedule_due_ns = now_ns + RETRY_NS
                push(
                    blueprint, state, kind=SignalKind.EVENT, service=service, reason="FailedScheduling",
                    text=f"no node has {cpu:g} cores and {memory / 2**20:.0f} MiB free", now_ns=now_ns,
                )  # fmt: skip
                continue
            crowding = in_zone[service][blueprint.node_zone]
            fullness = 1.0 - free_cpu / blueprint.node_cpu
            node = int(np.argmin(np.where(fits, crowding + fullness, np.inf)))
            free_cpu[node] -= cpu
            free_memory[node] -= memory
            in_zone[service][blueprint.node_zone[node]] += 1
            state.pod_node[row] = node
            state.pod_phase[row] = Phase.STARTING
            state.pod_started_ns[row] = now_ns
            state.pod_due_ns[row] = now_ns  # The kubelet works out when it will be ready, or crash.
            state.pod_version[row] = state.new_version()
