"""Numbers of pods as Kubernetes says them, a count or a share, and how many pods a disruption budget keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["count_or_share", "pods_kept", "ready_and_wanted", "share_down", "share_up", "whole_count"]

_DIGITS: Final = (
    9  # A share comes from whole percents; the rest of a float is noise: 0.28 · 25 is 7, not 7.000000000000001.
)


def share_up(ratio: float, pods: int) -> int:
    """A share of so many pods, rounded up, as of maxSurge and of both of a budget's."""
    return math.ceil(round(ratio * pods, _DIGITS))


def share_down(ratio: float, pods: int) -> int:
    """A share of so many pods, rounded down, as of a roll-out's maxUnavailable."""
    return math.floor(round(ratio * pods, _DIGITS))


def ready_and_wanted(workload: Mapping[str, Any]) -> tuple[int, int]:
    """A workload's pods that are ready, and those that are wanted: of a DaemonSet one a node that it fits."""
    status = workload.get("status", {})
    wanted = workload["spec"].get("replicas", status.get("desiredNumberScheduled", 0))
    return int(status.get("readyReplicas", status.get("numberReady", 0))), int(wanted)


def whole_count(value: Any) -> int | None:
    """`value` if it is a count that makes sense, else None: manifests hold anything anywhere."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1_000_000 else None


def count_or_share(value: Any, whole: int) -> float | None:
    """A count as it is, or a percentage of `whole`, not rounded; None for what is neither."""
    if isinstance(value, str) and value.endswith("%") and value[:-1].isascii() and value[:-1].isdigit():
        return min(100, int(value[:4].rstrip("%"))) * whole / 100
    return whole_count(value)


def pods_kept(budget_spec: Mapping[str, Any], replicas: int) -> int | None:
    """How many of so many pods a PodDisruptionBudget keeps; None if it does not say. Kubernetes rounds both of its
    percentages up."""
    if "minAvailable" in budget_spec:
        count = count_or_share(budget_spec["minAvailable"], replicas)
        return None if count is None else math.ceil(count)
    if "maxUnavailable" in budget_spec:
        count = count_or_share(budget_spec["maxUnavailable"], replicas)
        return None if count is None else max(0, replicas - math.ceil(count))
    return None
