"""Keep new pods off a node, or let them in again."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.fault import Parameter
from twin.spec.plan import ObjectRef, PatchStep

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="cordon",
    summary="keep new pods off a node, or let them in again",
    target="node",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(Parameter(name="cordoned", help="1 cordons, 0 lifts it", default=1.0, low=0.0, high=1.0, whole=True),),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """spec.unschedulable of the node."""
    ref = ObjectRef(kind="Node", name=action.target)
    kube.get(ref)
    cordoned = bool(round(float(action.parameters["cordoned"])))
    step = PatchStep(
        ref=ref,
        fields={("spec", "unschedulable"): cordoned},
        summary=f"{'cordon' if cordoned else 'uncordon'} {action.target}",
    )
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)
