"""What containers read as they start: ConfigMaps, Secrets (names and keys, never values), and who reads what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

__all__ = ["ConfigMap", "ConfigRead", "Secret", "with_value"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigMap:
    """`immutable`: neither its data nor this can be changed any more."""

    name: str
    namespace: str
    data: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    immutable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """What of a Secret may be known to anybody."""

    name: str
    namespace: str
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRead:
    """That a container's environment takes values from a ConfigMap, or a Secret, of its namespace.

    With a `key`, that one becomes the variable `name`; without, every key becomes a variable after `name`, a prefix.
    `optional`: a container starts without it too.
    """

    source: str
    secret: bool = False
    key: str = ""
    name: str = ""
    optional: bool = False


def with_value(config_map: ConfigMap, key: str, value: str | None) -> ConfigMap:
    """The ConfigMap with one value set, or taken away."""
    data = {**config_map.data, key: value}
    kept = {one: text for one in sorted(data) if (text := data[one]) is not None}
    return replace(config_map, data=MappingProxyType(kept))
