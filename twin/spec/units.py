"""Durations and Kubernetes quantities, read strictly and written back the short way."""

from __future__ import annotations

import math
import re
from typing import Final

from twin.spec.errors import BadInput

__all__ = [
    "NS_PER_S",
    "duration_text",
    "ns",
    "parse_bytes",
    "parse_cores",
    "parse_duration_s",
    "seconds",
]

NS_PER_S: Final = 1_000_000_000

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|ns|s|m|h|d)")
_DURATION_S: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([a-zA-Z]*)")
_BYTE_UNITS: Final = {
    "": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip


def ns(seconds_value: float) -> int:
    """Integer nanoseconds of a duration in seconds."""
    return round(seconds_value * NS_PER_S)


def seconds(ns_value: int) -> float:
    """Seconds of a duration in nanoseconds."""
    return ns_value / NS_PER_S


def parse_duration_s(text: str | int | float) -> float:
    """Seconds of `2s`, `250ms`, `1m30s` or `1.5h`.

    Raises BadInput for anything else: bare numbers carry no unit and are refused.
    """
    parts = _DURATION_PART.findall(text) if isinstance(text, str) else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadInput(f'"{text}" is not a duration', "a duration is a number and a unit", "write 2s, 250ms, 1m30s")
    return sum(float(number) * _DURATION_S[unit] for number, unit in parts)


def duration_text(value_s: float) -> str:
    """The short form that `parse_duration_s` reads back."""
    if value_s >= 60 and math.isclose(value_s % 60, 0, abs_tol=1e-9):
        return f"{value_s / 60:g}m"
    return f"{value_s:g}s" if value_s >= 1 or value_s == 0 else f"{value_s * 1000:g}ms"


def parse_cores(text: str | int | float) -> float:
    """CPU cores of a Kubernetes quantity: `250m` is 0.25.

    Raises BadInput if it is not one.
    """
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None or match[2] not in ("", "m"):
        raise BadInput(f'"{text}" is not a CPU quantity', "CPU is given in cores or millicores", "write 2 or 250m")
    return float(match[1]) * (0.001 if match[2] == "m" else 1.0)


def parse_bytes(text: str | int | float) -> int:
    """Bytes of a Kubernetes quantity: `64Mi`, `1Gi`, `500M`.

    Raises BadInput if it is not one.
    """
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None or match[2] not in _BYTE_UNITS:
        raise BadInput(f'"{text}" is not a memory quantity', "memory is given in bytes", "write 64Mi or 1Gi")
    return round(float(match[1]) * _BYTE_UNITS[match[2]])
