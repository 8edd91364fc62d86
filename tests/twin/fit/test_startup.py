"""Start-up times are what pods say of themselves."""

from __future__ import annotations

from typing import Any, cast

from twin.fit.startup import start_times
from twin.ports.plant import KubeApi, KubeObject
from twin.spec.ids import ServiceId

CART = ServiceId("shop/cart")
WORKLOAD: KubeObject = {
    "metadata": {"name": "cart", "namespace": "shop"}, "spec": {"selector": {"matchLabels": {"app": "cart"}}}
}  # fmt: skip


def pod(ready: str | None, *, restarts: int = 0, app: str = "cart", status: str = "True") -> KubeObject:
    condition = {"type": "Ready", "status": status} | ({"lastTransitionTime": ready} if ready else {})
    return {
        "metadata": {
            "namespace": "shop",
            "labels": {"app": app, "x": "y"},
            "creationTimestamp": "2026-03-01T10:00:00Z",
        },
        "status": {"conditions": [condition], "containerStatuses": [{"restartCount": restarts}]},
    }


def times_of(*pods: KubeObject) -> dict[ServiceId, float]:
    class Kube:
        def list_objects(self, kind: str, namespace: str = "", labels: Any = None) -> list[KubeObject]:
            assert (kind, namespace) == ("Pod", "shop")
            return list(pods)

    return start_times(cast(KubeApi, Kube()), {CART: WORKLOAD})


def test_the_quicker_pods_tell() -> None:
    """The third was unready in between."""
    seen = times_of(pod("2026-03-01T10:00:03Z"), pod("2026-03-01T10:00:05Z"), pod("2026-03-01T11:30:00Z"))
    assert seen == {CART: 4.0}


def test_whole_seconds_are_not_taken_for_nothing() -> None:
    assert times_of(pod("2026-03-01T10:00:00Z")) == {CART: 0.5}


def test_who_says_nothing_is_not_asked() -> None:
    late = "2026-03-01T10:09:00Z"
    assert times_of(pod(None), pod(late, restarts=1), pod(late, status="False"), pod(late, app="web")) == {}
