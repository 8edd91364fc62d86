"""The part of a World that never changes: names, sizes and declared figures, as arrays.

Everything here follows from the Fleet alone, so it is rebuilt on restore and never saved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twin.fleet.declarations import declared_calls, declared_limits
from twin.fleet.draws import entity_of
from twin.fleet.traffic.engine import F64, I64
from twin.fleet.traffic.network import Network, compile_network
from twin.ports.plant import EdgeId, TracedEdge
from twin.spec.errors import BadInput
from twin.spec.fleet import Fleet, WorkloadKind
from twin.spec.gitops import GitOps, sources_of
from twin.spec.ids import NodeName, ServiceId
from twin.spec.units import ns

__all__ = ["Blueprint", "lay_out"]


@dataclass(frozen=True)
class Blueprint:
    """Shapes: (S,) services, (N,) nodes, (J,) journeys. Without slots, so that names are worked out once."""

    fleet: Fleet
    network: Network
    service_index: dict[ServiceId, int]
    autoscaler_index: dict[str, int]  # namespace/name of its object: the service that it scales
    budget_index: dict[str, int]  # likewise: the service that it is about
    service_entity: I64  # (S,) stable numbers of the names, for draws
    start_ns: I64  # (S,)
    surge_ratio: F64  # (S,)
    unavailable_ratio: F64  # (S,)
    one_by_one: NDArray[np.bool_]  # (S,) StatefulSets and DaemonSets replace a pod before they go on
    memory_base: F64  # (S,) bytes a pod when idle
    readiness_period_ns: I64  # (S,) 0: no probe
    readiness_timeout_s: F64
    readiness_threshold: I64
    liveness_period_ns: I64  # (S,) 0: no probe
    liveness_timeout_s: F64
    liveness_threshold: I64
    cpu_target_ratio: F64  # (S,) of the autoscaler; inf: none
    quotas_of: tuple[tuple[int, ...], ...]  # (S,) the namespace's quotas, by name
    quota_covers: NDArray[np.bool_]  # (Q, S) services of the namespace
    quota_index: dict[tuple[str, str], int]  # by (namespace, name)
    namespaces: tuple[str, ...]  # (S,)
    reads_config: NDArray[np.bool_]  # (S,) whether its containers take values from ConfigMaps or Secrets
    config_index: dict[tuple[str, str], int]  # by (namespace, name)
    secret_index: dict[tuple[str, str], int]
    pod_webhooks: tuple[tuple[int, ...], ...]  # (S,) webhooks that are asked before a pod of it is made
    gitops: tuple[GitOps, ...]  # declared, or named by services' owners
    gitops_services: tuple[tuple[int, ...], ...]  # (G,) whom each keeps as its source says
    node_names: tuple[NodeName, ...]
    node_index: dict[NodeName, int]
    node_zone: I64  # (N,) index into zones
    node_cpu: F64  # (N,) cores
    node_memory: F64  # (N,) bytes
    zones: tuple[str, ...]

    @cached_property
    def traced_edges(self) -> tuple[TracedEdge, ...]:
        """Every edge as tracing names it, by row."""
        network = self.network
        traced = []
        positions: dict[int, int] = {}
        for row in range(len(network.edge_callee)):
            callee, callee_operation = network.ops[int(network.edge_callee[row])].rsplit(":", 1)
            op = int(network.edge_caller[row])
            if op < 0:
                caller, operation, position = "user", str(network.journeys[row]), 0
            else:
                caller, operation = network.ops[op].rsplit(":", 1)
                position = positions[op] = positions.get(op, -1) + 1
            edge = EdgeId(
                caller=caller, caller_operation=operation, callee=callee, callee_operation=callee_operation,
                position=position,
            )  # fmt: skip
            group = int(network.edge_group[row])
            traced.append(
                TracedEdge(id=edge, group=None if group < 0 else group, asynchronous=bool(network.edge_publish[row]))
            )
        return tuple(traced)

    @cached_property
    def edge_rows(self) -> dict[EdgeId, int]:
        """Rows of edges by their names in traces."""
        return {edge.id: row for row, edge in enumerate(self.traced_edges)}

    @cached_property
    def routes(self) -> dict[tuple[str, ServiceId], I64]:
        """Who calls whom, (caller's id or "user:journey", callee's id), and the edges' rows; publishes left out."""
        found: dict[tuple[str, ServiceId], list[int]] = {}
        for row, edge in enumerate(self.traced_edges):
            if not edge.asynchronous:
                outside = edge.id.caller == "user"
                caller = f"user:{edge.id.caller_operation}" if outside else edge.id.caller
                found.setdefault((caller, ServiceId(edge.id.callee)), []).append(row)
        return {pair: np.array(rows, dtype=np.int64) for pair, rows in found.items()}

    @cached_property
    def declared_limits(self) -> tuple[str, ...]:
        """What each service's owners declare of its stations, as JSON; empty without any."""
        return tuple(declared_limits(service) for service in self.fleet.services)

    @cached_property
    def declared_calls(self) -> dict[tuple[str, ServiceId], dict[str, str]]:
        """Annotations of those routes that have any."""
        found = {p: declared_calls(self.network, self.traced_edges, rows) for p, rows in self.routes.items()}
        return {pair: annotations for pair, annotations in found.items() if annotations}

    def edges_between(self, caller: ServiceId, callee: ServiceId) -> I64:
        """Rows of all calls from one service to another, publishes left out."""
        return self.routes.get((caller, callee), np.zeros(0, dtype=np.int64))


