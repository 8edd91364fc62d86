"""What production's owners, and our own promotions, have changed since the twin was built.

The twin's services are played with what production is set to now, or a verdict would be about a fleet that is no
more. New builds and settings are deployed at the time when they were (an event says when); replicas change when the
metrics say that they did. Of routes, autoscalers, budgets, quotas, limits and cordons nothing says when: they are taken
as they are from the beginning. What the other Ops adapters hold (shed load) cannot be read and is left as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from twin.fit.configured import NewValue, new_values, values_read
from twin.fleet.perturbation import Configure, Deploy, Timed
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import KubeApi, KubeObject, Metric, Plant
from twin.spec.errors import BadInput, Forbidden, NotFound
from twin.spec.fields import FieldPath, container_path, get_field
from twin.spec.fleet import QUOTA_RESOURCES, Fleet, Service
from twin.spec.gitops import RESUMED, SUSPENDED, is_suspended
from twin.spec.ids import ServiceId
from twin.spec.importers.quotas import bounds_of
from twin.spec.plan import ObjectRef, ref_of, workload_ref
from twin.spec.pod_counts import whole_count
from twin.spec.signal import SignalKind
from twin.spec.units import NS_PER_S, parse_bytes, parse_cores, parse_duration_s

__all__ = ["Amendment", "amendments_since", "deployed_at_s", "deploys_since", "template_change"]

_RULE: Final = ("spec", "rules", "[0]")
_ROUTE_FIELDS: Final[tuple[FieldPath, ...]] = (
    (*_RULE, "timeouts", "request"),
    (*_RULE, "retry", "attempts"),
    (*_RULE, "retry", "backoff"),
)


@dataclass(frozen=True, slots=True)
class Amendment:
    """Fields of one of the twin's objects that are to be as production's are, from `at_s` (Unix seconds) on."""

    at_s: float
    ref: ObjectRef
    fields: Mapping[FieldPath, Any]


def deploys_since(twin: Fleet, plant: Plant, since_s: float) -> tuple[Timed, ...]:
    """New images and environments, at the time when they were rolled out, or from the beginning if that was before;
    times from the twin's epoch `since_s`."""
    when = deployed_at_s(plant)
    replay = []
    for service in twin.services:
        change = template_change(service, plant)
        if change is not None:
            image, env = change
            replay.append(
                Timed(
                    what=Deploy(service=service.id, image=image or service.image, env=env),
                    start_ns=round(max(when.get(service.id, since_s) - since_s, 0.0) * NS_PER_S),
                )
            )
    for _, what in _rolled_over(twin, new_values(twin, plant), when, since_s):
        replay.append(Timed(what=what, start_ns=round((when[what.service] - since_s) * NS_PER_S)))
    return tuple(replay)


def _rolled_over(
    twin: Fleet, changed: list[NewValue], when: Mapping[ServiceId, float], since_s: float
) -> Iterator[tuple[NewValue, Configure]]:
    """New values that pods of a service have started with since, and the roll-out that brought them."""
    for service in twin.services if changed else ():
        if when.get(service.id, since_s) > since_s:  # Else no pod of it has read them yet.
            for one in values_read(service, changed):
                if one.value is not None:
                    yield one, Configure(service=service.id, config_map=one.ref.name, key=one.key, value=one.value)


def template_change(service: Service, plant: Plant) -> tuple[str | None, tuple[tuple[str, str], ...]] | None:
    """What production runs of one of the twin's services that the twin does not: (its image, if it is another; values
    of its environment that are new or changed), or None if that is nothing. Raises ApiError."""
    try:
        workload = plant.kube.get(workload_ref(service))
    except NotFound:
        return None  # It was deleted meanwhile; a World cannot lose a service, and plays it on.
    container = workload["spec"]["template"]["spec"]["containers"][0]
    env = {e["name"]: e["value"] for e in container.get("env", ()) if "value" in e}
    changed = tuple(sorted((k, v) for k, v in env.items() if service.env.get(k) != v))
    image = None if container["image"] == service.image else str(container["image"])
    return (image, changed) if image is not None or changed else None


def amendments_since(twin: Fleet, plant: Plant, since_s: float) -> tuple[Amendment, ...]:
    """What else differs between the twin's objects and production's, earliest first. Raises ApiError."""
    ours = plant_of(World.build(twin, seed=0)).kube
    found = [
        *_workloads(twin, ours, plant, since_s),
        *_routes(ours, plant, since_s),
        *_budgets(ours, plant, since_s),
        *_quotas(ours, plant, since_s),
        *_nodes(ours, plant, since_s),
        *_configs(twin, plant, since_s),
        *_sources(ours, plant, since_s),
    ]
    return tuple(sorted(found, key=lambda amendment: (amendment.at_s, amendment.ref)))


def _workloads(twin: Fleet, ours: KubeApi, plant: Plant, since_s: float) -> Iterator[Amendment]:
    when = deployed_at_s(plant)
    for service in twin.services:
        ref = workload_ref(service)
        try:
            mine, theirs = ours.get(ref), plant.kube.get(ref)
        except NotFound:
            continue
        if paused := _differing(mine, theirs, [("spec", "paused")]):
            yield Amendment(max(when.get(service.id, since_s), since_s), ref, paused)
        limits = _differing(mine, theirs, [container_path(service.name, "resources", g, r) for g, r in _RESOURCES])
        if limits:
            yield Amendment(max(when.get(service.id, since_s), since_s), ref, limits)
        if service.autoscaling is None:
            replicas = _differing(mine, theirs, [("spec", "replicas")])
            if replicas:
                yield Amendment(_scaled_at_s(plant, service.id, since_s), ref, replicas)
            continue
        name = service.autoscaling.name or service.name
        scaler = ObjectRef(kind="HorizontalPodAutoscaler", name=name, namespace=service.namespace)
        try:
            bounds = _differing(
                ours.get(scaler), plant.kube.get(scaler), [("spec", "minReplicas"), ("spec", "maxReplicas")]
            )
        except NotFound:
            continue  # It was taken away meanwhile; a World cannot do without one that it was built with.
        if bounds:
            yield Amendment(since_s, scaler, bounds)


