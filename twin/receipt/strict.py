"""Plain JSON into our dataclasses, strictly: nothing missing, nothing more, nothing of another type.

One small reader for every signed document. A default is never filled in: a field that was not signed was not said.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import math
import re
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, NewType, TypeVar

from twin.spec.ids import Sha256

__all__ = ["Malformed", "load_json", "read_as"]

T = TypeVar("T")

DEPTH_MAX = 64
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Malformed(Exception):
    """Where and why. Whoever called knows what the document was meant to be."""


def load_json(raw: bytes, size_max_bytes: int) -> Any:
    """JSON that every reader understands alike: no NaN, no key twice, no endless nesting. Raises Malformed."""
    if len(raw) > size_max_bytes:
        raise Malformed(f"larger than {size_max_bytes} bytes")
    try:
        text = raw.decode("utf-8")
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_key_twice)
    except UnicodeDecodeError as error:
        raise Malformed(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or not text.rstrip().endswith("}"):
            raise Malformed(f"cut off after {len(raw)} bytes") from error
        raise Malformed(f"no JSON at character {error.pos}: {error.msg}") from error
    except RecursionError as error:
        raise Malformed("nested without end") from error
    except ValueError as error:  # An integer of thousands of digits.
        raise Malformed("a number that is too long") from error


def _no_constant(name: str) -> Any:
    raise Malformed(f"{name} is no JSON")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a key is given twice")
    return found


def read_as(kind: type[T], value: Any, where: str = "") -> T:
    """`value` as a `kind`. Raises Malformed with the path of what is wrong."""
    return typing.cast(T, _read(kind, value, where or kind.__name__, 0))


def _read(kind: Any, value: Any, where: str, depth: int) -> Any:
    if depth > DEPTH_MAX:
        raise Malformed(f"{where}: nested too deep")
    if kind is Sha256:
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            raise Malformed(f"{where}: no SHA-256 digest")
        return value
    if isinstance(kind, NewType):
        return _read(kind.__supertype__, value, where, depth)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _read_dataclass(kind, value, where, depth)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        try:
            return kind(value) if isinstance(value, str) else _refuse(where, "a word", value)
        except ValueError as error:
            raise Malformed(
                f'{where}: "{value[:40]}" is none of {", ".join(str(one.value) for one in kind)}'
            ) from error
    return _read_generic(kind, value, where, depth)


def _read_dataclass(kind: type, value: Any, where: str, depth: int) -> Any:
    if not isinstance(value, dict):
        _refuse(where, "an object", value)
    wanted = [one.name for one in dataclasses.fields(kind)]
    for name in wanted:
        if name not in value:
            raise Malformed(f"{where}.{name}: missing")
    for name in value:
        if name not in wanted:
            raise Malformed(f"{where}.{name[:40]}: unknown")
    hints = _hints(kind)
    return kind(**{name: _read(hints[name], value[name], f"{where}.{name}", depth + 1) for name in wanted})


_hints = functools.cache(typing.get_type_hints)  # A base holds thousands of objects of one kind.


def _read_generic(kind: Any, value: Any, where: str, depth: int) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):  # Of ours only `X | None`.
        (other,) = (one for one in arguments if one is not types.NoneType)
        return None if value is None else _read(other, value, where, depth)
    if origin is tuple:
        if not isinstance(value, list):
            _refuse(where, "a list", value)
        return tuple(_read(arguments[0], item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            _refuse(where, "an object", value)
        return {name: _read(arguments[1], item, f"{where}.{name[:40]}", depth + 1) for name, item in value.items()}
    if kind is Any:
        return _read_plain(value, where, depth)
    if kind is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
            _refuse(where, "a finite number", value)
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    return _refuse(where, {int: "a whole number", str: "a word", bool: "true or false"}.get(kind, str(kind)), value)


def _read_plain(value: Any, where: str, depth: int) -> Any:
    if isinstance(value, dict):
        return {name: _read(Any, item, f"{where}.{name[:40]}", depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_read(Any, item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(where, "a finite number", value)
    if isinstance(value, int) and not isinstance(value, bool) and 2**53 <= abs(value) <= sys.float_info.max:
        return float(value)  # RFC 8785 writes 1e16 without its exponent; nobody could have signed the integer.
    return value


def _refuse(where: str, wanted: str, value: Any) -> typing.NoReturn:
    raise Malformed(f"{where}: {wanted} is wanted, not {type(value).__name__}")
