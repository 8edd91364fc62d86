"""Build a twin from what production shows: objects, metrics, traces. Never from a simulation's parameters.

What each figure rests on:
- rates and call ratios: measured, from traces' edges;
- work a request needs: measured, by the utilisation law (busy cores / requests per second; Denning and
  Buzen 1978), shared among a service's operations by their own time in traces;
- what requests wait for on no processor: measured, beside what the twin makes of itself (twin/fit/delays.py);
- start-up times: measured, where pods say since when they are ready;
- time-outs, retries, limits, probes, which calls can be done without: declared in the cluster's objects;
- variability of work, start-up times otherwise, what only shows under stress: priors, with a wide spread.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from twin.fit.delays import with_delays
from twin.fit.startup import start_times
from twin.ports.plant import EdgeId, KubeApi, KubeObject, Metric, OperationStats, Plant, TracedEdge
from twin.spec.config import ConfigMap
from twin.spec.errors import Forbidden, Inconclusive, NotFound
from twin.spec.fleet import (
    Autoscaling,
    Belief,
    Disruption,
    Fleet,
    Journey,
    NodePool,
    Probe,
    Quota,
    Resources,
    Service,
    Source,
    WorkloadKind,
)
from twin.spec.gitops import SYNC_S, GitOps, GitOpsKind, is_suspended, source_of, sources_of
from twin.spec.ids import JourneyName, NodeName, OpId, ServiceId, op_id
from twin.spec.importers.configs import config_map_of, read_by, reads_of, secrets_taken_as_there
from twin.spec.importers.quotas import bounds_of, is_scoped
from twin.spec.importers.scaling import autoscaling_of, disruption_of, rolling_update_of
from twin.spec.importers.webhooks import webhooks_of
from twin.spec.owners import owner_of
from twin.spec.parameters import journey_path, op_path, service_path, station_path
from twin.spec.program import Call, Hold, Operation, Publish, Retry, Scope, Station, Step, Work, calls_of
from twin.spec.selectors import selects
from twin.spec.units import parse_bytes, parse_cores, parse_duration_s
from twin.spec.webhooks import Webhook

__all__ = ["WINDOW_S", "observe"]

WINDOW_S: Final = 600.0
CV_SPREAD: Final = 0.3
START_PRIOR_S: Final = 5.0
START_SPREAD: Final = 0.5
SPREAD_MIN: Final = 0.01  # No telemetry is better than this.
_ZONE = "topology.kubernetes.io/zone"
_LIMITS = "twin.dev/limits"
_OPTIONAL, _CANCELS = "twin.dev/optional", "twin.dev/cancels"


@dataclass(frozen=True, slots=True)
class _Route:
    timeout_s: float | None
    retry: Retry
    optional: frozenset[str] = frozenset()  # "operation>called"
    cancels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Seen:
    """Telemetry of the window, reduced to one figure each."""

    edges: Sequence[TracedEdge]
    calls: Mapping[tuple[str, str], Sequence[TracedEdge]]  # by (caller, its operation), in order
    called: Mapping[str, Sequence[str]]  # operations of a callee that somebody calls
    edge_rps: Mapping[EdgeId, float]
    operations: Mapping[str, Mapping[str, OperationStats]]  # by service, by operation
    cores: Mapping[ServiceId, float]
    memory: Mapping[ServiceId, float]
    window_s: float


def observe(plant: Plant, *, window_s: float = WINDOW_S, until_s: float | None = None) -> Fleet:
    """A twin of the plant as it was over `window_s` up to `until_s` (Unix seconds; None: now), with a belief for
    every figure. Objects are read as they are now.

    Raises Inconclusive if telemetry shows nothing to build from.
    """
    until_s = plant.clock.now_s() if until_s is None else until_s
    seen = _look(plant, window_s, until_s)
    routes = _routes(plant)
    workloads = [o for kind in WorkloadKind for o in plant.kube.list_objects(kind.value)]
    by_id = {_id(o): o for o in workloads}
    scaling, budgets = _autoscaling(plant.kube), _disruption(plant.kube, workloads)
    shown = {service: by_id[service] for service in plant.telemetry.services() if service in by_id}
    starts_s = start_times(plant.kube, shown)
    beliefs: dict[str, Belief] = {}
    services = []
    for service, workload in shown.items():
        declared = scaling.get(service), budgets.get(service)
        services.append(_service(workload, *declared, starts_s.get(service), routes, seen, beliefs))
    journeys = [_journey(edge.id, routes, seen, beliefs) for edge in seen.edges if edge.id.caller == "user"]
    if not services or not journeys:
        raise Inconclusive(
            "cannot build a twin", "telemetry shows no services or no users", "let production run for ten minutes first"
        )
    namespaces = {service.namespace for service in services}
    twin = Fleet(
        name=f"{plant.name}-twin",
        services=tuple(services),
        journeys=tuple(journeys),
        node_pools=_node_pools(plant),
        quotas=_quotas(plant, namespaces),
        config_maps=_config_maps(plant, services),
        secrets=secrets_taken_as_there(services),
        gitops=_sources(plant, services),
        webhooks=_webhooks(plant, workloads, services),
        epoch_s=int(until_s),
        beliefs=MappingProxyType(beliefs),
    )
    return with_delays(twin, plant.telemetry, start_s=until_s - window_s, end_s=until_s)


def _look(plant: Plant, window_s: float, end_s: float) -> _Seen:
    start_s = end_s - window_s
    telemetry = plant.telemetry
    edges = list(telemetry.edges())
    ids = [edge.id for edge in edges]
    rates = telemetry.edge_series(Metric.REQUESTS_RPS, ids, start_s=start_s, end_s=end_s)
    if rates.times_s.size < 4:
        raise Inconclusive(
            "cannot build a twin",
            f"only {rates.times_s.size} scrapes in the last {window_s:g} s",
            "let production run for ten minutes first: twin world run",
        )
    services = list(telemetry.services())
    cores = telemetry.series(Metric.CPU_CORES, services, start_s=start_s, end_s=end_s)
    memory = telemetry.series(Metric.MEMORY_BYTES, services, start_s=start_s, end_s=end_s)
    calls: dict[tuple[str, str], list[TracedEdge]] = {}
    called: dict[str, list[str]] = {}
    for edge in sorted(edges, key=lambda edge: edge.id.position):
        calls.setdefault((edge.id.caller, edge.id.caller_operation), []).append(edge)
        called.setdefault(edge.id.callee, []).append(edge.id.callee_operation)
    operations: dict[str, dict[str, OperationStats]] = {}
    for stats in telemetry.operations(start_s=start_s, end_s=end_s):
        operations.setdefault(stats.service, {})[stats.operation] = stats
    return _Seen(
        edges=edges,
        calls=calls,
        called=called,
        edge_rps=dict(zip(ids, np.nanmean(rates.values, axis=0).tolist(), strict=True)),
        operations=operations,
        cores=dict(zip(services, np.nanmean(cores.values, axis=0).tolist(), strict=True)),
        memory=dict(zip(services, np.nanmedian(memory.values, axis=0).tolist(), strict=True)),
        window_s=window_s,
    )


def _routes(plant: Plant) -> Mapping[tuple[str, str], _Route]:
    """What routes declare, by (caller label, callee id)."""
    routes = {}
    for obj in plant.kube.list_objects("HTTPRoute"):
        rule = obj["spec"]["rules"][0]
        backend = rule["backendRefs"][0]
        timeout = rule.get("timeouts", {}).get("request")
        retry = rule.get("retry", {})
        callee = f"{backend.get('namespace', obj['metadata'].get('namespace'))}/{backend['name']}"
        routes[(obj["metadata"]["labels"].get("twin.dev/caller", ""), callee)] = _Route(
            timeout_s=None if timeout is None else parse_duration_s(timeout),
            retry=Retry(retries=int(retry.get("attempts", 0)), backoff_s=parse_duration_s(retry.get("backoff", "0s"))),
            optional=_listed(obj, _OPTIONAL),
            cancels=_listed(obj, _CANCELS),
        )
    return routes


def _listed(obj: KubeObject, annotation: str) -> frozenset[str]:
    """The entries of a list in an annotation."""
    text = (obj["metadata"].get("annotations") or {}).get(annotation, "")
    return frozenset(entry.strip() for entry in text.split(",") if entry.strip())


def _service(
    workload: KubeObject,
    autoscaling: Autoscaling | None,
    disruption: Disruption | None,
    start_s: float | None,
    routes: Mapping[tuple[str, str], _Route],
    seen: _Seen,
    beliefs: dict[str, Belief],
) -> Service:
    service = _id(workload)
    container = workload["spec"]["template"]["spec"]["containers"][0]
    limits = json.loads(workload["metadata"]["annotations"].get(_LIMITS, "{}"))
    source = Source.PRIOR if start_s is None else Source.MEASURED
    beliefs[service_path(service, "start_s")] = Belief(source=source, spread=START_SPREAD)
    return Service(
        id=service,
        kind=WorkloadKind(workload["kind"]),
        operations=_operations(service, limits, routes, seen, beliefs),
        stations=_stations(service, limits, beliefs),
        replicas=int(workload["spec"].get("replicas", 1)),
        image=container["image"],
        env=MappingProxyType({e["name"]: e["value"] for e in container.get("env", ()) if "value" in e}),
        labels=MappingProxyType(dict(workload["metadata"]["labels"])),
        reads=reads_of(workload["spec"]["template"]["spec"]),
        resources=_resources(container.get("resources", {})),
        memory_base_bytes=round(seen.memory.get(service, 64 * 2**20)),
        start_s=START_PRIOR_S if start_s is None else start_s,
        readiness=_probe(container.get("readinessProbe")),
        liveness=_probe(container.get("livenessProbe")),
        strategy=rolling_update_of(workload["spec"], int(workload["spec"].get("replicas", 1))),
        autoscaling=autoscaling,
        disruption=disruption,
        stateful=workload["kind"] == WorkloadKind.STATEFUL_SET,
        owner=_owner(workload),
    )


def _operations(
    service: ServiceId,
    limits: Mapping[str, Any],
    routes: Mapping[tuple[str, str], _Route],
    seen: _Seen,
    beliefs: dict[str, Belief],
) -> tuple[Operation, ...]:
    mine = seen.operations.get(service, {})
    names = sorted({*mine, *seen.called.get(service, ())}) or ["serve"]
    own_busy = sum(stats.rate_rps * stats.own_time_s for stats in mine.values())
    cores = seen.cores.get(service, 0.0)
    operations = []
    for name in names:
        stats = mine.get(name)
        if stats is None or stats.rate_rps <= 0.0 or own_busy <= 0.0:
            mean_s, count = 0.005, 0.0
            belief = Belief(source=Source.PRIOR, spread=1.0)
        else:
            mean_s = max(stats.own_time_s * cores / own_busy, 1e-6)
            count = stats.rate_rps * seen.window_s
            spread = max(1.0 / math.sqrt(max(count, 1.0)), SPREAD_MIN)
            belief = Belief(source=Source.MEASURED, spread=spread)
        op = op_id(service, name)
        beliefs[op_path(op, "work", 0, "mean_s")] = belief
        beliefs[op_path(op, "work", 0, "cv")] = Belief(source=Source.PRIOR, spread=CV_SPREAD)
        calls = _calls(service, name, stats, routes, seen)
        steps = _program(name, Work(mean_s=mean_s), calls, limits)
        beliefs |= _call_beliefs(op, steps, stats, seen)
        operations.append(Operation(name=name, steps=steps))
    return tuple(operations)


def _calls(
    service: ServiceId,
    operation: str,
    stats: OperationStats | None,
    routes: Mapping[tuple[str, str], _Route],
    seen: _Seen,
) -> list[Call | Publish]:
    calls: list[Call | Publish] = []
    for edge in seen.calls.get((service, operation), ()):
        ratio = seen.edge_rps[edge.id] / stats.rate_rps if stats and stats.rate_rps > 0.0 else 1.0
        ratio = 1.0 if 0.98 <= ratio <= 1.02 else ratio  # "Every time", within what counting can tell.
        target = OpId(f"{edge.id.callee}:{edge.id.callee_operation}")
        repeats = max(math.ceil(ratio - 0.02), 1)
        for _ in range(repeats):
            probability = min(ratio / repeats, 1.0)
            if edge.asynchronous:
                calls.append(Publish(target=target, probability=probability))
                continue
            route = routes.get((service.replace("/", "."), edge.id.callee), _Route(None, Retry()))
            name = f"{operation}>{edge.id.callee_operation}"
            calls.append(
                Call(
                    target=target,
                    probability=probability,
                    timeout_s=route.timeout_s,
                    retry=route.retry,
                    group=edge.group,
                    required=name not in route.optional,
                    cancel=name in route.cancels,
                )
            )
    return calls


def _call_beliefs(op: OpId, steps: tuple[Step, ...], stats: OperationStats | None, seen: _Seen) -> dict[str, Belief]:
    """Ratios are measured; what is known of time-outs and retries is what the routes declare."""
    beliefs: dict[str, Belief] = {}
    counts = {"call": 0, "publish": 0}
    rate = stats.rate_rps if stats else 0.0
    for step in calls_of(steps):
        kind = "call" if isinstance(step, Call) else "publish"
        number, counts[kind] = counts[kind], counts[kind] + 1
        calls = rate * step.probability * seen.window_s
        spread = max(1.0 / math.sqrt(max(calls, 1.0)), SPREAD_MIN)
        beliefs[op_path(op, kind, number, "probability")] = Belief(source=Source.MEASURED, spread=spread)
        if kind == "call":
            for figure in ("timeout_s", "retries", "backoff_s"):
                beliefs[op_path(op, kind, number, figure)] = Belief(source=Source.DECLARED)
    return beliefs


def _program(
    operation: str, work: Work, calls: Sequence[Call | Publish], limits: Mapping[str, Any]
) -> tuple[Step, ...]:
    """Work, then calls; each declared limit held around what its owners say it is held around."""
    steps: list[Step] = [work, *calls]
    whole = []
    for station in sorted(limits):
        around = limits[station].get("holds", {}).get(operation, [])
        if around == ["*"]:
            whole.append(station)
        elif around == ["work"]:
            steps = [Hold(station=station, body=(s,)) if isinstance(s, Work) else s for s in steps]
        elif around:
            inside = [s for s in steps if isinstance(s, Call | Publish) and s.target in around]
            if inside:
                place = steps.index(inside[0])
                rest: list[Step] = [s for s in steps if s not in inside]
                steps = [*rest[:place], Hold(station=station, body=tuple(inside)), *rest[place:]]
    for station in reversed(whole):
        steps = [Hold(station=station, body=tuple(steps))]
    return tuple(steps)


def _stations(service: ServiceId, limits: Mapping[str, Any], beliefs: dict[str, Belief]) -> tuple[Station, ...]:
    stations = []
    for name in sorted(limits):
        entry = limits[name]
        beliefs[station_path(service, name)] = Belief(source=Source.DECLARED)
        stations.append(
            Station(
                name=name,
                servers=int(entry["servers"]),
                scope=Scope(entry.get("scope", "replica")),
                queue_limit=entry.get("queue"),
            )
        )
    return tuple(stations)


def _journey(
    edge: EdgeId, routes: Mapping[tuple[str, str], _Route], seen: _Seen, beliefs: dict[str, Belief]
) -> Journey:
    rate = seen.edge_rps[edge]
    route = routes.get((f"user.{edge.caller_operation}", edge.callee), _Route(10.0, Retry()))
    spread = max(1.0 / math.sqrt(max(rate * seen.window_s, 1.0)), SPREAD_MIN)
    beliefs[journey_path(edge.caller_operation, "rate_rps")] = Belief(source=Source.MEASURED, spread=spread)
    return Journey(
        name=JourneyName(edge.caller_operation),
        target=OpId(f"{edge.callee}:{edge.callee_operation}"),
        rate_rps=rate,
        timeout_s=route.timeout_s,
        retry=route.retry,
    )


def _quotas(plant: Plant, namespaces: Collection[str]) -> tuple[Quota, ...]:
    """Quotas of the twin's namespaces; what is for some pods only is left out."""
    return tuple(
        bounds_of(obj["metadata"]["name"], obj["metadata"]["namespace"], obj["spec"].get("hard") or {})
        for obj in plant.kube.list_objects("ResourceQuota")
        if obj["metadata"]["namespace"] in namespaces and not is_scoped(obj["spec"])
    )


