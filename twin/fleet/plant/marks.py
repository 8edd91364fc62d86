"""What promoters leave in a World: ConfigMaps and Leases of namespace twin-system, as a real server takes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from twin.fleet.plant.configs import KEY
from twin.fleet.plant.metadata import metadata_of
from twin.fleet.plant.refusals import not_found, unprocessable
from twin.fleet.world import World
from twin.ports.plant import KubeObject
from twin.spec.errors import Conflict
from twin.spec.fields import FieldPath
from twin.spec.plan import ObjectRef, ref_of

__all__ = ["MARKS", "Marks", "is_mark"]

NAMESPACE: Final = "twin-system"
MARKS: Final[Mapping[str, tuple[str, str]]] = {  # kind: its apiVersion, and where its content lies
    "ConfigMap": ("v1", "data"),
    "Lease": ("coordination.k8s.io/v1", "spec"),
}
_LEASE: Final[Mapping[str, type]] = {
    "holderIdentity": str,
    "leaseDurationSeconds": int,
    "acquireTime": str,
    "renewTime": str,
    "leaseTransitions": int,
}
_LEAST: Final[Mapping[str, int]] = {"leaseDurationSeconds": 1, "leaseTransitions": 0}


def is_mark(ref: ObjectRef) -> bool:
    """Whether an object is a promoter's, and no ConfigMap of the fleet."""
    return ref.kind in MARKS and ref.namespace == NAMESPACE


class Marks:
    """A World keeps them as texts: `kind/name/key` holds a value as JSON, `kind/name/` the object's version."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, ref: ObjectRef) -> KubeObject:
        """Raises NotFound."""
        marks, place = self._world.state.marks, _place(ref)
        if ref.namespace != NAMESPACE or place not in marks:
            not_found(ref)
        version, where = MARKS[ref.kind]
        return {
            "apiVersion": version,
            "kind": ref.kind,
            "metadata": metadata_of(self._world, ref, marks[place]),
            where: {
                key.removeprefix(place): json.loads(value)
                for key, value in sorted(marks.items())
                if key.startswith(place) and key != place
            },
        }

    def all(self, kind: str) -> Iterator[KubeObject]:
        names = {key.split("/")[1] for key in self._world.state.marks if key.startswith(f"{kind}/")}
        for name in sorted(names):
            yield self.get(ObjectRef(kind=kind, name=name, namespace=NAMESPACE))

    def create(self, obj: KubeObject, *, dry_run: bool) -> KubeObject:
        """Raises Conflict, Unprocessable."""
        ref = ref_of(obj)
        if ref.kind not in MARKS or ref.namespace != NAMESPACE:
            unprocessable(ref, (), f"a World can create {' and '.join(MARKS)} in {NAMESPACE} only")
        where = MARKS[ref.kind][1]
        content = obj.get(where, {})
        for key, value in content.items():
            _check(ref, (where, key), value)
        if _place(ref) in self._world.state.marks:
            raise Conflict(f"cannot create {ref}", "it exists already", "read it and decide anew")
        if dry_run:
            return obj
        self._set(ref, content)
        return self.get(ref)

    def patch(self, ref: ObjectRef, fields: Mapping[FieldPath, Any]) -> None:
        """Raises Unprocessable; then nothing was written."""
        for path, value in fields.items():
            _check(ref, path, value)
        self._set(ref, {path[1]: value for path, value in fields.items()})

    def delete(self, ref: ObjectRef, *, dry_run: bool) -> None:
        """Raises NotFound."""
        self.get(ref)
        if not dry_run:
            marks = self._world.state.marks
            for key in [key for key in marks if key.startswith(_place(ref))]:
                del marks[key]

    def _set(self, ref: ObjectRef, content: Mapping[str, Any]) -> None:
        state, place = self._world.state, _place(ref)
        for key, value in sorted(content.items()):
            if value is None:
                state.marks.pop(f"{place}{key}", None)
            else:
                state.marks[f"{place}{key}"] = json.dumps(value)
        state.marks[place] = str(state.new_version())


def _place(ref: ObjectRef) -> str:
    return f"{ref.kind}/{ref.name}/"


def _check(ref: ObjectRef, path: FieldPath, value: Any) -> None:
    where = MARKS[ref.kind][1]
    if len(path) != 2 or path[0] != where:
        unprocessable(ref, path, f"only {where} can be set")
    key = path[1]
    if ref.kind == "ConfigMap":
        if not KEY.fullmatch(key):
            unprocessable(ref, path, "a key consists of letters, digits, '-', '_' and '.'")
        if not isinstance(value, str | None):
            unprocessable(ref, path, f"{value!r} is no text")
        return
    if key not in _LEASE:
        unprocessable(ref, path, "a Lease does not have this field")
    if value is None:
        return
    if type(value) is not _LEASE[key]:
        unprocessable(ref, path, f"{value!r} is not of its type")
    if isinstance(value, int) and value < _LEAST.get(key, value):
        unprocessable(ref, path, f"it must be {_LEAST[key]} at least")
