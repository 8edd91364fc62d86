"""Clusters that somebody else made: what must be said of them, and what is not taken."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import pytest

from twin.kube.api import LiveKubeApi
from twin.kube.given import GivenCluster, not_ours
from twin.ports.plant import KubeObject
from twin.spec.errors import BadInput, ComponentMissing, TwinError

OUTSIDE = "192.0.2.1:443"


@pytest.mark.parametrize(
    ("context", "beyond", "loader", "why"),
    [
        ("kind-mine", "nowhere", "", "HOST:PORT"),
        ("kind-mine", "host:0", "", "HOST:PORT"),
        ("kind-mine", "host:99999", "", "HOST:PORT"),
        ("k3d-mine", OUTSIDE, "", "nothing says how"),
        ("k3d-mine", OUTSIDE, "k3d image import x.tar", "is not in it"),
    ],
)
def test_what_is_not_said_is_asked_for(context: str, beyond: str, loader: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        GivenCluster(context=context, beyond=beyond, loader=loader)


def test_a_loader_is_given_the_archive_and_its_failure_is_told(tmp_path: Path) -> None:
    seen, archive = tmp_path / "seen", tmp_path / "a b.tar"
    copy = f"{sys.executable} -c 'import sys; open(sys.argv[1], \"w\").write(sys.argv[2])' {seen} {{archive}}"
    GivenCluster(context="k3d", beyond=OUTSIDE, loader=copy).load_images(archive)
    assert seen.read_text() == str(archive)
    fails = f"{sys.executable} -c 'raise SystemExit(\"no room\")' {{archive}}"
    with pytest.raises(TwinError, match="no room"):
        GivenCluster(context="k3d", beyond=OUTSIDE, loader=fails).load_images(archive)
    with pytest.raises(ComponentMissing, match="no-such-program"):
        GivenCluster(context="k3d", beyond=OUTSIDE, loader="no-such-program {archive}").load_images(archive)


def test_others_are_whoever_no_shadow_put_there() -> None:
    def workload(namespace: str, **labels: str) -> KubeObject:
        metadata = {"name": "one", "namespace": namespace, "labels": labels}
        return {"kind": "Deployment", "metadata": metadata}

    class Api:
        def list_objects(self, kind: str, *_: Any) -> list[KubeObject]:
            if kind == "Namespace":
                return [
                    {"metadata": {"name": "shop", "labels": {"twin.dev/shadow": "true"}}},
                    {"metadata": {"name": "x"}},
                ]
            ours = [workload("shop"), workload("default", **{"twin.dev/shadow": "true"}), workload("kube-flannel")]
            return [*ours, workload("x"), workload("default")] if kind == "Deployment" else []

    assert not_ours(cast(LiveKubeApi, Api())) == ["default/one", "x/one"]
