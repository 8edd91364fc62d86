"""Reproduce an incident in the twin: inject each suspected fault, and compare symptoms with production's.

Severity is fitted on every other scrape and scored on the ones in between, so a fault does not win by
having a knob. A fault's residual is measured against that of a twin to which nothing happened: 0 explains
everything, 1 nothing. "None of these" stands in the contest with a fixed residual of its own.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from chaos.catalogue import compile_fault, complete, fault_type
from twin.fit.cone import cone_of
from twin.fit.forks import in_forks
from twin.fit.since import Amendment, amendments_since, deployed_at_s, deploys_since
from twin.fleet.perturbation import Configure, Deploy, Perturbation, Timed
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import Metric, Plant
from twin.ports.users import read_users
from twin.spec.errors import Inconclusive, TwinError
from twin.spec.fault import Fault, Value
from twin.spec.fleet import Fleet
from twin.spec.ids import FaultKind, JourneyName, ServiceId, service_of
from twin.spec.incident import Incident
from twin.spec.pod_counts import ready_and_wanted
from twin.spec.program import calls_of
from twin.spec.signal import SymptomKind
from twin.spec.units import NS_PER_S, ns
from twin.spec.verdict import Suspect

__all__ = ["LOOK_BACK_S", "Fitted", "Reproduction", "Scene", "fit", "reproduce", "set_scene"]

F64 = NDArray[np.float64]

LEAD_S: Final = 120.0  # The twin runs so long before anything happens, to be in its steady state.
LOOK_BACK_S: Final = 900.0  # A roll-out can take so long to show.
CONE_MAX: Final = 60
NONE_RESIDUAL: Final = 0.6
SHARPNESS: Final = 12.0
SEED: Final = 1
COINCIDENCE: Final = 0.1
COINCIDENCE_S: Final = 90.0
SEEN_MIN_RATIO: Final = 0.5  # of the values of each metric that is compared

# Each metric, how to compare it, and how far apart two honest runs may lie.
_SCALES: Final[tuple[tuple[Metric, str, float], ...]] = (
    (Metric.ERROR_RATIO, "plain", 0.05),
    (Metric.LATENCY_P99_S, "log", 0.5),
    (Metric.REQUESTS_RPS, "log", 0.25),
    (Metric.CPU_UTILISATION_RATIO, "plain", 0.1),
    (Metric.POOL_UTILISATION_RATIO, "plain", 0.15),
    (Metric.READY_REPLICAS, "share", 0.1),
    (Metric.RESTARTS, "flag", 0.5),
    (Metric.MEMORY_BYTES, "log", 0.15),
)
_Z_MAX: Final = 4.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Where an incident plays: the twin's fleet with its clock set before the onset, what production's
    owners changed meanwhile, and what production showed since. Times are Unix seconds."""

    fleet: Fleet
    onset_s: float
    now_s: float
    replay: tuple[Timed, ...]
    amendments: tuple[Amendment, ...]
    cone: tuple[ServiceId, ...]
    observed: Mapping[Metric, F64]  # (T, cone)
    usual: Mapping[JourneyName, float]  # share of users let down before the onset
    usual_failing: Mapping[ServiceId, float]  # share of the cone's requests that failed before the onset
    failing: frozenset[ServiceId]  # services whose errors are the incident
    short: frozenset[ServiceId]  # those that it is about, or that production lacks pods of
    calm: bool  # no symptom was seen

    def play(self, fault: Fault | None, *, watched: bool = True) -> World:
        """The twin as it would be now if `fault` had struck at the onset. Raises BadInput."""
        world = World.build(self.fleet, seed=SEED)
        world.watched = watched
        world.inject(self.replay)
        if fault is not None:
            world.inject(self._strike(fault))
        kube = plant_of(world, writes=True).kube
        for amendment in self.amendments:
            world.run(ns(min(amendment.at_s, self.now_s) - self.fleet.epoch_s))
            kube.patch(amendment.ref, amendment.fields)
        world.run(ns(self.now_s - self.fleet.epoch_s))
        return world

    def _strike(self, fault: Fault) -> tuple[Timed, ...]:
        """A fault that came with a roll-out struck when that was, however long it took to show: containers leak, and
        run into their crash, from their start on. Any other fault strikes at the onset."""
        struck = tuple(compile_fault(fault, self.fleet, start_ns=ns(self.onset_s - self.fleet.epoch_s)))
        for timed in struck:
            rolled_out = next((seen for seen in self.replay if _same_roll_out(seen.what, timed.what)), None)
            if rolled_out is not None:
                rest = (other for other in struck if other is not timed)
                return tuple(dataclasses.replace(other, start_ns=rolled_out.start_ns) for other in rest)
        return struck


