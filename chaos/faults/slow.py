"""A service works more slowly: a bad query plan, a throttled disk, a noisy neighbour."""

from __future__ import annotations

from twin.fleet.perturbation import Behave, Perturbation
from twin.spec.fault import Fault, FaultType, Parameter
from twin.spec.fleet import Fleet
from twin.spec.ids import FaultKind, ServiceId

__all__ = ["FAULT", "perturb"]

FAULT = FaultType(
    kind=FaultKind("slow"),
    summary="all work of a service takes `factor` times as long",
    target="service",
    parameters=(
        Parameter(name="factor", help="how many times slower", default=8.0, low=1.0, high=100.0, severity=True),
    ),
)


def perturb(fault: Fault, fleet: Fleet) -> tuple[Perturbation, ...]:
    """One Behave on every template of the service."""
    return (Behave(service=ServiceId(fault.target), speed=1.0 / float(fault.parameters["factor"])),)
