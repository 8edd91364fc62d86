"""Applying a plan's steps to a Plant, and taking them back.

Undoing restores what was actually there before, field by field, and leaves alone every field that no
longer holds our value: somebody else has decided about it since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from twin.change.owned import autoscaler_of
from twin.ports.plant import KubeObject, Plant
from twin.spec.canonical import plain
from twin.spec.errors import Conflict, Overtaken
from twin.spec.fields import FieldPath, get_field
from twin.spec.plan import ObjectRef, OpsStep, PatchStep, PlanStep

__all__ = [
    "Undo",
    "apply_step",
    "ends_its_target",
    "is_applied",
    "prepare_undo",
    "undo_from_json",
    "undo_order",
    "undo_step",
    "undo_to_json",
]

WRITE_TRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """What it takes to go back. `fields` maps paths to (our value, the value before): of an object's fields, or of
    an operation's arguments, whose call with `arguments` goes back."""

    ref: ObjectRef | None = None
    fields: Mapping[FieldPath, tuple[Any, Any]] = field(default_factory=lambda: MappingProxyType({}))
    operation: str = ""
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def possible(self) -> bool:
        return self.ref is not None or bool(self.operation and self.arguments)


def undo_to_json(undo: Undo) -> dict[str, Any]:
    """Plain JSON; `undo_from_json` reads it back equal."""
    return {
        "ref": None if undo.ref is None else plain(undo.ref),
        "fields": [[list(path), *undo.fields[path]] for path in sorted(undo.fields)],
        "operation": undo.operation,
        "arguments": plain(undo.arguments),
    }


def undo_from_json(data: Mapping[str, Any]) -> Undo:
    """Raises KeyError or TypeError for what is no undo."""
    return Undo(
        ref=None if data["ref"] is None else ObjectRef(**data["ref"]),
        fields=MappingProxyType({tuple(path): (ours, before) for path, ours, before in data["fields"]}),
        operation=str(data["operation"]),
        arguments=MappingProxyType(dict(data["arguments"])),
    )


def undo_order(undos: Iterable[Undo]) -> list[Undo]:
    """The last write goes back first; but what containers read as they start, before any of them starts anew."""
    last_first = list(undos)[::-1]
    return sorted(last_first, key=lambda undo: undo.ref is None or undo.ref.kind != "ConfigMap")


def prepare_undo(plant: Plant, step: PlanStep) -> tuple[Undo, KubeObject | None]:
    """What undoing would need, read before the write, and the object that it was read of.

    Both kinds of step are asked by a dry run. Raises ApiError, BadInput.
    """
    if isinstance(step, OpsStep):
        back = plant.ops.call(step.operation, step.arguments, dry_run=True)
        fields: dict[FieldPath, tuple[Any, Any]] = {
            (name,): (step.arguments.get(name), before) for name, before in back.items()
        }
        return Undo(operation=step.operation, arguments=back, fields=_changed(fields)), None
    obj = plant.kube.get(step.ref)
    # As the server will hold it, not as we write it: "512Mi" may come back as bytes, and is still ours.
    after = plant.kube.patch(step.ref, step.fields, dry_run=True)
    fields = {path: (get_field(after, path), get_field(obj, path)) for path in step.fields}
    return Undo(ref=step.ref, fields=_changed(fields)), obj


def _changed(fields: Mapping[FieldPath, tuple[Any, Any]]) -> dict[FieldPath, tuple[Any, Any]]:
    """What was so before is not ours, and nobody's later value of it is either."""
    return {path: (ours, before) for path, (ours, before) in fields.items() if ours != before}


def apply_step(plant: Plant, step: PlanStep, *, seen: KubeObject | None = None, manager: str = "twin") -> None:
    """Carry out one step, on the object that was `seen`, if one is given.

    Controllers write an object's status all the time, and each time its version moves. So a conflict with them is
    tried again; one with somebody who changed what is wanted of the object is raised.

    Raises Conflict, ApiError, BadInput; then nothing of it was written, unless nobody answered.
    """
    if isinstance(step, OpsStep):
        plant.ops.call(step.operation, step.arguments)
        return
    version = None if seen is None else str(seen["metadata"]["resourceVersion"])
    for tries_left in reversed(range(WRITE_TRIES)):
        try:
            plant.kube.patch(step.ref, step.fields, resource_version=version, field_manager=manager)
        except Overtaken:
            raise
        except Conflict:
            if seen is None or not tries_left:
                raise
            now = plant.kube.get(step.ref)
            if _is_decided_anew(plant, step, seen, now):
                raise
            version = str(now["metadata"]["resourceVersion"])
        else:
            return


def _is_decided_anew(plant: Plant, step: PatchStep, seen: KubeObject, now: KubeObject) -> bool:
    """Whether people want another thing of an object than when it was seen.

    How many of it, an autoscaler says all the time; a step that does not say it takes that from nobody.
    """
    if _wanted(now, step) == _wanted(seen, step):
        return False
    if ("spec", "replicas") in step.fields or _wanted(now, step, count=False) != _wanted(seen, step, count=False):
        return True
    return autoscaler_of(plant.kube, step.ref) is None


def _wanted(obj: KubeObject, step: PatchStep, *, count: bool = True) -> Any:
    """What people want of an object, and nothing that only tells how it is; how many of it only if it is to `count`."""
    whole = {key: value for key, value in obj.items() if key not in ("metadata", "status")}
    spec = {key: value for key, value in obj.get("spec", {}).items() if count or key != "replicas"}
    return obj["metadata"]["uid"], {**whole, "spec": spec}, [get_field(obj, path) for path in sorted(step.fields)]


def is_applied(plant: Plant, step: PlanStep) -> bool:
    """Whether the target already holds what the step would write. Raises ApiError."""
    if isinstance(step, OpsStep):
        return False
    obj = plant.kube.get(step.ref)
    return all(get_field(obj, path) == value for path, value in step.fields.items())


def ends_its_target(step: PlanStep) -> bool:
    """Whether what it acts on is gone once it was carried out. That nothing is found any more is what it wanted then,
    for whoever knows that it was begun."""
    return isinstance(step, OpsStep) and step.operation == "terminate_session"


def undo_step(plant: Plant, undo: Undo, *, manager: str = "twin") -> tuple[FieldPath, ...]:
    """Put back what was there. Returns the fields left alone because somebody else changed them since.

    Raises ApiError, BadInput; then nothing of it was put back, unless nobody answered. A second time it does nothing.
    """
    if not undo.possible:
        return ()
    now: Mapping[FieldPath, Any]
    if undo.ref is None:
        asked = plant.ops.call(undo.operation, undo.arguments, dry_run=True)  # What going back again would need.
        now = {path: asked.get(path[0]) for path in undo.fields}
        version = None
    else:
        obj = plant.kube.get(undo.ref)
        now = {path: get_field(obj, path) for path in undo.fields}
        version = obj["metadata"]["resourceVersion"]
    ours = {path: before for path, (value, before) in undo.fields.items() if now[path] == value}
    left = tuple(path for path in sorted(undo.fields) if path not in ours and now[path] != undo.fields[path][1])
    if undo.ref is None:
        if ours and not left:  # An operation is called whole.
            plant.ops.call(undo.operation, undo.arguments)
    elif ours:
        plant.kube.patch(undo.ref, ours, resource_version=version, field_manager=manager)
    return left
