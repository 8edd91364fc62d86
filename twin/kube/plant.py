"""A live cluster as a Plant: its API, its Prometheus, and a clock that nobody can hurry."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from twin.kube.api import PATIENCE_S, LiveKubeApi, connect
from twin.kube.news import cluster_news
from twin.kube.prometheus import PrometheusTelemetry, Queries, read_queries
from twin.ports.plant import OpsApi, Session, Telemetry
from twin.spec.errors import ComponentMissing
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef

__all__ = ["LivePlant", "NoOps", "WallClock", "live_plant"]

_IDENTITY: Final = ObjectRef(kind="Namespace", name="kube-system")


class WallClock:
    """Implements Clock: a live target's time is everybody's."""

    def now_s(self) -> float:
        return time.time()  # noqa: TID251 - a live target knows no other

    def sleep(self, duration_s: float) -> None:
        time.sleep(duration_s)


class NoOps:
    """Implements OpsApi where nothing beyond Kubernetes is reached."""

    def sessions(self, service: ServiceId) -> Sequence[Session]:
        """None are seen. What needs one is refused when it is called."""
        return ()

    def call(self, operation: str, arguments: Mapping[str, Any], *, dry_run: bool = False) -> NoReturn:
        raise ComponentMissing(
            f"cannot {operation.replace('_', ' ')}", "no adapter reaches beyond Kubernetes here",
            "use a change of Kubernetes' objects, or do it by hand",
        )  # fmt: skip


class LivePlant:
    """Implements Plant. Its name is the cluster's own, by the uid of a namespace that is never deleted: whatever two
    people call their contexts, a receipt for one cluster is none for another."""

    live = True

    def __init__(self, kube: LiveKubeApi, telemetry: Telemetry, *, ops: OpsApi) -> None:
        self.name: str = f"kube:{kube.get(_IDENTITY)['metadata']['uid']}"
        self.kube = kube
        self.telemetry = telemetry
        self.ops = ops
        self.clock = WallClock()


def live_plant(
    context: str | None,
    prometheus_url: str,
    ops: OpsApi | None = None,
    *,
    queries: Queries | None = None,
    kubeconfig: Path | None = None,
    patience_s: float = PATIENCE_S,
) -> LivePlant:
    """A live cluster by kubeconfig's context. An API server that restarts is waited for, for `patience_s`.

    Raises ComponentMissing, BadInput, ApiError if it does not answer.
    """
    kube = connect(context=context, kubeconfig=kubeconfig, patience_s=patience_s)
    telemetry = PrometheusTelemetry(
        prometheus_url, queries or read_queries(), now_s=WallClock().now_s, news=lambda: cluster_news(kube)
    )
    return LivePlant(kube, telemetry, ops=ops or NoOps())
