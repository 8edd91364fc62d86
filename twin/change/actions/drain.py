"""Take a node out of service: no new pods on it, and those that are there evicted, a few at a time."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled
from twin.change.evictions import controller_of, pods_on
from twin.change.owned import budgets_for, is_about
from twin.ports.plant import KubeApi, KubeObject
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.fleet import WorkloadKind
from twin.spec.plan import ObjectRef, PatchStep, ref_of
from twin.spec.pod_counts import pods_kept
from twin.spec.units import counted

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="drain",
    summary="cordon a node and evict its pods, as their disruption budgets allow",
    target="node",
    reversibility=Reversibility.COMPENSABLE,
    parameters=(
        Parameter(name="at_once", help="so many pods are evicted before users are watched", default=3.0, low=1.0,
                  high=100.0, whole=True),
    ),
)  # fmt: skip


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """spec.unschedulable of the node, and evictions to follow. Undone, the node takes pods again; those evicted stay
    where their controllers made others. What a stateful pod holds in memory, or any on the node's disk, is gone.

    Only the node is read for the base: which pods stand on it moves all the time, and how many go is asked of the
    guard anew when they do. Refused are pods that nothing would replace, and budgets that can never let one go.
    """
    ref = ObjectRef(kind="Node", name=action.target)
    kube.get(ref)
    pods = pods_on(kube, ref)
    bare = [_name(pod) for pod in pods if not controller_of(pod)]
    if bare:
        raise BadInput(
            f"cannot drain {action.target}", f"nothing would make {', '.join(bare)} again: no controller",
            "move or delete it by hand first",
        )  # fmt: skip
    for pod in pods:
        _refuse_deadlock(action.target, kube, pod)
    at_once = round(float(action.parameters["at_once"]))
    step = PatchStep(
        ref=ref,
        fields={("spec", "unschedulable"): True},
        terminates_pods=len(pods),
        evicts_at_once=at_once,
        summary=f"drain {action.target}: cordon it, evict {counted(len(pods), 'pod')}",
    )
    for_good = any(controller_of(pod) == WorkloadKind.STATEFUL_SET or _keeps_files(pod) for pod in pods)
    kind = Reversibility.IRREVERSIBLE if for_good else ACTION.reversibility
    return Compiled(steps=(step,), reads=(ref,), reversibility=kind)


def _refuse_deadlock(node: str, kube: KubeApi, pod: KubeObject) -> None:
    """A budget that keeps as many pods as are wanted allows no eviction, however long one waits; nor do two budgets of
    one pod, which Kubernetes does not evict at all."""
    namespace = pod["metadata"]["namespace"]
    budgets = budgets_for(kube, namespace, pod["metadata"].get("labels") or {})
    if len(budgets) > 1:
        names = " and ".join(str(ref_of(budget)) for budget in budgets)
        raise BadInput(f"cannot drain {node}", f"{names} are both about {_name(pod)}", "let one budget be about it")
    for budget in budgets:
        wanted = sum(
            int(workload["spec"].get("replicas", 1))
            for kind in (WorkloadKind.DEPLOYMENT, WorkloadKind.STATEFUL_SET)
            for workload in kube.list_objects(kind.value, namespace)
            if is_about(budget, workload["spec"]["template"]["metadata"].get("labels") or {})
        )
        kept = pods_kept(budget["spec"], wanted)
        if wanted and kept is not None and kept >= wanted:
            raise BadInput(
                f"cannot drain {node}",
                f"{ref_of(budget)} keeps {kept} of {wanted} pods: it can never let one go",
                "add a replica (scale), or let the budget keep fewer (set_pdb), then drain",
            )


def _keeps_files(pod: KubeObject) -> bool:
    return any("emptyDir" in volume or "hostPath" in volume for volume in pod["spec"].get("volumes", ()))


def _name(pod: KubeObject) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
