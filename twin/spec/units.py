"""Durations and Kubernetes quantities, read strictly and written back the short way."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from functools import lru_cache
from typing import Final

from twin.spec.errors import BadInput

__all__ = [
    "NS_PER_S",
    "bytes_text",
    "cores_text",
    "counted",
    "duration_text",
    "exact_duration_text",
    "ns",
    "parse_bytes",
    "parse_cores",
    "parse_duration_s",
    "seconds",
]

NS_PER_S: Final = 1_000_000_000

_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|us|ns|s|m|h|d)")
_DURATION_S_MAX: Final = 100 * 365 * 86400.0  # Longer ones do not fit into 64 bits of nanoseconds.
# Factor and divisor: dividing by a power of ten rounds once, so that 35ms is the number that 0.035 names.
_DURATION_S: Final = {
    "ns": (1.0, 1e9), "us": (1.0, 1e6), "ms": (1.0, 1e3), "s": (1.0, 1.0),
    "m": (60.0, 1.0), "h": (3600.0, 1.0), "d": (86400.0, 1.0),
}  # fmt: skip
_QUANTITY = re.compile(r"([0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE]([+-]?[0-9]{1,2})|([a-zA-Z]*))")
_SMALL_UNITS: Final = {"n": 1e9, "u": 1e6, "m": 1e3}
_UNITS: Final = {
    "": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60,
}  # fmt: skip


def ns(seconds_value: float) -> int:
    """Integer nanoseconds of a duration in seconds."""
    return round(seconds_value * NS_PER_S)


def seconds(ns_value: int) -> float:
    """Seconds of a duration in nanoseconds."""
    return ns_value / NS_PER_S


def parse_duration_s(text: str | int | float) -> float:
    """Seconds of `2s`, `250ms`, `1m30s` or `1.5h`.

    Raises BadInput for anything else: bare numbers carry no unit and are refused, as is more than 100 years.
    """
    parts = _DURATION_PART.findall(text) if isinstance(text, str) and len(text) <= 60 else []
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadInput(f'"{text}" is not a duration', "a duration is a number and a unit", "write 2s, 250ms, 1m30s")
    total_s = 0.0
    for number, unit in parts:
        factor, divisor = _DURATION_S[unit]
        total_s += float(number) * factor / divisor
    if total_s > _DURATION_S_MAX:
        raise BadInput(f'"{text}" is longer than 100 years', "no simulation runs that long", "write a shorter one")
    return total_s


def duration_text(value_s: float) -> str:
    """The short form of a duration for a person, to six digits."""
    if value_s >= 60 and math.isclose(value_s % 60, 0, abs_tol=1e-9):
        return f"{value_s / 60:g}m"
    return f"{value_s:g}s" if value_s >= 1 or value_s == 0 else f"{value_s * 1000:g}ms"


@lru_cache(maxsize=4096)  # The same few time-outs stand in a fleet's file ten thousand times.
def exact_duration_text(value_s: float) -> str:
    """The shortest form that `parse_duration_s` reads back as exactly this number; for files."""
    exact = Decimal(repr(value_s))
    scaled = [("s", exact)]
    if value_s >= 60:
        scaled.insert(0, ("m", exact / 60))
    elif 0 < value_s < 1:
        scaled = [("ms", exact * 1000), ("us", exact * 10**6), ("ns", exact * 10**9), ("s", exact)]
    texts = [_plain(number) + unit for unit, number in scaled]
    exact_texts = [text for text in texts if len(text) <= 60 and parse_duration_s(text) == value_s]
    # Shortest, but 500ms rather than 0.5s.
    return min(exact_texts, key=lambda text: len(text) + 2 * ("." in text)) if exact_texts else _plain(exact) + "s"


def parse_cores(text: str | int | float) -> float:
    """CPU cores of a Kubernetes quantity: `250m` is 0.25.

    Raises BadInput if it is not one.
    """
    value = _quantity(text)
    if value is None:
        raise BadInput(f'"{text}" is not a CPU quantity', "CPU is given in cores or millicores", "write 2 or 250m")
    return value


def parse_bytes(text: str | int | float) -> int:
    """Bytes of a Kubernetes quantity: `64Mi`, `1Gi`, `500M`.

    Raises BadInput if it is not one.
    """
    value = _quantity(text)
    if value is None:
        raise BadInput(f'"{text}" is not a memory quantity', "memory is given in bytes", "write 64Mi or 1Gi")
    return round(value)


def cores_text(cores: float) -> str:
    """A CPU quantity that `parse_cores` reads back as exactly this number."""
    exact = Decimal(repr(cores))
    whole = _plain(exact)
    milli = _plain(exact * 1000) + "m"
    return milli if "." in whole and len(milli) <= len(whole) + 1 and parse_cores(milli) == cores else whole


def bytes_text(count: int) -> str:
    """A memory quantity that `parse_bytes` reads back as exactly this number."""
    for unit in ("Ti", "Gi", "Mi", "Ki", "G", "M", "k"):
        if count and count % _UNITS[unit] == 0:
            return f"{count // _UNITS[unit]}{unit}"
    return str(count)


def _quantity(text: str | int | float) -> float | None:
    match = None if isinstance(text, bool) else _QUANTITY.fullmatch(str(text).strip())
    if match is None:
        return None
    number, exponent, unit = match.groups()
    if exponent is not None:
        return float(f"{number}e{exponent}")
    if unit in _SMALL_UNITS:
        return float(number) / _SMALL_UNITS[unit]
    return float(number) * _UNITS[unit] if unit in _UNITS else None


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def counted(count: int, noun: str) -> str:
    """How many of what: "1 pod", "2 pods", "2 entries"."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun[:-1]}ies" if noun.endswith("ry") else f"{count:,} {noun}s"
