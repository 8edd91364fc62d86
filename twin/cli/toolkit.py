"""Chaos Toolkit actions and probes on a shadow. Name them in an experiment as provider module `twin.cli.toolkit`.

The shadow is one of this home (`twin shadow status`), loaded before (`twin shadow load`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chaos.live import strike
from twin.cli.shadows import pool_here
from twin.spec.errors import BadInput
from twin.spec.fault import parse_fault
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef, workload_ref

if TYPE_CHECKING:
    from twin.kube.shadow import KubeShadow
    from twin.ports.plant import KubeObject

__all__ = ["inject", "lose_pod", "mend", "ready_ratio", "users_let_down_ratio"]


def inject(shadow: str, fault: str) -> str:
    """Let a fault of the catalogue strike now, and hold until `mend`. Of two that change how one service's pods behave
    the later holds. Returns the fault as it was read."""
    with _opened(shadow) as cluster:
        strike(parse_fault(fault), cluster.loaded.fleet, cluster)
        return fault


def lose_pod(shadow: str, service: str) -> str:
    """Delete a pod of "namespace/name", the first by name. Returns its name."""
    with _opened(shadow) as cluster:
        pods = _pods(cluster, service)
        if not pods:
            raise BadInput(f"{service} has no pod to lose", "none is there", "see: twin shadow status")
        name = str(pods[0]["metadata"]["name"])
        cluster.kube.delete(ObjectRef(kind="Pod", name=name, namespace=pods[0]["metadata"]["namespace"]))
        return name


def mend(shadow: str) -> None:
    """Everything as it was loaded: the rollback of an experiment."""
    with _opened(shadow) as cluster:
        cluster.reset()


def users_let_down_ratio(shadow: str, window_s: float = 10.0) -> float:
    """Share of users let down during the next `window_s`; 1.0 if nobody came."""
    with _opened(shadow) as cluster:
        first = cluster.users()
        cluster.sleep(window_s)
        counts = [(now, first.get(name)) for name, now in cluster.users().items()]
        came = sum(now.came - (then.came if then else 0.0) for now, then in counts)
        let_down = sum(now.let_down - (then.let_down if then else 0.0) for now, then in counts)
        return let_down / came if came > 0.0 else 1.0


def ready_ratio(shadow: str, service: str) -> float:
    """Ready pods of "namespace/name" to those that are wanted; 1.0 if none is."""
    with _opened(shadow) as cluster:
        workload = cluster.kube.get(workload_ref(cluster.loaded.fleet.service(ServiceId(service))))
        status = workload.get("status", {})
        wanted = workload["spec"].get("replicas", status.get("desiredNumberScheduled", 0))
        return float(status.get("readyReplicas", status.get("numberReady", 0)) / wanted) if wanted else 1.0


def _pods(cluster: KubeShadow, service: str) -> list[KubeObject]:
    workload = cluster.kube.get(workload_ref(cluster.loaded.fleet.service(ServiceId(service))))
    labels = workload["spec"]["selector"].get("matchLabels", {})
    found = cluster.kube.list_objects("Pod", workload["metadata"]["namespace"], labels)
    return sorted(
        (one for one in found if not one["metadata"].get("deletionTimestamp")), key=lambda one: one["metadata"]["name"]
    )


@contextmanager
def _opened(name: str) -> Iterator[KubeShadow]:
    """A loaded shadow, for us alone. Raises BadInput if there is none, or nothing is loaded."""
    with pool_here().borrow(name) as cluster:
        _ = cluster.loaded
        yield cluster
