"""Axes that can be read at a glance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.charts import _round_figures


@pytest.mark.parametrize(
    ("low", "high", "figures"),
    [(0.0, 595.0, [0, 200, 400]), (0.0, 50.0, [0, 10, 20, 30, 40, 50]), (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1])],
)
def test_ticks_are_round(low: float, high: float, figures: list[float]) -> None:
    assert _round_figures(low, high) == pytest.approx(figures)


@given(st.floats(0.0, 1e6), st.floats(1e-3, 1e6))
def test_there_are_a_few_ticks_and_all_lie_on_the_axis(low: float, span: float) -> None:
    found = _round_figures(low, low + span)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-6 * span <= x <= low + span * (1 + 1e-6) for x in found)
