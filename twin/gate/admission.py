"""Stage 5: would a real API server take it? Dry runs of every write, then of the pods that would follow.

A Deployment is admitted whatever its pods would be refused for: quotas, limit ranges, pod security and webhooks look at
pods, and they come later, from a controller whom nobody listens to. So a pod of each new template is asked about too,
and quotas are counted for all that would be new at once.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, Final

from twin.ports.plant import KubeApi, KubeObject
from twin.spec.errors import ApiError, Forbidden, NotFound
from twin.spec.plan import ObjectRef, OpsStep, PatchStep, Plan
from twin.spec.pod_counts import count_or_share
from twin.spec.units import parse_bytes, parse_cores
from twin.spec.verdict import StageName, StageResult, StageVerdict

__all__ = ["try_admission"]

_WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")
_WEBHOOK_AWAY: Final = "failed calling webhook"
_REFUSALS: Final = (400, 403, 404, 409, 422)  # Not 429: who is busy has not answered.


def try_admission(kube: KubeApi, plan: Plan, *, where: str) -> StageResult:
    """Ask the API server about every step, writing nothing. Never raises: what cannot be asked is inconclusive."""
    asked = 0
    try:
        for step in plan.steps:
            if isinstance(step, OpsStep):
                continue
            after = kube.patch(step.ref, step.fields, dry_run=True)
            asked += 1
            if step.ref.kind in _WORKLOADS:
                reason = _refused_pods(kube, step, after)
                if reason:
                    return _result(StageVerdict.FAIL, f"{reason} ({where})")
    except _MayNotAsk as error:
        return _result(StageVerdict.INCONCLUSIVE, f"{error.why} ({where})")
    except ApiError as error:
        if _is_refusal(error):
            return _result(StageVerdict.FAIL, f"the API server refuses it: {error.why} ({where})")
        return _result(StageVerdict.INCONCLUSIVE, f"the API server could not be asked: {error} ({where})")
    if not asked:
        return _result(StageVerdict.PASS, f"nothing in it is the API server's to admit ({where})")
    return _result(StageVerdict.PASS, f"{asked} writes admitted, and the pods that follow ({where})")


class _MayNotAsk(ApiError):
    """This identity is not allowed to ask: that says nothing of the plan."""


def _is_refusal(error: ApiError) -> bool:
    """Whether the server answered no. A webhook that is away and fails closed is a no as well: nothing of this kind is
    written while it is, whoever asks."""
    return error.status in _REFUSALS or _WEBHOOK_AWAY in error.why


def _refused_pods(kube: KubeApi, step: PatchStep, after: KubeObject) -> str:
    """Why the pods of a workload as it would be are not all made; empty if they are. Raises ApiError."""
    before = kube.get(step.ref)
    new = _new_pods(before, after)
    if not new:
        return ""
    pod = _pod(after)
    try:
        kube.create(pod, dry_run=True)
    except ApiError as error:
        if not _is_refusal(error):
            raise
        if isinstance(error, Forbidden) and "cannot create resource" in error.why:  # Its roles, not its admission.
            raise _MayNotAsk("cannot ask about pods", error.why, "see deploy/rbac/observer.yaml") from error
        return f"no pod of {step.ref} would be admitted: {error.why}"
    try:
        quotas = kube.list_objects("ResourceQuota", step.ref.namespace)
    except NotFound:
        quotas = []
    for quota in quotas:
        over = _over(quota, pod, new)
        if over:
            return f"{over} of quota {quota['metadata']['name']} for {new} new pods of {step.ref}"
    return _unschedulable(kube, step.ref, pod, new)


def _new_pods(before: KubeObject, after: KubeObject) -> int:
    """Pods beyond those that are there, at the height of the roll-out."""
    wanted, had = int(after["spec"].get("replicas", 1)), int(before["spec"].get("replicas", 1))
    if after["spec"]["template"] == before["spec"]["template"]:
        return max(wanted - had, 0)
    if after["kind"] != "Deployment":
        return max(wanted - had, 0)  # A pod goes before its follower comes.
    surge = after["spec"].get("strategy", {}).get("rollingUpdate", {}).get("maxSurge", "25%")
    return max(wanted - had, 0) + math.ceil(count_or_share(surge, wanted) or 0)


def _pod(workload: KubeObject) -> KubeObject:
    template = copy.deepcopy(workload["spec"]["template"])
    metadata = workload["metadata"]
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": f"{metadata['name'][:40]}-asked", "namespace": metadata["namespace"],
            "labels": template["metadata"].get("labels", {}),
        },
        "spec": template["spec"],
    }  # fmt: skip


def _over(quota: KubeObject, pod: KubeObject, count: int) -> str:
    """What a quota has too little of for `count` such pods; empty if enough. Scoped quotas are the pod's dry run's."""
    status, spec = quota.get("status", {}), quota["spec"]
    if spec.get("scopes") or spec.get("scopeSelector"):
        return ""
    hard, used = status.get("hard") or spec.get("hard", {}), status.get("used", {})
    need = {"pods": 1.0, "count/pods": 1.0, **_requests(pod["spec"])}
    for name in sorted(hard):
        key = name if name in need else f"requests.{name}" if f"requests.{name}" in need else ""
        if key and _number(key, used.get(name, 0)) + need[key] * count > _number(key, hard[name]) + 1e-9:
            return f"too little {name}: {used.get(name, 0)} of {hard[name]} are used;"
    return ""


def _requests(spec: Mapping[str, Any]) -> dict[str, float]:
    total: dict[str, float] = {}
    for container in spec["containers"]:
        resources = container.get("resources", {})
        asked = {**resources.get("limits", {}), **resources.get("requests", {})}
        for group, quantities in (("requests", asked), ("limits", resources.get("limits", {}))):
            for name in ("cpu", "memory"):
                if name in quantities:
                    key = f"{group}.{name}"
                    total[key] = total.get(key, 0.0) + _number(key, quantities[name])
    return total


def _number(name: str, quantity: Any) -> float:
    if name.endswith("cpu"):
        return parse_cores(str(quantity))
    if name.endswith("memory"):
        return float(parse_bytes(str(quantity)))
    return float(quantity)


def _unschedulable(kube: KubeApi, ref: ObjectRef, pod: KubeObject, count: int) -> str:
    """Whether the nodes that take pods have room for `count` such ones by their requests. Affinities and taints with
    tolerations are the scheduler's: the shadow shows them."""
    need = _requests(pod["spec"])
    nodes = [n for n in kube.list_objects("Node") if not n["spec"].get("unschedulable") and _ready(n)]
    free = {
        n["metadata"]["name"]: {
            name: _number(name, n["status"]["allocatable"].get(name, 0)) for name in ("cpu", "memory")
        }
        for n in nodes
    }
    for other in kube.list_objects("Pod"):
        node = free.get(other["spec"].get("nodeName", ""))
        if node is not None and other.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            taken = _requests(other["spec"])
            for name in node:
                node[name] -= taken.get(f"requests.{name}", 0.0)
    fitting = 0.0
    for node in free.values():
        ratios = [node[name] / need[f"requests.{name}"] for name in node if need.get(f"requests.{name}", 0.0) > 0.0]
        fitting += max(math.floor(min(ratios) + 1e-9), 0) if ratios else math.inf
    if fitting < count:
        return f"the nodes have room for {fitting:.0f} of {count} new pods of {ref}"
    return ""


def _ready(node: KubeObject) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"].get("conditions", ()))


def _result(verdict: StageVerdict, reason: str) -> StageResult:
    return StageResult(stage=StageName.CONTROL_PLANE, verdict=verdict, reason=reason)
