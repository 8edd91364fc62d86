"""Rivals of the proposer's hypotheses: what else could look like this. Nobody judges in his own cause.

For the services that suffer most, and those that they call: slow, failing; for their users: more traffic;
for machines that went dark, sessions that hold something, and builds, settings and values of ConfigMaps that were
rolled out: these.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

from twin.fit.configured import new_values, values_read
from twin.fit.reproduce import LOOK_BACK_S
from twin.fit.since import deployed_at_s, template_change
from twin.ports.plant import Plant
from twin.spec.fault import Fault, Value
from twin.spec.fleet import Fleet, Service
from twin.spec.ids import FaultKind, ServiceId, service_of
from twin.spec.incident import Incident
from twin.spec.program import Call, Publish, calls_of
from twin.spec.signal import SymptomKind, first_end_s

__all__ = ["rivals_of"]

SERVICES_MAX: Final = 3
JOURNEYS_MAX: Final = 2
ROLL_OUTS_MAX: Final = 3
SETTINGS_MAX: Final = 2


def rivals_of(incident: Incident, twin: Fleet, plant: Plant, stated: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Faults that nobody has stated, and that the visible facts allow; at most about a dozen."""
    found: list[Fault] = []
    for service in _deepest(incident, twin)[:SERVICES_MAX]:
        found += [_fault("slow", service, factor=8.0), _fault("errors", service, ratio=0.3)]
        found += [
            _fault("held_slots", service, station=session.station, session=session.id, share=1.0)
            for session in plant.ops.sessions(service)
        ]
    found += _rolled_out(incident, twin, plant)
    for node in plant.kube.list_objects("Node"):
        conditions = {one["type"]: one["status"] for one in node["status"]["conditions"]}
        if conditions.get("Ready") != "True":
            found.append(_fault("node_loss", node["metadata"]["name"]))
    if any(symptom.kind is SymptomKind.TRAFFIC for symptom in incident.symptoms):
        hit = set(incident.services)
        journeys = [journey for journey in twin.journeys if service_of(journey.target) in hit]
        found += [_fault("load_spike", journey.name, factor=3.0) for journey in journeys[:JOURNEYS_MAX]]
    known = {(fault.kind, fault.target) for fault in stated}
    return tuple(fault for fault in found if (fault.kind, fault.target) not in known)


def _rolled_out(incident: Incident, twin: Fleet, plant: Plant) -> list[Fault]:
    """What the newest roll-outs may have brought to services that suffer, or that those call: a wrong setting where
    an environment changed, a wrong build where an image did. Those that the twin was built with tell nothing."""
    hit = set(incident.services)
    near = hit | {service_of(call.target) for s in twin.services if s.id in hit for call in _calls_of(s)}
    known = {service.id: service for service in twin.services}  # Production may have services that are newer.
    since_s = incident.onset_s - LOOK_BACK_S
    when = {
        service: at_s
        for service, at_s in deployed_at_s(plant).items()
        if service in near & set(known) and at_s >= since_s
    }
    signals = [signal for _, signal in plant.telemetry.signals(after=0)]
    found: list[Fault] = []
    configured = new_values(twin, plant) if when else []
    for service in sorted(when, key=lambda one: (-when[one], one))[:ROLL_OUTS_MAX]:
        for one in list(values_read(known[service], configured))[:SETTINGS_MAX]:
            if one.value is not None:
                found.append(
                    _fault("bad_config", service, config=one.ref.name, key=one.key, value=one.value, ratio=0.3)
                )
        change = template_change(known[service], plant)
        if change is None:
            continue
        image, env = change
        ended_s = first_end_s(signals, service, since_s=when[service])
        lived_s = None if ended_s is None else max(ended_s - when[service], 1.0)
        for name, value in env[:SETTINGS_MAX]:
            after = {} if lived_s is None else {"after_s": lived_s}
            found.append(_fault("crash_loop", service, name=name, value=value, **after))
        if image is not None:
            found.append(_fault("bad_rollout", service, image=image, ratio=0.3))
            if any(symptom.service == service and symptom.kind in _LEAKING for symptom in incident.symptoms):
                minutes = 3.0 if lived_s is None else min(max(lived_s / 60.0, 0.2), 600.0)
                found.append(_fault("memory_leak", service, image=image, minutes=minutes))
    return found


_LEAKING: Final = (SymptomKind.MEMORY, SymptomKind.RESTARTS)


def _deepest(incident: Incident, twin: Fleet) -> list[ServiceId]:
    """Suffering services of which no callee suffers come first: causes lie below their effects."""
    hit = set(incident.services)
    below: dict[ServiceId, int] = {}
    for service in twin.services:
        if service.id in hit:
            callees = {service_of(call.target) for call in _calls_of(service)}
            below[service.id] = len(callees & hit)
    return sorted(below, key=lambda service: (below[service], service))


def _calls_of(service: Service) -> Iterator[Call | Publish]:
    return (call for operation in service.operations for call in calls_of(operation.steps))


def _fault(kind: str, target: str, **parameters: Value) -> Fault:
    return Fault(kind=FaultKind(kind), target=target, parameters=MappingProxyType(parameters))