_RESOURCES: Final = tuple((group, resource) for group in ("requests", "limits") for resource in ("cpu", "memory"))


def _routes(ours: KubeApi, plant: Plant, since_s: float) -> Iterator[Amendment]:
    theirs = {ref_of(obj): obj for obj in plant.kube.list_objects("HTTPRoute")}
    for mine in ours.list_objects("HTTPRoute"):
        ref = ref_of(mine)
        if ref in theirs and (fields := _differing(mine, theirs[ref], _ROUTE_FIELDS)):
            yield Amendment(since_s, ref, fields)


def _budgets(ours: KubeApi, plant: Plant, since_s: float) -> Iterator[Amendment]:
    theirs = {ref_of(obj): obj for obj in plant.kube.list_objects("PodDisruptionBudget")}
    for mine in ours.list_objects("PodDisruptionBudget"):
        ref, path = ref_of(mine), ("spec", "minAvailable")
        kept = whole_count(get_field(theirs[ref], path)) if ref in theirs else None
        if kept is not None and kept != get_field(mine, path):
            yield Amendment(since_s, ref, {path: kept})


def _quotas(ours: KubeApi, plant: Plant, since_s: float) -> Iterator[Amendment]:
    """One that was taken away bounds nothing any more; one that is new, the twin does not have."""
    theirs = {ref_of(obj): obj["spec"].get("hard") or {} for obj in plant.kube.list_objects("ResourceQuota")}
    for mine in ours.list_objects("ResourceQuota"):
        ref = ref_of(mine)
        had, has = (
            bounds_of(ref.name, ref.namespace, hard).hard for hard in (mine["spec"]["hard"], theirs.get(ref, {}))
        )
        fields: dict[FieldPath, Any] = {
            ("spec", "hard", name): has.get(name) for name in QUOTA_RESOURCES if had.get(name) != has.get(name)
        }
        if fields:
            yield Amendment(since_s, ref, fields)


def _configs(twin: Fleet, plant: Plant, since_s: float) -> Iterator[Amendment]:
    """Values that nobody has started with since: those are replayed, with the restart."""
    changed = new_values(twin, plant)
    replayed = [one for one, _ in _rolled_over(twin, changed, deployed_at_s(plant), since_s)]
    for one in changed:
        if one not in replayed:
            yield Amendment(since_s, one.ref, {("data", one.key): one.value})


def _sources(ours: KubeApi, plant: Plant, since_s: float) -> Iterator[Amendment]:
    """Who was suspended, or resumed: it puts nothing back, or does again."""
    for kind, (path, value) in SUSPENDED.items():
        for mine in ours.list_objects(kind):
            try:
                suspended = is_suspended(plant.kube.get(ref_of(mine)))
            except (NotFound, Forbidden):
                continue
            if suspended != is_suspended(mine):
                yield Amendment(since_s, ref_of(mine), {path: value if suspended else RESUMED[kind]})


def _nodes(ours: KubeApi, plant: Plant, since_s: float) -> Iterator[Amendment]:
    cordoned = {obj["metadata"]["name"] for obj in plant.kube.list_objects("Node") if obj["spec"].get("unschedulable")}
    for mine in ours.list_objects("Node"):
        if mine["metadata"]["name"] in cordoned:
            yield Amendment(since_s, ref_of(mine), {("spec", "unschedulable"): True})


def _differing(
    mine: KubeObject, theirs: KubeObject, paths: list[FieldPath] | tuple[FieldPath, ...]
) -> dict[FieldPath, Any]:
    return {
        path: wanted
        for path in paths
        if _plain(path, get_field(mine, path)) != _plain(path, wanted := get_field(theirs, path))
    }


def _plain(path: FieldPath, value: Any) -> Any:
    """A figure that can be compared: "1Gi" and "1024Mi" are one amount, "0s" and nothing one back-off."""
    try:
        if path[-1] in ("cpu", "memory") and value is not None:
            return parse_cores(str(value)) if path[-1] == "cpu" else parse_bytes(str(value))
        if path[-1] in ("request", "backoff") and value is not None:
            return parse_duration_s(str(value)) or None
    except BadInput:
        return value
    return value or None


def _scaled_at_s(plant: Plant, service: ServiceId, since_s: float) -> float:
    """When the number of replicas that is wanted became what it is, as the metrics show it."""
    series = plant.telemetry.series(Metric.WANTED_REPLICAS, [service], start_s=since_s, end_s=plant.clock.now_s())
    seen = np.isfinite(series.values[:, 0])  # A lost scrape is no other number.
    times_s, wanted = series.times_s[seen], series.values[seen, 0]
    if wanted.size == 0:
        return since_s
    other = np.flatnonzero(wanted != wanted[-1])
    if other.size == 0:
        return since_s
    return float(times_s[min(int(other[-1]) + 1, wanted.size - 1)])


def deployed_at_s(plant: Plant) -> dict[ServiceId, float]:
    """When each service was last rolled out, in Unix seconds, as events tell it."""
    return {
        signal.service: signal.at_s
        for _, signal in plant.telemetry.signals(after=0)
        if signal.kind is SignalKind.DEPLOY and signal.service is not None
    }
