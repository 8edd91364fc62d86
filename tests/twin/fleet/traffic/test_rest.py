"""What is at rest takes short cuts, and nobody can tell: the fast path and the full one agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest

from tests.twin.fleet.traffic import plain
from tests.twin.fleet.traffic.fleets import SECOND_NS, Ledger, assert_same, copy_of, run
from twin.fleet.traffic.engine import Conditions, Sample
from twin.fleet.traffic.network import HOLD, WORK, Network, compile_network, initial_conditions
from twin.fleet.traffic.tick import TickEngine
from twin.spec.generators import generate

CLOSE = 1e-3  # relative: what a tolerance of 3e-5 a service and tick may add up to
SETTLE_TICKS = 90


def company(services: int = 120) -> tuple[Network, Conditions]:
    """Every kind of program that there is: thread pools, groups, caches, publishes, connection pools."""
    fleet = generate(services, seed=3)
    network = compile_network(fleet)
    return network, initial_conditions(network, fleet)


def punctual(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """(O,), (E,) where a draw shows in the same tick on both paths.

    A second visit of one request to one station joins a tick late on the full path, and at once at rest; and
    so does all that it calls.
    """
    late = np.zeros(len(network.ops), dtype=bool)
    place = np.argsort(network.station_order, kind="stable")
    for o in range(len(late)):
        codes = range(network.code_start[o], network.code_start[o + 1])
        visits = [int(network.code_a[c]) for c in codes if network.code_kind[c] in (WORK, HOLD)]
        places = [int(place[network.visit_station[visit]]) for visit in visits]
        late[o] = any(after <= before for before, after in pairwise(places))
    inner = range(len(network.journeys), len(network.edge_callee))
    for _ in range(20):
        for e in inner:
            late[network.edge_callee[e]] |= late[network.edge_caller[e]]
    edges = np.array(
        [network.edge_caller[e] < 0 or not late[network.edge_caller[e]] for e in range(len(inner) + inner.start)]
    )
    return ~late, edges


def assert_close(fast: Sample, full: Sample, network: Network, close: float = CLOSE) -> None:
    ops, edges = punctual(network)
    for field in fields(Sample):
        one, other = np.asarray(getattr(fast, field.name)), np.asarray(getattr(full, field.name))
        if field.name.startswith("op"):
            one, other = one[ops], other[ops]
        elif field.name.startswith(("edge", "call")):
            one, other = one[edges], other[edges]
        slack = close * (np.abs(other) + 0.1)
        assert np.all(np.abs(one - other) <= slack), (field.name, np.max(np.abs(one - other) / slack) * close)


def test_a_calm_fleet_comes_to_rest_and_reports_what_the_full_path_reports() -> None:
    network, conditions = company()
    fast, full = TickEngine(network, seed=1), TickEngine(network, seed=1, rests=False)
    run(fast, conditions, SETTLE_TICKS)
    run(full, conditions, SETTLE_TICKS)
    assert fast.at_rest
    assert not full.at_rest
    samples = list(zip(run(fast, conditions, 60), run(full, conditions, 60), strict=True))
    for one, other in samples:
        assert_close(one, other, network)
    assert fast.at_rest
    for name in ("op_ok", "edge_issued", "edge_ok"):
        total, total_full = (sum(getattr(pair[i], name) for pair in samples) for i in (0, 1))
        np.testing.assert_allclose(total, total_full, rtol=0.01, atol=1.0)


def slow(conditions: Conditions, service: int) -> None:
    conditions.pool_speed[service] *= 0.02


def failing(conditions: Conditions, service: int) -> None:
    conditions.pool_error_ratio[service] = 0.3


def gone(conditions: Conditions, service: int) -> None:
    conditions.pool_ready[service] = 0.0


def impatient(conditions: Conditions, service: int) -> None:
    conditions.edge_timeout_s[:] = 0.02


def crowded(conditions: Conditions, service: int) -> None:
    conditions.journey_rate_rps *= 3.0


def shedding(conditions: Conditions, service: int) -> None:
    conditions.op_shed_ratio[:] = 0.2


@pytest.mark.parametrize("strike", [slow, failing, gone, impatient, crowded, shedding])
def test_a_fault_strikes_both_paths_in_the_same_tick(strike: Callable[[Conditions, int], None]) -> None:
    network, calm = company()
    fast, full = TickEngine(network, seed=1), TickEngine(network, seed=1, rests=False)
    run(fast, calm, SETTLE_TICKS)
    run(full, calm, SETTLE_TICKS)
    assert fast.at_rest
    busiest = int(np.argmax(np.bincount(network.op_service[network.edge_callee], minlength=len(network.services))))
    struck = copy_of(calm)
    strike(struck, busiest)
    bad = ("op_failed", "op_rejected", "edge_timed_out", "call_failed", "op_ok")
    for tick, (one, other) in enumerate(zip(run(fast, struck, 12), run(full, struck, 12), strict=True)):
        if tick == 0:
            assert_close(one, other, network, close=0.01)
        assert np.array_equal(one.edge_timed_out > 0.05, other.edge_timed_out > 0.05), tick
        for name in bad:
            here, there = float(getattr(one, name).sum()), float(getattr(other, name).sum())
            assert here == pytest.approx(there, rel=0.01, abs=0.05), (tick, name)
    after, after_full = run(fast, calm, 40), run(full, calm, 40)
    for name in bad:
        here, there = (sum(float(getattr(s, name).sum()) for s in samples) for samples in (after, after_full))
        assert here == pytest.approx(there, rel=0.02, abs=1.0), name


def test_drifting_is_sweeping_over_a_fleet_at_rest() -> None:
    network, conditions = company()
    engine = TickEngine(network, seed=1)
    run(engine, conditions, SETTLE_TICKS)
    assert engine.at_rest
    swept = engine.fork()
    for _ in range(5):
        (one,) = run(engine, conditions, 1)
        swept.wake()
        (other,) = run(swept, conditions, 1)
        assert_same(one, other)
    assert engine.at_rest
    assert swept.at_rest


def test_a_drift_is_the_plain_one() -> None:
    network, conditions = company(40)
    engine = TickEngine(network, seed=1)
    (last,) = run(engine, conditions, SETTLE_TICKS)[-1:]
    assert engine.at_rest
    (sample,) = run(engine, conditions, 1)
    drawn = sample.edge_issued[: len(network.journeys)]
    came, issued, ok, in_flight = plain.drift(
        network, drawn, conditions.journey_rate_rps, last.call_latency_mean_s, last.edge_in_flight, 1.0
    )
    np.testing.assert_allclose(sample.op_arrivals, came, rtol=1e-9)
    np.testing.assert_allclose(sample.op_ok, came, rtol=1e-9)
    np.testing.assert_allclose(sample.edge_issued, issued, rtol=1e-9)
    np.testing.assert_allclose(sample.edge_ok, ok, rtol=CLOSE, atol=CLOSE)
    np.testing.assert_allclose(sample.edge_in_flight, in_flight, rtol=CLOSE, atol=CLOSE)


def test_requests_are_conserved_from_calm_through_trouble_to_calm() -> None:
    network, calm = company(60)
    struck = copy_of(calm)
    slow(struck, 5)
    engine, ledger = TickEngine(network, seed=1), Ledger()
    for conditions, ticks in ((calm, SETTLE_TICKS), (struck, 5), (calm, 60)):
        for sample in run(engine, conditions, ticks):
            ledger.add(sample)
            assert np.all(np.abs(ledger.open - sample.edge_in_flight) <= 1e-9 * (1.0 + np.asarray(ledger.issued)))


def test_a_restored_engine_goes_on_at_rest() -> None:
    network, conditions = company(40)
    engine = TickEngine(network, seed=1)
    run(engine, conditions, SETTLE_TICKS)
    restored = TickEngine(network, seed=9)
    restored.load(engine.save())
    assert restored.at_rest
    struck = copy_of(conditions)
    slow(struck, 3)
    for under in (conditions, struck, conditions):
        for one, other in zip(run(engine, under, 4), run(restored, under, 4), strict=True):
            assert_same(one, other)


def test_a_tick_of_another_length_wakes_the_fleet() -> None:
    network, conditions = company(40)
    engine = TickEngine(network, seed=1)
    run(engine, conditions, SETTLE_TICKS)
    assert engine.at_rest
    run(engine, conditions, 1, dt_ns=SECOND_NS // 2)
    assert not engine.at_rest
