"""A service answers a share of its requests with errors, at once."""

from __future__ import annotations

from twin.fleet.perturbation import Behave, Perturbation
from twin.spec.fault import Fault, FaultType, Parameter
from twin.spec.fleet import Fleet
from twin.spec.ids import FaultKind, ServiceId

__all__ = ["FAULT", "perturb"]

FAULT = FaultType(
    kind=FaultKind("errors"),
    summary="a share of a service's requests fails at once",
    target="service",
    parameters=(Parameter(name="ratio", help="share that fails", default=0.3, low=0.0, high=1.0, severity=True),),
)


def perturb(fault: Fault, fleet: Fleet) -> tuple[Perturbation, ...]:
    """One Behave on every template of the service."""
    return (Behave(service=ServiceId(fault.target), error_ratio=float(fault.parameters["ratio"])),)
