"""Change how many pods of a workload have to stay when others want to take some away."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled, find_workload
from twin.change.owned import autoscaler_of, budgets_of, kept_by
from twin.ports.plant import KubeApi, KubeObject
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.fleet import WorkloadKind
from twin.spec.plan import ObjectRef, PatchStep, ref_of

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="set_pdb",
    summary="set how many pods a workload's disruption budget keeps",
    target="workload",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(Parameter(name="min_available", help="so many stay ready", low=0.0, high=100000.0, whole=True),),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """spec.minAvailable of the one PodDisruptionBudget that is about the workload's pods, and about no others.

    A budget that lets nothing go is refused: it stops no fault, and every drain from then on.
    """
    what = f"cannot set_pdb {action.target}"
    if "min_available" not in action.parameters:
        raise BadInput(what, "it does not say how many", "add {min_available: 2}")
    least = round(float(action.parameters["min_available"]))
    ref, workload = find_workload(kube, action.target)
    if ref.kind == WorkloadKind.DAEMON_SET:
        raise BadInput(what, "a drain leaves a DaemonSet's pods where they are", "change its roll-out instead")
    budgets = budgets_of(kube, workload)
    if len(budgets) != 1:
        names = ", ".join(budget["metadata"]["name"] for budget in budgets) or "none"
        raise BadInput(what, f"its budgets: {names}", "it takes exactly one")
    [budget] = budgets
    others = [str(other) for other in kept_by(kube, budget) if other != ref]
    if others:
        raise BadInput(what, f"its budget is also about {', '.join(others)}", "give each a budget of its own")
    if "maxUnavailable" in budget["spec"]:  # They exclude each other: one could not be put back without the other.
        raise BadInput(what, "its budget says maxUnavailable, not minAvailable", "change the budget at its source")
    fewest = _fewest_pods(kube, ref, workload)
    if least >= fewest:
        raise BadInput(
            what, f"of its {fewest} pods none could be taken away any more",
            f"keep {fewest - 1} at most, or scale it first",
        )  # fmt: skip
    own = ref_of(budget)
    step = PatchStep(
        ref=own,
        fields={("spec", "minAvailable"): least},
        summary=f"keep {least} pods of {action.target} when others go",
    )
    return Compiled(steps=(step,), reads=(ref, own), reversibility=ACTION.reversibility)


def _fewest_pods(kube: KubeApi, ref: ObjectRef, workload: KubeObject) -> int:
    """What is left of the workload when it is at its smallest: an autoscaler takes some away."""
    replicas, autoscaler = int(workload["spec"].get("replicas", 1)), autoscaler_of(kube, ref)
    return replicas if autoscaler is None else min(replicas, int(autoscaler["spec"].get("minReplicas", 1)))
