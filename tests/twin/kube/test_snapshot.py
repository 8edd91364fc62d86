"""Snapshots: deterministic, without secrets, at one revision, and honest about what moved."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.kube.snapshot import REDACTED, differences, read_snapshot, take_snapshot, write_snapshot
from twin.ports.plant import KubeObject
from twin.spec.errors import BadInput, NotFound


def obj(kind: str, name: str, namespace: str = "shop", **rest: Any) -> KubeObject:
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": "7", **rest.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **rest}


class Cluster:
    """A few objects, listed as a live API lists them. `gone_after` forgets the version after so many lists."""

    def __init__(self, *objects: KubeObject, gone_after: int = 10**6) -> None:
        self.objects = list(objects)
        self.asked: list[str] = []
        self._left = gone_after

    def list_objects(self, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[KubeObject]:
        raise AssertionError("a live API is read at one revision")

    def list_at(self, kind: str, namespace: str, version: str) -> tuple[list[KubeObject], str]:
        self.asked.append(version)
        self._left -= 1
        if kind == "HTTPRoute":
            raise NotFound("no", "such kind", "here")
        found = [
            copy.deepcopy(o)
            for o in self.objects
            if o["kind"] == kind and o["metadata"].get("namespace", "") == namespace
        ]
        return found, (version or "100") if self._left > 0 else "101"


TEMPLATE = {"spec": {"containers": [{"name": "c", "image": "cart:v1"}]}}
WORKLOAD = obj("Deployment", "cart", spec={"replicas": 2, "template": TEMPLATE}, status={"replicas": 2})


def test_everything_is_read_at_the_revision_of_the_first_list() -> None:
    cluster = Cluster(WORKLOAD)
    snapshot = take_snapshot(cluster, ["shop"], source="test")
    assert cluster.asked[0] == ""
    assert set(cluster.asked[1:]) == {"100"}
    assert (snapshot.version, snapshot.moved, snapshot.unread) == ("100", (), ("HTTPRoute",))


def test_what_could_not_be_read_at_that_revision_is_named() -> None:
    snapshot = take_snapshot(Cluster(WORKLOAD, gone_after=12), ["shop"], source="test")
    assert "Deployment" in snapshot.moved
    assert "ResourceQuota" not in snapshot.moved


def test_of_the_clusters_roles_those_of_the_accounts_are_kept() -> None:
    def binding(name: str, role: str, *subjects: Mapping[str, str]) -> KubeObject:
        ref = {"kind": "ClusterRole", "name": role}
        return obj("ClusterRoleBinding", name, "", roleRef=ref, subjects=list(subjects))

    account = {"kind": "ServiceAccount", "name": "cart", "namespace": "shop"}
    other = {"kind": "ServiceAccount", "name": "cart", "namespace": "bank"}
    group = {"kind": "Group", "name": "system:serviceaccounts:shop"}
    local = obj("RoleBinding", "local", roleRef={"kind": "ClusterRole", "name": "view"}, subjects=[account])
    roles = [obj("ClusterRole", name, "", rules=[]) for name in ("cart", "bank", "all", "view", "unbound")]
    bindings = [binding("cart", "cart", account), binding("bank", "bank", other), binding("all", "all", group)]
    nobody = obj("ClusterRoleBinding", "nobody", "", roleRef={"kind": "ClusterRole", "name": "bank"})
    snapshot = take_snapshot(Cluster(WORKLOAD, local, nobody, *roles, *bindings), ["shop"], source="test")
    assert [one["metadata"]["name"] for one in snapshot.of("ClusterRole")] == ["cart", "all", "view"]
    assert [one["metadata"]["name"] for one in snapshot.of("ClusterRoleBinding")] == ["cart", "all"]


def test_secrets_are_redacted_before_anything_is_written(tmp_path: Path) -> None:
    secret = obj("Secret", "bank", data={"password": "aHVudGVyMg=="}, stringData={"pin": "1234"}, type="Opaque")
    snapshot = take_snapshot(Cluster(WORKLOAD, secret), ["shop"], source="test")
    write_snapshot(snapshot, tmp_path / "s.json")
    text = (tmp_path / "s.json").read_text()
    assert "aHVudGVyMg" not in text
    assert "1234" not in text
    assert snapshot.of("Secret")[0]["data"] == {"password": REDACTED}


def test_what_only_one_server_may_say_is_left_out_and_a_new_uid_shows_in_the_digest() -> None:
    snapshot = take_snapshot(Cluster(WORKLOAD), ["shop"], source="test")
    kept = snapshot.of("Deployment")[0]
    assert "status" not in kept
    assert set(kept["metadata"]) == {"name", "namespace"}
    anew = copy.deepcopy(WORKLOAD)
    anew["metadata"]["uid"] = "another"
    other = take_snapshot(Cluster(anew), ["shop"], source="test")
    assert other.objects == snapshot.objects
    assert other.digest != snapshot.digest


@pytest.mark.parametrize(
    ("metadata", "owner"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/cart"}}, "argocd:shop"),
        ({"labels": {"argocd.argoproj.io/instance": "shop"}}, "argocd:shop"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux"}},
         "flux:flux/apps"),
        ({"annotations": {"meta.helm.sh/release-name": "shop"}}, "helm:shop"),
        ({"managedFields": [{"manager": "argocd-controller"}]}, "argocd-controller"),
        ({"ownerReferences": [{"kind": "Rollout", "name": "cart", "controller": True}]}, "Rollout:cart"),
        ({}, ""),
    ],
)  # fmt: skip
def test_owners_are_told(metadata: dict[str, Any], owner: str) -> None:
    mine = copy.deepcopy(WORKLOAD)
    mine["metadata"] |= metadata
    other = obj("ConfigMap", "rest", data={})  # So that something is left when the workload is its parent's.
    snapshot = take_snapshot(Cluster(mine, other), ["shop"], source="test")
    assert snapshot.owners.get("Deployment/shop/cart", "") == owner


def test_an_autoscaler_owns_the_replicas() -> None:
    scaler = obj("HorizontalPodAutoscaler", "cart", spec={"scaleTargetRef": {"kind": "Deployment", "name": "cart"}})
    snapshot = take_snapshot(Cluster(WORKLOAD, scaler), ["shop"], source="test")
    assert snapshot.owners["Deployment/shop/cart"] == "replicas by HorizontalPodAutoscaler:cart"


def test_a_world_can_be_taken_too_and_two_takes_are_the_same_bytes(tmp_path: Path) -> None:
    kube = plant_of(World.build(small_shop(), seed=1)).kube
    for name in ("a", "b"):
        write_snapshot(take_snapshot(kube, ["shop"], source="w"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    back = read_snapshot(tmp_path / "a")
    assert back == take_snapshot(kube, ["shop"], source="w")


def test_differences_name_what_came_went_and_changed() -> None:
    changed = copy.deepcopy(WORKLOAD)
    changed["spec"]["replicas"] = 5
    old = take_snapshot(Cluster(WORKLOAD, obj("ConfigMap", "a", data={})), ["shop"], source="t")
    new = take_snapshot(Cluster(changed, obj("ConfigMap", "b", data={})), ["shop"], source="t")
    assert differences(old, new) == ["- ConfigMap/shop/a", "+ ConfigMap/shop/b", "~ Deployment/shop/cart"]


def test_an_empty_namespace_is_an_error() -> None:
    with pytest.raises(BadInput, match="nothing in shop"):
        take_snapshot(Cluster(), ["shop"], source="t")


@given(st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=4), max_leaves=12,
)))  # fmt: skip
def test_nonsense_is_no_snapshot(tmp_path_factory: pytest.TempPathFactory, content: Any) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "s.json"
    path.write_bytes(
        content if isinstance(content, bytes) else json.dumps({"kind": "Snapshot", "objects": content}).encode()
    )
    with pytest.raises(BadInput):
        read_snapshot(path)
