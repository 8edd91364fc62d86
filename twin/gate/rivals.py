"""Rivals of the proposer's hypotheses: what else could look like this. Nobody judges in his own cause.

For the services that suffer most, and those that they call: slow, failing; for their users: more traffic;
for machines that went dark and sessions that hold something: these.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from twin.ports.plant import Plant
from twin.spec.fault import Fault, Value
from twin.spec.fleet import Fleet
from twin.spec.ids import FaultKind, ServiceId, service_of
from twin.spec.incident import Incident
from twin.spec.program import calls_of
from twin.spec.signal import SymptomKind

__all__ = ["rivals_of"]

SERVICES_MAX: Final = 3
JOURNEYS_MAX: Final = 2


def rivals_of(incident: Incident, twin: Fleet, plant: Plant, stated: tuple[Fault, ...]) -> tuple[Fault, ...]:
    """Faults that nobody has stated, and that the visible facts allow; at most about a dozen."""
    found: list[Fault] = []
    for service in _deepest(incident, twin)[:SERVICES_MAX]:
        found += [_fault("slow", service, factor=8.0), _fault("errors", service, ratio=0.3)]
        found += [
            _fault("held_slots", service, station=session.station, session=session.id, share=1.0)
            for session in plant.ops.sessions(service)
        ]
    for node in plant.kube.list_objects("Node"):
        if node["status"]["conditions"][0]["status"] != "True":
            found.append(_fault("node_loss", node["metadata"]["name"]))
    if any(symptom.kind is SymptomKind.TRAFFIC for symptom in incident.symptoms):
        hit = set(incident.services)
        journeys = [journey for journey in twin.journeys if service_of(journey.target) in hit]
        found += [_fault("load_spike", journey.name, factor=3.0) for journey in journeys[:JOURNEYS_MAX]]
    known = {(fault.kind, fault.target) for fault in stated}
    return tuple(fault for fault in found if (fault.kind, fault.target) not in known)


def _deepest(incident: Incident, twin: Fleet) -> list[ServiceId]:
    """Suffering services of which no callee suffers come first: causes lie below their effects."""
    hit = set(incident.services)
    below: dict[ServiceId, int] = {}
    for service in twin.services:
        if service.id in hit:
            callees = {service_of(call.target) for op in service.operations for call in calls_of(op.steps)}
            below[service.id] = len(callees & hit)
    return sorted(below, key=lambda service: (below[service], service))


def _fault(kind: str, target: str, **parameters: Value) -> Fault:
    return Fault(kind=FaultKind(kind), target=target, parameters=MappingProxyType(parameters))
