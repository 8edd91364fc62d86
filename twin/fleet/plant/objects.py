"""A World's rows as Kubernetes objects in wire shape, made when somebody asks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from twin.fleet.admitted import pods_admitted
from twin.fleet.configs import missing_of
from twin.fleet.declarations import LIMITS_ANNOTATION
from twin.fleet.plant.configs import config_env, config_env_from
from twin.fleet.plant.gitops import marks_of
from twin.fleet.plant.metadata import uid_of
from twin.fleet.quotas import amount_text, used_of
from twin.fleet.signals import stamp
from twin.fleet.state import NEVER_NS, UNBOUNDED, Phase, Template
from twin.fleet.world import World
from twin.ports.plant import KubeObject
from twin.spec.fleet import QUOTA_RESOURCES, Probe, Resources, Service, WorkloadKind
from twin.spec.ids import ServiceId
from twin.spec.units import duration_text

__all__ = [
    "PodCounts",
    "autoscaler_object",
    "budget_object",
    "count_pods",
    "node_object",
    "pod_name",
    "pod_object",
    "quota_object",
    "replica_set_object",
    "route_edges",
    "route_object",
    "route_pairs",
    "service_object",
    "workload_object",
]

REVISION: Final = "deployment.kubernetes.io/revision"


@dataclass(frozen=True, slots=True)
class PodCounts:
    """(S,) pods that are not about to go; of these the ready ones, and those of the newest template."""

    all: NDArray[np.int64]
    ready: NDArray[np.int64]
    updated: NDArray[np.int64]
    ready_updated: NDArray[np.int64]


def count_pods(world: World) -> PodCounts:
    """Counted at once for all services: a list of workloads asks for every one."""
    state = world.state
    rows = np.flatnonzero((state.pod_phase != Phase.FREE) & (state.pod_phase != Phase.TERMINATING))
    service, ready = state.pod_service[rows], state.pod_ready[rows]
    updated = state.pod_template[rows] == state.template[service]

    def count(chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(service[chosen], minlength=len(world.fleet.services))

    return PodCounts(count(np.ones_like(ready)), count(ready), count(updated), count(ready & updated))


def workload_object(world: World, index: int, counts: PodCounts) -> KubeObject:
    """The service's Deployment, StatefulSet or DaemonSet."""
    state = world.state
    service = world.fleet.services[index]
    template = state.templates[int(state.template[index])]
    ready = int(counts.ready[index])
    annotations = {REVISION: str(template.revision)}
    if template.cause:
        annotations["kubernetes.io/change-cause"] = template.cause
    marks, notes = marks_of(service)
    annotations |= notes
    if service.owner:
        annotations["twin.dev/owner"] = service.owner
    if limits := world.blueprint.declared_limits[index]:
        annotations[LIMITS_ANNOTATION] = limits
    spec: dict[str, Any] = {
        "replicas": int(state.wanted[index]),
        "selector": {"matchLabels": {"app": service.name}},
        "template": _pod_template(service, template),
    }
    if service.kind is WorkloadKind.DEPLOYMENT:
        spec["paused"] = bool(state.paused[index])
        spec["strategy"] = {
            "type": "RollingUpdate",
            "rollingUpdate": {
                "maxSurge": f"{service.strategy.max_surge_ratio:.0%}",
                "maxUnavailable": f"{service.strategy.max_unavailable_ratio:.0%}",
            },
        }
    elif service.kind is WorkloadKind.STATEFUL_SET:
        partition = int(state.partition[index])
        spec["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    return {
        "apiVersion": "apps/v1",
        "kind": service.kind.value,
        "metadata": _metadata(
            world, service.kind.value, service.namespace, service.name, int(state.service_version[index]),
            labels={"app": service.name, **service.labels, **marks}, annotations=annotations,
        ),
        "spec": spec,
        "status": {
            "replicas": int(counts.all[index]),
            "readyReplicas": ready,
            "availableReplicas": ready,
            "updatedReplicas": int(counts.updated[index]),
            "updatedReadyReplicas": int(counts.ready_updated[index]),
            "unavailableReplicas": max(int(state.wanted[index]) - ready, 0),
            **_replica_failure(world, index),
        },
    }  # fmt: skip


def _replica_failure(world: World, index: int) -> dict[str, Any]:
    """That no more pods can be made, as a Deployment's status tells it."""
    state = world.state
    if state.refused_since_ns[index] == NEVER_NS or world.fleet.services[index].kind is not WorkloadKind.DEPLOYMENT:
        return {}
    _, why = pods_admitted(world.blueprint, state, index, int(state.template[index]), 1)
    return {"conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": why}]}


