"""Somebody sets a wrong value; containers that start with it crash."""

from __future__ import annotations

from twin.fleet.perturbation import Behave, Deploy, Perturbation
from twin.spec.fault import Fault, FaultType, Parameter
from twin.spec.fleet import Fleet
from twin.spec.ids import FaultKind, ServiceId

__all__ = ["FAULT", "perturb"]

FAULT = FaultType(
    kind=FaultKind("crash_loop"),
    summary="a new setting makes containers crash soon after their start",
    target="service",
    parameters=(
        Parameter(name="name", help="the environment variable", default="FEATURE_SET"),
        Parameter(name="value", help="its new value", default="next"),
        Parameter(
            name="after_s", help="seconds until a container crashes", default=7.0, low=0.1, high=3600.0, severity=True
        ),
    ),
)


def perturb(fault: Fault, fleet: Fleet) -> tuple[Perturbation, ...]:
    """The roll-out, and what templates with that setting do: undoing it is a cure."""
    service = ServiceId(fault.target)
    setting = (str(fault.parameters["name"]), str(fault.parameters["value"]))
    return (
        Behave(service=service, env=setting, crash_after_s=float(fault.parameters["after_s"])),
        Deploy(service=service, env=(setting,), author="config-bot"),
    )
