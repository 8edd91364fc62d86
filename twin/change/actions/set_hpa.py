"""Change how many replicas an autoscaler may choose from."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled, find_workload
from twin.change.owned import autoscaler_of
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.plan import PatchStep, ref_of

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="set_hpa",
    summary="set the range that a workload's autoscaler chooses from",
    target="workload",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(
        Parameter(name="min_replicas", help="never fewer", low=1.0, high=100000.0, whole=True),
        Parameter(name="max_replicas", help="never more", low=1.0, high=100000.0, whole=True),
    ),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """minReplicas and maxReplicas of the HorizontalPodAutoscaler that scales the workload."""
    asked = {name: round(float(value)) for name, value in action.parameters.items()}
    if not asked:
        raise BadInput(f"cannot set_hpa {action.target}", "it sets nothing", "add parameters: {max_replicas: 12}")
    ref, workload = find_workload(kube, action.target)
    scaler = autoscaler_of(kube, ref)
    if scaler is None:
        raise BadInput(f"cannot set_hpa {action.target}", "nothing scales it", "set its replicas: scale")
    least = asked.get("min_replicas", int(scaler["spec"].get("minReplicas", 1)))
    most = asked.get("max_replicas", int(scaler["spec"]["maxReplicas"]))
    if least > most:
        raise BadInput(
            f"cannot set_hpa {action.target}", f"it would be at least {least} and at most {most}", "change both"
        )
    own = ref_of(scaler)
    paths = {"min_replicas": ("spec", "minReplicas"), "max_replicas": ("spec", "maxReplicas")}
    step = PatchStep(
        ref=own,
        fields={paths[name]: value for name, value in asked.items()},
        terminates_pods=max(int(workload["spec"].get("replicas", 1)) - most, 0),
        summary=f"let the autoscaler of {action.target} choose from {least} to {most}",
    )
    return Compiled(steps=(step,), reads=(ref, own), reversibility=ACTION.reversibility)
