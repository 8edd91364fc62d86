"""Go back to the template before the current one, as `kubectl rollout undo` does."""

from __future__ import annotations

from typing import Any

from twin.change.catalogue import ActionType, Compiled, find_workload, main_container
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.fields import FieldPath, container_path
from twin.spec.plan import PatchStep

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="rollout_undo",
    summary="roll back to the previous revision, or to the one that is named",
    target="workload",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(Parameter(name="revision", help="the revision to go back to", low=1.0, high=1e9, whole=True),),
)
_REVISION = "deployment.kubernetes.io/revision"


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """The fields in which the old template differs. Raises BadInput if there is nothing to go back to."""
    ref, workload = find_workload(kube, action.target)
    revisions = {
        int(rs["metadata"]["annotations"][_REVISION]): rs["spec"]["template"]
        for rs in kube.list_objects("ReplicaSet", ref.namespace, workload["spec"]["selector"].get("matchLabels"))
        if any(owner["name"] == ref.name for owner in rs["metadata"].get("ownerReferences", ()))
    }
    current = int(workload["metadata"]["annotations"][_REVISION])
    older = [number for number in sorted(revisions) if number < current]
    wanted = action.parameters.get("revision")
    if wanted is not None:
        older = [number for number in older if number == int(float(wanted))]
    if not older:
        raise BadInput(
            f"cannot roll back {action.target}",
            f"it has no {'such' if wanted is not None else 'earlier'} revision (now {current})",
            "see: kubectl rollout history",
        )
    fields = _difference(main_container(workload), workload["spec"]["template"], revisions[older[-1]])
    step = PatchStep(
        ref=ref,
        fields=fields,
        terminates_pods=int(workload["spec"].get("replicas", 1)),
        rolls_out=True,
        summary=f"roll {action.target} back to revision {older[-1]}",
    )
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)


def _difference(container: str, now: Any, then: Any) -> dict[FieldPath, Any]:
    """What has to be set, or removed (None), to turn one pod template into the other."""
    mine, old = (next(c for c in t["spec"]["containers"] if c["name"] == container) for t in (now, then))
    fields: dict[FieldPath, Any] = {}
    if mine["image"] != old["image"]:
        fields[container_path(container, "image")] = old["image"]
    env, old_env = ({e["name"]: e.get("value") for e in c.get("env", ())} for c in (mine, old))
    for name in sorted(env.keys() | old_env.keys()):
        if env.get(name) != old_env.get(name):
            fields[container_path(container, "env", f"[name={name}]", "value")] = old_env.get(name)
    for group in ("requests", "limits"):
        have, had = (c.get("resources", {}).get(group, {}) for c in (mine, old))
        for resource in sorted(have.keys() | had.keys()):
            if have.get(resource) != had.get(resource):
                fields[container_path(container, "resources", group, resource)] = had.get(resource)
    notes, old_notes = (t.get("metadata", {}).get("annotations", {}) for t in (now, then))
    for key in sorted(notes.keys() | old_notes.keys()):
        if notes.get(key) != old_notes.get(key):
            fields[("spec", "template", "metadata", "annotations", key)] = old_notes.get(key)
    return fields
