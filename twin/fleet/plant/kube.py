"""Kubernetes' API on a World: the same calls, shapes and refusals as a real server's, where it has them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from twin.fleet.plant import gitops, objects, webhooks
from twin.fleet.plant.configs import Configs
from twin.fleet.plant.marks import Marks, is_mark
from twin.fleet.plant.refusals import not_found, unprocessable
from twin.fleet.quotas import amount_of
from twin.fleet.state import UNBOUNDED, Phase, Template
from twin.fleet.systems.perturbations import refresh_behaviour
from twin.fleet.systems.rollout import terminate
from twin.fleet.systems.templates import roll_out
from twin.fleet.world import World
from twin.ports.plant import KubeObject
from twin.spec.errors import BadInput, Conflict, Forbidden, TooManyRequests, Unprocessable
from twin.spec.fields import FieldPath, path_text
from twin.spec.fleet import QUOTA_RESOURCES, Resources, Service, WorkloadKind
from twin.spec.ids import NodeName, ServiceId
from twin.spec.plan import ObjectRef, ref_of
from twin.spec.signal import SignalKind
from twin.spec.units import parse_bytes, parse_cores, parse_duration_s

__all__ = ["WorldKubeApi"]

_PARTITION = ("spec", "updateStrategy", "rollingUpdate", "partition")
_WORKLOADS = frozenset(kind.value for kind in WorkloadKind)


class WorldKubeApi:
    def __init__(self, world: World, *, writes: bool) -> None:
        self._world = world
        self._writes = writes

    # Reading

    def get(self, ref: ObjectRef) -> KubeObject:
        world = self._world
        match ref.kind:
            case kind if kind in _WORKLOADS:
                index = self._service(ref)
                if world.fleet.services[index].kind.value != kind:
                    not_found(ref)
                return objects.workload_object(world, index, objects.count_pods(world))
            case "Service":
                return objects.service_object(world, self._service(ref))
            case "HorizontalPodAutoscaler":
                return objects.autoscaler_object(world, self._row(ref, world.blueprint.autoscaler_index))
            case "PodDisruptionBudget":
                return objects.budget_object(world, self._row(ref, world.blueprint.budget_index))
            case "ResourceQuota":
                return objects.quota_object(world, self._quota(ref))
            case "Node":
                return objects.node_object(world, self._node(ref))
            case "Pod":
                return objects.pod_object(world, self._pod(ref))
            case "HTTPRoute":
                return objects.route_object(world, *self._route(ref))
            case _ if is_mark(ref):
                return Marks(world).get(ref)
            case "ConfigMap" | "Secret":
                return Configs(world).get(ref)
            case kind if kind in gitops.KINDS:
                return gitops.Sources(world).get(ref)
            case webhooks.KIND:
                return webhooks.configuration(world, ref)
            case "ReplicaSet":
                found = [
                    rs for rs in self.list_objects("ReplicaSet", ref.namespace) if rs["metadata"]["name"] == ref.name
                ]
                return found[0] if found else not_found(ref)
            case _:
                not_found(ref)

    def list_objects(self, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[KubeObject]:
        found = [
            obj
            for obj in self._all(kind, labels or {})
            if (not namespace or obj["metadata"].get("namespace") == namespace)
            and all(obj["metadata"]["labels"].get(key) == value for key, value in (labels or {}).items())
        ]
        return sorted(found, key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))

    def watch(self, kind: str, *, since_version: str) -> Iterator[tuple[str, KubeObject]]:
        since = int(since_version)
        for obj in self.list_objects(kind):
            if int(obj["metadata"]["resourceVersion"]) > since:
                yield "MODIFIED", obj

    def logs(self, ref: ObjectRef, *, tail: int = 100) -> list[str]:
        row = self._pod(ref)
        state = self._world.state
        service = self._world.fleet.services[int(state.pod_service[row])].id
        lines = [f"{s.at_s:.0f} {s.reason}: {s.text}" for _, s in state.signals if s.service == service]
        return lines[-tail:]

    # Writing

    def patch(
        self,
        ref: ObjectRef,
        fields: Mapping[FieldPath, Any],
        *,
        resource_version: str | None = None,
        dry_run: bool = False,
        field_manager: str = "twin",
    ) -> KubeObject:
        self._allow(ref, dry_run)
        before = self.get(ref)
        if resource_version is not None and before["metadata"]["resourceVersion"] != resource_version:
            raise Conflict(
                f"cannot patch {ref}", "the object has been modified since it was read", "read it again and decide anew"
            )
        webhooks.ask_webhooks(self._world, ref, "UPDATE")
        if dry_run:  # A World is cheap: admit the write on a copy.
            shadow = self._world.fork(watched=False)
            return WorldKubeApi(shadow, writes=True).patch(ref, fields, field_manager=field_manager)
        match ref.kind:
            case kind if kind in _WORKLOADS:
                self._patch_workload(ref, fields, field_manager)
            case "Node":
                self._patch_node(ref, fields)
            case "HTTPRoute":
                self._patch_route(ref, fields)
            case "HorizontalPodAutoscaler":
                self._patch_autoscaler(ref, fields)
            case "PodDisruptionBudget":
                self._patch_budget(ref, fields)
            case "ResourceQuota":
                self._patch_quota(ref, fields)
            case _ if is_mark(ref):
                Marks(self._world).patch(ref, fields)
            case "ConfigMap" | "Secret":
                Configs(self._world).patch(ref, fields)
            case kind if kind in gitops.KINDS:
                gitops.Sources(self._world).patch(ref, fields)
            case _:
                unprocessable(ref, next(iter(fields), ()), "a World cannot change objects of this kind")
        return self.get(ref)

    def create(self, obj: KubeObject, *, dry_run: bool = False) -> KubeObject:
        self._allow(ref_of(obj), dry_run)
        webhooks.ask_webhooks(self._world, ref_of(obj), "CREATE")
        return Marks(self._world).create(obj, dry_run=dry_run)

    def delete(self, ref: ObjectRef, *, dry_run: bool = False) -> None:
        self._allow(ref, dry_run)
        webhooks.ask_webhooks(self._world, ref, "DELETE")
        if is_mark(ref):
            Marks(self._world).delete(ref, dry_run=dry_run)
            return
        if ref.kind != "Pod":
            unprocessable(ref, (), "a World deletes pods and marks only")
        row = self._pod(ref)
        if not dry_run:
            self._remove(row)

    def evict(self, ref: ObjectRef, *, dry_run: bool = False) -> None:
        self._allow(ref, dry_run)
        row = self._pod(ref)
        webhooks.ask_webhooks(self._world, ref, "CREATE", sub="eviction")
        state = self._world.state
        index = int(state.pod_service[row])
        phase = int(state.pod_phase[row])
        if phase == Phase.TERMINATING:
            return  # It goes already.
        if self._world.fleet.services[index].disruption is not None and phase not in (
            Phase.PENDING,
            Phase.UNCONFIGURED,
        ):
            least = int(state.budget_min[index])
            ready = int((state.pod_ready & (state.pod_service == index)).sum())
            if ready <= least and (state.pod_ready[row] or not 0 < least <= ready):  # policy IfHealthyBudget
                raise TooManyRequests(
                    f"cannot evict {ref}",
                    f"its disruption budget needs {least} ready pods, there are {ready}",
                    "wait until more are ready, or add a replica first",
                )
        if not dry_run:
            self._remove(row)

    # One kind each

    def _patch_workload(self, ref: ObjectRef, fields: Mapping[FieldPath, Any], manager: str) -> None:
        world, state = self._world, self._world.state
        index = self._service(ref)
        old = state.templates[int(state.template[index])]
        new = old
        for path, value in fields.items():
            match path:
                case ("spec", "replicas"):
                    if not isinstance(value, int) or not 0 <= value <= 100_000:
                        unprocessable(ref, path, f"{value!r} is not a number of replicas")
                case ("spec", "paused"):
                    if not isinstance(value, bool) and value is not None:
                        unprocessable(ref, path, f"{value!r} is not true or false")
                case ("spec", "updateStrategy", "rollingUpdate", "partition") if ref.kind == WorkloadKind.STATEFUL_SET:
                    if isinstance(value, bool) or not isinstance(value, int | None) or not 0 <= (value or 0) <= 100_000:
                        unprocessable(ref, path, f"{value!r} is not a number of pods")
                case ("spec", "template", *_):
                    new = _edit_template(ref, new, world.fleet.services[index], path, value)
                case _:
                    unprocessable(ref, path, "a World does not have this field")
        now = world.now_ns
        if ("spec", "replicas") in fields and int(state.wanted[index]) != fields[("spec", "replicas")]:
            state.wanted[index] = fields[("spec", "replicas")]
            state.service_version[index] = state.new_version()
            state.reconcile_due_ns[index] = now
        if ("spec", "paused") in fields and bool(state.paused[index]) != bool(fields[("spec", "paused")]):
            state.paused[index] = bool(fields[("spec", "paused")])
            state.service_version[index] = state.new_version()
            state.reconcile_due_ns[index] = now
        if _PARTITION in fields and int(state.partition[index]) != (fields[_PARTITION] or 0):
            state.partition[index] = fields[_PARTITION] or 0
            state.service_version[index] = state.new_version()
            state.reconcile_due_ns[index] = now
        if new != old:
            new = dataclasses.replace(new, cause=f"by {manager}")
            text = ", ".join(path_text(path) for path in sorted(fields))
            roll_out(world.blueprint, state, index, new, now, kind=SignalKind.DEPLOY, text=f"{text} by {manager}")
            refresh_behaviour(world.blueprint, state, now)

    def _patch_node(self, ref: ObjectRef, fields: Mapping[FieldPath, Any]) -> None:
        state, index = self._world.state, self._node(ref)
        for path, value in fields.items():
            if path != ("spec", "unschedulable"):
                unprocessable(ref, path, "only spec.unschedulable of a node can be set")
            state.node_cordoned[index] = bool(value)
        state.node_version[index] = state.new_version()
        state.schedule_due_ns = min(state.schedule_due_ns, self._world.now_ns)

    def _patch_route(self, ref: ObjectRef, fields: Mapping[FieldPath, Any]) -> None:
        state = self._world.state
        edges = objects.route_edges(self._world, *self._route(ref))
        conditions = state.conditions
        writes: list[tuple[Any, float]] = []  # All fields are checked before any is set.
        for path, value in fields.items():
            try:
                match path:
                    case ("spec", "rules", "[0]", "timeouts", "request"):
                        writes.append((conditions.edge_timeout_s, np.inf if value is None else parse_duration_s(value)))
                    case ("spec", "rules", "[0]", "retry", "attempts"):
                        if isinstance(value, bool) or not isinstance(value, int | None) or not 0 <= (value or 0) <= 100:
                            unprocessable(ref, path, f"{value!r} is not a number of attempts")
                        writes.append((conditions.edge_retries, value or 0))
                    case ("spec", "rules", "[0]", "retry", "backoff"):
                        writes.append((conditions.edge_backoff_s, 0.0 if value is None else parse_duration_s(value)))
                    case _:
                        unprocessable(ref, path, "a World does not have this field")
            except BadInput as error:
                raise Unprocessable(f"cannot patch {ref}", f"{path_text(path)}: {error}", error.next_step) from error
        for array, figure in writes:
            array[edges] = figure
        state.edge_version[edges] = state.new_version()

    def _patch_autoscaler(self, ref: ObjectRef, fields: Mapping[FieldPath, Any]) -> None:
        state, index = self._world.state, self._row(ref, self._world.blueprint.autoscaler_index)
        least, most = int(state.autoscale_min[index]), int(state.autoscale_max[index])
        for path, value in fields.items():
            if not isinstance(value, int) or value < 1:
                unprocessable(ref, path, f"{value!r} is not a number of replicas")
            match path:
                case ("spec", "minReplicas"):
                    least = value
                case ("spec", "maxReplicas"):
                    most = value
                case _:
                    unprocessable(ref, path, "a World does not have this field")
        if least > most:
            unprocessable(ref, ("spec", "minReplicas"), "it must not exceed maxReplicas")
        state.autoscale_min[index], state.autoscale_max[index] = least, most
        state.service_version[index] = state.new_version()

    def _patch_budget(self, ref: ObjectRef, fields: Mapping[FieldPath, Any]) -> None:
        state, index = self._world.state, self._row(ref, self._world.blueprint.budget_index)
        for path, value in fields.items():
            if path != ("spec", "minAvailable"):
                unprocessable(ref, path, "a World does not have this field")
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                unprocessable(ref, path, f"{value!r} is not a number of pods")
            if state.budget_min[index] != value:
                state.budget_min[index] = value
                state.budget_version[index] = state.new_version()

    def _patch_quota(self, ref: ObjectRef, fields: Mapping[FieldPath, Any]) -> None:
        state, index = self._world.state, self._quota(ref)
        hard = state.quota_hard[index].copy()
        for path, value in fields.items():
            if len(path) != 3 or path[:2] != ("spec", "hard") or path[2] not in QUOTA_RESOURCES:
                unprocessable(ref, path, "a World does not have this field")
            resource = QUOTA_RESOURCES.index(path[2])
            try:
                hard[resource] = UNBOUNDED if value is None else amount_of(resource, value)
            except BadInput as error:
                raise Unprocessable(f"cannot patch {ref}", f"{path_text(path)}: {error}", error.next_step) from error
        if (hard != state.quota_hard[index]).any():
            state.quota_hard[index] = hard
            state.quota_version[index] = state.new_version()

    def _remove(self, row: int) -> None:
        state = self._world.state
        terminate(state, np.array([row]), self._world.now_ns)
        state.reconcile_due_ns[int(state.pod_service[row])] = self._world.now_ns

    # Names to rows

    def _all(self, kind: str, labels: Mapping[str, str]) -> Iterator[KubeObject]:
        world, state = self._world, self._world.state
        services = world.fleet.services
        wanted_name = labels.get("app")
        numbers = [i for i, s in enumerate(services) if wanted_name is None or s.name == wanted_name]
        match kind:
            case kind if kind in _WORKLOADS:
                counts = objects.count_pods(world)
                mine = (i for i in numbers if services[i].kind.value == kind)
                yield from (objects.workload_object(world, i, counts) for i in mine)
            case "Service":
                yield from (objects.service_object(world, i) for i in numbers)
            case "HorizontalPodAutoscaler":
                yield from (objects.autoscaler_object(world, i) for i in numbers if services[i].autoscaling)
            case "PodDisruptionBudget":
                yield from (objects.budget_object(world, i) for i in numbers if services[i].disruption)
            case "ReplicaSet":
                for i, template in enumerate(state.templates):
                    if template.of >= 0:
                        continue
                    if wanted_name is None or services[template.service].name == wanted_name:
                        yield objects.replica_set_object(world, i)
            case "ResourceQuota":
                yield from (objects.quota_object(world, i) for i in range(len(world.fleet.quotas)))
            case "Node":
                yield from (objects.node_object(world, i) for i in range(len(world.blueprint.node_names)))
            case "Pod":
                chosen = np.isin(state.pod_service, numbers) & (state.pod_phase != Phase.FREE)
                yield from (objects.pod_object(world, int(row)) for row in np.flatnonzero(chosen))
            case "HTTPRoute":
                yield from (objects.route_object(world, *pair) for pair in objects.route_pairs(world))
            case webhooks.KIND:
                yield from webhooks.configurations(world)
            case kind if kind in gitops.KINDS:
                yield from gitops.Sources(world).all(kind)
            case "ConfigMap" | "Secret" | "Lease":
                if kind != "Lease":
                    yield from Configs(world).all(kind)
                yield from Marks(world).all(kind)

    def _service(self, ref: ObjectRef) -> int:
        index = self._world.blueprint.service_index.get(ServiceId(f"{ref.namespace}/{ref.name}"))
        return not_found(ref) if index is None else index

    def _row(self, ref: ObjectRef, rows: Mapping[str, int]) -> int:
        index = rows.get(f"{ref.namespace}/{ref.name}")
        return not_found(ref) if index is None else index

    def _quota(self, ref: ObjectRef) -> int:
        index = self._world.blueprint.quota_index.get((ref.namespace, ref.name))
        return not_found(ref) if index is None else index

    def _node(self, ref: ObjectRef) -> int:
        index = self._world.blueprint.node_index.get(NodeName(ref.name))
        return not_found(ref) if index is None else index

    def _pod(self, ref: ObjectRef) -> int:
        state = self._world.state
        stem, _, number = ref.name.rpartition("-")
        if number.isdigit():
            name = stem.rpartition("-")[0]
            index = self._world.blueprint.service_index.get(ServiceId(f"{ref.namespace}/{name}"), -2)
            for row in np.flatnonzero((state.pod_service == index) & (state.pod_number == int(number))):
                if objects.pod_name(self._world, int(row)) == ref.name:
                    return int(row)
        return not_found(ref)

    def _route(self, ref: ObjectRef) -> tuple[str, ServiceId]:
        for pair in objects.route_pairs(self._world):
            if objects.route_name(*pair) == (ref.namespace, ref.name):
                return pair
        return not_found(ref)

    def _allow(self, ref: ObjectRef, dry_run: bool) -> None:
        if not self._writes and not dry_run:
            raise Forbidden(
                f"cannot write {ref}", "this identity may only read and dry-run", "promote a receipt: twin promote"
            )


def _edit_template(ref: ObjectRef, old: Template, service: Service, path: FieldPath, value: Any) -> Template:
    """The template with one field set. Raises Unprocessable."""
    mine = f"[name={service.name}]"
    match path[2:]:
        case ("metadata", "annotations", key):
            annotations = {**dict(old.annotations), key: value}
            kept = tuple(sorted((k, str(v)) for k, v in annotations.items() if v is not None))
            return dataclasses.replace(old, annotations=kept)
        case ("spec", "containers", name, "image") if name == mine:
            if not isinstance(value, str) or not value or any(c.isspace() for c in value):
                unprocessable(ref, path, f"{value!r} is not an image")
            return dataclasses.replace(old, image=value)
        case ("spec", "containers", name, "env", key, "value") if name == mine and key.startswith("[name="):
            if value is not None and key[6:-1] in {read.name for read in service.reads if read.key}:
                unprocessable(ref, path, "valueFrom: Invalid value: may not be specified when `value` is not empty")
            env = {**dict(old.env), key[6:-1]: value}
            return dataclasses.replace(old, env=tuple(sorted((k, str(v)) for k, v in env.items() if v is not None)))
        case ("spec", "containers", name, "resources", group, resource) if name == mine:
            try:
                return dataclasses.replace(old, resources=_edit_resources(old.resources, group, resource, value))
            except (BadInput, KeyError) as error:
                raise Unprocessable(f"cannot patch {ref}", f"{path_text(path)}: {error}", "give a quantity") from error
        case _:
            unprocessable(ref, path, "a World does not have this field")


def _edit_resources(old: Resources, group: str, resource: str, value: Any) -> Resources:
    field = {
        ("requests", "cpu"): "cpu_request_cores",
        ("requests", "memory"): "memory_request_bytes",
        ("limits", "cpu"): "cpu_limit_cores",
        ("limits", "memory"): "memory_limit_bytes",
    }[(group, resource)]
    amount: Any = None if value is None else parse_cores(value) if resource == "cpu" else parse_bytes(value)
    if amount is None and group == "requests":
        raise BadInput("a request cannot be removed", "the scheduler needs one", "set a quantity")
    new = dataclasses.replace(old, **{field: amount})
    for limit, request in (
        (new.cpu_limit_cores, new.cpu_request_cores),
        (new.memory_limit_bytes, new.memory_request_bytes),
    ):
        if limit is not None and limit < request:
            raise BadInput("limit below request", f"{limit:g} < {request:g}", "raise the limit or lower the request")
    return new
