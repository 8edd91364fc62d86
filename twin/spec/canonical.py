"""One byte form for any JSON value, and its name: RFC 8785 and SHA-256."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from enum import Enum
from typing import Any

import rfc8785

from twin.spec.errors import BadInput
from twin.spec.ids import Sha256

__all__ = ["canonical_bytes", "digest", "plain"]


def plain(value: Any) -> Any:
    """Dataclasses, enums, tuples and mappings as plain JSON values, keys in order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def canonical_bytes(value: Any) -> bytes:
    """RFC 8785 bytes. Raises BadInput for what JSON cannot hold (NaN, infinities, integers beyond 2^53)."""
    try:
        return bytes(rfc8785.dumps(plain(value)))
    except rfc8785.CanonicalizationError as error:
        raise BadInput("cannot be given a canonical form", str(error), "use finite numbers and plain JSON") from error


def digest(value: Any) -> Sha256:
    """SHA-256 of the canonical form, in hex."""
    return Sha256(hashlib.sha256(canonical_bytes(value)).hexdigest())
