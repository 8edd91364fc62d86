"""A World's Kustomizations and Applications over Kubernetes' API, and the marks that they leave on their workloads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from twin.fleet.plant.metadata import metadata_of
from twin.fleet.plant.refusals import not_found, unprocessable
from twin.fleet.state import NEVER_NS
from twin.fleet.world import World
from twin.ports.plant import KubeObject
from twin.spec.fields import FieldPath
from twin.spec.fleet import Service
from twin.spec.gitops import GitOpsKind, source_of
from twin.spec.plan import ObjectRef
from twin.spec.units import duration_text

__all__ = ["KINDS", "Sources", "marks_of"]

KINDS = frozenset(kind.object_kind for kind in GitOpsKind)
_VERSIONS = {"Kustomization": "kustomize.toolkit.fluxcd.io/v1", "Application": "argoproj.io/v1alpha1"}


class Sources:
    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, ref: ObjectRef) -> KubeObject:
        """Raises NotFound."""
        world, index = self._world, self._index(ref)
        suspended = bool(world.state.gitops_suspended[index])
        spec: dict[str, Any]
        if ref.kind == "Kustomization":
            interval_s = world.blueprint.gitops[index].interval_s
            spec = {"interval": duration_text(interval_s), "suspend": suspended}
        else:
            spec = {"syncPolicy": {} if suspended else {"automated": {"selfHeal": True}}}
        return {
            "apiVersion": _VERSIONS[ref.kind],
            "kind": ref.kind,
            "metadata": metadata_of(world, ref, str(int(world.state.gitops_version[index]))),
            "spec": spec,
        }

    def all(self, kind: str) -> Iterator[KubeObject]:
        for source in self._world.blueprint.gitops:
            if source.kind.object_kind == kind:
                yield self.get(ObjectRef(kind=kind, name=source.name, namespace=source.namespace))

    def patch(self, ref: ObjectRef, fields: Mapping[FieldPath, Any]) -> None:
        """Raises NotFound, Unprocessable; then nothing was written. One that is resumed looks at once."""
        state, index = self._world.state, self._index(ref)
        suspended = bool(state.gitops_suspended[index])
        for path, value in fields.items():
            match ref.kind, path:
                case "Kustomization", ("spec", "suspend"):
                    if not isinstance(value, bool | None):
                        unprocessable(ref, path, f"{value!r} is not true or false")
                    suspended = bool(value)
                case "Application", ("spec", "syncPolicy", "automated"):
                    if not isinstance(value, dict | None):
                        unprocessable(ref, path, f"{value!r} is no object")
                    suspended = not (value and value.get("selfHeal"))
                case _:
                    unprocessable(ref, path, "a World does not have this field")
        if suspended != bool(state.gitops_suspended[index]):
            state.gitops_suspended[index] = suspended
            state.gitops_version[index] = state.new_version()
            state.gitops_due_ns[index] = NEVER_NS if suspended else self._world.now_ns

    def _index(self, ref: ObjectRef) -> int:
        for index, source in enumerate(self._world.blueprint.gitops):
            if (source.kind.object_kind, source.namespace, source.name) == (ref.kind, ref.namespace, ref.name):
                return index
        return not_found(ref)


def marks_of(service: Service) -> tuple[dict[str, str], dict[str, str]]:
    """Labels and annotations by which a workload's owner knows it again."""
    source = source_of(service.owner)
    if source is None:
        return {}, {}
    if source.kind is GitOpsKind.FLUX:
        prefix = "kustomize.toolkit.fluxcd.io"
        return {f"{prefix}/name": source.name, f"{prefix}/namespace": source.namespace}, {}
    tracked = f"{source.name}:apps/{service.kind.value}:{service.namespace}/{service.name}"
    return {}, {"argocd.argoproj.io/tracking-id": tracked}
