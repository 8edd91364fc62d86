"""Change the number of replicas: at the autoscaler where there is one, since it would take the figure back."""

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
    kind="scale",
    summary="set the number of replicas",
    target="workload",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(Parameter(name="replicas", help="how many", low=0.0, high=100000.0, whole=True),),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """spec.replicas, or the autoscaler's minimum (and maximum, if it lies below)."""
    if "replicas" not in action.parameters:
        raise BadInput(f"cannot scale {action.target}", "it does not say how many", "add parameters: {replicas: 6}")
    replicas = round(float(action.parameters["replicas"]))
    ref, workload = find_workload(kube, action.target)
    fewer = max(int(workload["spec"].get("replicas", 1)) - replicas, 0)
    autoscaler = autoscaler_of(kube, ref)
    if autoscaler is None:
        step = PatchStep(
            ref=ref,
            fields={("spec", "replicas"): replicas},
            terminates_pods=fewer,
            summary=f"scale {action.target} to {replicas}",
        )
        return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)
    scaler = ref_of(autoscaler)
    most = int(autoscaler["spec"]["maxReplicas"])
    if replicas < 1:
        raise BadInput(f"cannot scale {action.target} to 0", "its autoscaler needs at least 1", "remove the autoscaler")
    fields: dict[tuple[str, ...], int] = {("spec", "minReplicas"): replicas}
    if replicas > most:
        fields[("spec", "maxReplicas")] = replicas
    step = PatchStep(
        ref=scaler,
        fields=fields,
        terminates_pods=fewer,
        summary=f"let the autoscaler of {action.target} keep at least {replicas}",
    )
    return Compiled(steps=(step,), reads=(ref, scaler), reversibility=ACTION.reversibility)
