"""The kernels of a rehearsal's bins against what NumPy says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.gate.bins import add_requests, add_users, count_missing

counts = st.lists(st.floats(0.0, 1e6), min_size=6, max_size=6).map(np.array)


@settings(deadline=None)  # the first call compiles
@given(counts, counts, counts)
def test_requests_are_added_up_by_service(failed: np.ndarray, rejected: np.ndarray, arrivals: np.ndarray) -> None:
    op_service = np.array([0, 0, 1, 3, 3, 3])
    bad, asked = np.ones(4), np.zeros(4)
    add_requests(op_service, failed, rejected, arrivals, 5.0, bad, asked)
    assert bad == pytest.approx(1.0 + np.bincount(op_service, failed + rejected, 4) / 5.0)
    assert asked == pytest.approx(np.bincount(op_service, arrivals, 4) / 5.0)


@settings(deadline=None)  # the first call compiles
@given(counts, counts)
def test_users_are_taken_from_their_rows(failed: np.ndarray, ok: np.ndarray) -> None:
    rows, let_down, users = np.array([4, 1]), np.zeros(2), np.zeros(2)
    add_users(rows, failed, ok, 5.0, let_down, users)
    assert let_down == pytest.approx(failed[rows] / 5.0)
    assert users == pytest.approx((failed + ok)[rows] / 5.0)


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=12),
    st.lists(st.integers(0, 6), min_size=3, max_size=3),
)
def test_pods_beyond_what_is_wanted_make_up_for_no_other_service(
    pods: list[tuple[int, bool]], wanted: list[int]
) -> None:
    service = np.array([s for s, _ in pods], dtype=np.int64)
    ready = np.array([r for _, r in pods], dtype=np.bool_)
    want = np.array(wanted)
    plain = sum(max(want[s] - sum(1 for p, r in pods if r and p == s), 0) for s in range(3))
    assert count_missing(service, ready, want, np.full(3, 7)) == plain