def _owner(workload: KubeObject) -> str:
    """Who puts back what others write, if somebody does; else who is said to own it."""
    owner = owner_of(workload)
    if owner is not None and source_of(str(owner)) is not None:
        return str(owner)
    return str((workload["metadata"].get("annotations") or {}).get("twin.dev/owner", ""))


def _sources(plant: Plant, services: Sequence[Service]) -> tuple[GitOps, ...]:
    """Who keeps the twin's workloads as their source says. One that nobody may look at is as it is by default."""
    found = []
    for source in sources_of((), (service.owner for service in services)):
        try:
            listed = plant.kube.list_objects(source.kind.object_kind)
        except (NotFound, Forbidden):
            continue
        for obj in listed:
            metadata = obj["metadata"]
            argo = source.kind is GitOpsKind.ARGOCD
            if metadata["name"] == source.name and (argo or metadata["namespace"] == source.namespace):
                interval_s = parse_duration_s(obj["spec"].get("interval", f"{SYNC_S:g}s"))
                found.append(
                    replace(source, namespace=metadata["namespace"], interval_s=interval_s, suspended=is_suspended(obj))
                )
    return tuple({source.owner: source for source in found}.values())


def _webhooks(plant: Plant, workloads: Sequence[KubeObject], services: Sequence[Service]) -> tuple[Webhook, ...]:
    """Who is asked before writes are made. What we may not look at, and what looks closer than a World, is left out."""
    kube = plant.kube
    try:
        listed = kube.list_objects("ValidatingWebhookConfiguration")
        spaces = kube.list_objects("Namespace") if listed else []
    except (NotFound, Forbidden):
        return ()
    if not listed:
        return ()
    labels = {obj["metadata"]["name"]: obj["metadata"].get("labels") for obj in spaces}
    known = {service.id for service in services}
    backends: dict[tuple[str, str], ServiceId] = {}
    for front in kube.list_objects("Service"):
        wanted, namespace = front["spec"].get("selector"), front["metadata"]["namespace"]
        for workload in workloads if wanted else ():
            pods = workload["spec"]["template"]["metadata"].get("labels") or {}
            mine = workload["metadata"]["namespace"] == namespace and selects({"matchLabels": wanted}, pods)
            if mine and _id(workload) in known:
                backends.setdefault((namespace, front["metadata"]["name"]), _id(workload))
    namespaces = {service.namespace: labels.get(service.namespace) or {} for service in services}
    return tuple(webhook for obj in listed for webhook in webhooks_of(obj, backends, namespaces)[0])


