"""Manifests as something that a snapshot can be taken of: what is declared, where no cluster runs it yet."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

from twin.kube.snapshot import CLUSTER_KINDS
from twin.ports.plant import KubeObject
from twin.spec.errors import NotFound
from twin.spec.importers.manifests import ManifestText, read_manifests

__all__ = ["DeclaredObjects"]


class DeclaredObjects:
    """As much of a KubeApi as a snapshot reads. Documents that cannot be read are left out, as the importer does."""

    def __init__(self, texts: Sequence[ManifestText], *, default_namespace: str) -> None:
        manifests, self.notes = read_manifests(texts, default_namespace)
        self._objects: list[KubeObject] = []
        for manifest in manifests:
            obj = copy.deepcopy(manifest.data)
            if obj["kind"] not in CLUSTER_KINDS:
                obj["metadata"].setdefault("namespace", manifest.namespace)
            self._objects.append(obj)

    def namespaces(self) -> list[str]:
        """Those that hold a workload, in order."""
        kinds = ("Deployment", "StatefulSet", "DaemonSet")
        return sorted({obj["metadata"]["namespace"] for obj in self._objects if obj["kind"] in kinds})

    def list_objects(self, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[KubeObject]:
        """Raises NotFound for a kind of which nothing is declared."""
        if not any(obj["kind"] == kind for obj in self._objects):
            raise NotFound(f"cannot list {kind}", "nothing of that kind is declared", "see the manifests")
        found = [
            obj for obj in self._objects
            if obj["kind"] == kind and (not namespace or obj["metadata"].get("namespace") == namespace)
        ]  # fmt: skip
        return sorted(found, key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))
