"""Who decides about a Kubernetes object, beyond whoever writes to it: read off the marks that controllers leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Owner", "owner_of"]

_MANAGERS = ("argocd", "kustomize-controller", "helm-controller")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """`reverts`: it puts back what others write, sooner or later; the change belongs at its source."""

    kind: str  # "argocd", "flux", "helm", or the kind of the object that controls this one
    name: str
    reverts: bool

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind


def owner_of(obj: Mapping[str, Any]) -> Owner | None:
    """The owner that an object's labels, annotations, owner references or field managers name, the surest first.

    Sources: Argo CD's tracking (annotation, then label), Flux' labels of Kustomizations and HelmReleases, Helm's
    annotation. Helm itself reverts nothing until somebody runs it again.
    """
    metadata = obj["metadata"]
    labels, notes = metadata.get("labels") or {}, metadata.get("annotations") or {}
    if tracked := notes.get("argocd.argoproj.io/tracking-id"):
        return Owner(kind="argocd", name=str(tracked).partition(":")[0], reverts=True)
    if instance := labels.get("argocd.argoproj.io/instance"):
        return Owner(kind="argocd", name=str(instance), reverts=True)
    for prefix in ("kustomize", "helm"):
        if name := labels.get(f"{prefix}.toolkit.fluxcd.io/name"):
            namespace = labels.get(f"{prefix}.toolkit.fluxcd.io/namespace", "")
            return Owner(kind="flux", name=f"{namespace}/{name}", reverts=True)
    for one in metadata.get("ownerReferences", ()):
        if one.get("controller"):
            return Owner(kind=str(one["kind"]), name=str(one["name"]), reverts=True)
    writers = {one.get("manager", "") for one in metadata.get("managedFields", ()) if not one.get("subresource")}
    for manager in sorted(writers):
        if manager.startswith(_MANAGERS):
            return Owner(kind=manager, name="", reverts=True)
    if release := notes.get("meta.helm.sh/release-name"):
        return Owner(kind="helm", name=str(release), reverts=False)
    return None