def _config_maps(plant: Plant, services: Sequence[Service]) -> tuple[ConfigMap, ...]:
    """Those that the twin's services read; Secrets, which nobody may look at, are taken to be there."""
    if not any(service.reads for service in services):
        return ()
    found = plant.kube.list_objects("ConfigMap")
    return read_by(services, [config_map_of(obj, obj["metadata"]["namespace"]) for obj in found])


def _node_pools(plant: Plant) -> tuple[NodePool, ...]:
    """One pool for each kind of machine in each zone. Names are kept, so that a lost node can be found again."""
    pools: dict[tuple[str, float, int], list[NodeName]] = {}
    for node in plant.kube.list_objects("Node"):
        room = node["status"]["allocatable"]
        zone = node["metadata"]["labels"].get(_ZONE, "zone-a")
        alike = (zone, parse_cores(room["cpu"]), parse_bytes(room["memory"]))
        pools.setdefault(alike, []).append(NodeName(node["metadata"]["name"]))
    return tuple(
        NodePool(name=f"{zone}.{number}", zone=zone, count=len(nodes), cpu_cores=cores, memory_bytes=memory,
                 nodes=tuple(nodes))
        for number, ((zone, cores, memory), nodes) in enumerate(pools.items(), start=1)
    )  # fmt: skip


