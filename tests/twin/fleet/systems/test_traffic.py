"""What probes are told about waiting: a quiet service is not a blocked one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.small_shop import small_shop
from twin.fleet.systems.traffic import _measure
from twin.fleet.world import World
from twin.spec.units import NS_PER_S


@pytest.mark.parametrize(
    ("queue", "answered", "wait_s"),
    [(0.0, 0.0, 0.0), (0.03, 0.0, 0.0), (0.03, 2.0, 0.015), (1.0, 0.0, np.inf), (40.0, 0.0, np.inf), (40.0, 8.0, 5.0)],
)
def test_wait_by_queue_and_answers(queue: float, answered: float, wait_s: float) -> None:
    one, wait, cpu = np.zeros(1, dtype=np.int64), np.full(1, 9.0), np.zeros(1)
    _measure(
        one, np.array([queue]), one, np.array([answered]), np.zeros(1), one, np.ones(1), np.ones(1), np.ones(1), 1.0,
        np.zeros(1), np.zeros(1), wait, cpu,
    )  # fmt: skip
    assert wait[0] == wait_s


def test_a_quiet_service_is_not_restarted_for_want_of_answers() -> None:
    """A few requests a minute on every service, probes on one: hours of ticks without an answer."""
    world = World.build(small_shop(rate_rps=0.05), seed=5)
    world.run(3600 * NS_PER_S)
    assert not world.state.pod_restarts.any()
    assert world.state.pods_terminated == 0
