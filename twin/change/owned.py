"""What stands beside a workload and is about it: its pods, its autoscaler, its disruption budgets.

Found by what they say they are about, for on a real cluster they bear any name.
"""

from __future__ import annotations

from collections.abc import Mapping

from twin.ports.plant import KubeApi, KubeObject
from twin.spec.errors import NotFound
from twin.spec.fleet import WorkloadKind
from twin.spec.plan import ObjectRef, ref_of
from twin.spec.selectors import selects

__all__ = ["autoscaler_of", "budgets_for", "budgets_of", "is_about", "kept_by", "pods_of", "scaled_by"]


def autoscaler_of(kube: KubeApi, workload: ObjectRef) -> KubeObject | None:
    """The HorizontalPodAutoscaler that sets this workload's replicas, if there is one."""
    namesake = ObjectRef(kind="HorizontalPodAutoscaler", name=workload.name, namespace=workload.namespace)
    try:  # The usual case, without listing a namespace.
        found = kube.get(namesake)
        if scaled_by(found) == workload:
            return found
    except NotFound:
        pass
    others = kube.list_objects("HorizontalPodAutoscaler", workload.namespace)
    return next((one for one in others if scaled_by(one) == workload), None)


def scaled_by(autoscaler: KubeObject) -> ObjectRef:
    """The workload whose replicas this autoscaler sets."""
    target = autoscaler["spec"]["scaleTargetRef"]
    return ObjectRef(kind=target["kind"], name=target["name"], namespace=autoscaler["metadata"]["namespace"])


def budgets_of(kube: KubeApi, workload: KubeObject) -> list[KubeObject]:
    """PodDisruptionBudgets that are about the workload's pods, in order."""
    return budgets_for(kube, workload["metadata"]["namespace"], _pod_labels(workload))


def budgets_for(kube: KubeApi, namespace: str, labels: Mapping[str, str]) -> list[KubeObject]:
    """PodDisruptionBudgets that are about pods of these labels, in order."""
    return [budget for budget in kube.list_objects("PodDisruptionBudget", namespace) if is_about(budget, labels)]


def pods_of(kube: KubeApi, workload: KubeObject) -> list[KubeObject]:
    """The pods that a workload's selector picks."""
    labels = workload["spec"]["selector"].get("matchLabels")
    return kube.list_objects("Pod", workload["metadata"]["namespace"], labels)


def kept_by(kube: KubeApi, budget: KubeObject) -> list[ObjectRef]:
    """The workloads that a PodDisruptionBudget is about, in order."""
    namespace = budget["metadata"]["namespace"]
    workloads = [obj for kind in WorkloadKind for obj in kube.list_objects(kind.value, namespace)]
    return sorted(ref_of(workload) for workload in workloads if is_about(budget, _pod_labels(workload)))


def is_about(budget: KubeObject, labels: Mapping[str, str]) -> bool:
    """Whether a budget is about pods of these labels."""
    return selects(budget["spec"].get("selector"), labels)


def _pod_labels(workload: KubeObject) -> Mapping[str, str]:
    return workload["spec"]["template"]["metadata"].get("labels") or {}
