"""Fields of a Kubernetes object by path. List entries are named as server-side apply names them: by key.

A path is a tuple such as ("spec", "template", "spec", "containers", "[name=cart]", "image"); "[0]" is a
position, for lists that have no key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["FieldPath", "container_path", "get_field", "path_text"]

FieldPath = tuple[str, ...]


def container_path(container: str, *rest: str) -> FieldPath:
    """A field of a workload's container."""
    return ("spec", "template", "spec", "containers", f"[name={container}]", *rest)


def get_field(obj: Any, path: FieldPath) -> Any:
    """The value at `path`, or None if any part of it is absent."""
    value = obj
    for part in path:
        if value is None:
            return None
        if part.startswith("["):
            value = _entry(value, part[1:-1])
        else:
            value = value.get(part) if isinstance(value, Mapping) else None
    return value


def path_text(path: FieldPath) -> str:
    """The path as people write it: `spec.template.spec.containers[name=cart].image`."""
    return "".join(part if part.startswith("[") else f".{part}" for part in path).lstrip(".")


def _entry(items: Any, key: str) -> Any:
    if not isinstance(items, list):
        return None
    name, has_name, wanted = key.partition("=")
    if not has_name:
        return items[int(key)] if int(key) < len(items) else None
    return next((item for item in items if isinstance(item, Mapping) and item.get(name) == wanted), None)
