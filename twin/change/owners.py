"""Before a write, who owns the target: what a controller would put back is no fix, and belongs at its source."""

from __future__ import annotations

from collections.abc import Mapping

from twin.ports.plant import KubeApi
from twin.spec.errors import Forbidden, NotFound, PolicyDenied
from twin.spec.gitops import SUSPENDED, is_suspended
from twin.spec.owners import Owner, owner_of
from twin.spec.plan import ObjectRef, PatchStep, Plan

__all__ = ["refuse_reverted"]


def refuse_reverted(kube: KubeApi, plan: Plan) -> None:
    """Raises PolicyDenied if an owner of a target reverts what others write, and neither is suspended nor will be by
    an earlier step of the plan; NotFound, ApiError."""
    suspended: dict[ObjectRef, bool] = {}  # by the plan
    seen: set[ObjectRef] = set()
    for step in plan.steps:
        if not isinstance(step, PatchStep):
            continue
        if step.ref.kind in SUSPENDED:
            path, value = SUSPENDED[step.ref.kind]
            if path in step.fields:
                suspended[step.ref] = bool(step.fields[path] == value)
            continue
        if step.ref not in seen:
            seen.add(step.ref)
            _refuse(kube, step.ref, suspended)


def _refuse(kube: KubeApi, ref: ObjectRef, suspended: Mapping[ObjectRef, bool]) -> None:
    owner = owner_of(kube.get(ref))
    if owner is None or not owner.reverts:
        return
    source = _source(kube, owner)
    if source is not None and suspended.get(source, is_suspended(kube.get(source))):
        return
    way_out = "make the change at its source, or pause that owner first"
    if source is not None:
        target = f"{source.namespace}/{source.name}"
        way_out = (
            f"make the change at its source, or let suspend_gitops {target} come before it, which wants an approval"
        )
    raise PolicyDenied(
        f"{ref} is not ours to write", f"{owner} keeps it as its source says, and would put it back", way_out
    )


def _source(kube: KubeApi, owner: Owner) -> ObjectRef | None:
    """The object that can be suspended, if it is there and we may see it."""
    try:
        if owner.kind == "flux":
            namespace, _, name = owner.name.partition("/")
            ref = ObjectRef(kind="Kustomization", name=name, namespace=namespace)
            kube.get(ref)
            return ref
        if owner.kind == "argocd":
            # Of Applications outside Argo CD's own namespace the mark has both: namespace_name.
            found = {
                ObjectRef(kind="Application", name=obj["metadata"]["name"], namespace=obj["metadata"]["namespace"])
                for obj in kube.list_objects("Application")
            }
            mine = [ref for ref in sorted(found) if owner.name in (ref.name, f"{ref.namespace}_{ref.name}")]
            return mine[0] if len(mine) == 1 else None
    except (NotFound, Forbidden):
        pass
    return None
