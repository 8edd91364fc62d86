"""Groups ready pods that are alike into pools, and puts limits into the traffic's conditions.

A pool is one service, one template, one health: a bad canary or a dark node costs rows of its own, and the
rows merge again when the difference is gone. Pods on a dark node that nobody has noticed yet still get
their share of requests and answer none.
"""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np

from twin.fleet.blueprint import Blueprint
from twin.fleet.state import NEVER_NS, State
from twin.fleet.systems.base import Rank
from twin.fleet.systems.perturbations import held_slots

__all__ = ["DARK_SPEED", "PoolSystem"]

DARK_SPEED: Final = 1e-6  # Work on a dark machine never ends within anybody's patience.


class PoolSystem:
    rank: ClassVar = Rank.POOLS
    wakes_on: ClassVar = frozenset({"pools_due_ns"})
    writes: ClassVar = frozenset({"pools_due_ns", "conditions"})

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint

    def next_due(self, state: State) -> int:
        return state.pools_due_ns

    def step(self, state: State, now_ns: int) -> None:
        if state.pools_due_ns > now_ns:
            return
        state.pools_due_ns = NEVER_NS
        network, conditions = self._blueprint.network, state.conditions
        ready = np.flatnonzero(state.pod_ready)
        template = state.pod_variant[ready]
        dark = state.node_dark_ns[state.pod_node[ready]] != NEVER_NS
        key, counts = np.unique(template * 2 + dark, return_counts=True)
        service = np.array([t.service for t in state.templates], dtype=np.int64)[key // 2]
        order = np.argsort(service, kind="stable")
        key, counts, service = key[order], counts[order], service[order]
        is_dark = (key % 2).astype(np.bool_)
        conditions.pool_key = key
        conditions.pool_service = service
        conditions.pool_start = np.searchsorted(service, np.arange(len(self._blueprint.fleet.services) + 1))
        conditions.pool_ready = counts.astype(np.float64)
        conditions.pool_speed = np.where(
            is_dark, DARK_SPEED, state.template_speed[key // 2] * state.service_speed[service]
        )
        conditions.pool_error_ratio = np.where(is_dark, 0.0, state.template_error_ratio[key // 2])
        held = held_slots(state, network.station_servers.size)
        conditions.station_servers = np.maximum(network.station_servers - held, 0.0)
        conditions.op_shed_ratio = state.op_shed_asked.copy()