def _id(obj: KubeObject) -> ServiceId:
    return ServiceId(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}")


def _resources(declared: Mapping[str, Any]) -> Resources:
    requests, limits = declared.get("requests", {}), declared.get("limits", {})
    return Resources(
        cpu_request_cores=parse_cores(requests.get("cpu", "250m")),
        memory_request_bytes=parse_bytes(requests.get("memory", "128Mi")),
        cpu_limit_cores=parse_cores(limits["cpu"]) if "cpu" in limits else None,
        memory_limit_bytes=parse_bytes(limits["memory"]) if "memory" in limits else None,
    )


def _probe(declared: Mapping[str, Any] | None) -> Probe | None:
    if declared is None:
        return None
    return Probe(
        period_s=float(declared.get("periodSeconds", 10)),
        timeout_s=float(declared.get("timeoutSeconds", 1)),
        failure_threshold=int(declared.get("failureThreshold", 3)),
        initial_delay_s=float(declared.get("initialDelaySeconds", 0)),
    )


def _autoscaling(kube: KubeApi) -> dict[ServiceId, Autoscaling]:
    """By the workload that each scales."""
    found = {}
    for scaler in kube.list_objects("HorizontalPodAutoscaler"):
        name = scaler["spec"]["scaleTargetRef"]["name"]
        scaling = autoscaling_of(scaler, name)
        if scaling is not None:
            found[ServiceId(f"{scaler['metadata']['namespace']}/{name}")] = scaling
    return found


def _disruption(kube: KubeApi, workloads: Sequence[KubeObject]) -> dict[ServiceId, Disruption]:
    """By the workload whose pods each keeps: the first one's, by name, where several do."""
    found: dict[ServiceId, Disruption] = {}
    for budget in kube.list_objects("PodDisruptionBudget"):
        about = [
            workload
            for workload in workloads
            if workload["metadata"]["namespace"] == budget["metadata"]["namespace"]
            and selects(budget["spec"].get("selector"), workload["spec"]["template"]["metadata"].get("labels") or {})
        ]
        for workload in about:
            replicas = int(workload["spec"].get("replicas", 1))
            kept = disruption_of(budget, workload["metadata"]["name"], replicas, shared=len(about) > 1)
            if kept is not None:
                found.setdefault(_id(workload), kept)
    return found
