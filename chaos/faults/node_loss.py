"""A machine goes dark, with every pod on it."""

from __future__ import annotations

from twin.fleet.perturbation import Perturbation, StopNode
from twin.spec.fault import Fault, FaultType
from twin.spec.fleet import Fleet
from twin.spec.ids import FaultKind, NodeName

__all__ = ["FAULT", "perturb"]

FAULT = FaultType(kind=FaultKind("node_loss"), summary="a node answers nobody any more", target="node")


def perturb(fault: Fault, fleet: Fleet) -> tuple[Perturbation, ...]:
    """One StopNode."""
    return (StopNode(node=NodeName(fault.target)),)