def _same_roll_out(seen: Perturbation, supposed: Perturbation) -> bool:
    """Whether a roll-out that was seen brought what a fault says that one brought."""
    if isinstance(seen, Configure) and isinstance(supposed, Configure):
        return dataclasses.replace(seen, author=supposed.author) == supposed
    return (
        isinstance(seen, Deploy)
        and isinstance(supposed, Deploy)
        and seen.service == supposed.service
        and supposed.image in (None, seen.image)
        and set(supposed.env) <= set(seen.env)
    )


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fault with its severity fitted. `residual` is on scrapes that were not fitted on."""

    fault: Fault
    residual: float


@dataclass(frozen=True, slots=True)
class Reproduction:
    """`suspects` most likely first; `calm_residual` is what a twin without a fault leaves unexplained."""

    scene: Scene
    suspects: tuple[Suspect, ...]
    calm_residual: float

    @property
    def best(self) -> Suspect:
        return self.suspects[0]

    def rivals(self, *, share: float = 0.25) -> tuple[Suspect, ...]:
        """The best fault and every other that is at least `share` as likely."""
        top = self.suspects[0].weight
        return tuple(s for s in self.suspects if s.fault is not None and s.weight >= share * top)


def set_scene(twin: Fleet, plant: Plant, incident: Incident, *, targets: Iterable[str] = ()) -> Scene:
    """Take the incident's cone, what changed since the twin was built, and what production shows. `targets`
    (of hypotheses and changes) belong to the cone too; those that are no services are passed over.

    Raises Inconclusive if production's telemetry has holes where the incident is, and ApiError.

    The twin's clock is set to production's scrapes, so that the two are compared scrape by scrape.
    """
    now_s = plant.clock.now_s()
    twin = cone_of(twin, [*incident.services, *_services_named(twin, targets)])
    cone = _watched(twin, incident)
    _require_sight(plant, cone, incident.onset_s, now_s)
    probe = plant.telemetry.series(Metric.REQUESTS_RPS, cone[:1], start_s=now_s - 3600.0, end_s=now_s)
    onset_s = _onset(plant, incident, cone, now_s)
    rolled_out = deployed_at_s(plant)
    lately = [rolled_out[s.id] for s in twin.services if s.id in rolled_out]
    begins_s = min([onset_s, *(at_s for at_s in lately if at_s >= onset_s - LOOK_BACK_S)])
    before = probe.times_s[probe.times_s <= begins_s - LEAD_S]
    epoch_s = float(before[-1]) if before.size else math.floor(begins_s - LEAD_S)
    last_s = float(probe.times_s[-1]) if probe.times_s.size else now_s
    observed = {
        metric: plant.telemetry.series(metric, cone, start_s=onset_s - 1.0, end_s=last_s).values
        for metric, _, _ in _SCALES
    }
    return Scene(
        fleet=dataclasses.replace(twin, epoch_s=int(epoch_s)),
        onset_s=onset_s,
        now_s=now_s,
        replay=deploys_since(twin, plant, epoch_s),
        amendments=amendments_since(twin, plant, epoch_s),
        cone=cone,
        observed=MappingProxyType(observed),
        usual=MappingProxyType(_let_down_ratios(plant, onset_s - 300.0, onset_s - 15.0)),
        usual_failing=MappingProxyType(_failing_ratios(plant, cone, onset_s - 300.0, onset_s - 15.0)),
        failing=frozenset(one.service for one in incident.symptoms if one.kind is SymptomKind.ERRORS),
        short=frozenset(incident.services) | _short_of_pods(plant, twin),
        calm=not incident.symptoms,
    )


def _require_sight(plant: Plant, cone: Sequence[ServiceId], start_s: float, end_s: float) -> None:
    """What was not seen fits every hypothesis equally well, and so must fit none."""
    for metric, _, _ in _SCALES:
        values = plant.telemetry.series(metric, cone, start_s=start_s - 1.0, end_s=end_s).values
        seen_ratio = float(np.isfinite(values).mean()) if values.size else 0.0
        if seen_ratio < SEEN_MIN_RATIO:
            raise Inconclusive(
                "cannot reproduce the incident",
                f"production's {metric} is missing in {1.0 - seen_ratio:.0%} of the scrapes since the onset",
                "mend the telemetry of the services concerned, and ask again",
            )


def reproduce(
    scene: Scene, hypotheses: Sequence[Fault], *, jobs: int = 1, progress: Callable[[], None] = lambda: None
) -> Reproduction:
    """Fit every hypothesis and weigh them against each other and against "none of these".

    `jobs` processes share the hypotheses; the result is the same, bit for bit.
    """
    calm = _residual(scene, None, parity=1)
    faults = [
        Fault(kind=FaultKind(kind), target=target, parameters=MappingProxyType(dict(parameters)))
        for kind, target, parameters in dict.fromkeys(_key(h) for h in hypotheses)
    ]
    fits = in_forks(_try_fit, [(scene, fault) for fault in faults], jobs=jobs, progress=progress)
    suspects = [
        (_of(fault, parameters), residual / max(calm, 1e-9))
        for fault, (parameters, residual) in zip(faults, fits, strict=True)
        if parameters is not None
    ]
    scored: list[tuple[Fault | None, float]] = [*suspects, (None, NONE_RESIDUAL)]
    lowest = min(residual for _, residual in scored)
    weights = [_prior(scene, fault) * math.exp(-SHARPNESS * (residual - lowest)) for fault, residual in scored]
    total = sum(weights)
    ranked = sorted(
        (
            Suspect(fault=fault, weight=weight / total, residual=residual)
            for (fault, residual), weight in zip(scored, weights, strict=True)
        ),
        key=lambda suspect: -suspect.weight,
    )
    return Reproduction(scene, tuple(ranked), calm)


def _try_fit(scene: Scene, fault: Fault) -> tuple[dict[str, Value] | None, float]:
    """The fitted parameters (as a plain dict, which passes between processes) and their residual; None for a
    hypothesis that this fleet cannot hold: it explains nothing."""
    try:
        fitted = fit(scene, fault)
    except TwinError:
        return None, 0.0
    return dict(fitted.fault.parameters), fitted.residual


def _prior(scene: Scene, fault: Fault | None) -> float:
    """A service that begins to fail by itself at the moment of its own roll-out is a coincidence.

    What tells a wrong build from a failure that came by itself is the roll-out; their symptoms are the same.
    """
    if fault is None or fault.kind not in ("errors", "slow"):
        return 1.0
    onset_ns = ns(scene.onset_s - scene.fleet.epoch_s)
    for timed in scene.replay:
        what = timed.what
        near = abs(timed.start_ns - onset_ns) <= COINCIDENCE_S * NS_PER_S
        if isinstance(what, Deploy | Configure) and what.service == fault.target and near:
            return COINCIDENCE
    return 1.0


def fit(scene: Scene, fault: Fault) -> Fitted:
    """Fit the one parameter that its kind marks as severity, on even scrapes; score on odd ones."""
    whole = complete(fault)
    knob = next((p for p in fault_type(fault.kind).parameters if p.severity), None)
    if knob is None or knob.low is None or knob.high is None:
        return Fitted(whole, _residual(scene, whole, parity=1))

    def tried(value: float) -> tuple[float, float, Fault]:
        candidate = _with(whole, knob.name, value)
        return _residual(scene, candidate, parity=0), value, candidate

    stated = float(whole.parameters[knob.name])
    low, high = max(knob.low, knob.high / 1000.0), knob.high
    start = min(max(stated, low), high)
    results = [tried(v) for v in _around(start, low, high, 3.0)]
    for width in (1.7, 1.25):
        best = min(results, key=lambda r: (r[0], r[1]))
        results += [tried(v) for v in _around(best[1], low, high, width) if all(abs(v - r[1]) > 1e-9 for r in results)]
    best = min(results, key=lambda r: (r[0], r[1]))
    return Fitted(best[2], _residual(scene, best[2], parity=1))


def _around(value: float, low: float, high: float, width: float) -> list[float]:
    return sorted({min(max(value * step, low), high) for step in (1.0 / width, 1.0, width)})


def _with(fault: Fault, name: str, value: float) -> Fault:
    return _of(fault, {**fault.parameters, name: value})


def _of(fault: Fault, parameters: dict[str, Value]) -> Fault:
    return Fault(kind=fault.kind, target=fault.target, parameters=MappingProxyType(parameters))


def _key(fault: Fault) -> tuple[str, str, tuple[tuple[str, Value], ...]]:
    return fault.kind, fault.target, tuple(sorted(fault.parameters.items()))


def _residual(scene: Scene, fault: Fault | None, *, parity: int) -> float:
    """Mean squared distance between twin and production over the cone, on scrapes of one parity."""
    world = scene.play(fault)
    telemetry = plant_of(world).telemetry
    total, count = 0.0, 0
    for metric, form, scale in _SCALES:
        real = scene.observed[metric]
        model = telemetry.series(metric, scene.cone, start_s=scene.onset_s - 1.0, end_s=scene.now_s).values
        rows = min(real.shape[0], model.shape[0])
        if rows == 0:
            continue
        chosen = np.arange(rows) % 2 == parity if rows > 1 else np.ones(rows, dtype=np.bool_)
        # In order of size, not of time: a restart ten seconds earlier or later is the same incident.
        z = _distance(np.sort(real[:rows][chosen], axis=0), np.sort(model[:rows][chosen], axis=0), form) / scale
        total += float(np.nansum(np.minimum(np.abs(z), _Z_MAX) ** 2))
        count += int(np.isfinite(z).sum())
    return total / max(count, 1)


def _distance(real: F64, model: F64, form: str) -> F64:
    match form:
        case "log":
            floor = 1e-3
            return np.log(np.maximum(model, floor) / np.maximum(real, floor))
        case "share":
            return (model - real) / np.maximum(np.maximum(real, model), 1.0)
        case "flag":
            return (model > 0).astype(np.float64) - (real > 0)
        case _:
            return model - real


def _watched(twin: Fleet, incident: Incident) -> tuple[ServiceId, ...]:
    """Services with symptoms, then those that call them or are called by them, in name order within each."""
    known = {service.id for service in twin.services}
    hit = [service for service in incident.services if service in known]
    near: dict[ServiceId, None] = {}
    for service in twin.services:
        for operation in service.operations:
            for call in calls_of(operation.steps):
                callee = service_of(call.target)
                if service.id in hit:
                    near[callee] = None
                if callee in hit:
                    near[service.id] = None
    rest = [service for service in sorted(near) if service not in hit]
    return tuple([*hit, *rest][:CONE_MAX]) or tuple(sorted(known))[:1]


def _services_named(twin: Fleet, targets: Iterable[str]) -> list[ServiceId]:
    """Services that a target names: itself, the ends of a route "namespace/caller--callee", a journey's entry."""
    known = {service.id for service in twin.services}
    entries = {str(journey.name): service_of(journey.target) for journey in twin.journeys}
    found = []
    for target in targets:
        namespace, _, name = target.partition("/")
        names = [target, *(f"{namespace}/{part}" for part in name.split("--")), entries.get(target, "")]
        found += [ServiceId(one) for one in names if one in known]
    return found


