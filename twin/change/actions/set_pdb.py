"""Change how many pods of a workload have to stay when others want to take some away."""

from __future__ import annotations

from typing import Any

from twin.change.catalogue import ActionType, Compiled, find_workload
from twin.change.owned import budgets_of
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.plan import PatchStep, ref_of

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="set_pdb",
    summary="set how many pods a workload's disruption budget keeps",
    target="workload",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(Parameter(name="min_available", help="so many stay ready", low=0.0, high=100000.0),),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """spec.minAvailable of the one PodDisruptionBudget that is about the workload's pods.

    A budget that lets nothing go is refused: it stops no fault, and every drain from then on.
    """
    if "min_available" not in action.parameters:
        raise BadInput(f"cannot set_pdb {action.target}", "it does not say how many", "add {min_available: 2}")
    least = round(float(action.parameters["min_available"]))
    ref, workload = find_workload(kube, action.target)
    budgets = budgets_of(kube, workload)
    if len(budgets) != 1:
        names = ", ".join(budget["metadata"]["name"] for budget in budgets) or "none"
        raise BadInput(f"cannot set_pdb {action.target}", f"its budgets: {names}", "it takes exactly one")
    replicas = int(workload["spec"].get("replicas", 1))
    if least >= replicas:
        raise BadInput(
            f"cannot set_pdb {action.target}", f"of its {replicas} replicas none could be taken away any more",
            f"keep {replicas - 1} at most, or scale it first",
        )  # fmt: skip
    spec = budgets[0]["spec"]
    fields: dict[tuple[str, ...], Any] = {("spec", "minAvailable"): least}
    if "maxUnavailable" in spec:  # The two exclude each other.
        fields[("spec", "maxUnavailable")] = None
    own = ref_of(budgets[0])
    step = PatchStep(ref=own, fields=fields, summary=f"keep {least} pods of {action.target} when others go")
    return Compiled(steps=(step,), reads=(ref, own), reversibility=ACTION.reversibility)
