"""Verdicts from arms that are written by hand, so that each rule is seen to decide."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from twin.gate.judge import Measure, clopper_pearson, judge, recovery_s
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
    missing = np.zeros((BINS, 2), dtype=np.int64)
    missing[times < missing_until_s, 0] = 1
    return Arm(
        let_down=let_down, users=users, bad=bad, asked=np.full((BINS, 2), 100.0),
        missing=missing, sessions_lost=0, dropped=0,
    )  # fmt: skip


NEVER = 10_000.0


def measure(*usual: float, short: str = "a", failing: str = "") -> Measure:
    """The incident is about service a; `short` and `failing` name the services whose pods and errors count."""
    return Measure(
        usual=np.array(usual or (0.0,)), short=np.array(["a" in short, "b" in short]),
        failing=np.array(["a" in failing, "b" in failing]), usual_failing=np.zeros(2),
    )  # fmt: skip


MEASURE = measure()


def verdict(nothing: Arm, change: Arm, count: int = 16, by: Measure = MEASURE) -> tuple[float, float]:
    found = judge(SERVICES, [nothing] * count, [change] * count, measure=by)
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


def test_a_pod_that_the_twin_alone_lacks_is_no_incident_and_one_that_the_change_costs_is() -> None:
    """A quota that holds back a pod which only the twin's autoscaler wants: letting it in cures nothing."""
    lacks, whole = arm(down_until_s=0, missing_until_s=NEVER), arm(down_until_s=0)
    assert verdict(lacks, whole) == (1.0, 0.0)
    assert verdict(lacks, whole, by=measure(short="b")) == (0.0, 0.0)
    down = arm(down_until_s=NEVER)
    assert verdict(down, whole, by=measure(short="b")) == (1.0, 0.0)
    assert verdict(down, lacks, by=measure(short="b")) == (0.0, 0.0)


def test_where_no_user_feels_it_the_service_that_fails_decides() -> None:
    """A bad build of a small service, whose callers can do without it."""
    fails, mended = (arm(down_until_s=0, bad_rps=30.0, bad_s=until_s) for until_s in (NEVER, 40.0))
    assert verdict(fails, mended, by=measure(failing="b")) == (1.0, 0.0)
    assert verdict(fails, fails, by=measure(failing="b")) == (0.0, 0.0)
    assert verdict(fails, mended, by=measure(failing="a")) == (0.0, 0.0)
    found = judge(SERVICES, [fails] * 16, [fails] * 16, measure=measure(failing="b"))
    assert (found.unfelt, found.recovered_alone) == (True, 0)


def test_where_users_feel_it_they_decide_alone() -> None:
    """What fails behind them goes on failing, as it does with every retry that helps."""
    felt, cured = (arm(down_until_s=until_s, bad_rps=30.0, bad_s=NEVER) for until_s in (NEVER, 40.0))
    assert verdict(felt, cured, by=measure(failing="b")) == (1.0, 0.0)


def test_less_than_delta_is_noise() -> None:
    assert verdict(arm(down_until_s=NEVER), arm(down_until_s=40, bad_rps=1.0, bad_s=300.0)) == (1.0, 0.0)


def test_recovery_in_the_last_moment_is_none() -> None:
    assert recovery_s(arm(down_until_s=BINS * BIN_S - 10), MEASURE) is None
    assert recovery_s(arm(down_until_s=40), MEASURE) == 40.0


def test_what_a_journey_usually_loses_excuses_no_other_journey() -> None:
    """A batch that has always failed by 40 %, beside a shop of which half fails now."""
    batch = np.full((BINS, 1), 100.0)
    down = arm(down_until_s=NEVER)
    both = dataclasses.replace(
        down, users=np.hstack([batch, down.users]), let_down=np.hstack([batch * 0.4, down.let_down])
    )
    assert recovery_s(both, measure(0.4, 0.0)) is None
    assert recovery_s(arm(down_until_s=NEVER), measure(0.49)) == 0.0


def test_a_small_service_that_is_dead_is_harmed() -> None:
    nothing = dataclasses.replace(arm(down_until_s=NEVER), asked=np.full((BINS, 2), 0.5))
    dead = dataclasses.replace(arm(down_until_s=40, bad_rps=0.5, bad_s=NEVER), asked=np.full((BINS, 2), 0.5))
    assert verdict(nothing, dead)[1] == 1.0


@pytest.mark.parametrize("part", ["let_down", "users", "bad", "asked"])
def test_a_figure_that_is_none_is_not_well(part: str) -> None:
    broken = arm(down_until_s=40)
    getattr(broken, part)[3] = np.nan
    for nothing, change in ((arm(down_until_s=NEVER), broken), (broken, arm(down_until_s=40))):
        found = judge(SERVICES, [nothing] * 16, [change] * 16, measure=MEASURE)
        assert "broke down" in found.unseen
        assert (found.effect.low, found.effect.high, found.replications) == (0.0, 1.0, 0)


def test_a_journey_that_nobody_finishes_is_not_well() -> None:
    nobody = dataclasses.replace(arm(down_until_s=0), users=np.zeros((BINS, 1)))
    assert judge(SERVICES, [arm(down_until_s=NEVER)] * 16, [nobody] * 16, measure=MEASURE).unseen


def test_nothing_rehearsed_is_nothing_seen() -> None:
    assert judge(SERVICES, [], [], measure=MEASURE).unseen


@pytest.mark.parametrize(("hits", "count"), [(0, 16), (16, 16), (1, 16), (8, 16), (3, 6)])
def test_the_interval_is_clopper_and_pearsons(hits: int, count: int) -> None:
    found = clopper_pearson(hits, count)
    below = math.fsum(math.comb(count, k) * found.high**k * (1 - found.high) ** (count - k) for k in range(hits + 1))
    above = math.fsum(
        math.comb(count, k) * found.low**k * (1 - found.low) ** (count - k) for k in range(hits, count + 1)
    )
    assert below == pytest.approx(0.025 if hits < count else 1.0, abs=1e-4)
    assert above == pytest.approx(0.025 if hits > 0 else 1.0, abs=1e-4)
