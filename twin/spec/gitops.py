"""Who keeps workloads as a Git repository says: a Kustomization of Flux, or an Application of Argo CD.

Owners of services name them as `flux:NAMESPACE/NAME` and `argocd:NAME`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from twin.spec.fields import FieldPath, get_field

__all__ = ["RESUMED", "SUSPENDED", "SYNC_S", "GitOps", "GitOpsKind", "is_suspended", "source_of", "sources_of"]

SYNC_S: Final = 180.0  # Argo CD's timeout.reconciliation, by default; Flux has one of its own for each Kustomization.
_ARGOCD_NAMESPACE: Final = "argocd"


class GitOpsKind(StrEnum):
    FLUX = "flux"
    ARGOCD = "argocd"

    @property
    def object_kind(self) -> str:
        return "Kustomization" if self is GitOpsKind.FLUX else "Application"


# What is written to make it leave its workloads alone, and to make it look after them again, by the object's kind.
SUSPENDED: Final[Mapping[str, tuple[FieldPath, Any]]] = {
    "Kustomization": (("spec", "suspend"), True),
    "Application": (("spec", "syncPolicy", "automated"), None),
}
RESUMED: Final[Mapping[str, Any]] = {"Kustomization": False, "Application": {"selfHeal": True}}


@dataclass(frozen=True, slots=True, kw_only=True)
class GitOps:
    """Every `interval_s` it puts back what others wrote to its workloads, unless it is suspended."""

    kind: GitOpsKind
    namespace: str
    name: str
    interval_s: float = SYNC_S
    suspended: bool = False

    @property
    def owner(self) -> str:
        return f"flux:{self.namespace}/{self.name}" if self.kind is GitOpsKind.FLUX else f"argocd:{self.name}"


def is_suspended(obj: Mapping[str, Any]) -> bool:
    """Whether a Kustomization or an Application leaves its workloads alone."""
    if obj["kind"] == "Kustomization":
        return get_field(obj, ("spec", "suspend")) is True
    automated = get_field(obj, ("spec", "syncPolicy", "automated"))
    return not (automated and automated.get("selfHeal") and automated.get("enabled") is not False)


def source_of(owner: str) -> GitOps | None:
    """Whom an owner's text names, as it is by default; None: nobody who puts anything back."""
    kind, _, name = owner.partition(":")
    if kind == GitOpsKind.ARGOCD and name:
        return GitOps(kind=GitOpsKind.ARGOCD, namespace=_ARGOCD_NAMESPACE, name=name)
    namespace, slash, rest = name.partition("/")
    if kind == GitOpsKind.FLUX and namespace and slash and rest:
        return GitOps(kind=GitOpsKind.FLUX, namespace=namespace, name=rest)
    return None


def sources_of(declared: Iterable[GitOps], owners: Iterable[str]) -> tuple[GitOps, ...]:
    """Those that are declared, and those that owners name besides, in order."""
    found = {source.owner: source for source in declared}
    for owner in sorted(set(owners)):
        source = source_of(owner)
        if source is not None:
            found.setdefault(source.owner, source)
    return tuple(found.values())
