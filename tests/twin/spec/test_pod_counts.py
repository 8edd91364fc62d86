"""Shares of pods are rounded as Kubernetes rounds them, and not as floats do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.spec.pod_counts import count_or_share, pods_kept, share_down, share_up


@given(st.integers(0, 100), st.integers(0, 100_000))
def test_a_whole_percentage_is_rounded_as_whole_numbers_are(percent: int, pods: int) -> None:
    up, down = -(-percent * pods // 100), percent * pods // 100
    assert share_up(percent / 100, pods) == up
    assert share_down(percent / 100, pods) == down
    assert pods_kept({"minAvailable": f"{percent}%"}, pods) == up
    assert pods_kept({"maxUnavailable": f"{percent}%"}, pods) == pods - up


def test_an_example_that_floats_get_wrong() -> None:
    assert pods_kept({"minAvailable": "28%"}, 25) == 7
    assert share_up(0.28, 25) == 7
    assert share_down(0.29, 100) == 29


@pytest.mark.parametrize("value", ["many", "-1%", "1.5%", "%", "", "١%", True, -1, 2.5, None, [], {}])
def test_what_is_no_number_of_pods_is_none(value: object) -> None:
    assert count_or_share(value, 10) is None
    assert pods_kept({"minAvailable": value}, 10) is None


def test_more_than_all_is_all() -> None:
    assert pods_kept({"minAvailable": "250%"}, 4) == 4
    assert pods_kept({"maxUnavailable": 9}, 4) == 0
    assert pods_kept({}, 4) is None