def replica_set_object(world: World, index: int) -> KubeObject:
    """One revision of a service's template: what `rollout undo` goes back to."""
    state = world.state
    template = state.templates[index]
    service = world.fleet.services[template.service]
    name = f"{service.name}-{index}"
    count = int(((state.pod_template == index) & (state.pod_phase != Phase.TERMINATING)).sum())
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            **_metadata(world, "ReplicaSet", service.namespace, name, int(state.service_version[template.service]),
                        labels={"app": service.name}, annotations={REVISION: str(template.revision)}),
            "ownerReferences": [{"kind": service.kind.value, "name": service.name, "controller": True}],
        },
        "spec": {"replicas": count, "template": _pod_template(service, template)},
    }  # fmt: skip


def pod_name(world: World, row: int) -> str:
    state = world.state
    service = world.fleet.services[int(state.pod_service[row])]
    return f"{service.name}-{int(state.pod_template[row])}-{int(state.pod_number[row])}"


def pod_object(world: World, row: int) -> KubeObject:
    state = world.state
    index = int(state.pod_service[row])
    service = world.fleet.services[index]
    template = state.templates[int(state.pod_template[row])]
    phase = Phase(int(state.pod_phase[row]))
    ready = bool(state.pod_ready[row])
    status: dict[str, Any] = {
        "phase": "Pending" if phase in (Phase.PENDING, Phase.UNCONFIGURED) else "Running",
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [
            {
                "name": service.name,
                "ready": ready,
                "restartCount": int(state.pod_restarts[row]),
                "state": _container_state(world, index, phase),
            }
        ],
    }
    spec = dict(_pod_template(service, template)["spec"])
    if state.pod_node[row] >= 0:
        spec["nodeName"] = world.blueprint.node_names[int(state.pod_node[row])]
    metadata = _metadata(
        world, "Pod", service.namespace, pod_name(world, row), int(state.pod_version[row]),
        labels={"app": service.name}, created_ns=int(state.pod_created_ns[row]),
    )  # fmt: skip
    metadata["ownerReferences"] = [{"kind": service.kind.value, "name": service.name, "controller": True}]
    if phase is Phase.TERMINATING:
        metadata["deletionTimestamp"] = stamp(world.blueprint, world.now_ns)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def _container_state(world: World, service: int, phase: Phase) -> dict[str, Any]:
    if phase is Phase.BACKOFF:
        return {"waiting": {"reason": "CrashLoopBackOff"}}
    if phase is Phase.UNCONFIGURED:
        why = missing_of(world.blueprint, world.state, service)
        return {"waiting": {"reason": "CreateContainerConfigError", "message": why}}
    return {"running": {}}


def node_object(world: World, index: int) -> KubeObject:
    state, blueprint = world.state, world.blueprint
    name = blueprint.node_names[index]
    zone = blueprint.zones[int(blueprint.node_zone[index])]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": _metadata(
            world, "Node", "", name, int(state.node_version[index]), labels={"topology.kubernetes.io/zone": zone}
        ),
        "spec": {"unschedulable": bool(state.node_cordoned[index])},
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if state.node_ready[index] else "Unknown"}],
            "allocatable": {
                "cpu": f"{blueprint.node_cpu[index]:g}",
                "memory": f"{int(blueprint.node_memory[index])}",
            },
        },
    }


def service_object(world: World, index: int) -> KubeObject:
    service = world.fleet.services[index]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(world, "Service", service.namespace, service.name, 1, labels={"app": service.name}),
        "spec": {"selector": {"app": service.name}, "ports": [{"port": 80}]},
    }


def autoscaler_object(world: World, index: int) -> KubeObject:
    state, service = world.state, world.fleet.services[index]
    target = service.autoscaling.cpu_target_ratio if service.autoscaling else 0.7
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(
            world,
            "HorizontalPodAutoscaler",
            service.namespace,
            (service.autoscaling and service.autoscaling.name) or service.name,
            int(state.service_version[index]),
        ),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": service.kind.value, "name": service.name},
            "minReplicas": int(state.autoscale_min[index]),
            "maxReplicas": int(state.autoscale_max[index]),
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {"type": "Utilization", "averageUtilization": round(target * 100)},
                    },
                }
            ],
        },
        "status": {"desiredReplicas": int(state.wanted[index])},
    }


def budget_object(world: World, index: int) -> KubeObject:
    service, least = world.fleet.services[index], int(world.state.budget_min[index])
    ready = int((world.state.pod_ready & (world.state.pod_service == index)).sum())
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(
            world,
            "PodDisruptionBudget",
            service.namespace,
            (service.disruption and service.disruption.name) or service.name,
            int(world.state.budget_version[index]),
        ),
        "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": service.name}}},
        "status": {"currentHealthy": ready, "desiredHealthy": least, "disruptionsAllowed": max(ready - least, 0)},
    }


