"""Durations and quantities: what is read is a finite amount, and what is written reads back the same."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.spec.errors import BadInput
from twin.spec.units import (
    bytes_text,
    cores_text,
    duration_text,
    exact_duration_text,
    ns,
    parse_bytes,
    parse_cores,
    parse_duration_s,
)

PIECES = st.sampled_from([*"0123456789.eE+-_ ", "ms", "s", "m", "h", "d", "ns", "us", "Mi", "Ki", "k", "E", "²", "٣"])
ANYTHING = st.text(max_size=80) | st.lists(PIECES, max_size=40).map("".join) | st.integers() | st.floats() | st.none()


@pytest.mark.parametrize(
    ("text", "value_s"), [("2s", 2.0), ("250ms", 0.25), ("1m30s", 90.0), ("1.5h", 5400.0), ("35ms", 0.035), ("0s", 0.0)]
)
def test_a_duration_is_what_it_says(text: str, value_s: float) -> None:
    assert parse_duration_s(text) == value_s


@pytest.mark.parametrize(
    "text", ["", "5", "2 seconds", "-5s", "1e3s", "nan", "infs", "٣s", "1s 2m", "s", 5, None, "101y"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_duration_s(text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([parse_duration_s, parse_cores, parse_bytes]), ANYTHING)
def test_anything_is_a_finite_amount_or_a_refusal(parse: Callable[[object], float], text: object) -> None:
    try:
        value = parse(text)
    except BadInput:
        return
    assert math.isfinite(value)
    assert value >= 0
    if parse is parse_duration_s:
        assert ns(value) < 2**63


@given(st.floats(0, 3e9, allow_nan=False))
def test_a_duration_reads_back(value_s: float) -> None:
    if value_s == 0 or value_s >= 1e-9:
        assert parse_duration_s(exact_duration_text(value_s)) == value_s
    if 1e-3 <= value_s < 1e6:
        assert parse_duration_s(duration_text(value_s)) == pytest.approx(value_s, rel=1e-4)


@given(st.floats(1e-6, 1e5), st.integers(0, 2**60))
def test_quantities_read_back(cores: float, count: int) -> None:
    assert parse_cores(cores_text(cores)) == cores
    assert count > 2**53 or parse_bytes(bytes_text(count)) == count