def _onset(plant: Plant, incident: Incident, cone: Sequence[ServiceId], now_s: float) -> float:
    """One scrape before the earliest symptom in the metrics; never later than the incident says."""
    start_s = incident.onset_s - 300.0
    earliest = incident.onset_s
    for metric, form, scale in _SCALES[:2]:
        series = plant.telemetry.series(metric, cone, start_s=start_s, end_s=now_s)
        if series.times_s.size < 4:
            continue
        calm = np.nanmedian(series.values[series.times_s < incident.onset_s - 120.0], axis=0)
        off = np.abs(_distance(calm, series.values, form)) > 2.0 * scale
        late = series.times_s >= incident.onset_s - 90.0
        rows = np.flatnonzero(off.any(axis=1) & late)
        if rows.size:
            earliest = min(earliest, float(series.times_s[rows[0]]))
    return earliest - 15.0


def _failing_ratios(
    plant: Plant, services: Sequence[ServiceId], start_s: float, end_s: float
) -> dict[ServiceId, float]:
    """Share of requests that fail between two moments, by service; 0 where nothing was seen."""
    errors = plant.telemetry.series(Metric.ERROR_RATIO, services, start_s=start_s, end_s=end_s).values
    seen = np.isfinite(errors).sum(axis=0)
    means = np.divide(np.nansum(errors, axis=0), seen, out=np.zeros(len(services)), where=seen > 0)
    return dict(zip(services, means.tolist(), strict=True))


def _short_of_pods(plant: Plant, twin: Fleet) -> frozenset[ServiceId]:
    """The twin's services of which production has fewer ready pods than wanted now."""
    known = {(service.kind.value, service.namespace, service.name): service.id for service in twin.services}
    found = set()
    for kind in sorted({kind for kind, _, _ in known}):
        for obj in plant.kube.list_objects(kind):
            service = known.get((kind, obj["metadata"]["namespace"], obj["metadata"]["name"]))
            ready, wanted = ready_and_wanted(obj)
            if service is not None and ready < wanted:
                found.add(service)
    return frozenset(found)


def _let_down_ratios(plant: Plant, start_s: float, end_s: float) -> dict[JourneyName, float]:
    """Share of users let down between two moments, by journey; 0 if nobody came."""
    users = read_users(plant.telemetry, start_s=start_s, end_s=end_s)
    return dict(zip(users.journeys, np.nan_to_num(users.let_down_ratio(), nan=0.0).tolist(), strict=True))
