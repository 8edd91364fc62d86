"""Names of a World's objects that no two of them share, and the metadata of those that are plain."""

from __future__ import annotations

import uuid
from functools import lru_cache
from typing import Any

from twin.fleet.world import World
from twin.spec.plan import ObjectRef

__all__ = ["metadata_of", "uid_of"]


def uid_of(world: World, kind: str, namespace: str, name: str) -> str:
    """The same object has the same uid in every run and every copy."""
    return _uid(f"{world.fleet.name}/{kind}/{namespace}/{name}")


def metadata_of(world: World, ref: ObjectRef, version: str) -> dict[str, Any]:
    """Of an object without marks. `version`: its resourceVersion."""
    return {
        "name": ref.name,
        **({"namespace": ref.namespace} if ref.namespace else {}),
        "uid": uid_of(world, ref.kind, ref.namespace, ref.name),
        "resourceVersion": version,
        "labels": {},
        "annotations": {},
    }


@lru_cache(maxsize=100_000)
def _uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