def lay_out(fleet: Fleet) -> Blueprint:
    """Number everything. Raises BadInput for a fleet that contradicts itself."""
    if not fleet.services:
        raise BadInput(f'fleet "{fleet.name}" is empty', "a World needs services", "see: twin import, twin generate")
    services = fleet.services
    zones = tuple(sorted({pool.zone for pool in fleet.node_pools})) or ("zone-a",)
    names: list[NodeName] = []
    zone, cpu, memory = [], [], []
    for pool in fleet.node_pools:
        for name in pool.node_names:
            names.append(name)
            zone.append(zones.index(pool.zone))
            cpu.append(pool.cpu_cores)
            memory.append(float(pool.memory_bytes))
    if not names:  # A file without machines: enough of them, so that scheduling is no topic.
        cores = sum(s.replicas * s.resources.cpu_request_cores for s in services)
        for i in range(max(3, math.ceil(cores / 10))):
            names.append(NodeName(f"node-{i}"))
            zone.append(0)
            cpu.append(16.0)
            memory.append(float(64 * 2**30))
    if len(set(names)) != len(names):
        raise BadInput("two nodes share a name", "node pools must have names of their own", "rename one of the pools")
    ready = [s.readiness for s in services]
    live = [s.liveness for s in services]
    sources = sources_of(fleet.gitops, (s.owner for s in services))
    by_name = sorted(range(len(fleet.quotas)), key=lambda q: fleet.quotas[q].name)
    return Blueprint(
        fleet=fleet,
        network=compile_network(fleet),
        service_index={s.id: i for i, s in enumerate(services)},
        autoscaler_index={
            f"{s.namespace}/{s.autoscaling.name or s.name}": i for i, s in enumerate(services) if s.autoscaling
        },
        budget_index={
            f"{s.namespace}/{s.disruption.name or s.name}": i for i, s in enumerate(services) if s.disruption
        },
        service_entity=np.array([entity_of(s.id) for s in services], dtype=np.int64),
        start_ns=np.array([ns(s.start_s) for s in services], dtype=np.int64),
        surge_ratio=np.array([s.strategy.max_surge_ratio for s in services]),
        unavailable_ratio=np.array([s.strategy.max_unavailable_ratio for s in services]),
        one_by_one=np.array([s.kind is not WorkloadKind.DEPLOYMENT for s in services]),
        memory_base=np.array([float(s.memory_base_bytes) for s in services]),
        readiness_period_ns=np.array([ns(p.period_s) if p else 0 for p in ready], dtype=np.int64),
        readiness_timeout_s=np.array([p.timeout_s if p else 1.0 for p in ready]),
        readiness_threshold=np.array([p.failure_threshold if p else 3 for p in ready], dtype=np.int64),
        liveness_period_ns=np.array([ns(p.period_s) if p else 0 for p in live], dtype=np.int64),
        liveness_timeout_s=np.array([p.timeout_s if p else 1.0 for p in live]),
        liveness_threshold=np.array([p.failure_threshold if p else 3 for p in live], dtype=np.int64),
        cpu_target_ratio=np.array([s.autoscaling.cpu_target_ratio if s.autoscaling else np.inf for s in services]),
        quotas_of=tuple(tuple(q for q in by_name if fleet.quotas[q].namespace == s.namespace) for s in services),
        quota_covers=np.array(
            [[s.namespace == one.namespace for s in services] for one in fleet.quotas], dtype=np.bool_
        ).reshape(-1, len(services)),
        quota_index={(one.namespace, one.name): q for q, one in enumerate(fleet.quotas)},
        namespaces=tuple(s.namespace for s in services),
        reads_config=np.array([bool(s.reads) for s in services]),
        config_index={(one.namespace, one.name): c for c, one in enumerate(fleet.config_maps)},
        gitops=sources,
        gitops_services=tuple(
            tuple(i for i, s in enumerate(services) if s.owner == source.owner) for source in sources
        ),
        pod_webhooks=tuple(
            tuple(w for w, hook in enumerate(fleet.webhooks) if hook.is_asked("", "pods", "CREATE", s.namespace))
            for s in services
        ),
        secret_index={(one.namespace, one.name): c for c, one in enumerate(fleet.secrets)},
        node_names=tuple(names),
        node_index={name: i for i, name in enumerate(names)},
        node_zone=np.array(zone, dtype=np.int64),
        node_cpu=np.array(cpu),
        node_memory=np.array(memory),
        zones=zones,
    )
