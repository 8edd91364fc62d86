"""The small shop as real objects: what a World shows of it, without what only a server may say."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, Final

from tests.clusters.control_plane import nodes
from tests.clusters.gitops import lay_out_gitops
from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.kube import LiveKubeApi
from twin.ports.plant import KubeObject
from twin.spec.errors import Conflict, NotFound
from twin.spec.plan import ObjectRef, ref_of

__all__ = ["await_that", "lay_out_nodes", "lay_out_shop", "shop_objects"]

KINDS: Final = (
    "ConfigMap",
    "Kustomization",
    "ResourceQuota",
    "Deployment",
    "StatefulSet",
    "PodDisruptionBudget",
    "HorizontalPodAutoscaler",
)
NAMESPACE: Final = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
PATIENCE_S: Final = 60.0
NODES: Final = 4


def shop_objects() -> list[KubeObject]:
    """Workloads and budgets, as a World shows them and a server takes them."""
    kube = plant_of(World.build(small_shop(), seed=1)).kube
    return [_bare(obj) for kind in KINDS for obj in kube.list_objects(kind)]


def lay_out_nodes(api: LiveKubeApi) -> None:
    """Machines for pods, where there are none yet."""
    for obj in nodes(NODES):
        _create(api, obj)


def lay_out_shop(api: LiveKubeApi) -> None:
    """The shop, as new, all of its pods ready. `api` has to be an administrator's."""
    lay_out_nodes(api)
    _create(api, NAMESPACE)
    lay_out_gitops(api)
    objects = shop_objects()
    for obj in objects:
        try:
            api.delete(ref_of(obj))
        except NotFound:
            continue
    await_that("the old shop is gone", lambda: not api.list_objects("Pod", "shop") and not _workloads(api))
    for obj in objects:
        _create(api, obj)
        if obj["kind"] == "ResourceQuota":  # Pods made before it is seen are missed until a resync, minutes later.
            await_that("the quota counts", functools.partial(_counts, api, ref_of(obj)))
    await_that("the shop is ready", lambda: all(_settled(obj) for obj in _workloads(api)) and _budgets_know(api))


def await_that(what: str, holds: Callable[[], bool], *, patience_s: float = PATIENCE_S) -> None:
    """Poll until it holds. Raises AssertionError after `patience_s`."""
    end_s = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < end_s, f"waited {patience_s:g} s for this: {what}"
        time.sleep(0.1)


def _workloads(api: LiveKubeApi) -> list[KubeObject]:
    return [obj for kind in ("Deployment", "StatefulSet") for obj in api.list_objects(kind, "shop")]


def _settled(obj: KubeObject) -> bool:
    status: dict[str, Any] = obj.get("status", {})
    wanted = obj["spec"]["replicas"]
    counted = [status.get(name, 0) for name in ("replicas", "readyReplicas", "availableReplicas", "updatedReplicas")]
    return status.get("observedGeneration") == obj["metadata"]["generation"] and counted == [wanted] * 4


def _budgets_know(api: LiveKubeApi) -> bool:
    """Whether the disruption controller has counted the pods that a budget is about."""
    budgets = api.list_objects("PodDisruptionBudget", "shop")
    return all(obj.get("status", {}).get("currentHealthy", 0) == 3 for obj in budgets)


def _counts(api: LiveKubeApi, quota: ObjectRef) -> bool:
    return bool(api.get(quota).get("status", {}).get("used") == {"pods": "0"})


def _create(api: LiveKubeApi, obj: KubeObject) -> None:
    try:
        api.create(obj)
    except Conflict:  # It is there already.
        return


def _bare(obj: KubeObject) -> KubeObject:
    metadata = {key: obj["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    said = {key: value for key, value in obj.items() if key not in ("metadata", "status")}
    return {**said, "metadata": metadata}
