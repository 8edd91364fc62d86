"""Which pods a drain takes off a node, and taking them, as `kubectl drain` does.

A plan names the node and how many pods may be left, never the pods: a twin's have other names, and those of production
have others by the time that it is promoted. So a batch is the same however often it is begun, also after a crash.
"""

from __future__ import annotations

from collections.abc import Callable

from twin.ports.plant import KubeApi, KubeObject, Plant
from twin.spec.errors import Inconclusive, NotFound, TooManyRequests
from twin.spec.fleet import WorkloadKind
from twin.spec.plan import ObjectRef, ref_of

__all__ = ["controller_of", "evict_down_to", "evictions_due", "pods_on"]


def pods_on(kube: KubeApi, node: ObjectRef) -> list[KubeObject]:
    """The node's pods in order, those on their way out too; without DaemonSets' and the kubelet's own, which come back
    to the same node, and without those that have ended."""
    return [
        pod
        for pod in kube.list_objects("Pod")
        if pod["spec"].get("nodeName") == node.name
        and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        and controller_of(pod) not in (WorkloadKind.DAEMON_SET.value, "Node")
    ]


def controller_of(pod: KubeObject) -> str:
    """The kind of what makes another pod in this one's place; empty if nothing does."""
    owners = pod["metadata"].get("ownerReferences", ())
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), "")


def evictions_due(kube: KubeApi, node: ObjectRef, leave: int) -> int:
    """How many pods would be ended now, if at most `leave` of those that have a controller may be left."""
    return max(len(_staying(pods_on(kube, node))) - leave, 0)


def evict_down_to(
    plant: Plant, node: ObjectRef, leave: int, *, patience_s: float, poll_s: float, look: Callable[[], None]
) -> None:
    """Evict until at most `leave` pods are left, and gone are the others. What a disruption budget does not let go now
    is asked again, as others take its place; `look` is called at each turn, and what it raises ends the wait.

    Raises Inconclusive after `patience_s`, ApiError.
    """
    waited_s, why = 0.0, "its pods do not end"
    while True:
        look()
        due = evictions_due(plant.kube, node, leave)
        for pod in _staying(pods_on(plant.kube, node)):
            if not due:
                break
            try:
                plant.kube.evict(ref_of(pod))
                due -= 1
            except NotFound:
                due -= 1
            except TooManyRequests as error:
                why = error.why
        left = [pod for pod in pods_on(plant.kube, node) if controller_of(pod)]
        if len(left) <= leave:
            return
        if waited_s >= patience_s:
            raise Inconclusive(f"{node} is not drained", f"after {patience_s:g} s: {why}", "look at its budgets")
        plant.clock.sleep(poll_s)
        waited_s += poll_s


def _staying(pods: list[KubeObject]) -> list[KubeObject]:
    return [pod for pod in pods if controller_of(pod) and not pod["metadata"].get("deletionTimestamp")]
