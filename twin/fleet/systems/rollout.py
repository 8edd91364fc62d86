"""Brings each workload to its wanted replicas of its wanted template, within surge and unavailability.

Rules of the Deployment controller: at most wanted + surge pods in all, at least wanted − unavailable of
them available; pods that are not ready go first. StatefulSets and DaemonSets replace one pod at a time and
never surge.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from twin.fleet.admitted import pods_admitted
from twin.fleet.blueprint import Blueprint
from twin.fleet.signals import push
from twin.fleet.state import NEVER_NS, Phase, State
from twin.fleet.systems.base import Rank
from twin.fleet.traffic.engine import I64
from twin.spec.pod_counts import share_down, share_up
from twin.spec.signal import SignalKind
from twin.spec.units import NS_PER_S

__all__ = ["RolloutSystem", "terminate"]

RETRY_FIRST_NS: Final = 5_115_000_000  # Ten tries, each after twice the time of the last, from 5 ms: as one.
RETRY_MAX_NS: Final = 1000 * NS_PER_S
TERMINATION_NS = 5 * NS_PER_S  # Out of the endpoints at once; requests under way get this long.


class RolloutSystem:
    rank: ClassVar = Rank.ROLLOUT
    wakes_on: ClassVar = frozenset({"reconcile_due_ns"})
    writes: ClassVar = frozenset(
        """reconcile_due_ns pod_service pod_template pod_variant pod_node pod_phase pod_ready pod_number pod_created_ns
        pod_started_ns pod_due_ns pod_restarts pod_crashes pod_ready_fails pod_live_fails pod_version pod_serial
        version schedule_due_ns pools_due_ns pods_terminated refused_since_ns signals signal_cursor""".split()
    )

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint

    def next_due(self, state: State) -> int:
        return int(state.reconcile_due_ns.min())

    def step(self, state: State, now_ns: int) -> None:
        for service in np.flatnonzero(state.reconcile_due_ns <= now_ns):
            state.reconcile_due_ns[service] = NEVER_NS
            self._reconcile(state, int(service), now_ns)
            if state.reconcile_due_ns[service] == NEVER_NS:
                state.refused_since_ns[service] = NEVER_NS

    def _reconcile(self, state: State, service: int, now_ns: int) -> None:
        wanted = int(state.wanted[service])
        rows = state.pods_of(service)
        rows = rows[state.pod_phase[rows] != Phase.TERMINATING]
        is_new = state.pod_template[rows] == state.template[service]
        new, old = rows[is_new], rows[~is_new]
        surge, unavailable = self._room(service, wanted)

        if state.paused[service] and old.size:
            self._resize_paused(state, service, new, old, wanted, now_ns)
            return
        if state.partition[service] and old.size:  # It is a roll-out of the others only.
            old = self._keep_partition(state, service, old, wanted - new.size, now_ns)
            kept = min(int(state.partition[service]), old.size, wanted)
            old, wanted = old[kept:], wanted - kept
        if new.size > wanted:
            terminate(state, _least_wanted_first(state, new)[: new.size - wanted], now_ns)
            new = new[state.pod_phase[new] != Phase.TERMINATING]
        missing = min(wanted - new.size, wanted + surge - (new.size + old.size))
        if missing > 0:
            new = np.concatenate([new, self._create(state, service, missing, now_ns)])

        if old.size:
            ready_old = old[state.pod_ready[old]]
            new_unavailable = int((~state.pod_ready[new]).sum())
            may_go = new.size + old.size - (wanted - unavailable) - new_unavailable
            broken = old[~state.pod_ready[old]][: max(may_go, 0)]
            available = int(state.pod_ready[new].sum()) + ready_old.size
            spare = max(min(available - (wanted - unavailable), may_go - broken.size), 0)
            going = np.concatenate([broken, ready_old[:spare]])
            terminate(state, going, now_ns)
            if going.size and not self._blueprint.one_by_one[service]:
                # The next are made at once: a Deployment does not wait until pods are gone.
                state.reconcile_due_ns[service] = min(int(state.reconcile_due_ns[service]), now_ns + 1)

    def _keep_partition(self, state: State, service: int, old: I64, most: int, now_ns: int) -> I64:
        """The old pods, with those that a partition keeps made again of their own template, `most` in all."""
        lost = min(int(state.partition[service]), most) - old.size
        if lost <= 0:
            return old
        template = int(state.pod_template[old[0]])
        return np.concatenate([old, self._create(state, service, lost, now_ns, template=template)])

    def _room(self, service: int, wanted: int) -> tuple[int, int]:
        """Pods above and below `wanted` that a roll-out may use; not both zero, or it could never begin."""
        blueprint = self._blueprint
        if blueprint.one_by_one[service]:
            return 0, 1
        surge = share_up(float(blueprint.surge_ratio[service]), wanted)
        unavailable = share_down(float(blueprint.unavailable_ratio[service]), wanted)
        return (surge, unavailable) if surge or unavailable else (0, 1)

    def _resize_paused(self, state: State, service: int, new: I64, old: I64, wanted: int, now_ns: int) -> None:
        """A paused roll-out keeps its mix; only the total follows `wanted`, with old pods."""
        total = new.size + old.size
        if total > wanted:
            surplus = total - wanted
            if surplus > share_up(float(self._blueprint.surge_ratio[service]), wanted):
                terminate(state, _least_wanted_first(state, old)[:surplus], now_ns)
        elif total < wanted:
            template = int(state.pod_template[old[0]])
            self._create(state, service, wanted - total, now_ns, template=template)

    def _create(self, state: State, service: int, count: int, now_ns: int, *, template: int | None = None) -> I64:
        template = int(state.template[service]) if template is None else template
        count = self._admitted(state, service, count, now_ns, template)
        rows = state.add_pod_rows(count)
        state.pod_service[rows] = service
        state.pod_template[rows] = template
        if not self._blueprint.reads_config[service]:
            state.pod_variant[rows] = template
        state.pod_phase[rows] = Phase.PENDING
        state.pod_created_ns[rows] = now_ns
        for row in rows:
            state.pod_serial[service] += 1
            state.pod_number[row] = state.pod_serial[service]
            state.pod_version[row] = state.new_version()
        state.schedule_due_ns = min(state.schedule_due_ns, now_ns)
        return rows

    def _admitted(self, state: State, service: int, count: int, now_ns: int, template: int) -> int:
        """How many of so many new pods the namespace's webhooks and quotas let be made. The rest is tried again:
        whenever the service is looked at, and after as long again as it has failed already, as the ReplicaSet
        controller does."""
        fits, why = pods_admitted(self._blueprint, state, service, template, count)
        if not why:
            return fits
        since_ns = min(int(state.refused_since_ns[service]), now_ns)
        state.refused_since_ns[service] = since_ns
        wait_ns = min(max(now_ns - since_ns, RETRY_FIRST_NS), RETRY_MAX_NS)
        state.reconcile_due_ns[service] = now_ns + wait_ns
        push(
            self._blueprint, state, kind=SignalKind.EVENT, service=service, reason="FailedCreate",
            text=f"{count - fits} of {count} pods are not made: {why}", now_ns=now_ns,
        )  # fmt: skip
        return fits


def _least_wanted_first(state: State, rows: I64) -> I64:
    """Kubernetes' order for scaling down: not ready before ready, then the youngest."""
    return rows[np.lexsort((-state.pod_number[rows], state.pod_ready[rows]))]


def terminate(state: State, rows: I64, now_ns: int) -> None:
    """Take pods out of the endpoints and let them finish; the kubelet removes them."""
    if rows.size == 0:
        return
    state.pod_phase[rows] = Phase.TERMINATING
    state.pod_ready[rows] = False
    state.pod_due_ns[rows] = now_ns + TERMINATION_NS
    state.pods_terminated += rows.size
    for row in rows:
        state.pod_version[row] = state.new_version()
    state.pools_due_ns = min(state.pools_due_ns, now_ns)
