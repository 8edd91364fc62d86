"""Names of a World's objects that no two of them share."""

from __future__ import annotations

import uuid
from functools import lru_cache

from twin.fleet.world import World

__all__ = ["uid_of"]


def uid_of(world: World, kind: str, namespace: str, name: str) -> str:
    """The same object has the same uid in every run and every copy."""
    return _uid(f"{world.fleet.name}/{kind}/{namespace}/{name}")


@lru_cache(maxsize=100_000)
def _uid(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
