"""More people come than usual, for a while; what retries make of it may outlive them."""

from __future__ import annotations

from twin.fleet.perturbation import Load, Perturbation
from twin.spec.fault import Fault, FaultType, Parameter
from twin.spec.fleet import Fleet
from twin.spec.ids import FaultKind, JourneyName

__all__ = ["FAULT", "perturb"]

FAULT = FaultType(
    kind=FaultKind("load_spike"),
    summary="a journey's traffic is multiplied",
    target="journey",
    parameters=(Parameter(name="factor", help="how many times more", default=3.0, low=1.0, high=100.0, severity=True),),
)


def perturb(fault: Fault, fleet: Fleet) -> tuple[Perturbation, ...]:
    """One Load on the journey."""
    return (Load(journey=JourneyName(fault.target), factor=float(fault.parameters["factor"])),)
