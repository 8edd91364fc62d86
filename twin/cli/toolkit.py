"""Chaos Toolkit actions and probes on a shadow. Name them in an experiment as provider module `twin.cli.toolkit`.

The shadow is one of this home (`twin shadow status`), loaded before (`twin shadow load`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chaos.live import strike
from twin.change.owned import pods_of
from twin.cli.shadows import pool_here
from twin.spec.errors import BadInput
from twin.spec.fault import parse_fault
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef, workload_ref
from twin.spec.pod_counts import ready_and_wanted

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
        pods = pods_of(cluster.kube, _workload(cluster, service))
        names = sorted(str(one["metadata"]["name"]) for one in pods if not one["metadata"].get("deletionTimestamp"))
        if not names:
            raise BadInput(f"{service} has no pod to lose", "none is there", "see: twin shadow status")
        cluster.kube.delete(ObjectRef(kind="Pod", name=names[0], namespace=service.partition("/")[0]))
        return names[0]


def mend(shadow: str) -> None:
    """Everything as it was loaded: the rollback of an experiment."""
    with _opened(shadow) as cluster:
        cluster.reset()


def users_let_down_ratio(shadow: str, window_s: float = 10.0) -> float:
    """Share of users let down during the next `window_s`; 1.0 if nobody came."""
    with _opened(shadow) as cluster:
        first = cluster.users()
        cluster.sleep(window_s)
        counts = [count.since(first.get(name)) for name, count in cluster.users().items()]
        came = sum(count.came for count in counts)
        return sum(count.let_down for count in counts) / came if came > 0.0 else 1.0


def ready_ratio(shadow: str, service: str) -> float:
    """Ready pods of "namespace/name" to those that are wanted; 1.0 if none is."""
    with _opened(shadow) as cluster:
        ready, wanted = ready_and_wanted(_workload(cluster, service))
        return ready / wanted if wanted else 1.0


def _workload(cluster: KubeShadow, service: str) -> KubeObject:
    return cluster.kube.get(workload_ref(cluster.loaded.fleet.service(ServiceId(service))))


@contextmanager
def _opened(name: str) -> Iterator[KubeShadow]:
    """A loaded shadow, for us alone. Raises BadInput if there is none, or nothing is loaded."""
    with pool_here().borrow(name) as cluster:
        _ = cluster.loaded
        yield cluster
