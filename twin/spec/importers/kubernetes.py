"""Kubernetes manifests as a Fleet: what they declare, the calls that their addresses show, priors for the rest.

The call graph is wherever people put addresses: an address is matched to a Service, the Service's selector to
workloads. What manifests cannot say (traffic, service times, concurrency, time-outs) comes from a hints file,
from metrics, or from priors, and every prior is a belief with a spread. Same input, same Fleet.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from twin.spec.checks import flaws_of
from twin.spec.errors import BadInput
from twin.spec.fleet import Belief, Fleet, Journey, NodePool, Resources, Service, Source, WorkloadKind
from twin.spec.ids import JourneyName, OpId, ServiceId, op_id, service_of
from twin.spec.importers.addresses import cluster_names, is_in_cluster
from twin.spec.importers.configs import config_map_of, known_reads, read_by, secret_of
from twin.spec.importers.hints import CallHint, Hints, ServiceHint
from twin.spec.importers.manifests import Manifest, ManifestText, as_list, as_map, as_text, read_manifests
from twin.spec.importers.notes import ImportResult, Note, NoteKind, Severity
from twin.spec.importers.priors import (
    CALLS_A_REQUEST,
    LOAD_TARGET_UTILISATION,
    MEMORY_BASE_SHARE,
    PRIORS,
    RATE_SPREAD,
    Figure,
    Role,
    looks_like_front_end,
)
from twin.spec.importers.quotas import quota_of
from twin.spec.importers.scaling import autoscaling_of, disruption_of
from twin.spec.importers.webhooks import webhooks_of
from twin.spec.importers.workloads import Mention, Workload, selects, workload_of
from twin.spec.parameters import journey_path, op_path, parameters_of, service_path, station_path
from twin.spec.program import Cached, Call, Hold, Operation, Publish, Retry, Scope, Station, Step, Work, calls_of
from twin.spec.webhooks import Webhook

__all__ = ["DEFAULT_NAMESPACE", "DEFAULT_OPERATION", "core_share", "import_kubernetes", "op_rates", "op_work_s"]

DEFAULT_NAMESPACE: Final = "default"
DEFAULT_OPERATION: Final = "serve"
_WORKLOADS: Final = frozenset(kind.value for kind in WorkloadKind)
_KNOWN: Final = _WORKLOADS | {
    "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ConfigMap", "Secret", "ResourceQuota", "Ingress",
    "ValidatingWebhookConfiguration",
}  # fmt: skip
# They change nothing that a fleet model looks at.
_WITHOUT_BEARING: Final = frozenset({
    "Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding",
    "NetworkPolicy", "PersistentVolume", "PersistentVolumeClaim", "StorageClass", "PriorityClass", "LimitRange",
    "CustomResourceDefinition", "Endpoints", "EndpointSlice", "Event", "Lease", "Node",
})  # fmt: skip
_ZONES: Final = ("a", "b", "c")
_NODE_FILL: Final = 0.6


def import_kubernetes(
    texts: Sequence[ManifestText],
    *,
    name: str = "imported",
    hints: Hints | None = None,
    default_namespace: str = DEFAULT_NAMESPACE,
) -> ImportResult:
    """The Fleet that these manifests describe, and notes on everything assumed, missing or unreadable.

    Raises BadInput if they hold no workload at all, or if the hints speak of what is not there.
    """
    manifests, notes = read_manifests(texts, default_namespace)
    manifests = _last_of_each(manifests, notes)
    graph = _Graph(manifests, notes)
    if not graph.workloads:
        raise _nothing_usable(texts, notes)
    said = _Resolved(hints or Hints(), graph)
    graph.add_hinted_calls(said)
    graph.break_circles(said)
    pools = said.hints.node_pools or _node_pools(graph.workloads.values(), notes)
    builder = _Builder(graph, said, notes, node_count=sum(pool.count for pool in pools))
    config_maps = [config_map_of(one.data, one.namespace) for one in graph.by_kind.get("ConfigMap", ())]
    secrets = tuple(secret_of(one.data, one.namespace) for one in graph.by_kind.get("Secret", ()))
    services = tuple(
        replace(service, reads=known_reads(service.reads, service.namespace, config_maps, secrets))
        for service in map(builder.service, graph.workloads.values())
    )
    journeys = said.journeys or builder.journeys(services)
    read = [quota_of(manifest, notes) for manifest in graph.by_kind.get("ResourceQuota", ())]
    quotas = tuple(quota for quota in read if quota is not None)
    fleet = Fleet(
        name=name, services=services, journeys=journeys, node_pools=pools, quotas=quotas,
        config_maps=read_by(services, config_maps), secrets=secrets, webhooks=graph.webhooks(),
    )  # fmt: skip
    known = {path for path, _ in parameters_of(fleet)}
    beliefs = {path: belief for path, belief in sorted(builder.beliefs.items()) if path in known}
    fleet = replace(fleet, beliefs=MappingProxyType(beliefs))
    said.check(fleet)
    graph.note_quotas(fleet)
    notes.sort(key=lambda note: (note.file, note.line))
    return ImportResult(fleet=fleet, notes=tuple(notes))


def op_rates(services: Iterable[Service], journeys: Iterable[Journey]) -> dict[OpId, float]:
    """Requests a second at each operation when nothing fails, by following the calls from the journeys."""
    edges = {op_id(s.id, o.name): list(_shares(o.steps, 1.0)) for s in services for o in s.operations}
    outside = dict.fromkeys(edges, 0.0)
    for journey in journeys:
        if journey.target in outside:
            outside[journey.target] += journey.rate_rps
    rates = dict(outside)
    for _ in range(100):  # As many rounds as the graph is deep; circles of rare calls converge.
        following = dict(outside)
        for op, calls in edges.items():
            for target, share in calls:
                if target in following:
                    following[target] += rates[op] * share
        if following == rates:
            break
        rates = following
    return rates


def _shares(steps: tuple[Step, ...], share: float) -> Iterator[tuple[OpId, float]]:
    for step in steps:
        match step:
            case Call() | Publish():
                yield step.target, share * step.probability
            case Hold(body=body):
                yield from _shares(body, share)
            case Cached(hit_ratio=hit_ratio, miss=miss):
                yield from _shares(miss, share * (1.0 - hit_ratio))
            case Work():
                pass


# --- the graph --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Edge:
    """A call between workloads. `share` divides it where a Service has several workloads behind it."""

    source: ServiceId
    target: ServiceId
    share: float
    place: str
    hint: CallHint | None = None
    operation: str = ""  # of the target; empty: its default


@dataclass(slots=True)
class _ServiceObject:
    manifest: Manifest
    backends: list[Workload] = field(default_factory=list)


class _Graph:
    """Workloads, the Services before them, and who calls whom."""

    def __init__(self, manifests: Sequence[Manifest], notes: list[Note]) -> None:
        self.notes = notes
        self.by_kind: dict[str, list[Manifest]] = {}
        for manifest in manifests:
            self.by_kind.setdefault(manifest.kind, []).append(manifest)
        config_maps = {manifest.id: manifest for manifest in self.by_kind.get("ConfigMap", ())}
        self.workloads: dict[ServiceId, Workload] = {}
        for manifest in manifests:
            if manifest.kind in _WORKLOADS:
                workload = workload_of(manifest, config_maps, notes)
                self.workloads[workload.id] = workload
        self.services = {manifest.id: _ServiceObject(manifest) for manifest in self.by_kind.get("Service", ())}
        self.edges: dict[tuple[ServiceId, ServiceId], _Edge] = {}
        self._match_services()
        self._apply_policies()
        self._find_edges()
        self._note_the_rest(manifests)

    def webhooks(self) -> tuple[Webhook, ...]:
        """Who is asked before writes are made; what a World cannot ask is noted."""
        known = {
            (s.manifest.namespace, s.manifest.name): s.backends[0].id for s in self.services.values() if s.backends
        }
        labels = {
            one.name: _texts(as_map(one.data.get("metadata")).get("labels"))
            for one in self.by_kind.get("Namespace", ())
        }
        namespaces = {w.manifest.namespace: labels.get(w.manifest.namespace, {}) for w in self.workloads.values()}
        found: list[Webhook] = []
        for manifest in self.by_kind.get("ValidatingWebhookConfiguration", ()):
            webhooks, left_out = webhooks_of(manifest.data, known, namespaces)
            found += webhooks
            for name in left_out:
                text = (
                    f'left out: webhook "{name}" looks at objects more closely than a World does, or asks about nothing'
                )
                self.notes.append(manifest.note(Severity.WARNING, NoteKind.IGNORED, text, "webhooks"))
        return tuple({f"{one.configuration}/{one.name}": one for one in found}.values())

    def _match_services(self) -> None:
        for service in self.services.values():
            spec = as_map(service.manifest.data.get("spec"))
            kind = as_text(spec.get("type"))
            if kind == "ExternalName" or not spec.get("selector"):
                continue
            for workload in self.workloads.values():
                same = workload.manifest.namespace == service.manifest.namespace
                if same and selects(spec["selector"], workload.labels):
                    service.backends.append(workload)
                    workload.services.append(service.manifest.name)
                    if kind in ("LoadBalancer", "NodePort") and workload.role is Role.APP:
                        workload.entry = f"Service {service.manifest.name} is a {kind}"
            if not service.backends:
                text = f'Service "{service.manifest.id}" selects no workload among the files'
                self.notes.append(service.manifest.note(Severity.WARNING, NoteKind.DANGLING, text, "spec", "selector"))
        for ingress in self.by_kind.get("Ingress", ()):
            for backend in _backend_names(ingress.data.get("spec")):
                found = self.services.get(f"{ingress.namespace}/{backend}")
                if found is None:
                    text = f'Ingress "{ingress.id}" leads to Service "{backend}", which is not among the files'
                    self.notes.append(ingress.note(Severity.WARNING, NoteKind.DANGLING, text, "spec"))
                for workload in found.backends if found else ():
                    workload.entry = f"Ingress {ingress.name} leads to it"

    def _apply_policies(self) -> None:
        for manifest in self.by_kind.get("HorizontalPodAutoscaler", ()):
            reference = as_map(as_map(manifest.data.get("spec")).get("scaleTargetRef"))
            workload = self.workloads.get(ServiceId(f"{manifest.namespace}/{as_text(reference.get('name'))}"))
            scaling = autoscaling_of(manifest.data, as_text(reference.get("name")))
            if workload is None or scaling is None:
                what = "scales nothing among the files" if workload is None else "has bounds that make no sense"
                text = f'HorizontalPodAutoscaler "{manifest.id}" {what}'
                self.notes.append(manifest.note(Severity.WARNING, NoteKind.DANGLING, text, "spec"))
                continue
            workload.autoscaling = scaling
            if "replicas" not in as_map(workload.manifest.data.get("spec")):
                workload.replicas = scaling.min_replicas
        for manifest in self.by_kind.get("PodDisruptionBudget", ()):
            selector = as_map(manifest.data.get("spec")).get("selector")
            guarded = [
                workload
                for workload in self.workloads.values()
                if workload.manifest.namespace == manifest.namespace and selects(selector, workload.labels)
            ]
            for workload in guarded:
                workload.disruption = disruption_of(
                    manifest.data, workload.manifest.name, workload.replicas or 1, shared=len(guarded) > 1
                )
            if not guarded:
                text = f'PodDisruptionBudget "{manifest.id}" guards nothing among the files'
                self.notes.append(manifest.note(Severity.WARNING, NoteKind.DANGLING, text, "spec"))

    def _find_edges(self) -> None:
        for workload in self.workloads.values():
            seen: set[str] = set()
            for mention in workload.mentions:
                service = self._service_of(mention, workload.manifest.namespace)
                if service is not None:
                    if mention.address.sure or mention.believed:
                        self._connect(workload, service, mention)
                elif mention.address.sure and mention.address.host not in seen:
                    seen.add(mention.address.host)
                    self._note_unknown(workload, mention)

    def _service_of(self, mention: Mention, namespace: str) -> _ServiceObject | None:
        for where, name in cluster_names(mention.address.host, namespace):
            if f"{where}/{name}" in self.services:
                return self.services[f"{where}/{name}"]
        return None

    def _connect(self, workload: Workload, service: _ServiceObject, mention: Mention) -> None:
        if workload.role is Role.LOAD:
            for target in service.backends:
                if target.role is Role.APP:
                    target.entry = f"the load generator {workload.manifest.name} calls it"
            return
        others = [target for target in service.backends if target.id != workload.id]
        total = sum(target.replicas or 1 for target in others)
        for target in others:
            share = (target.replicas or 1) / total if total else 1.0 / len(others)
            self.edges.setdefault((workload.id, target.id), _Edge(workload.id, target.id, share, mention.place))

    def _note_unknown(self, workload: Workload, mention: Mention) -> None:
        address = mention.address
        shown = f"{address.host}:{address.port}" if address.port else address.host
        if is_in_cluster(address.host):
            text = f'{workload.id} calls "{shown}" ({mention.place}), which is no Service among the files'
            severity, kind = Severity.WARNING, NoteKind.DANGLING
        else:
            text = f'{workload.id} calls "{shown}" ({mention.place}) outside the fleet: not modelled'
            severity, kind = Severity.INFO, NoteKind.EXTERNAL
        self.notes.append(workload.manifest.note(severity, kind, text, *mention.path))

    def _note_the_rest(self, manifests: Sequence[Manifest]) -> None:
        aside: dict[str, int] = {}
        for manifest in manifests:
            if manifest.kind in _WITHOUT_BEARING:
                aside[manifest.kind] = aside.get(manifest.kind, 0) + 1
            elif manifest.kind not in _KNOWN:
                text = f'left out: "{manifest.name}" is a {manifest.kind}, which is not understood'
                self.notes.append(manifest.note(Severity.WARNING, NoteKind.IGNORED, text))
        if aside:
            text = "without bearing on the fleet: " + ", ".join(f"{aside[kind]} {kind}" for kind in sorted(aside))
            self.notes.append(Note(severity=Severity.INFO, kind=NoteKind.IGNORED, text=text))

    def add_hinted_calls(self, said: _Resolved) -> None:
        for source, target, operation, hint in said.calls:
            edge = self.edges.setdefault((source, target), _Edge(source, target, 1.0, "hints"))
            edge.hint, edge.operation = hint, operation

    def break_circles(self, said: _Resolved) -> None:
        """Leave out one call of each circle: programs that are certain to call themselves never end."""
        calls: dict[ServiceId, list[ServiceId]] = {}
        for source, target in self.edges:
            if said.operations_of(source) is None:
                calls.setdefault(source, []).append(target)
        state: dict[ServiceId, int] = {}  # 1: on the path, 2: done
        for start in sorted(self.workloads, key=lambda service: (not self.workloads[service].entry, service)):
            if start in state:
                continue
            state[start] = 1
            path = [(start, iter(calls.get(start, ())))]
            while path:
                service, rest = path[-1]
                following = next(rest, None)
                if following is None:
                    state[service] = 2
                    path.pop()
                elif state.get(following) == 1:
                    del self.edges[(service, following)]
                    text = f"{service} and {following} call each other: the call from {service} is left out; "
                    text += "say in a hints file which operations call which"
                    manifest = self.workloads[service].manifest
                    self.notes.append(manifest.note(Severity.WARNING, NoteKind.CYCLE, text))
                elif following not in state:
                    state[following] = 1
                    path.append((following, iter(calls.get(following, ()))))

    def note_quotas(self, fleet: Fleet) -> None:
        """Which quotas let not all pods be made that are declared."""
        manifests = {manifest.id: manifest for manifest in self.by_kind.get("ResourceQuota", ())}
        for quota in fleet.quotas:
            manifest = manifests[f"{quota.namespace}/{quota.name}"]
            members = [service for service in fleet.services if service.namespace == quota.namespace]
            asked = {
                "pods": sum(s.replicas for s in members),
                "requests.cpu": sum(s.replicas * s.resources.cpu_request_cores for s in members),
                "requests.memory": sum(s.replicas * s.resources.memory_request_bytes for s in members),
                "limits.cpu": sum(s.replicas * (s.resources.cpu_limit_cores or 0.0) for s in members),
                "limits.memory": sum(s.replicas * (s.resources.memory_limit_bytes or 0) for s in members),
            }
            texts = [
                f'{quota.namespace} asks for more {key} than ResourceQuota "{quota.name}" allows'
                for key, most in quota.hard.items()
                if asked[key] > most
            ]
            for s in members:
                limits = {"limits.cpu": s.resources.cpu_limit_cores, "limits.memory": s.resources.memory_limit_bytes}
                texts += [
                    f'{s.id} states no {key}: ResourceQuota "{quota.name}" lets none of its pods be made'
                    for key, limit in limits.items()
                    if limit is None and key in quota.hard
                ]
            self.notes += [manifest.note(Severity.WARNING, NoteKind.ASSUMED, text, "spec", "hard") for text in texts]


def _backend_names(value: Any, depth: int = 0) -> Iterator[str]:
    if depth > 12:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "service" and as_text(as_map(item).get("name")):
                yield as_text(as_map(item)["name"])
            elif key == "serviceName" and as_text(item):
                yield as_text(item)
            else:
                yield from _backend_names(item, depth + 1)
    for item in as_list(value):
        yield from _backend_names(item, depth + 1)


def _last_of_each(manifests: Sequence[Manifest], notes: list[Note]) -> list[Manifest]:
    """As with `kubectl apply`, the last of two objects with one name counts."""
    found: dict[tuple[str, str], Manifest] = {}
    for manifest in manifests:
        kind = "workload" if manifest.kind in _WORKLOADS else manifest.kind
        earlier = found.get((kind, manifest.id))
        if earlier is not None:
            place = f"{earlier.file}:{earlier.line()}"
            text = f'{manifest.kind} "{manifest.id}" stands also at {place}: the last one counts'
            notes.append(manifest.note(Severity.WARNING, NoteKind.IGNORED, text, "metadata", "name"))
        found[(kind, manifest.id)] = manifest
    return list(found.values())


def _nothing_usable(texts: Sequence[ManifestText], notes: Sequence[Note]) -> BadInput:
    what = f"cannot import {texts[0].name}" if len(texts) == 1 else f"cannot import {len(texts)} files"
    worst = next((note for note in notes if note.severity is Severity.ERROR), None)
    if worst is not None:
        return BadInput(what, f"no workload in it; {worst}", "correct it, or render templates first (helm template)")
    return BadInput(
        what, "no Deployment, StatefulSet or DaemonSet in it", "name a file or folder of Kubernetes manifests"
    )


# --- hints, with their names resolved ---------------------------------------------------------------------


class _Resolved:
    """Hints whose short names are replaced by full ones. Raises BadInput for names of nothing."""

    def __init__(self, hints: Hints, graph: _Graph) -> None:
        self.hints = hints
        self._known = list(graph.workloads)
        self.services: dict[ServiceId, ServiceHint] = {}
        for key, hint in hints.services.items():
            service = self._service(key, hint.line)
            if service in self.services:
                raise self._bad(hint.line, f'"{service}" is there twice', "keep one of the two")
            self.services[service] = hint
        self.calls = [self._call(hint) for hint in hints.calls]
        self.journeys = tuple(
            replace(journey, target=self._op(journey.target, line))
            for journey, line in zip(hints.journeys, hints.journey_lines)
        )

    def operations_of(self, service: ServiceId) -> tuple[Operation, ...] | None:
        """The programs that the hints give a service, with full names; None if they give none."""
        hint = self.services.get(service)
        if hint is None or hint.operations is None:
            return None
        return tuple(replace(o, steps=self._steps(o.steps, hint.line)) for o in hint.operations)

    def check(self, fleet: Fleet) -> None:
        flaw = next(flaws_of(fleet), None)
        if flaw is not None:
            place = fleet.services[int(flaw.path[1])].id if flaw.path[0] == "services" else str(flaw.path[-1])
            hint = self.services.get(ServiceId(place))
            raise self._bad(hint.line if hint else 1, f"{place}: {flaw.message}", flaw.next_step)

    def _call(self, hint: CallHint) -> tuple[ServiceId, ServiceId, str, CallHint]:
        source = self._service(hint.source, hint.line)
        target, _, operation = hint.target.partition(":")
        if self.services.get(source) and self.services[source].operations is not None:
            why = f'the operations of "{source}" are given, and with them its calls'
            raise self._bad(hint.line, why, "put the call into one of the operations")
        return source, self._service(target, hint.line), operation, hint

    def _service(self, name: str, line: int) -> ServiceId:
        if ServiceId(name) in self._known:
            return ServiceId(name)
        found = [service for service in self._known if service.split("/", 1)[1] == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise self._bad(line, f'"{name}" may be {found[0]} or {found[1]}', "write the namespace too")
        close = difflib.get_close_matches(name, [*self._known, *(s.split("/", 1)[1] for s in self._known)], n=1)
        next_step = f'did you mean "{close[0]}"?' if close else "name a workload of the manifests"
        raise self._bad(line, f'there is no workload "{name}" among the files', next_step)

    def _op(self, target: OpId, line: int) -> OpId:
        service, colon, operation = target.rpartition(":")
        if not colon:
            service, operation = target, DEFAULT_OPERATION
        return op_id(self._service(service, line), operation)

    def _steps(self, steps: tuple[Step, ...], line: int) -> tuple[Step, ...]:
        found: list[Step] = []
        for step in steps:
            match step:
                case Call(target=target) | Publish(target=target):
                    found.append(replace(step, target=self._op(target, line)))
                case Hold(body=body):
                    found.append(replace(step, body=self._steps(body, line)))
                case Cached(miss=miss):
                    found.append(replace(step, miss=self._steps(miss, line)))
                case Work():
                    found.append(step)
        return tuple(found)

    def _bad(self, line: int, why: str, next_step: str) -> BadInput:
        return BadInput(f"cannot use {self.hints.name}", f"line {line}: {why}", next_step)


# --- services, with priors --------------------------------------------------------------------------------


class _Builder:
    """Puts together what is declared, what is hinted and what is assumed, and keeps the beliefs."""

    def __init__(self, graph: _Graph, said: _Resolved, notes: list[Note], node_count: int) -> None:
        self.beliefs: dict[str, Belief] = {}
        self._graph = graph
        self._said = said
        self._notes = notes
        self._node_count = node_count
        self._called = {target for _, target in graph.edges}

    def service(self, workload: Workload) -> Service:
        hint = self._said.services.get(workload.id) or ServiceHint(line=0)
        priors = PRIORS[workload.role]
        given = self._said.operations_of(workload.id)
        stations = {station.name: station for station in self._stations(workload, hint)}
        for station in hint.stations or ():
            stations[station.name] = station
            self.beliefs.pop(station_path(workload.id, station.name), None)  # Declared now.
        if given is not None:
            operations = given
            self._note_uncalled(workload, given)
            used = set(_station_names(given)) | {"cpu", *(station.name for station in hint.stations or ())}
            stations = {name: station for name, station in stations.items() if name in used}
        elif workload.role is Role.LOAD:
            operations = ()
            text = f"{workload.id} makes load: it becomes a journey and answers nobody itself"
            self._notes.append(workload.manifest.note(Severity.INFO, NoteKind.LOAD, text))
        else:
            operations = (Operation(name=DEFAULT_OPERATION, steps=self._program(workload, hint)),)
        initial_s = workload.readiness.initial_delay_s if workload.readiness else 0.0
        start = replace(priors.start_s, value=max(priors.start_s.value, initial_s))
        memory = Figure(workload.resources.memory_request_bytes * MEMORY_BASE_SHARE.value, MEMORY_BASE_SHARE.spread)
        if not workload.has_memory_request:
            memory = Figure(64 * 2**20, 1.0)
        start_s = self._choose(service_path(workload.id, "start_s"), hint.start_s, start)
        memory_bytes = self._choose(service_path(workload.id, "memory_base_bytes"), hint.memory_base_bytes, memory)
        keeps_data = workload.role in (Role.DATABASE, Role.CACHE, Role.BROKER)
        stateful = workload.kind is WorkloadKind.STATEFUL_SET or keeps_data
        return Service(
            id=workload.id,
            operations=operations,
            stations=tuple(stations.values()),
            kind=workload.kind,
            replicas=self._node_count if workload.replicas is None else workload.replicas,
            image=workload.image,
            env=MappingProxyType(dict(sorted(workload.env.items()))),
            labels=MappingProxyType(dict(sorted(workload.labels.items()))),
            config_maps=workload.config_maps,
            reads=workload.reads,
            resources=workload.resources,
            memory_base_bytes=round(memory_bytes),
            start_s=start_s,
            readiness=workload.readiness,
            liveness=workload.liveness,
            strategy=workload.strategy,
            autoscaling=workload.autoscaling,
            disruption=workload.disruption,
            stateful=stateful if hint.stateful is None else hint.stateful,
            owner=hint.owner if hint.owner is not None else _owner(workload),
        )

    def journeys(self, services: tuple[Service, ...]) -> tuple[Journey, ...]:
        """One journey for each workload that users reach, all at the rate that the fleet seems sized for."""
        entries = self._entries()
        if not entries:
            text = "nothing looks like an entry for users: no traffic; name journeys in a hints file"
            self._notes.append(Note(severity=Severity.WARNING, kind=NoteKind.NO_TRAFFIC, text=text))
            return ()
        by_id = {service.id: service for service in services}
        guessed = [
            Journey(
                name=JourneyName(entry.manifest.name),
                target=op_id(entry.id, self._default_operation(by_id[entry.id])),
                rate_rps=1.0,
            )
            for entry in entries
        ]
        names = [journey.name for journey in guessed]
        guessed = [
            replace(journey, name=JourneyName(entry.id.replace("/", "-"))) if names.count(journey.name) > 1 else journey
            for journey, entry in zip(guessed, entries)
        ]
        rate_rps = float(f"{_affordable_rate_rps(services, guessed):.2g}")
        for journey, entry in zip(guessed, entries):
            self.beliefs[journey_path(journey.name, "rate_rps")] = Belief(source=Source.PRIOR, spread=RATE_SPREAD)
            self.beliefs[journey_path(journey.name, "timeout_s")] = Belief(source=Source.PRIOR, spread=0.7)
            text = f"users reach {entry.id} ({entry.entry}): taken to be {rate_rps:g} requests/s, to a factor of 3"
            self._notes.append(entry.manifest.note(Severity.INFO, NoteKind.ASSUMED, text))
        return tuple(replace(journey, rate_rps=rate_rps) for journey in guessed)

    def _entries(self) -> list[Workload]:
        apps = [workload for workload in self._graph.workloads.values() if workload.role is Role.APP]
        found = [workload for workload in apps if workload.entry]
        if not found:
            uncalled = [workload for workload in apps if workload.services and workload.id not in self._called]
            fronts = [workload for workload in uncalled if looks_like_front_end(workload.manifest.name)]
            callers = {source for source, _ in self._graph.edges}
            found = fronts or [workload for workload in uncalled if workload.id in callers] or uncalled[:1]
            for workload in found:
                workload.entry = "nobody else calls it"
        return found

    def _stations(self, workload: Workload, hint: ServiceHint) -> Iterator[Station]:
        priors = PRIORS[workload.role]
        yield Station(name="cpu", servers=_cpu_servers(workload))
        if workload.role is Role.LOAD:
            return
        if priors.workers is not None and hint.workers != 0:
            path = station_path(workload.id, "workers")
            yield Station(name="workers", servers=round(self._choose(path, hint.workers, priors.workers)))
        if priors.connections is not None:
            path = station_path(workload.id, "connections")
            servers = self._choose(path, workload.max_connections, priors.connections)
            yield Station(name="connections", servers=round(servers), scope=Scope.SERVICE)
        targets = [target for source, target in self._graph.edges if source == workload.id]
        pools = [PRIORS[self._graph.workloads[target].role].pool for target in targets]
        pool = next((pool for pool in pools if pool is not None), None)
        if pool is not None:
            servers = self._choose(station_path(workload.id, "db-pool"), None, pool)
            yield Station(name="db-pool", servers=round(servers))

    def _program(self, workload: Workload, hint: ServiceHint) -> tuple[Step, ...]:
        op = op_id(workload.id, DEFAULT_OPERATION)
        prior = PRIORS[workload.role].work_s
        # A replica held to a fifth of a core serves a fifth as much: its work takes five times as long.
        work = replace(prior, value=float(f"{prior.value / core_share(workload.resources):.3g}"))
        work_s = self._choose(op_path(op, "work", 0, "mean_s"), hint.work_s, work)
        cv = self._choose(op_path(op, "work", 0, "cv"), hint.cv, Figure(1.0, 0.3))
        body: list[Step] = [Work(mean_s=work_s, cv=cv)]
        edges = [edge for edge in self._graph.edges.values() if edge.source == workload.id]
        each = Figure(round(min(1.0, CALLS_A_REQUEST.value / max(1, len(edges))), 2), CALLS_A_REQUEST.spread)
        calls = 0
        publishes = 0
        for edge in edges:
            target = op_id(edge.target, self._operation_of(edge))
            told = edge.hint or CallHint(line=0, source="", target="")
            role = self._graph.workloads[edge.target].role
            share = replace(each, value=round(each.value * edge.share, 4))
            if told.publish:
                path = op_path(op, "publish", publishes, "probability")
                body.append(Publish(target=target, probability=self._choose(path, told.probability, share)))
                publishes += 1
                continue
            call = self._call(op, calls, target, told, role, share)
            body.append(Hold(station="db-pool", body=(call,)) if PRIORS[role].pool is not None else call)
            calls += 1
        if workload.role is Role.DATABASE:
            return (Hold(station="connections", body=tuple(body)),)
        if workload.role is Role.APP and hint.workers != 0:
            return (Hold(station="workers", body=tuple(body)),)
        return tuple(body)

    def _call(self, op: OpId, index: int, target: OpId, told: CallHint, role: Role, share: Figure) -> Call:
        def path(figure: str) -> str:
            return op_path(op, "call", index, figure)

        timeout_s = self._choose(path("timeout_s"), told.timeout_s, PRIORS[role].timeout_s)
        if told.retry is None:
            self.beliefs[path("retries")] = Belief(source=Source.PRIOR, spread=0.7)
        return Call(
            target=target,
            probability=self._choose(path("probability"), told.probability, share),
            timeout_s=timeout_s,
            retry=told.retry or Retry(),
            cancel=told.cancel,
            required=told.required,
        )

    def _choose(self, path: str, said: float | None, prior: Figure) -> float:
        """What was said, or the prior, which becomes a belief."""
        if said is not None:
            return said
        self.beliefs[path] = Belief(source=Source.PRIOR, spread=prior.spread)
        return prior.value

    def _operation_of(self, edge: _Edge) -> str:
        if edge.operation:
            return edge.operation
        given = self._said.operations_of(edge.target)
        if not given or any(operation.name == DEFAULT_OPERATION for operation in given):
            return DEFAULT_OPERATION
        return given[0].name

    def _default_operation(self, service: Service) -> str:
        names = [operation.name for operation in service.operations]
        return DEFAULT_OPERATION if DEFAULT_OPERATION in names or not names else names[0]

    def _note_uncalled(self, workload: Workload, given: tuple[Operation, ...]) -> None:
        called = {service_of(call.target) for operation in given for call in calls_of(operation.steps)}
        for edge in self._graph.edges.values():
            if edge.source == workload.id and edge.target not in called:
                text = (
                    f"{workload.id} knows the address of {edge.target} ({edge.place}), but no hinted operation calls it"
                )
                self._notes.append(workload.manifest.note(Severity.INFO, NoteKind.ASSUMED, text))


def _cpu_servers(workload: Workload) -> int:
    """Whole cores that one replica can use: its limit, or at least what it asks for."""
    cores = workload.resources.cpu_limit_cores or workload.resources.cpu_request_cores
    return max(1, math.ceil(cores))


def core_share(resources: Resources) -> float:
    """How much of its whole cores a replica may use: 0.2 for a limit of 200m. At least a twentieth."""
    limit = resources.cpu_limit_cores
    return 1.0 if limit is None else max(0.05, limit / max(1, math.ceil(limit)))


def _owner(workload: Workload) -> str:
    for key in ("team", "owner", "app.kubernetes.io/part-of"):
        if workload.labels.get(key):
            return workload.labels[key]
    return ""


def _station_names(operations: Iterable[Operation]) -> Iterator[str]:
    def of(steps: tuple[Step, ...]) -> Iterator[str]:
        for step in steps:
            match step:
                case Work(station=station):
                    yield station
                case Hold(station=station, body=body):
                    yield station
                    yield from of(body)
                case Cached(miss=miss):
                    yield from of(miss)
                case Call() | Publish():
                    pass

    for operation in operations:
        yield from of(operation.steps)


def op_work_s(steps: tuple[Step, ...], share: float = 1.0) -> float:
    """Mean time at the CPU station that one run of a program takes, calls not counted, in seconds."""
    total = 0.0
    for step in steps:
        match step:
            case Work(mean_s=mean_s, station="cpu"):
                total += share * mean_s
            case Hold(body=body):
                total += op_work_s(body, share)
            case Cached(hit_ratio=hit_ratio, miss=miss):
                total += op_work_s(miss, share * (1.0 - hit_ratio))
            case _:
                pass
    return total


def _affordable_rate_rps(services: tuple[Service, ...], journeys: Sequence[Journey]) -> float:
    """The rate of each journey at which the busiest workload is as busy as people let it become."""
    rates = op_rates(services, journeys)
    busiest = 0.0
    for service in services:
        cores = sum(rates[op_id(service.id, o.name)] * op_work_s(o.steps) for o in service.operations)
        servers = next((station.servers for station in service.stations if station.name == "cpu"), 1)
        if service.replicas:
            busiest = max(busiest, cores / (service.replicas * servers))
    return min(1e4, LOAD_TARGET_UTILISATION / busiest) if busiest > 0 else 1.0


def _node_pools(workloads: Iterable[Workload], notes: list[Note]) -> tuple[NodePool, ...]:
    """Machines are not in manifests: three zones with room for the loss of one."""
    cores = memory = 0.0
    for workload in workloads:
        cores += (workload.replicas or 1) * workload.resources.cpu_request_cores
        memory += (workload.replicas or 1) * workload.resources.memory_request_bytes
    shape = NodePool(name="", zone="", count=0)
    wanted = max(cores / shape.cpu_cores, memory / shape.memory_bytes) / _NODE_FILL
    count = max(1, math.ceil(wanted / len(_ZONES)))
    text = f"machines are not in manifests: taken to be {count} of {shape.cpu_cores:g} cores in each of 3 zones"
    notes.append(Note(severity=Severity.INFO, kind=NoteKind.ASSUMED, text=text))
    return tuple(NodePool(name=f"default-{zone}", zone=zone, count=count) for zone in _ZONES)


def _texts(value: Any) -> dict[str, str]:
    return {str(key): as_text(item) for key, item in as_map(value).items()}
