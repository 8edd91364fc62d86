"""Turn a share of requests away at the door, so that the rest can be served."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled, find_workload
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.plan import OpsStep

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="shed_load",
    summary="turn away a share of a service's requests",
    target="service",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(Parameter(name="ratio", help="share turned away, 0 ends it", low=0.0, high=0.99),),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """One call of the edge proxy's operation."""
    if "ratio" not in action.parameters:
        raise BadInput(f"cannot shed load of {action.target}", "no share is given", "add parameters: {ratio: 0.3}")
    ref, _ = find_workload(kube, action.target)
    ratio = float(action.parameters["ratio"])
    step = OpsStep(
        operation="shed_load",
        arguments={"service": action.target, "ratio": ratio},
        summary=f"turn away {ratio:.0%} of requests to {action.target}",
    )
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)