def quota_object(world: World, index: int) -> KubeObject:
    quota, state = world.fleet.quotas[index], world.state
    hard, used = state.quota_hard[index], used_of(world.blueprint, state, index)
    bounded = [r for r in range(len(QUOTA_RESOURCES)) if hard[r] != UNBOUNDED]
    allowed, taken = (
        {QUOTA_RESOURCES[r]: amount_text(r, int(amounts[r])) for r in bounded} for amounts in (hard, used)
    )
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": _metadata(world, "ResourceQuota", quota.namespace, quota.name, int(state.quota_version[index])),
        "spec": {"hard": allowed},
        "status": {"hard": dict(allowed), "used": taken},
    }


def route_pairs(world: World) -> list[tuple[str, ServiceId]]:
    """Who calls whom: (caller service id or "user:journey", callee service id), in order."""
    return list(world.blueprint.routes)


def route_edges(world: World, caller: str, callee: ServiceId) -> list[int]:
    """Edges (rows) that a route covers."""
    return [int(edge) for edge in world.blueprint.routes.get((caller, callee), ())]


def route_name(caller: str, callee: ServiceId) -> tuple[str, str]:
    """(namespace, name) of the HTTPRoute for a pair: in the caller's namespace, as a consumer route is."""
    target = callee.split("/", 1)
    if caller.startswith("user:"):
        return target[0], f"user.{caller.removeprefix('user:')}--{target[1]}"
    namespace, name = caller.split("/", 1)
    return namespace, f"{name}--{target[1]}" if target[0] == namespace else f"{name}--{target[0]}.{target[1]}"


def route_object(world: World, caller: str, callee: ServiceId) -> KubeObject:
    """Time-outs and retries on the way to a service, as a Gateway API route (GEP-1742, GEP-1731)."""
    namespace, name = route_name(caller, callee)
    edges = route_edges(world, caller, callee)
    conditions = world.state.conditions
    rule: dict[str, Any] = {"backendRefs": [{"name": callee.split("/", 1)[1], "namespace": callee.split("/", 1)[0]}]}
    version = 1
    if edges:
        first = edges[0]
        timeout = float(conditions.edge_timeout_s[first])
        rule["retry"] = {
            "attempts": int(conditions.edge_retries[first]),
            "backoff": duration_text(float(conditions.edge_backoff_s[first])),
        }
        if np.isfinite(timeout):
            rule["timeouts"] = {"request": duration_text(timeout)}
        version = int(world.state.edge_version[edges].max())
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": _metadata(
            world,
            "HTTPRoute",
            namespace,
            name,
            version,
            labels={"twin.dev/caller": _label(caller)},
            annotations=dict(world.blueprint.declared_calls.get((caller, callee), {})),
        ),
        "spec": {"parentRefs": [{"kind": "Service", "name": callee.split("/", 1)[1]}], "rules": [rule]},
    }


def _label(caller: str) -> str:
    return caller.replace("/", ".").replace(":", ".")


def _pod_template(service: Service, template: Template) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": service.name,
        "image": template.image,
        "env": _environment(service, template),
        "resources": _resources(template.resources),
    }
    if env_from := config_env_from(service.reads):
        container["envFrom"] = env_from
    for key, probe in (("readinessProbe", service.readiness), ("livenessProbe", service.liveness)):
        if probe is not None:
            container[key] = _probe(probe)
    return {
        "metadata": {"labels": {"app": service.name}, "annotations": dict(template.annotations)},
        "spec": {"containers": [container]},
    }


def _environment(service: Service, template: Template) -> list[dict[str, Any]]:
    said = [{"name": name, "value": value} for name, value in template.env]
    return [*(one for one in config_env(service.reads) if one["name"] not in dict(template.env)), *said]


def _resources(resources: Resources) -> dict[str, Any]:
    limits: dict[str, str] = {}
    if resources.cpu_limit_cores is not None:
        limits["cpu"] = f"{round(resources.cpu_limit_cores * 1000)}m"
    if resources.memory_limit_bytes is not None:
        limits["memory"] = str(resources.memory_limit_bytes)
    requests = {
        "cpu": f"{round(resources.cpu_request_cores * 1000)}m",
        "memory": str(resources.memory_request_bytes),
    }
    return {"requests": requests, "limits": limits} if limits else {"requests": requests}


def _probe(probe: Probe) -> dict[str, Any]:
    return {
        "periodSeconds": math.ceil(probe.period_s),  # Kubernetes knows whole seconds only.
        "timeoutSeconds": math.ceil(probe.timeout_s),
        "failureThreshold": probe.failure_threshold,
        "initialDelaySeconds": math.ceil(probe.initial_delay_s),
        "httpGet": {"path": "/healthz", "port": 80},
    }


def _metadata(
    world: World,
    kind: str,
    namespace: str,
    name: str,
    version: int,
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    created_ns: int = 0,
) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "uid": uid_of(world, kind, namespace, name),
        "resourceVersion": str(version),
        "creationTimestamp": stamp(world.blueprint, created_ns if created_ns != NEVER_NS else 0),
        "labels": labels or {},
        "annotations": annotations or {},
    }
    if namespace:
        metadata["namespace"] = namespace
    return metadata
