"""The kernels of a rehearsal's bins against what NumPy says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twin.gate.bins import add_tick, count_missing

counts = st.lists(st.floats(0.0, 1e6), min_size=6, max_size=6).map(np.array)


@settings(deadline=None)  # the first call compiles
@given(counts, counts, counts, counts, counts)
def test_a_tick_is_added_to_its_bin(
    failed: np.ndarray, ok: np.ndarray, op_failed: np.ndarray, rejected: np.ndarray, arrivals: np.ndarray
) -> None:
    rows, op_service = np.array([4, 1]), np.array([0, 0, 1, 3, 3, 3])
    let_down, users, bad, asked = np.zeros(2), np.zeros(2), np.ones(4), np.zeros(4)
    add_tick(rows, failed, ok, op_service, op_failed, rejected, arrivals, 5.0, let_down, users, bad, asked)
    assert let_down == pytest.approx(failed[rows] / 5.0)
    assert users == pytest.approx((failed + ok)[rows] / 5.0)
    assert bad == pytest.approx(1.0 + np.bincount(op_service, op_failed + rejected, 4) / 5.0)
    assert asked == pytest.approx(np.bincount(op_service, arrivals, 4) / 5.0)


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
    most = np.array([0, 1, 5])
    plain = [max(most[s], want[s] - sum(1 for p, r in pods if r and p == s)) for s in range(3)]
    count_missing(service, ready, want, np.full(3, 7), most)
    assert most.tolist() == plain
