"""Roles: where a scenario strikes in a fleet that is different for every seed.

What counts is what users would notice. `exposure` of a service is the share of users, weighted by what a failed
request costs them, whose request needs the service: along calls that are required, by their probabilities.

    vital_service      no database, not the front door; most exposed first
    busiest_database   stateful; most exposed first
    bystander          neither calls nor is called by the service of role `of`; least exposed first
    busiest_caller     calls the service of role `of`; most calls first
    hot_route          the HTTPRoute with the most calls to the service of role `of`
    busiest_journey    most users first
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from scenarios.files import PLACEHOLDER
from scenarios.model import Pick, Role
from twin.fleet.plant.objects import route_name
from twin.spec.draws import Draws
from twin.spec.errors import BadInput
from twin.spec.fleet import Fleet, Service
from twin.spec.ids import OpId, ServiceId, op_id, service_of
from twin.spec.program import Cached, Call, Hold, Step

__all__ = ["exposure", "filled", "find_roles"]

_DEPTH_MAX: Final = 60  # Programs are acyclic but for rare loops, which end here.


def find_roles(roles: Sequence[Role], fleet: Fleet, seed: int) -> Mapping[str, str]:
    """The name behind each role. The same fleet and seed give the same names.

    Raises BadInput if the fleet has nothing that fits.
    """
    found: dict[str, str] = {}
    shares = exposure(fleet)
    for number, role in enumerate(roles):
        fitting = _FINDERS[role.pick](role, fleet, shares, found)
        if not fitting:
            raise BadInput(
                f'there is no "{role.name}" in fleet "{fleet.name}"', f"nothing is a {role.pick}", "choose another role"
            )
        best = fitting[: role.among]
        found[role.name] = best[Draws(seed, f"role {role.name}", number).index(len(best))]
    return found


def filled(text: str, roles: Mapping[str, str]) -> str:
    """The text with every `{role}` replaced by the name behind it."""
    return PLACEHOLDER.sub(lambda match: roles[match[1]], text)


def exposure(fleet: Fleet) -> dict[ServiceId, float]:
    """Share of users, by what a failure costs them, who need each service: 0 to 1."""
    programs = {op_id(s.id, o.name): o.steps for s in fleet.services for o in s.operations}
    total = sum(journey.rate_rps * journey.weight for journey in fleet.journeys) or 1.0
    shares = {service.id: 0.0 for service in fleet.services}
    for journey in fleet.journeys:
        needed: dict[ServiceId, float] = {}
        _walk(journey.target, 1.0, programs, needed, 0)
        for service, likely in needed.items():
            shares[service] += journey.rate_rps * journey.weight / total * min(likely, 1.0)
    return shares


def _walk(
    op: OpId, likely: float, programs: Mapping[OpId, tuple[Step, ...]], needed: dict[ServiceId, float], depth: int
) -> None:
    service = service_of(op)
    needed[service] = max(needed.get(service, 0.0), likely)
    if depth >= _DEPTH_MAX or likely < 0.01:
        return
    for target, share in _required(programs.get(op, ()), 1.0):
        _walk(target, likely * share, programs, needed, depth + 1)


def _required(steps: tuple[Step, ...], share: float) -> list[tuple[OpId, float]]:
    found: list[tuple[OpId, float]] = []
    for step in steps:
        match step:
            case Call(target=target, probability=probability, required=True):
                found.append((target, share * probability))
            case Hold(body=body):
                found += _required(body, share)
            case Cached(hit_ratio=hit_ratio, miss=miss):
                found += _required(miss, share * (1.0 - hit_ratio))
            case _:
                pass
    return found


def _calls(fleet: Fleet) -> dict[tuple[ServiceId, ServiceId], float]:
    """Calls from service to service, a request to the caller, summed over its operations."""
    calls: dict[tuple[ServiceId, ServiceId], float] = {}
    for service in fleet.services:
        for operation in service.operations:
            for target, share in _required(operation.steps, 1.0):
                pair = (service.id, service_of(target))
                calls[pair] = calls.get(pair, 0.0) + share
    return calls


_Finder = Callable[[Role, Fleet, Mapping[ServiceId, float], Mapping[str, str]], list[str]]


def _sized(role: Role, service: Service) -> bool:
    return role.replicas_min <= service.replicas <= role.replicas_max


def _vital(role: Role, fleet: Fleet, shares: Mapping[ServiceId, float], found: Mapping[str, str]) -> list[str]:
    doors = {service_of(journey.target) for journey in fleet.journeys}
    return [
        service.id
        for service in sorted(fleet.services, key=lambda s: (-shares[s.id], s.id))
        if not service.stateful and service.id not in doors and shares[service.id] > 0.0
        and service.labels.get("role") != "cache" and service.id not in found.values() and _sized(role, service)
    ]  # fmt: skip


def _databases(role: Role, fleet: Fleet, shares: Mapping[ServiceId, float], found: Mapping[str, str]) -> list[str]:
    return [
        service.id
        for service in sorted(fleet.services, key=lambda s: (-shares[s.id], s.id))
        if service.stateful and shares[service.id] > 0.0 and service.id not in found.values() and _sized(role, service)
    ]


def _bystanders(role: Role, fleet: Fleet, shares: Mapping[ServiceId, float], found: Mapping[str, str]) -> list[str]:
    other = found[role.of]
    near = {name for pair in _calls(fleet) if other in pair for name in pair}
    return [
        service.id
        for service in sorted(fleet.services, key=lambda s: (shares[s.id], s.id))
        if not service.stateful and service.id not in near and service.id != other and _sized(role, service)
    ]


def _callers(role: Role, fleet: Fleet, shares: Mapping[ServiceId, float], found: Mapping[str, str]) -> list[str]:
    return [str(caller) for caller in _calling(fleet, shares, ServiceId(found[role.of]))]


def _routes(role: Role, fleet: Fleet, shares: Mapping[ServiceId, float], found: Mapping[str, str]) -> list[str]:
    callee = ServiceId(found[role.of])
    return ["/".join(route_name(caller, callee)) for caller in _calling(fleet, shares, callee)]


def _calling(fleet: Fleet, shares: Mapping[ServiceId, float], callee: ServiceId) -> list[ServiceId]:
    """Who calls a service, most users first."""
    calls = {caller: count for (caller, called), count in _calls(fleet).items() if called == callee}
    return sorted(calls, key=lambda caller: (-shares[caller] * calls[caller], caller))


def _journeys(role: Role, fleet: Fleet, shares: Mapping[ServiceId, float], found: Mapping[str, str]) -> list[str]:
    return [str(journey.name) for journey in sorted(fleet.journeys, key=lambda j: (-j.rate_rps, j.name))]


_FINDERS: Final[Mapping[Pick, _Finder]] = {
    Pick.VITAL_SERVICE: _vital,
    Pick.BUSIEST_DATABASE: _databases,
    Pick.BYSTANDER: _bystanders,
    Pick.BUSIEST_CALLER: _callers,
    Pick.HOT_ROUTE: _routes,
    Pick.BUSIEST_JOURNEY: _journeys,
}
