"""Which workloads read a ConfigMap or a Secret, as their pod templates say it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from twin.ports.plant import KubeApi, KubeObject
from twin.spec.fleet import WorkloadKind

__all__ = ["readers_of"]


def readers_of(kube: KubeApi, kind: str, namespace: str, name: str) -> list[KubeObject]:
    """Workloads whose containers read this ConfigMap or Secret (`kind`), as variables or as files; in order."""
    workloads = (obj for workload in WorkloadKind for obj in kube.list_objects(workload.value, namespace))
    return [obj for obj in workloads if (kind, name) in set(_sources(obj["spec"]["template"]["spec"]))]


def _sources(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for container in [*(pod.get("initContainers") or ()), *pod["containers"]]:
        for one in container.get("envFrom") or ():
            yield "ConfigMap", one.get("configMapRef", {}).get("name", "")
            yield "Secret", one.get("secretRef", {}).get("name", "")
        for one in container.get("env") or ():
            source = one.get("valueFrom") or {}
            yield "ConfigMap", source.get("configMapKeyRef", {}).get("name", "")
            yield "Secret", source.get("secretKeyRef", {}).get("name", "")
    for volume in pod.get("volumes") or ():
        projected = (volume.get("projected") or {}).get("sources") or ()
        for one in (volume, *projected):
            yield "ConfigMap", (one.get("configMap") or {}).get("name", "")
            secret = one.get("secret") or {}
            yield "Secret", secret.get("secretName") or secret.get("name", "")
