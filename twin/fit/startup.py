"""How long pods take from being made to being ready, where the cluster says when they were."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from datetime import datetime

from twin.ports.plant import KubeApi, KubeObject
from twin.spec.ids import ServiceId

__all__ = ["start_times"]


def start_times(kube: KubeApi, workloads: Mapping[ServiceId, KubeObject]) -> dict[ServiceId, float]:
    """Median seconds by workload, over its pods that are ready and never restarted: scheduling, pulling, starting, and
    the wait for a probe. Kubernetes tells whole seconds; nothing is said of less than one, but half of it. A pod that
    was unready in between looks slow, so the quickest half of the pods is what counts. Raises ApiError."""
    by_namespace: dict[str, list[KubeObject]] = {}
    for workload in workloads.values():
        namespace = workload["metadata"]["namespace"]
        if namespace not in by_namespace:
            by_namespace[namespace] = kube.list_objects("Pod", namespace)
    found = {}
    for service, workload in workloads.items():
        labels = (workload["spec"].get("selector") or {}).get("matchLabels") or {}
        pods = [
            pod
            for pod in by_namespace[workload["metadata"]["namespace"]]
            if labels and labels.items() <= (pod["metadata"].get("labels") or {}).items()
        ]
        took_s = sorted(took for pod in pods if (took := _took_s(pod)) is not None)
        if took_s:
            found[service] = max(statistics.median(took_s[: (len(took_s) + 1) // 2]), 0.5)
    return found


def _took_s(pod: KubeObject) -> float | None:
    """None for a pod that is not ready, was restarted, or of which nothing says since when it is ready."""
    status = pod.get("status", {})
    if any(one.get("restartCount", 0) for one in status.get("containerStatuses", ())):
        return None
    for condition in status.get("conditions", ()):
        if condition["type"] == "Ready" and condition["status"] == "True" and condition.get("lastTransitionTime"):
            made, ready = pod["metadata"]["creationTimestamp"], condition["lastTransitionTime"]
            return max((datetime.fromisoformat(ready) - datetime.fromisoformat(made)).total_seconds(), 0.0)
    return None
