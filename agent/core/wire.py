"""Frozen dataclasses as plain JSON and back, by their type hints: what a context is kept as between steps."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum
from functools import cache
from types import MappingProxyType
from typing import Any, TypeVar

from twin.spec.canonical import plain
from twin.spec.errors import BadInput

__all__ = ["from_json", "to_json"]

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Plain JSON; `from_json` with the same type reads it back equal."""
    return plain(value)


def from_json(kind: type[T], data: Any) -> T:
    """Raises BadInput for what `kind` cannot hold; unknown fields are errors."""
    try:
        value: T = _read(kind, data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"cannot read a {kind.__name__}", f"{type(error).__name__}: {error}", "") from error
    return value


def _read(kind: Any, data: Any) -> Any:
    if kind is Any or kind is object:
        return data
    if isinstance(kind, typing.NewType):
        return _read(kind.__supertype__, data)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _read_union(typing.get_args(kind), data)
    if origin is typing.Literal:
        if data not in typing.get_args(kind):
            raise ValueError(f"{data!r} is none of {typing.get_args(kind)}")
        return data
    if origin is tuple:
        return tuple(_read(typing.get_args(kind)[0], item) for item in data)
    if origin is not None and issubclass(origin, Mapping):
        value_kind = typing.get_args(kind)[1]
        if value_kind is Any:
            return dict(data)  # JSON that others gave us, a receipt: it goes back to them as it came.
        return MappingProxyType({key: _read(value_kind, item) for key, item in data.items()})
    if dataclasses.is_dataclass(kind):
        hints = _hints(typing.cast(type, kind))
        if unknown := set(data) - set(hints):
            raise ValueError(f"unknown fields {sorted(unknown)}")
        return typing.cast(type, kind)(**{name: _read(hints[name], item) for name, item in data.items()})
    if kind is type(None):
        if data is not None:
            raise TypeError(f"{data!r} is not null")
        return None
    if issubclass(kind, Enum):
        return kind(data)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind):
        raise TypeError(f"{data!r} is no {kind.__name__}")
    return data


def _read_union(kinds: tuple[Any, ...], data: Any) -> Any:
    """Where several dataclasses are possible, each has a field `kind` whose default is its name."""
    for kind in kinds:
        if dataclasses.is_dataclass(kind):
            default = next((f.default for f in dataclasses.fields(kind) if f.name == "kind"), dataclasses.MISSING)
            if not isinstance(data, Mapping) or default not in (dataclasses.MISSING, data.get("kind")):
                continue
        try:
            return _read(kind, data)
        except (TypeError, ValueError, AttributeError, KeyError):
            continue
    raise TypeError(f"{data!r} is none of {kinds}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    return {
        name: hint
        for name, hint in typing.get_type_hints(kind).items()
        if name in {field.name for field in dataclasses.fields(kind)}
    }
