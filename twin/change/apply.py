"""Applying a plan's steps to a Plant, and taking them back.

Undoing restores what was actually there before, field by field, and leaves alone every field that no
longer holds our value: somebody else has decided about it since.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from twin.ports.plant import Plant
from twin.spec.canonical import plain
from twin.spec.fields import FieldPath, get_field
from twin.spec.plan import ObjectRef, OpsStep, PatchStep, PlanStep

__all__ = [
    "Undo",
    "apply_step",
    "is_applied",
    "prepare_undo",
    "undo_from_json",
    "undo_step",
    "undo_to_json",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """What it takes to go back. `fields` maps paths to (our value, the value before)."""

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


def prepare_undo(plant: Plant, step: PlanStep) -> tuple[Undo, str | None]:
    """What undoing would need, read before the write, and the resourceVersion that it was read at.

    Both kinds of step are asked by a dry run. Raises ApiError, BadInput.
    """
    if isinstance(step, OpsStep):
        back = plant.ops.call(step.operation, step.arguments, dry_run=True)
        return Undo(operation=step.operation, arguments=back), None
    obj = plant.kube.get(step.ref)
    # As the server will hold it, not as we write it: "512Mi" may come back as bytes, and is still ours.
    after = plant.kube.patch(step.ref, step.fields, dry_run=True)
    fields = {path: (get_field(after, path), get_field(obj, path)) for path in step.fields}
    return Undo(ref=step.ref, fields=fields), obj["metadata"]["resourceVersion"]


def apply_step(plant: Plant, step: PlanStep, *, resource_version: str | None = None, manager: str = "twin") -> None:
    """Carry out one step. Raises ApiError, BadInput; then nothing of it was written."""
    if isinstance(step, PatchStep):
        plant.kube.patch(step.ref, step.fields, resource_version=resource_version, field_manager=manager)
    else:
        plant.ops.call(step.operation, step.arguments)


def is_applied(plant: Plant, step: PlanStep) -> bool:
    """Whether the target already holds what the step would write. Raises ApiError."""
    if isinstance(step, OpsStep):
        return False
    obj = plant.kube.get(step.ref)
    return all(get_field(obj, path) == value for path, value in step.fields.items())


def undo_step(plant: Plant, undo: Undo, *, manager: str = "twin") -> tuple[FieldPath, ...]:
    """Put back what was there. Returns the fields left alone because somebody else changed them since."""
    if undo.ref is None:
        if undo.possible:
            plant.ops.call(undo.operation, undo.arguments)
        return ()
    obj = plant.kube.get(undo.ref)
    ours = {path: before for path, (value, before) in undo.fields.items() if get_field(obj, path) == value}
    if ours:
        plant.kube.patch(undo.ref, ours, resource_version=obj["metadata"]["resourceVersion"], field_manager=manager)
    return tuple(path for path in sorted(undo.fields) if path not in ours)
