"""A World's ConfigMaps and Secrets over Kubernetes' API, and how pod templates say what they read of them."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from twin.fleet.plant.metadata import metadata_of
from twin.fleet.plant.refusals import not_found, unprocessable
from twin.fleet.world import World
from twin.ports.plant import KubeObject
from twin.spec.config import ConfigRead, with_value
from twin.spec.errors import Forbidden
from twin.spec.fields import FieldPath
from twin.spec.plan import ObjectRef

__all__ = ["KEY", "Configs", "config_env", "config_env_from"]

KEY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_REDACTED: Final = base64.b64encode(b"redacted").decode()


class Configs:
    """Those of the fleet; marks of promoters are elsewhere."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, ref: ObjectRef) -> KubeObject:
        """Raises NotFound."""
        world, place = self._world, (ref.namespace, ref.name)
        if ref.kind == "Secret":
            if place not in world.blueprint.secret_index:
                not_found(ref)
            secret = world.fleet.secrets[world.blueprint.secret_index[place]]
            return {**_object(world, ref, 1), "type": "Opaque", "data": dict.fromkeys(secret.keys, _REDACTED)}
        index = self._index(ref)
        config_map = world.state.config_maps[index]
        obj = {**_object(world, ref, int(world.state.config_version[index])), "data": dict(config_map.data)}
        return {**obj, "immutable": True} if config_map.immutable else obj

    def all(self, kind: str) -> Iterator[KubeObject]:
        fleet = self._world.fleet
        for one in fleet.secrets if kind == "Secret" else fleet.config_maps:
            yield self.get(ObjectRef(kind=kind, name=one.name, namespace=one.namespace))

    def patch(self, ref: ObjectRef, fields: Mapping[FieldPath, Any]) -> None:
        """Raises NotFound, Forbidden, Unprocessable; then nothing was written."""
        if ref.kind == "Secret":
            raise Forbidden(f"cannot write {ref}", "no identity of ours may write Secrets", "change it at its source")
        state, index = self._world.state, self._index(ref)
        old = state.config_maps[index]
        new = old
        for path, value in fields.items():
            match path:
                case ("data", key):
                    if not KEY.fullmatch(key):
                        unprocessable(ref, path, "a key consists of letters, digits, '-', '_' and '.'")
                    if not isinstance(value, str | None):
                        unprocessable(ref, path, f"{value!r} is no text")
                    new = with_value(new, key, value)
                case ("immutable",):
                    if not isinstance(value, bool | None):
                        unprocessable(ref, path, f"{value!r} is not true or false")
                    new = dataclasses.replace(new, immutable=bool(value))
                case _:
                    unprocessable(ref, path, "a World does not have this field")
        if old.immutable and new != old:
            where: FieldPath = ("immutable",) if not new.immutable else ("data",)
            unprocessable(ref, where, "Forbidden: field is immutable when `immutable` is set")
        if new != old:
            state.config_maps[index] = new
            state.config_version[index] = state.new_version()

    def _index(self, ref: ObjectRef) -> int:
        index = self._world.blueprint.config_index.get((ref.namespace, ref.name))
        return not_found(ref) if index is None else index


def config_env(reads: tuple[ConfigRead, ...]) -> list[dict[str, Any]]:
    """Entries of a container's env that take a value from a key."""
    return [
        {
            "name": read.name,
            "valueFrom": {
                "secretKeyRef" if read.secret else "configMapKeyRef": {
                    "name": read.source, "key": read.key, **_optional(read),
                }
            },
        }
        for read in reads
        if read.key
    ]  # fmt: skip


def config_env_from(reads: tuple[ConfigRead, ...]) -> list[dict[str, Any]]:
    """Entries of a container's envFrom."""
    return [
        {
            "secretRef" if read.secret else "configMapRef": {"name": read.source, **_optional(read)},
            **({"prefix": read.name} if read.name else {}),
        }
        for read in reads
        if not read.key
    ]


def _optional(read: ConfigRead) -> dict[str, bool]:
    return {"optional": True} if read.optional else {}


def _object(world: World, ref: ObjectRef, version: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": ref.kind,
        "metadata": metadata_of(world, ref, str(version)),
    }
