"""A scrape of a journey counts whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from twin.ports.plant import EdgeId, Metric, Series, TracedEdge
from twin.ports.users import read_users

HOLE = float("nan")


class Told:
    """Telemetry of two journeys and one call between services."""

    def __init__(self, came: list[list[float]], bad: list[list[float]]) -> None:
        self.figures = {Metric.REQUESTS_RPS: came, Metric.ERROR_RATIO: bad}

    def edges(self) -> list[TracedEdge]:
        pairs = (("user", "browse"), ("shop/web", "serve"), ("user", "pay"))
        return [
            TracedEdge(id=EdgeId(caller=caller, caller_operation=name, callee="shop/cart", callee_operation="get"))
            for caller, name in pairs
        ]

    def edge_series(self, metric: Metric, edges: Sequence[EdgeId], *, start_s: float, end_s: float) -> Series:
        columns = [("browse", "pay").index(edge.caller_operation) for edge in edges]
        values = np.array(self.figures[metric], dtype=np.float64)[:, columns]
        return Series(np.arange(len(values)) * 15.0, values)


def read(came: list[list[float]], bad: list[list[float]], **only: Any) -> Any:
    telemetry: Any = Told(came, bad)
    return read_users(telemetry, start_s=0.0, end_s=60.0, **only)


def test_users_are_peoples_journeys_only_and_shares_are_by_journey() -> None:
    users = read([[10.0, 30.0], [10.0, 10.0]], [[0.5, 0.0], [0.0, 1.0]])
    assert users.journeys == ("browse", "pay")
    assert users.let_down_ratio() == pytest.approx([0.25, 0.25])
    assert read([[10.0, 30.0]], [[0.5, 0.1]], only={"pay"}).let_down_ratio() == pytest.approx([0.1])


def test_who_came_without_how_they_fared_is_not_taken_for_well() -> None:
    users = read([[10.0, 30.0], [90.0, 10.0]], [[0.5, 0.1], [HOLE, 0.1]])
    assert users.let_down_ratio() == pytest.approx([0.5, 0.1]), "not 5 of 100"
    assert users.whole.tolist() == [[True, True], [False, True]]


def test_where_nobody_came_or_nothing_was_seen_nothing_is_known() -> None:
    assert np.isnan(read([[0.0, HOLE]], [[0.0, 0.2]]).let_down_ratio()).all()
