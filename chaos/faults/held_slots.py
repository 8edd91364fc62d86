"""A session takes servers of a limited station and keeps them: a lock, or connections of a pool."""

from __future__ import annotations

from twin.fleet.perturbation import HoldSlots, Perturbation
from twin.spec.errors import BadInput
from twin.spec.fault import Fault, FaultType, Parameter
from twin.spec.fleet import Fleet
from twin.spec.ids import FaultKind, ServiceId

__all__ = ["FAULT", "perturb"]

FAULT = FaultType(
    kind=FaultKind("held_slots"),
    summary="a database session holds a lock, or most of the connections",
    target="service",
    parameters=(
        Parameter(name="station", help="the lock or pool", default="row-lock"),
        Parameter(name="share", help="share of its servers", default=1.0, low=0.0, high=1.0, severity=True),
        Parameter(name="session", help="the session's id", default="session-4711"),
    ),
)


def perturb(fault: Fault, fleet: Fleet) -> tuple[Perturbation, ...]:
    """One session that holds that share of the station's servers. Raises BadInput without such a station."""
    service = fleet.service(ServiceId(fault.target))
    name = str(fault.parameters["station"])
    servers = next((station.servers for station in service.stations if station.name == name), None)
    if servers is None:
        known = ", ".join(station.name for station in service.stations) or "none"
        raise BadInput(f'{service.id} has no station "{name}"', f"its stations: {known}", "name one of them")
    slots = round(servers * float(fault.parameters["share"]))
    return (HoldSlots(service=service.id, station=name, slots=slots, session=str(fault.parameters["session"])),)
