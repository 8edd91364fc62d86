"""Somebody sets a wrong value in a ConfigMap; pods that start with it fail some of their requests."""

from __future__ import annotations

from twin.fleet.perturbation import Behave, Configure, Perturbation
from twin.spec.errors import BadInput
from twin.spec.fault import Fault, FaultType, Parameter
from twin.spec.fleet import Fleet, Service
from twin.spec.ids import FaultKind, ServiceId

__all__ = ["FAULT", "perturb"]

FAULT = FaultType(
    kind=FaultKind("bad_config"),
    summary="a wrong value in a ConfigMap is rolled over, and its readers fail some of their requests",
    target="service",
    parameters=(
        Parameter(name="config", help="the ConfigMap, which the service reads", default="settings"),
        Parameter(name="key", help="which of its values", default="POOL_SIZE"),
        Parameter(name="value", help="its new value", default="1"),
        Parameter(name="ratio", help="share of requests that fail", default=0.3, low=0.0, high=1.0, severity=True),
    ),
)


def perturb(fault: Fault, fleet: Fleet) -> tuple[Perturbation, ...]:
    """The write with its restart, and what pods with that value do: writing the old one, with a restart, is a cure.

    Raises BadInput if the service reads no such value.
    """
    service = fleet.service(ServiceId(fault.target))
    source, key, value = (str(fault.parameters[name]) for name in ("config", "key", "value"))
    variable = _variable(fleet, service, source, key)
    return (
        Behave(service=service.id, env=(variable, value), error_ratio=float(fault.parameters["ratio"])),
        Configure(service=service.id, config_map=source, key=key, value=value),
    )


def _variable(fleet: Fleet, service: Service, config: str, key: str) -> str:
    """What the value is called where it is read."""
    known = {one.name for one in fleet.config_maps if one.namespace == service.namespace}
    for read in service.reads:
        if read.source == config and config in known and not read.secret and read.key in ("", key):
            return read.name if read.key else read.name + key
    raise BadInput("cannot use bad_config", f"{service.id} reads no such value of one", "name one that it reads")
