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
    # Of each namespace's pods those that tell, read once: a large one has thousands for each of its workloads to pick.
    telling: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for namespace in dict.fromkeys(workload["metadata"]["namespace"] for workload in workloads.values()):
        times = ((pod["metadata"].get("labels") or {}, _took_s(pod)) for pod in kube.list_objects("Pod", namespace))
        telling[namespace] = [(labels, took) for labels, took in times if took is not None]
    found = {}
    for service, workload in workloads.items():
        wanted = (workload["spec"].get("selector") or {}).get("matchLabels") or {}
        mine = telling[workload["metadata"]["namespace"]] if wanted else ()
        took_s = sorted(took for labels, took in mine if wanted.items() <= labels.items())
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
