"""A cluster's own signals: deploys, warnings, kills."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twin.kube.news import cluster_news
from twin.ports.plant import KubeObject
from twin.spec.errors import Forbidden
from twin.spec.signal import SignalKind

AT = "2026-11-26T10:00:{:02d}Z"


def meta(name: str, **rest: Any) -> dict[str, Any]:
    return {"name": name, "namespace": "shop", "uid": f"u-{name}", "creationTimestamp": AT.format(1), **rest}


def revision(name: str, number: str, second: int) -> KubeObject:
    owner = [{"kind": "Deployment", "name": "cart-api"}]
    notes = {"deployment.kubernetes.io/revision": number}
    return {
        "metadata": meta(name, ownerReferences=owner, annotations=notes, creationTimestamp=AT.format(second)),
        "spec": {"template": {"spec": {"containers": [{"image": f"cart:v{number}"}]}}},
    }


class Cluster:
    def __init__(self, **objects: list[KubeObject]) -> None:
        self.objects = {"Deployment": [{"metadata": meta("cart")}, {"metadata": meta("cart-api")}], **objects}
        self.forbidden: set[str] = set()

    def list_objects(self, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[KubeObject]:
        if kind in self.forbidden:
            raise Forbidden(f"cannot list {kind}", "no role", "x")
        return self.objects.get(kind, [])


def test_a_later_revision_is_a_deploy_and_the_first_is_none() -> None:
    cluster = Cluster(ReplicaSet=[revision("a", "1", 5), revision("b", "2", 9)])
    (told,) = cluster_news(cluster)  # type: ignore[arg-type]
    assert (told.kind, told.service, told.text) == (
        SignalKind.DEPLOY, "shop/cart-api", "shop/cart-api revision 2: cart:v2",
    )  # fmt: skip


def test_a_pods_warning_is_its_workloads_by_the_longest_name() -> None:
    about = {"kind": "Pod", "name": "cart-api-5d9f-x2", "namespace": "shop"}
    event = {
        "metadata": meta("e"), "type": "Warning", "reason": "BackOff", "message": "again", "count": 3,
        "involvedObject": about, "lastTimestamp": AT.format(30),
    }  # fmt: skip
    calm = {**event, "type": "Normal"}
    (told,) = cluster_news(Cluster(Event=[event, calm]))  # type: ignore[arg-type]
    assert (told.kind, told.service, told.reason) == (SignalKind.EVENT, "shop/cart-api", "BackOff")


def test_a_container_out_of_memory_is_told_of() -> None:
    ended = {"reason": "OOMKilled", "finishedAt": AT.format(40)}
    pod = {
        "metadata": meta("cart-7f-1"),
        "status": {"containerStatuses": [{"restartCount": 2, "lastState": {"terminated": ended}}]},
    }
    (told,) = cluster_news(Cluster(Pod=[pod]))  # type: ignore[arg-type]
    assert (told.reason, told.service) == ("OOMKilled", "shop/cart")


def test_without_a_role_for_events_the_rest_is_told() -> None:
    cluster = Cluster(ReplicaSet=[revision("b", "2", 9)])
    cluster.forbidden.add("Event")
    assert len(cluster_news(cluster)) == 1  # type: ignore[arg-type]
