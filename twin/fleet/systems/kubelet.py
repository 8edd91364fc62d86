"""Runs containers: start-up, readiness, crashes with back-off, out-of-memory kills, removal.

What a pod does follows from its template's behaviour, so this system asks for each pod that is due: what is
the next thing that happens to it, and has it happened? Back-off as the kubelet does it: 10 s, doubled for
each crash up to 300 s, forgotten after ten minutes of running well.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from twin.fleet.blueprint import Blueprint
from twin.fleet.configs import begin_container
from twin.fleet.draws import Purpose, uniform
from twin.fleet.signals import push
from twin.fleet.state import NEVER_NS, Phase, State
from twin.fleet.systems.base import Rank
from twin.spec.signal import SignalKind
from twin.spec.units import NS_PER_S, ns

__all__ = ["KubeletSystem", "memory_bytes"]

BACKOFF_FIRST_NS: Final = 10 * NS_PER_S
BACKOFF_MAX_NS: Final = 300 * NS_PER_S
BACKOFF_RESET_NS: Final = 600 * NS_PER_S


class KubeletSystem:
    rank: ClassVar = Rank.KUBELET
    wakes_on: ClassVar = frozenset({"pod_due_ns"})
    writes: ClassVar = frozenset(
        """pod_service pod_template pod_variant pod_node pod_phase pod_ready pod_number pod_created_ns pod_started_ns
        pod_due_ns pod_restarts pod_crashes pod_ready_fails pod_live_fails pod_version version reconcile_due_ns
        schedule_due_ns pools_due_ns restarts_since_scrape signals signal_cursor templates template_error_ratio
        template_speed template_crash_s template_leak template_never_ready template_memory_limit""".split()
    )

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint

    def next_due(self, state: State) -> int:
        return int(state.pod_due_ns.min()) if state.pod_due_ns.size else NEVER_NS

    def step(self, state: State, now_ns: int) -> None:
        for row in np.flatnonzero(state.pod_due_ns <= now_ns):
            self._look(state, int(row), now_ns)

    def _look(self, state: State, row: int, now_ns: int) -> None:
        service = int(state.pod_service[row])
        state.pod_due_ns[row] = NEVER_NS
        match Phase(int(state.pod_phase[row])):
            case Phase.TERMINATING:
                state.free_pod_rows(np.array([row]))
                state.reconcile_due_ns[service] = now_ns
                if (state.pod_phase == Phase.PENDING).any():
                    state.schedule_due_ns = min(state.schedule_due_ns, now_ns)
            case Phase.BACKOFF:
                state.pod_phase[row] = Phase.STARTING
                state.pod_started_ns[row] = now_ns
                if self._begun(state, row, now_ns):
                    self._arm(state, row, now_ns)
            case Phase.UNCONFIGURED:
                if self._begun(state, row, now_ns):
                    self._arm(state, row, now_ns)
            case Phase.STARTING:
                if state.pod_started_ns[row] == now_ns and not self._begun(state, row, now_ns):
                    return
                end_ns, why = self._end(state, row)
                if end_ns <= now_ns:
                    self._crash(state, row, why, now_ns)
                    return
                if self._ready_at(state, row) <= now_ns and not state.template_never_ready[state.pod_variant[row]]:
                    state.pod_phase[row] = Phase.RUNNING
                    state.pod_ready_fails[row] = state.pod_live_fails[row] = 0  # Another container's failures.
                    self._set_ready(state, row, True, now_ns)
                self._arm(state, row, now_ns)
            case Phase.RUNNING:
                end_ns, why = self._end(state, row)
                if end_ns <= now_ns:
                    self._crash(state, row, why, now_ns)
                else:
                    self._arm(state, row, now_ns)
            case Phase.PENDING | Phase.FREE:
                pass

    def _begun(self, state: State, row: int, now_ns: int) -> bool:
        """Whether the container could be made, which reads its configuration each time that it is."""
        if not self._blueprint.reads_config[state.pod_service[row]]:
            return True
        return begin_container(self._blueprint, state, row, now_ns)

    def _arm(self, state: State, row: int, now_ns: int) -> None:
        end_ns, _ = self._end(state, row)
        due = end_ns
        if state.pod_phase[row] == Phase.STARTING and not state.template_never_ready[state.pod_variant[row]]:
            due = min(due, self._ready_at(state, row))
        state.pod_due_ns[row] = max(due, now_ns + 1) if due != NEVER_NS else NEVER_NS

    def _ready_at(self, state: State, row: int) -> int:
        """Start-up takes 0.8 to 1.2 of what was declared, drawn for each start of each pod."""
        service = int(state.pod_service[row])
        start_ns = int(self._blueprint.start_ns[service])
        ordinal = int(state.pod_number[row]) * 1000 + int(state.pod_restarts[row])
        draw = uniform(
            state.seed, state.replication, int(self._blueprint.service_entity[service]), int(Purpose.START_UP), ordinal
        )
        return int(state.pod_started_ns[row]) + round(start_ns * (0.8 + 0.4 * float(draw)))

    def _end(self, state: State, row: int) -> tuple[int, str]:
        """When this container dies by its template's behaviour, and of what."""
        template = int(state.pod_variant[row])
        started = int(state.pod_started_ns[row])
        end_ns, why = NEVER_NS, ""
        if np.isfinite(state.template_crash_s[template]):
            end_ns, why = started + ns(float(state.template_crash_s[template])), "Error"
        leak = float(state.template_leak[template])
        limit = float(state.template_memory_limit[template])
        if leak > 0.0 and np.isfinite(limit):
            base = float(self._blueprint.memory_base[int(state.pod_service[row])])
            killed = started + ns(max(limit - base, 0.0) / leak)
            if killed < end_ns:
                end_ns, why = killed, "OOMKilled"
        return end_ns, why

    def _crash(self, state: State, row: int, why: str, now_ns: int) -> None:
        service = int(state.pod_service[row])
        if now_ns - int(state.pod_started_ns[row]) >= BACKOFF_RESET_NS:
            state.pod_crashes[row] = 0
        wait_ns = min(BACKOFF_FIRST_NS << min(int(state.pod_crashes[row]), 5), BACKOFF_MAX_NS)
        state.pod_crashes[row] += 1
        state.pod_restarts[row] += 1
        state.restarts_since_scrape[service] += 1
        state.pod_phase[row] = Phase.BACKOFF
        state.pod_due_ns[row] = now_ns + wait_ns
        self._set_ready(state, row, False, now_ns)
        push(
            self._blueprint, state, kind=SignalKind.EVENT, service=service,
            reason="OOMKilled" if why == "OOMKilled" else "BackOff",
            text=f"container of pod {int(state.pod_number[row])} ended ({why}); restart in {wait_ns // NS_PER_S} s",
            now_ns=now_ns,
        )  # fmt: skip

    def _set_ready(self, state: State, row: int, ready: bool, now_ns: int) -> None:
        service = int(state.pod_service[row])
        dark = state.node_dark_ns[state.pod_node[row]] != NEVER_NS
        state.pod_ready[row] = ready and not dark
        state.pod_version[row] = state.new_version()
        state.reconcile_due_ns[service] = now_ns
        state.pools_due_ns = min(state.pools_due_ns, now_ns)


def memory_bytes(blueprint: Blueprint, state: State, now_ns: int) -> np.ndarray:
    """Resident memory of each service's largest pod, (S,)."""
    if not state.template_leak.any():
        return blueprint.memory_base
    grown = np.zeros(blueprint.memory_base.size)
    alive = np.flatnonzero((state.pod_phase == Phase.RUNNING) | (state.pod_phase == Phase.STARTING))
    leak = state.template_leak[state.pod_variant[alive]]
    if leak.any():
        age_s = (now_ns - state.pod_started_ns[alive]) / NS_PER_S
        np.maximum.at(grown, state.pod_service[alive], leak * age_s)
    return blueprint.memory_base + grown
