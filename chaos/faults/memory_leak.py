"""A new build leaks memory until the kernel kills its containers."""

from __future__ import annotations

from twin.fleet.perturbation import Behave, Deploy, Perturbation
from twin.spec.errors import BadInput
from twin.spec.fault import Fault, FaultType, Parameter
from twin.spec.fleet import Fleet
from twin.spec.ids import FaultKind, ServiceId

__all__ = ["FAULT", "perturb"]

FAULT = FaultType(
    kind=FaultKind("memory_leak"),
    summary="a new build leaks until its containers run out of memory, again and again",
    target="service",
    parameters=(
        Parameter(name="image", help="the new image", default="app:v2-leaky"),
        Parameter(
            name="minutes", help="minutes from start to out of memory", default=3.0, low=0.2, high=600.0, severity=True
        ),
    ),
)


def perturb(fault: Fault, fleet: Fleet) -> tuple[Perturbation, ...]:
    """The roll-out, and a leak that reaches the declared limit in the stated time. Raises BadInput without one."""
    service = fleet.service(ServiceId(fault.target))
    limit = service.resources.memory_limit_bytes
    if limit is None:
        raise BadInput(
            f"memory cannot run out in {service.id}", "it has no memory limit", "declare one, or choose another service"
        )
    image = str(fault.parameters["image"])
    leak = max(limit - service.memory_base_bytes, 0) / (60.0 * float(fault.parameters["minutes"]))
    return (
        Behave(service=service.id, image=image, leak_bytes_per_s=leak),
        Deploy(service=service.id, image=image),
    )
