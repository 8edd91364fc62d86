"""What can be read off a plant about an incident, by service: before and now, who calls whom, what changed.

Everything is a comparison of a service with itself, before the onset and now: no absolute figure of any
particular fleet is known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np

from agent.brains.brain import View
from agent.correlate import Graph
from twin.ports.plant import EdgeId, KubeObject, Metric, Session
from twin.spec.errors import TwinError
from twin.spec.ids import ServiceId
from twin.spec.signal import CRASH_REASONS, Signal, SignalKind, SymptomKind, first_end_s

__all__ = ["Deploy", "EdgeState", "Facts", "Route", "ServiceState"]

BEFORE_S: Final = 600.0
BEFORE_GAP_S: Final = 90.0  # Alerts come late: what lies so shortly before the onset is no example of calm.
NOW_S: Final = 61.0
DEPLOY_LOOK_BACK_S: Final = 900.0
CONE_MAX: Final = 80
_REVISION: Final = "deployment.kubernetes.io/revision"
_WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """One service, before the onset and now. `own_time_s` is time not spent waiting for callees; `own_errors`
    the share of requests that fail without a callee's failing; `unanswered` the share of attempts that its
    callers count as failed and it does not: they gave up waiting."""

    service: ServiceId
    rate_before: float = 0.0
    rate_now: float = 0.0
    own_time_before: float = 0.0
    own_time_now: float = 0.0
    errors_before: float = 0.0
    errors_now: float = 0.0
    callee_errors_now: float = 0.0
    asked_errors_before: float = 0.0
    asked_errors_now: float = 0.0
    cpu_before: float = 0.0
    cpu_now: float = 0.0
    pool_before: float = 0.0
    pool_now: float = 0.0
    memory_before: float = 0.0
    memory_now: float = 0.0
    memory_peak: float = 0.0
    memory_rise_bytes_per_s: float = 0.0
    ready_now: float = 0.0
    wanted_now: float = 0.0
    restarts: int = 0
    ooms: int = 0
    crashes: int = 0

    @property
    def own_errors(self) -> float:
        return max(self.errors_now - self.errors_before - self.callee_errors_now, 0.0)

    @property
    def unanswered(self) -> float:
        risen = self.asked_errors_now - self.asked_errors_before
        return max(risen - max(self.errors_now - self.errors_before, 0.0), 0.0)

    @property
    def slowdown(self) -> float:
        """How many times as long its own part takes."""
        floor = 2e-4  # Below, a ratio is noise.
        return max(self.own_time_now, floor) / max(self.own_time_before, floor)

    @property
    def missing(self) -> float:
        return max(self.wanted_now - self.ready_now, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeState:
    """One edge: attempts a second before and now, and the share that fails now."""

    id: EdgeId
    rate_before: float
    rate_now: float
    errors_before: float
    errors_now: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Deploy:
    """A roll-out shortly before or during the incident, and what it changed."""

    service: ServiceId
    at_s: float
    image: str = ""  # the new one, if it is another
    env: tuple[tuple[str, str], ...] = ()  # new or changed values
    resources: bool = False
    known: bool = True  # False: the templates could not be compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """An HTTPRoute: who it carries to whom, and what it does about failures."""

    target: str  # namespace/name
    caller: str  # "shop/web", or "user:browse"
    callee: ServiceId
    attempts: int
    timeout_s: float | None


class Facts:
    """Reads lazily and only within the cone: services that suffer, what they call (two calls deep), who calls
    them. A reading that fails is remembered in `blind`, and means "unknown", never "well"."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.plant = view.plant
        self.now_s = view.plant.clock.now_s()
        self.onset_s = min(view.incident.onset_s, self.now_s)
        self.blind: list[str] = []
        self.edges = view.plant.telemetry.edges()
        self.graph = Graph(self.edges)
        self.suffering = tuple(view.incident.services)

    @cached_property
    def cone(self) -> tuple[ServiceId, ...]:
        """Suffering services first, then callees, their callees, and callers."""
        known = set(self.plant.telemetry.services())
        found = dict.fromkeys(s for s in self.suffering if s in known)
        layer = list(found)
        for _ in range(2):
            layer = [c for s in layer for c in sorted(self.graph.callees.get(s, ())) if c in known]
            found |= dict.fromkeys(layer)
        found |= dict.fromkeys(c for s in list(found) for c in sorted(self.graph.callers.get(s, ())) if c in known)
        return tuple(found)[:CONE_MAX]

    @cached_property
    def states(self) -> Mapping[ServiceId, ServiceState]:
        before = (self.onset_s - BEFORE_GAP_S - BEFORE_S, self.onset_s - BEFORE_GAP_S)
        now = (self.now_s - NOW_S, self.now_s)
        figures = {
            metric: (self._mean(metric, *before), self._mean(metric, *now))
            for metric in (Metric.REQUESTS_RPS, Metric.ERROR_RATIO, Metric.CPU_UTILISATION_RATIO,
                           Metric.POOL_UTILISATION_RATIO, Metric.MEMORY_BYTES, Metric.READY_REPLICAS,
                           Metric.WANTED_REPLICAS)
        }  # fmt: skip
        since_s = self.onset_s - 120.0
        restarts = self._values(Metric.RESTARTS, since_s, self.now_s)
        memory = self._values(Metric.MEMORY_BYTES, since_s, self.now_s)
        own = self._own_times(*before), self._own_times(*now)
        callee_errors = self._callee_errors()
        asked = self._asked_errors()
        states = {}
        for column, service in enumerate(self.cone):
            events = [s for s in self.view.signals if s.service == service and s.at_s >= since_s]

            def pair(metric: Metric, column: int = column) -> tuple[float, float]:
                return figures[metric][0][column], figures[metric][1][column]

            rate, errors = pair(Metric.REQUESTS_RPS), pair(Metric.ERROR_RATIO)
            cpu, pool = pair(Metric.CPU_UTILISATION_RATIO), pair(Metric.POOL_UTILISATION_RATIO)
            peak, rise = _memory_rise(memory[:, column])
            states[service] = ServiceState(
                service=service,
                rate_before=rate[0], rate_now=rate[1],
                own_time_before=own[0].get(service, 0.0), own_time_now=own[1].get(service, 0.0),
                errors_before=errors[0], errors_now=errors[1],
                callee_errors_now=callee_errors.get(service, 0.0),
                asked_errors_before=asked.get(service, (0.0, 0.0))[0],
                asked_errors_now=asked.get(service, (0.0, 0.0))[1],
                cpu_before=cpu[0], cpu_now=cpu[1], pool_before=pool[0], pool_now=pool[1],
                memory_before=pair(Metric.MEMORY_BYTES)[0], memory_now=pair(Metric.MEMORY_BYTES)[1],
                memory_peak=peak, memory_rise_bytes_per_s=rise,
                ready_now=pair(Metric.READY_REPLICAS)[1], wanted_now=pair(Metric.WANTED_REPLICAS)[1],
                restarts=int(np.nansum(restarts[:, column])) if restarts.size else 0,
                ooms=sum(s.reason == "OOMKilled" for s in events),
                crashes=sum(s.reason in CRASH_REASONS for s in events),
            )  # fmt: skip
        return states

    @cached_property
    def edge_states(self) -> tuple[EdgeState, ...]:
        """Edges of the cone, users' among them."""
        cone = set(self.cone)
        ids = [e.id for e in self.edges if ServiceId(e.id.callee) in cone]
        if not ids:
            return ()
        telemetry = self.plant.telemetry
        before = {"start_s": self.onset_s - BEFORE_GAP_S - BEFORE_S, "end_s": self.onset_s - BEFORE_GAP_S}
        now = {"start_s": self.now_s - NOW_S, "end_s": self.now_s}
        columns = [
            _column_means(telemetry.edge_series(metric, ids, **span).values, len(ids))
            for metric in (Metric.REQUESTS_RPS, Metric.ERROR_RATIO)
            for span in (before, now)
        ]
        return tuple(
            EdgeState(
                id=edge, rate_before=float(columns[0][i]), rate_now=float(columns[1][i]),
                errors_before=float(columns[2][i]), errors_now=float(columns[3][i]),
            )
            for i, edge in enumerate(ids)
        )  # fmt: skip

    @cached_property
    def deploys(self) -> tuple[Deploy, ...]:
        """Roll-outs since a while before the onset on services of the cone, newest first, one a service."""
        latest: dict[ServiceId, Signal] = {}
        cone = set(self.cone)
        for signal in self.view.signals:
            if (
                signal.kind is SignalKind.DEPLOY
                and signal.service in cone
                and signal.at_s >= self.onset_s - DEPLOY_LOOK_BACK_S
            ):
                assert signal.service is not None
                latest[signal.service] = signal
        found = [self._compare(service, signal) for service, signal in latest.items()]
        return tuple(sorted(found, key=lambda d: (-d.at_s, d.service)))

    @cached_property
    def sessions(self) -> tuple[Session, ...]:
        """Sessions that hold something on a service of the cone, the one that holds most first."""
        found: list[Session] = []
        for service in self.cone:
            try:
                found += self.plant.ops.sessions(service)
            except TwinError:
                self._blind("database sessions cannot be seen")
        return tuple(sorted(found, key=lambda s: (-s.held_slots, s.since_s, s.id)))

    @cached_property
    def nodes(self) -> tuple[KubeObject, ...]:
        return tuple(self._list("Node"))

    @cached_property
    def dark_nodes(self) -> tuple[str, ...]:
        return tuple(
            node["metadata"]["name"]
            for node in self.nodes
            if any(c["type"] == "Ready" and c["status"] != "True" for c in node["status"].get("conditions", ()))
        )

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        found = []
        for obj in self._list("HTTPRoute"):
            rule: Mapping[str, Any] = next(iter(obj["spec"].get("rules", ())), {})
            backend = next(iter(rule.get("backendRefs", ())), None)
            label = obj["metadata"].get("labels", {}).get("twin.dev/caller", "")
            if backend is None or not label:
                continue
            head, _, tail = label.partition(".")
            namespace = obj["metadata"]["namespace"]
            found.append(
                Route(
                    target=f"{namespace}/{obj['metadata']['name']}",
                    caller=f"user:{tail}" if head == "user" else f"{head}/{tail}",
                    callee=ServiceId(f"{backend.get('namespace', namespace)}/{backend['name']}"),
                    attempts=int(rule.get("retry", {}).get("attempts", 0)),
                    timeout_s=_seconds(rule.get("timeouts", {}).get("request")),
                )
            )
        return tuple(found)

    @cached_property
    def workloads(self) -> Mapping[ServiceId, KubeObject]:
        """Deployments, StatefulSets and DaemonSets, by service."""
        found: dict[ServiceId, KubeObject] = {}
        for kind in _WORKLOADS:
            for obj in self._list(kind):
                found[ServiceId(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}")] = obj
        return found

    def peak_ratio(self, edge: EdgeId) -> float:
        """The highest rate since shortly before the onset, over its usual rate; 1 where nothing is known."""
        series = self.plant.telemetry.edge_series(
            Metric.REQUESTS_RPS, [edge], start_s=self.onset_s - 300.0, end_s=self.now_s
        )
        state = next(e for e in self.edge_states if e.id == edge)
        known = series.values[np.isfinite(series.values)]
        if known.size < 4 or state.rate_before <= 0.0:
            return 1.0
        smooth = np.convolve(known, np.ones(3) / 3.0, mode="valid")  # One noisy scrape is no spike.
        return float(smooth.max()) / state.rate_before

    def first_end_s(self, service: ServiceId, *, since_s: float) -> float | None:
        """When the first container ended by itself after `since_s`; None if none has."""
        return first_end_s(self.view.signals, service, since_s=since_s)

    def is_stateful(self, service: ServiceId) -> bool:
        return self.workloads.get(service, {}).get("kind") == "StatefulSet"

    def replicas(self, service: ServiceId) -> int:
        return int(self.workloads.get(service, {}).get("spec", {}).get("replicas", 1))

    def container(self, service: ServiceId) -> Mapping[str, Any]:
        template = self.workloads.get(service, {}).get("spec", {}).get("template", {})
        containers: Sequence[Mapping[str, Any]] = template.get("spec", {}).get("containers", ())
        return containers[0] if containers else {}

    def symptom(self, service: ServiceId, kind: SymptomKind) -> bool:
        return any(s.service == service and s.kind is kind for s in self.view.incident.symptoms)

    # Inside

    def _compare(self, service: ServiceId, signal: Signal) -> Deploy:
        """The two newest templates, side by side."""
        namespace, name = service.split("/", 1)
        revisions = sorted(
            (
                (int(rs["metadata"]["annotations"].get(_REVISION, 0)), rs["spec"]["template"])
                for rs in self._list("ReplicaSet", namespace, {"app": name})
                if any(owner["name"] == name for owner in rs["metadata"].get("ownerReferences", ()))
            ),
            key=lambda pair: pair[0],
        )
        if len(revisions) < 2:
            return Deploy(service=service, at_s=signal.at_s, known=False)
        old, new = (template["spec"]["containers"][0] for _, template in revisions[-2:])
        before, after = ({e["name"]: str(e.get("value", "")) for e in c.get("env", ())} for c in (old, new))
        return Deploy(
            service=service,
            at_s=signal.at_s,
            image=new["image"] if new["image"] != old["image"] else "",
            env=tuple(sorted((k, v) for k, v in after.items() if before.get(k) != v)),
            resources=old.get("resources") != new.get("resources"),
        )

    def _list(self, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[KubeObject]:
        try:
            return self.plant.kube.list_objects(kind, namespace, labels)
        except TwinError:
            self._blind(f"{kind} objects cannot be read")
            return []

    def _values(self, metric: Metric, start_s: float, end_s: float) -> Any:
        """(T, cone)."""
        return self.plant.telemetry.series(metric, self.cone, start_s=start_s, end_s=end_s).values

    def _mean(self, metric: Metric, start_s: float, end_s: float) -> list[float]:
        return [float(v) for v in _column_means(self._values(metric, start_s, end_s), len(self.cone))]

    def _own_times(self, start_s: float, end_s: float) -> dict[ServiceId, float]:
        """Mean over a service's operations, weighted by their rate."""
        total: dict[ServiceId, float] = {}
        rate: dict[ServiceId, float] = {}
        for stats in self.plant.telemetry.operations(start_s=start_s, end_s=end_s):
            total[stats.service] = total.get(stats.service, 0.0) + stats.own_time_s * stats.rate_rps
            rate[stats.service] = rate.get(stats.service, 0.0) + stats.rate_rps
        return {service: total[service] / rate[service] for service in total if rate[service] > 0.0}

    def _callee_errors(self) -> dict[ServiceId, float]:
        """For each caller, the failed share of its calls per request of its own: what its callees explain."""
        failed: dict[ServiceId, float] = {}
        for edge in self.edge_states:
            if edge.id.caller != "user":
                caller = ServiceId(edge.id.caller)
                failed[caller] = failed.get(caller, 0.0) + edge.rate_now * edge.errors_now
        callers = sorted(set(failed) & set(self.cone))
        rates = dict(zip(self.cone, self._mean(Metric.REQUESTS_RPS, self.now_s - NOW_S, self.now_s), strict=True))
        return {caller: min(failed[caller] / max(rates[caller], 1e-6), 1.0) for caller in callers}

    def _asked_errors(self) -> dict[ServiceId, tuple[float, float]]:
        """For each service, the share of attempts at it that failed, as its callers saw it: before, now."""
        sums: dict[ServiceId, list[float]] = {}
        for edge in self.edge_states:
            row = sums.setdefault(ServiceId(edge.id.callee), [0.0, 0.0, 0.0, 0.0])
            row[0] += edge.rate_before
            row[1] += edge.rate_before * edge.errors_before
            row[2] += edge.rate_now
            row[3] += edge.rate_now * edge.errors_now
        return {s: (bad0 / max(all0, 1e-9), bad1 / max(all1, 1e-9)) for s, (all0, bad0, all1, bad1) in sums.items()}

    def _blind(self, what: str) -> None:
        if what not in self.blind:
            self.blind.append(what)


def _column_means(values: Any, columns: int) -> Any:
    """Means without NaN; 0 where nothing was seen."""
    if values.shape[0] == 0:
        return np.zeros(columns)
    seen = np.isfinite(values)
    count = np.maximum(seen.sum(axis=0), 1)
    return np.where(seen, values, 0.0).sum(axis=0) / count


def _memory_rise(values: Any) -> tuple[float, float]:
    """Peak, and the steepest steady rise (median of rising steps), in bytes and bytes a second of 15 s steps."""
    known = values[np.isfinite(values)]
    if known.size < 3:
        return (float(known.max()) if known.size else 0.0), 0.0
    steps = np.diff(known)
    rising = steps[steps > 0.0]
    steady = rising.size >= max(2, 0.5 * steps.size)
    return float(known.max()), float(np.median(rising)) / 15.0 if steady else 0.0


def _seconds(text: str | None) -> float | None:
    """A Gateway API duration (GEP-2257): 1h2m3s4ms. None for none, or what cannot be read."""
    if not text:
        return None
    total, number = 0.0, ""
    index = 0
    while index < len(text):
        if text[index].isdigit() or text[index] == ".":
            number += text[index]
            index += 1
            continue
        unit = "ms" if text.startswith("ms", index) else text[index]
        scale = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}.get(unit)
        if scale is None or not number:
            return None
        total += float(number) * scale
        number = ""
        index += len(unit)
    return None if number else total
