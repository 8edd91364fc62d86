"""What Kubernetes objects declare of how many pods there are: autoscalers, disruption budgets, roll-outs.

Read of manifests, which may hold anything anywhere, and of a live cluster's objects alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twin.spec.fleet import Autoscaling, Disruption, RollingUpdate
from twin.spec.importers.manifests import as_list, as_map, as_text
from twin.spec.pod_counts import count_or_share, pods_kept, whole_count

__all__ = ["autoscaling_of", "disruption_of", "rolling_update_of"]


def autoscaling_of(autoscaler: Mapping[str, Any], workload: str) -> Autoscaling | None:
    """A HorizontalPodAutoscaler's bounds and CPU target; None if they make no sense. `workload`: its target's name."""
    spec = as_map(autoscaler.get("spec"))
    least, most = whole_count(spec.get("minReplicas", 1)), whole_count(spec.get("maxReplicas"))
    if least is None or most is None or most < max(1, least):
        return None
    target = whole_count(spec.get("targetCPUUtilizationPercentage"))
    for metric in map(as_map, as_list(spec.get("metrics"))):
        resource = as_map(metric.get("resource"))
        if as_text(resource.get("name")) == "cpu":
            target = whole_count(as_map(resource.get("target")).get("averageUtilization"))
    return Autoscaling(
        min_replicas=least, max_replicas=most, cpu_target_ratio=min(100.0, target / 100 if target else 0.8),
        name=_other_name(autoscaler, workload),
    )  # fmt: skip


def disruption_of(budget: Mapping[str, Any], workload: str, replicas: int, *, shared: bool) -> Disruption | None:
    """A PodDisruptionBudget as a number of pods of one workload that stay; None if it does not say. One that is
    `shared` by several becomes one of each."""
    kept = pods_kept(as_map(budget.get("spec")), replicas)
    return (
        None if kept is None else Disruption(min_available=kept, name="" if shared else _other_name(budget, workload))
    )


def rolling_update_of(workload_spec: Mapping[str, Any], replicas: int) -> RollingUpdate:
    """Surge and unavailability as shares of so many replicas, by Kubernetes' defaults where nothing is said."""
    strategy = as_map(workload_spec.get("strategy") or workload_spec.get("updateStrategy"))
    if as_text(strategy.get("type")) == "Recreate":
        return RollingUpdate(max_surge_ratio=0.0, max_unavailable_ratio=1.0)
    rolling = as_map(strategy.get("rollingUpdate"))
    default = RollingUpdate()
    surge = count_or_share(rolling.get("maxSurge"), replicas)
    unavailable = count_or_share(rolling.get("maxUnavailable"), replicas)
    divisor = max(1, replicas)
    return RollingUpdate(
        max_surge_ratio=default.max_surge_ratio if surge is None else min(10.0, surge / divisor),
        max_unavailable_ratio=default.max_unavailable_ratio if unavailable is None else min(1.0, unavailable / divisor),
    )


def _other_name(obj: Mapping[str, Any], workload: str) -> str:
    """The object's name, where it is another than its workload's."""
    name = as_text(as_map(obj.get("metadata")).get("name"))
    return "" if name == workload else name
