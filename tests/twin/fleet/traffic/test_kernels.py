"""Kernels against their plain twins."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from tests.twin.fleet.traffic import plain
from twin.fleet.traffic.arrivals import poisson_quantile
from twin.fleet.traffic.erlang import POINTS, ErlangTables
from twin.fleet.traffic.groups import longest
from twin.fleet.traffic.ledger import settle_edge
from twin.fleet.traffic.moments import (
    ROW,
    add_step,
    attempt_outcome,
    call_outcome,
    close_frame,
    compose,
    open_frame,
    quantile,
    survival,
    truncate,
)
from twin.fleet.traffic.normal import normal_quantile
from twin.fleet.traffic.queues import Q_BLOCK, Q_NUMBER, Q_WAIT, Q_WIDTH, Q_Y, step_queue
from twin.fleet.traffic.state import (
    E_BACKOFF,
    E_FLIGHT,
    E_HOT,
    E_MEAN,
    E_OK,
    E_WIDTH,
    O_WIDTH,
    T_CALL_FAILED,
    T_ROWS,
    T_TIMED_OUT,
    X_ISSUED,
    X_OK,
    X_ROWS,
)


def test_normal_quantiles() -> None:
    for u in (1e-9, 0.001, 0.024, 0.3, 0.5, 0.9, 0.99, 1 - 1e-7):
        assert normal_quantile(u) == pytest.approx(NormalDist().inv_cdf(u), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("mean", [0.01, 0.7, 5.0, 39.0, 41.0, 300.0, 5000.0])
def test_poisson_counts_are_the_least_that_reach_the_level(mean: float) -> None:
    levels = [(i + 0.5) / 200 for i in range(200)] + [1e-6, 1 - 1e-6]
    counts = [poisson_quantile(u, mean) for u in levels]
    truth = [plain.poisson_quantile(u, mean) for u in levels]
    assert max(abs(a - b) for a, b in zip(counts, truth, strict=True)) <= (0 if mean < 40 else 1)
    assert sum(a != b for a, b in zip(counts, truth, strict=True)) <= 8


@pytest.mark.parametrize("servers", [1, 2, 4, 30])
def test_erlang_tables(servers: int) -> None:
    tables = ErlangTables()
    row = int(tables.rows_of(np.array([float(servers)]))[0])
    for point in (POINTS // 4, POINTS // 2, (POINTS - 1) * 7 // 8):
        rho = point / (POINTS - 1)
        assert tables.rows[row, 0, point] == pytest.approx(plain.wait_chance(rho, servers), rel=1e-9, abs=1e-12)
        probabilities = plain.birth_and_death(rho * servers, 1.0, servers, 4000)
        mean = sum(n * p for n, p in enumerate(probabilities))
        variance = sum((n - mean) ** 2 * p for n, p in enumerate(probabilities))
        assert tables.rows[row, 1, point] == pytest.approx(variance * (1 - rho) ** 2, rel=1e-6)
        loss = plain.birth_and_death(servers / rho, 1.0, servers, 0)[-1]
        assert tables.rows[row, 2, point] == pytest.approx(loss, rel=1e-9)


def one_queue(number: float) -> np.ndarray:
    queues = np.zeros((1, Q_WIDTH))
    queues[0, Q_NUMBER] = number
    queues[0, Q_Y] = number
    return queues


@pytest.mark.parametrize(
    ("before", "arrival"),
    [
        (0.5, 100.0),
        (2.0, 160.0),
        pytest.param(60.0, 100.0, marks=pytest.mark.xfail(reason="one implicit step holds back a draining backlog")),
        (100.0, 300.0),
        (1000.0, 0.0),
    ],
)
def test_a_queue_follows_its_equation(before: float, arrival: float) -> None:
    tables = ErlangTables()
    row = int(tables.rows_of(np.array([2.0]))[0])
    queues = one_queue(before)
    left_expected, left, away = step_queue(
        queues, 0, 2.0, math.inf, arrival, arrival, 0.01, 1.0, math.inf, 1.0, tables.rows, row
    )
    truth = plain.fluid_queue(before, arrival, 2, 0.01, 1.0)
    assert queues[0, Q_NUMBER] == pytest.approx(truth, rel=0.12, abs=0.1)  # One implicit step for all.
    assert before + arrival == pytest.approx(queues[0, Q_NUMBER] + left, rel=1e-12)
    assert (left_expected, away) == (pytest.approx(left), 0.0)


@pytest.mark.parametrize("rho", [0.3, 0.6, 0.79])
def test_a_calm_queue_is_the_stationary_one(rho: float) -> None:
    tables = ErlangTables()
    row = int(tables.rows_of(np.array([4.0]))[0])
    queues = one_queue(0.0)
    for _ in range(50):
        step_queue(queues, 0, 4.0, math.inf, rho * 400, rho * 400, 0.01, 1.0, math.inf, 1.0, tables.rows, row)
    assert queues[0, Q_NUMBER] == pytest.approx(plain.number_in_system(rho, 4), rel=2e-3)
    wait = plain.number_in_system(rho, 4) / (rho * 400) - 0.01
    assert queues[0, Q_WAIT] == pytest.approx(wait, rel=2e-3)


@pytest.mark.parametrize("rho", [0.7, 1.0, 1.4])
def test_a_short_queue_turns_away_what_finds_it_full(rho: float) -> None:
    tables = ErlangTables()
    row = int(tables.rows_of(np.array([4.0]))[0])
    queues = one_queue(0.0)
    arrival = rho * 400.0
    _, _, away = step_queue(queues, 0, 4.0, 6.0, arrival, arrival, 0.01, 1.0, math.inf, 1.0, tables.rows, row)
    probabilities = plain.birth_and_death(arrival, 100.0, 4, 6)
    assert queues[0, Q_BLOCK] == pytest.approx(probabilities[-1], rel=2e-3)
    assert away == pytest.approx(arrival * probabilities[-1], rel=2e-3)
    waiting = sum(max(n - 4, 0) * p for n, p in enumerate(probabilities))
    assert queues[0, Q_WAIT] == pytest.approx(waiting / (arrival * (1 - probabilities[-1])), rel=2e-3)


@pytest.mark.parametrize(
    ("mean", "cv2"),
    [
        (1.0, 1.0),
        (0.2, 0.3),
        (2.0, 0.05),
    ],
)
def test_a_duration_cut_off_at_a_time_out(mean: float, cv2: float) -> None:
    variance = mean * mean * cv2
    third = 2.0 * variance * mean * cv2
    for limit in (0.6 * mean, mean, 2.5 * mean):
        late, first, second = plain.gamma_parts(mean, variance, limit)
        s, b1, b2, _ = truncate(mean, variance, third, limit)
        assert s == pytest.approx(late, abs=0.006)
        assert survival(limit, mean, variance, third) == pytest.approx(late, abs=0.006)
        assert b1 == pytest.approx(first, rel=0.03)
        assert b2 == pytest.approx(second, rel=0.05)
    for u in (0.5, 0.99):
        at = quantile(NormalDist().inv_cdf(u), mean, variance, third)
        assert 1.0 - plain.gamma_parts(mean, variance, at)[0] == pytest.approx(u, abs=0.006)


def fixed(seconds: float, *, ok: float) -> np.ndarray:
    """An outcome row: after exactly so long it ends well, or fails."""
    row = np.zeros(ROW)
    row[0], row[8] = ok, 1.0 - ok
    for order in (1, 2, 3):
        row[order] = seconds**order
        row[8 + order] = (1.0 - ok) * seconds**order
    row[17], row[18] = ok, 1.0 - ok
    return row


@pytest.mark.parametrize(("retries", "backoff_s"), [(0, 0.0), (2, 0.3), (5, 0.0)])
def test_a_program_of_calls_ends_in_every_way_that_it_can(retries: int, backoff_s: float) -> None:
    attempt, row, frame = np.zeros(24), np.zeros(ROW), np.zeros(ROW)
    attempt_outcome(fixed(0.2, ok=0.6), math.inf, 0.05, attempt)
    call_outcome(attempt, retries, backoff_s, 0.0, row)
    open_frame(frame)
    add_step(frame, 0.1, 0.0, 0.0)
    compose(frame, 1.0, row, True)
    compose(frame, 0.4, row, False)
    compose(frame, 0.7, row, True)
    found = np.zeros(ROW)
    close_frame(frame, found)

    ways = plain.call(0.6, 0.25, 0.25, retries, backoff_s)

    def made(probability: float, required: bool) -> plain.Outcomes:
        out: plain.Outcomes = {(0.0, "clean"): 1.0 - probability}
        for (spent, state), share in ways.items():
            end = "troubled" if state == "failed" and not required else state
            out[spent, end] = out.get((spent, end), 0.0) + probability * share
        return out

    truth: plain.Outcomes = {(0.1, "clean"): 1.0}
    for probability, required in ((1.0, True), (0.4, False), (0.7, True)):
        step = made(probability, required)
        truth = plain.follow(truth, lambda _, step=step: step)
    for at, state in ((0, "clean"), (4, "troubled"), (8, "failed")):
        share = plain.moment(truth, state, 0)
        assert found[at] == pytest.approx(share, rel=1e-9)
        for order in (1, 2, 3):
            raw = found[at + order] * (found[at] if at < 8 else 1.0)
            assert raw == pytest.approx(plain.moment(truth, state, order), rel=1e-9)
    assert found[17] == pytest.approx(found[0] + found[4])
    assert found[18] == pytest.approx(found[8])


@pytest.mark.parametrize(("means", "probabilities"), [((0.1, 0.1, 0.1), (1.0, 1.0, 1.0)), ((0.02, 0.3), (1.0, 0.5))])
def test_the_longest_of_parallel_calls(means: tuple[float, ...], probabilities: tuple[float, ...]) -> None:
    calls = np.zeros((len(means), ROW))
    for row, mean in zip(calls, means, strict=True):
        row[:4] = 1.0, mean, 2 * mean**2, 6 * mean**3
    first, _, _ = longest(0, len(means), 0, np.array(probabilities), calls, 15 * max(means), False)
    assert first == pytest.approx(plain.longest_exponential(means, probabilities), rel=0.01)


@pytest.mark.parametrize(
    ("retries", "backoff_s", "mean_s"),
    [
        (0, 0.0, 0.2),
        pytest.param(
            2, 0.3, 0.5, marks=pytest.mark.xfail(reason="calls that fail are counted late while they back off")
        ),
        (3, 0.0, 1.5),
    ],
)
def test_a_ledger_in_a_steady_state_moves_what_single_attempts_move(
    retries: int, backoff_s: float, mean_s: float
) -> None:
    edges, ops = np.zeros((E_WIDTH, 1)), np.zeros((O_WIDTH, 1))
    out, trouble = np.zeros((X_ROWS, 1)), np.zeros((T_ROWS, 1))
    edges[E_HOT], edges[E_MEAN], edges[E_OK], edges[E_OK + 3] = 1.0, mean_s, 0.3, 0.7
    for _ in range(40):
        settle_edge(0, 0, 100.0, 100.0, 0, retries, backoff_s, 0.0, 1.0, edges, ops, out, trouble)
    truth = plain.Pots(mean_s, ok=0.3, late=0.7).run(100.0, 40, retries, backoff_s)
    assert out[X_ISSUED, 0] == pytest.approx(truth["issued"], rel=1e-3)
    assert out[X_OK, 0] == pytest.approx(truth["ok"], rel=1e-3)
    assert trouble[T_TIMED_OUT, 0] == pytest.approx(truth["timed_out"], rel=1e-3)
    assert trouble[T_CALL_FAILED, 0] == pytest.approx(truth["call_failed"], rel=1e-3)
    flight = edges[E_FLIGHT : E_FLIGHT + 4, 0].sum()
    assert flight == pytest.approx(mean_s * truth["issued"], rel=1e-3)  # Little's law.
    waiting = edges[E_BACKOFF : E_BACKOFF + 3, 0].sum()
    assert waiting == pytest.approx(backoff_s * (truth["issued"] - 100.0), rel=1e-3)
