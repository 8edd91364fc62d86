"""How much smaller a shadow is than production: users and requests by a share each, so that it fits one machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from twin.kube.dressing import scaled, scaled_bound
from twin.kube.snapshot import Snapshot
from twin.ports.plant import KubeObject
from twin.spec.fields import FieldPath
from twin.spec.fleet import Fleet, WorkloadKind
from twin.spec.ids import ServiceId
from twin.spec.plan import PatchStep, Plan, PlanStep
from twin.spec.program import Call, Work, calls_of
from twin.spec.units import parse_bytes, parse_cores

__all__ = ["cores_of", "fitted", "requests_share", "users_share"]

CPU_SHARE: Final = 0.25  # of the machine's cores that users may keep busy in calm times
LIMIT_SHARE: Final = 0.35  # of a pod's own limit
CALL_COST_S: Final = 0.0008  # processor time of either end of a call, beside its work; measured
DEPTH_MAX: Final = 20  # of calls; a ring of services ends there
RATE_MIN_RPS: Final = 1e-6
ROOM_SHARE: Final = 0.7  # of the nodes' room that workloads ask for, so that a roll-out's surge finds some


def cores_of(nodes: Sequence[KubeObject]) -> float:
    return sum(parse_cores(node["status"]["allocatable"]["cpu"]) for node in nodes)


def requests_share(snapshot: Snapshot, *, nodes: Sequence[KubeObject], pods: Sequence[KubeObject]) -> float:
    """What requests are multiplied by, so that all of a snapshot's pods fit beside those that are there, with room to
    spare."""
    workloads = [obj for kind in WorkloadKind for obj in snapshot.of(kind)]
    share = 1.0
    for resource in ("cpu", "memory"):
        have = sum(_amount(resource, node["status"]["allocatable"]) for node in nodes)
        have -= sum(_asked(resource, pod["spec"]) for pod in pods)
        wanted = sum(_asked(resource, o["spec"]["template"]["spec"]) * o["spec"].get("replicas", 1) for o in workloads)
        if wanted > 0.0:
            share = min(share, ROOM_SHARE * have / wanted)
    return share


def fitted(plan: Plan, room: float) -> Plan:
    """The plan with its requests, and the bounds of quotas on them, multiplied by `room`."""
    return replace(plan, steps=tuple(_fitted(step, room) for step in plan.steps))


def _fitted(step: PlanStep, room: float) -> PlanStep:
    if not isinstance(step, PatchStep):
        return step
    return replace(step, fields={path: _scaled_field(path, value, room) for path, value in step.fields.items()})


def _scaled_field(path: FieldPath, value: Any, room: float) -> Any:
    if value is None:
        return None
    if path[:2] == ("spec", "hard"):
        return scaled_bound(path[-1], value, room)
    return scaled(path[-1], value, room) if "requests" in path else value


def _asked(resource: str, pod: Mapping[str, Any]) -> float:
    """What a pod asks the scheduler for; whoever is limited and asks for nothing asks for the limit."""
    total = 0.0
    for container in pod["containers"]:
        resources = container.get("resources", {})
        total += _amount(resource, {**resources.get("limits", {}), **resources.get("requests", {})})
    return total


def _amount(resource: str, quantities: Mapping[str, Any]) -> float:
    read = parse_cores if resource == "cpu" else parse_bytes
    return float(read(str(quantities.get(resource, "0"))))


def users_share(fleet: Fleet, cores: float) -> float:
    """What users' rates are multiplied by, so that in calm times neither the machine nor any stand-in is busy with more
    than a part of what it has."""
    demand = _demand_cores(fleet)
    share = CPU_SHARE * cores / max(sum(demand.values()), 1e-9)
    for service in fleet.services:
        limit = service.resources.cpu_limit_cores
        if limit is not None and demand[service.id] > 0.0:
            share = min(share, LIMIT_SHARE * limit * service.replicas / demand[service.id])
    return min(share, 1.0)


def _demand_cores(fleet: Fleet) -> dict[ServiceId, float]:
    """Processor time a second that a fleet's users cause in each service's stand-ins when all is well."""
    operations = {
        f"{service.id}:{operation.name}": (service.id, operation)
        for service in fleet.services
        for operation in service.operations
    }
    demand = {service.id: 0.0 for service in fleet.services}

    def visit(target: str, rate_rps: float, depth: int) -> None:
        if target not in operations or depth > DEPTH_MAX or rate_rps < RATE_MIN_RPS:
            return
        service, operation = operations[target]
        calls = list(calls_of(operation.steps))
        made = sum(call.probability for call in calls)
        demand[service] += rate_rps * (_work_s(operation.steps) + CALL_COST_S * (1.0 + made))
        for call in calls:
            visit(str(call.target), rate_rps * call.probability, depth + 1)

    for journey in fleet.journeys:
        visit(str(journey.target), journey.rate_rps, 0)
    return demand


def _work_s(steps: Sequence[Any]) -> float:
    total = 0.0
    for step in steps:
        if isinstance(step, Work):
            total += step.mean_s if step.station == "cpu" else 0.0
        elif not isinstance(step, Call):
            total += _work_s(getattr(step, "body", ()) or getattr(step, "miss", ()))
    return total
