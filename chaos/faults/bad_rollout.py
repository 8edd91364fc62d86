"""A new build is rolled out that fails, or is slow, or both."""

from __future__ import annotations

from twin.fleet.perturbation import Behave, Deploy, Perturbation
from twin.spec.fault import Fault, FaultType, Parameter
from twin.spec.fleet import Fleet
from twin.spec.ids import FaultKind, ServiceId

__all__ = ["FAULT", "perturb"]

FAULT = FaultType(
    kind=FaultKind("bad_rollout"),
    summary="a new build answers a share of its requests with errors, or works more slowly",
    target="service",
    parameters=(
        Parameter(name="image", help="the new image", default="app:v2-bad"),
        Parameter(name="ratio", help="share that fails", default=0.4, low=0.0, high=1.0, severity=True),
        Parameter(name="factor", help="how many times slower", default=1.0, low=1.0, high=100.0),
    ),
)


def perturb(fault: Fault, fleet: Fleet) -> tuple[Perturbation, ...]:
    """The roll-out, and what templates with that image do: undoing it is a cure."""
    service, image = ServiceId(fault.target), str(fault.parameters["image"])
    return (
        Behave(
            service=service,
            image=image,
            error_ratio=float(fault.parameters["ratio"]),
            speed=1.0 / float(fault.parameters["factor"]),
        ),
        Deploy(service=service, image=image),
    )
