"""The cone of influence: the part of a fleet that an incident and its cures can reach.

From the seeds (suffering services, targets of faults and changes) upwards to the users, because callers wait;
downwards to every callee, because load changes. A callee that others share is kept with the others' traffic as
a constant, and the others are left out, as long as the cone brings less than a fifth of that traffic: what
happens in the cone then moves them little. Beyond a fifth, they belong to the cone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Final

from twin.spec.fleet import Fleet, Journey
from twin.spec.ids import JourneyName, OpId, ServiceId, op_id, service_of
from twin.spec.importers.kubernetes import op_rates
from twin.spec.program import Retry, calls_of

__all__ = ["OUTSIDE", "cone_of", "is_user"]

OUTSIDE: Final = "outside:"  # begins the names of journeys that stand for callers who were left out
SHARE_MAX: Final = 0.2


def is_user(journey: Journey) -> bool:
    """Whether a journey is people, and not the traffic of services outside the cone."""
    return not journey.name.startswith(OUTSIDE)


def cone_of(fleet: Fleet, seeds: Iterable[ServiceId]) -> Fleet:
    """The fleet cut down to the cone; the fleet itself if the cone is nearly all of it, or nothing."""
    known = {service.id: service for service in fleet.services}
    callers: dict[ServiceId, set[ServiceId]] = {service: set() for service in known}
    callees: dict[ServiceId, set[ServiceId]] = {service: set() for service in known}
    for service in fleet.services:
        for operation in service.operations:
            for call in calls_of(operation.steps):
                callees[service.id].add(service_of(call.target))
                callers[service_of(call.target)].add(service.id)
    rates = op_rates(fleet.services, fleet.journeys)
    cone = {seed for seed in seeds if seed in known}
    while True:
        cone = _closed(cone, callers, callees)
        wanted = {
            service
            for service in cone
            if (callers[service] - cone) and _share(fleet, cone, service, rates) >= SHARE_MAX
        }
        more = set().union(*(callers[service] for service in wanted)) - cone if wanted else set()
        if not more:
            break
        cone |= more
    if not cone or len(cone) > 0.8 * len(known):
        return fleet
    return _cut(fleet, cone, rates)


def _closed(
    cone: set[ServiceId], callers: dict[ServiceId, set[ServiceId]], callees: dict[ServiceId, set[ServiceId]]
) -> set[ServiceId]:
    """All callers of the cone, up to the users; then everything that these call, at any depth."""
    for neighbours in (callers, callees):
        front = sorted(cone)
        while front:
            found = {near for service in front for near in neighbours[service]} - cone
            cone = cone | found
            front = sorted(found)
    return cone


def _share(fleet: Fleet, cone: set[ServiceId], service: ServiceId, rates: dict[OpId, float]) -> float:
    """The share of a service's requests that come from inside the cone, users of the cone's services included."""
    ops = {
        op_id(service, operation.name) for operation in next(s for s in fleet.services if s.id == service).operations
    }
    total = sum(rates.get(op, 0.0) for op in sorted(ops))
    outside = sum(
        rates.get(op_id(other.id, operation.name), 0.0) * call.probability
        for other in fleet.services
        if other.id not in cone
        for operation in other.operations
        for call in calls_of(operation.steps)
        if call.target in ops
    )
    return 1.0 if total <= 0.0 else max(1.0 - outside / total, 0.0)


def _cut(fleet: Fleet, cone: set[ServiceId], rates: dict[OpId, float]) -> Fleet:
    services = tuple(service for service in fleet.services if service.id in cone)
    users = tuple(journey for journey in fleet.journeys if service_of(journey.target) in cone)
    inside = op_rates(services, users)
    outside = tuple(
        Journey(name=JourneyName(f"{OUTSIDE}{op}"), target=op, rate_rps=missing, timeout_s=None, retry=Retry())
        for service in services
        for operation in service.operations
        if (missing := rates.get(op := op_id(service.id, operation.name), 0.0) - inside.get(op, 0.0)) > 1e-3
    )
    return dataclasses.replace(fleet, services=services, journeys=users + outside)
