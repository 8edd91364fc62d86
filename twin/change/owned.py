"""What stands beside a workload and is about it: its autoscaler, its disruption budgets.

Found by what they say they are about, for on a real cluster they bear any name.
"""

from __future__ import annotations

from collections.abc import Mapping

from twin.ports.plant import KubeApi, KubeObject
from twin.spec.errors import NotFound
from twin.spec.plan import ObjectRef

__all__ = ["autoscaler_of", "budgets_for", "budgets_of", "scaled_by", "selects"]


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
    """PodDisruptionBudgets that select the workload's pods by labels. What selects by expressions is left out."""
    labels = workload["spec"]["template"]["metadata"].get("labels") or {}
    return budgets_for(kube, workload["metadata"]["namespace"], labels)


def budgets_for(kube: KubeApi, namespace: str, labels: Mapping[str, str]) -> list[KubeObject]:
    """PodDisruptionBudgets that are about pods of these labels, in order."""
    return [budget for budget in kube.list_objects("PodDisruptionBudget", namespace) if selects(budget, labels)]


def selects(budget: KubeObject, labels: Mapping[str, str]) -> bool:
    """Whether a budget is about pods of these labels; False for what selects by expressions."""
    selector = budget["spec"].get("selector") or {}
    wanted = selector.get("matchLabels") or {}
    return bool(wanted) and not selector.get("matchExpressions") and wanted.items() <= labels.items()
