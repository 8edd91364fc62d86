"""Verdicts from arms that are written by hand, so that each rule is seen to decide."""

from __future__ import annotations

import math

import numpy as np
import pytest

from twin.gate.judge import clopper_pearson, judge, recovery_s
from twin.gate.rehearsal import BIN_S, Arm
from twin.spec.ids import ServiceId

BINS, SERVICES = 120, (ServiceId("shop/a"), ServiceId("shop/b"))


def arm(
    *,
    down_until_s: float,
    bad_rps: float = 0.0,
    bad_s: float = 0.0,
    users_rps: float = 100.0,
    missing_until_s: float = 0.0,
) -> Arm:
    """Users are let down (half of them) until a moment; service b fails for a while."""
    times = np.arange(BINS) * BIN_S
    users = np.full((BINS, 1), users_rps)
    let_down = np.where(times < down_until_s, users_rps / 2, 0.0)[:, None]
    bad = np.zeros((BINS, 2))
    bad[times < bad_s, 1] = bad_rps
    return Arm(
        let_down=let_down, users=users, bad=bad, asked=np.full((BINS, 2), 100.0),
        missing=np.where(times < missing_until_s, 1.0, 0.0), terminated_sessions=0, dropped=0,
    )  # fmt: skip


NEVER = 10_000.0


def verdict(nothing: Arm, change: Arm, count: int = 16) -> tuple[float, float]:
    found = judge(SERVICES, [nothing] * count, [change] * count, usual_ratio=0.0)
    return found.effect.value, found.harm.value


def test_a_cure_that_doing_nothing_does_not_have_is_an_effect() -> None:
    assert verdict(arm(down_until_s=NEVER), arm(down_until_s=40)) == (1.0, 0.0)


def test_recovery_that_comes_anyway_is_no_effect() -> None:
    assert verdict(arm(down_until_s=60), arm(down_until_s=40)) == (0.0, 0.0)
    assert verdict(arm(down_until_s=300), arm(down_until_s=40)) == (1.0, 0.0)


def test_a_service_that_is_worse_for_half_a_minute_is_harm_and_for_ten_seconds_is_not() -> None:
    nothing = arm(down_until_s=NEVER)
    assert verdict(nothing, arm(down_until_s=40, bad_rps=20.0, bad_s=60.0)) == (1.0, 1.0)
    assert verdict(nothing, arm(down_until_s=40, bad_rps=20.0, bad_s=10.0)) == (1.0, 0.0)


def test_letting_down_more_users_is_harm_even_if_no_service_fails() -> None:
    assert verdict(arm(down_until_s=0), arm(down_until_s=120)) == (0.0, 1.0)


def test_a_crash_loop_that_other_replicas_hide_is_an_incident_too() -> None:
    assert verdict(arm(down_until_s=0, missing_until_s=NEVER), arm(down_until_s=0, missing_until_s=50)) == (1.0, 0.0)


def test_less_than_delta_is_noise() -> None:
    assert verdict(arm(down_until_s=NEVER), arm(down_until_s=40, bad_rps=1.0, bad_s=300.0)) == (1.0, 0.0)


def test_recovery_in_the_last_moment_is_none() -> None:
    assert recovery_s(arm(down_until_s=BINS * BIN_S - 10), 0.02) is None
    assert recovery_s(arm(down_until_s=40), 0.02) == 40.0


@pytest.mark.parametrize(("hits", "count"), [(0, 16), (16, 16), (1, 16), (8, 16), (3, 6)])
def test_the_interval_is_clopper_and_pearsons(hits: int, count: int) -> None:
    found = clopper_pearson(hits, count)
    below = math.fsum(math.comb(count, k) * found.high**k * (1 - found.high) ** (count - k) for k in range(hits + 1))
    above = math.fsum(
        math.comb(count, k) * found.low**k * (1 - found.low) ** (count - k) for k in range(hits, count + 1)
    )
    assert below == pytest.approx(0.025 if hits < count else 1.0, abs=1e-4)
    assert above == pytest.approx(0.025 if hits > 0 else 1.0, abs=1e-4)
