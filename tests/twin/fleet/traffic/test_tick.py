"""The tick engine's own behaviour: state, samples, pools, bad input."""

from __future__ import annotations

import numpy as np
import pytest

from tests.twin.fleet.traffic.fleets import SECOND_NS, assert_same, copy_of, fleet, op, run, service
from twin.fleet.traffic.engine import Conditions
from twin.fleet.traffic.interpreter import InterpreterEngine
from twin.fleet.traffic.network import Network, compile_network, initial_conditions
from twin.fleet.traffic.tick import TickEngine
from twin.spec.errors import BadInput
from twin.spec.fleet import Fleet
from twin.spec.program import Call, Work

ENGINES = [TickEngine, InterpreterEngine]
Engine = type[TickEngine] | type[InterpreterEngine]


def chain() -> tuple[Fleet, Network, Conditions]:
    plain = fleet(
        service("a", Work(mean_s=0.01), Call(target=op("b"), timeout_s=1.0)),
        service("b", Work(mean_s=0.01), Call(target=op("c"), timeout_s=1.0)),
        service("c", Work(mean_s=0.01)),
        rate_rps=100.0,
    )
    network = compile_network(plain)
    return plain, network, initial_conditions(network, plain)


def test_a_restored_engine_goes_on_after_replicas_came_in_any_order() -> None:
    _, network, conditions = chain()
    engine = TickEngine(network, seed=1)
    for ready in (
        [1.0, 1.0, 1.0],
        [1.0, 9.0, 1.0],
        [1.0, 9.0, 2.0],
    ):  # Tables are made as they are asked for.
        conditions.pool_ready[:] = ready
        run(engine, conditions, 2)
    restored = TickEngine(network, seed=99)
    restored.load(engine.save())
    conditions.pool_ready[:] = [4.0, 9.0, 2.0]
    for one, other in zip(run(engine, conditions, 3), run(restored, conditions, 3), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("engine_class", ENGINES)
def test_another_replication_draws_other_arrivals_only_from_the_fork_on(engine_class: Engine) -> None:
    _, network, conditions = chain()
    engine = engine_class(network, seed=1)
    run(engine, conditions, 2)
    same, other = engine.fork(replication=None), engine.fork(replication=5)
    (here,), (there,), (elsewhere,) = (run(one, conditions, 1) for one in (engine, same, other))
    assert_same(here, there)
    assert here.edge_issued[0] != elsewhere.edge_issued[0]


def test_both_engines_see_the_same_crowd() -> None:
    _, network, conditions = chain()
    samples = [run(engine_class(network, seed=4), conditions, 5) for engine_class in ENGINES]
    for tick, interpreted in zip(*samples, strict=True):
        assert tick.edge_issued[0] == interpreted.edge_issued[0]


def test_a_kept_sample_is_not_written_over() -> None:
    _, network, conditions = chain()
    engine = TickEngine(network, seed=1)
    kept = run(engine, conditions, 3)
    figures = [np.array(sample.edge_issued) for sample in kept]
    only_a_part = kept[0].op_ok
    value = only_a_part.copy()
    del kept[0]
    run(engine, conditions, 10)
    assert np.array_equal(only_a_part, value)
    for sample, before in zip(kept, figures[1:], strict=True):
        assert np.array_equal(sample.edge_issued, before)


@pytest.mark.parametrize("engine_class", ENGINES)
def test_a_service_without_ready_replicas_refuses_at_once(engine_class: Engine) -> None:
    _, network, conditions = chain()
    engine = engine_class(network, seed=1)
    run(engine, conditions, 3)
    conditions.pool_ready[1] = 0.0
    sample = run(engine, conditions, 3)[-1]
    assert sample.op_rejected[1] == pytest.approx(sample.op_arrivals[1])
    assert sample.call_ok[0] == pytest.approx(0.0, abs=1e-6)
    assert sample.op_arrivals[2] == pytest.approx(0.0, abs=1e-6)
    assert sample.call_latency_mean_s[0] < 0.05


@pytest.mark.parametrize("engine_class", ENGINES)
def test_a_vanished_pool_fails_its_queue(engine_class: Engine) -> None:
    _, network, conditions = chain()
    engine = engine_class(network, seed=1)
    conditions.pool_speed[2] = 0.1
    waiting = run(engine, conditions, 4)[-1].edge_in_flight[2]
    assert waiting > 50.0
    moved = copy_of(conditions)
    moved.pool_key[2] = 77
    moved.pool_speed[2] = 1.0
    sample = run(engine, moved, 1)[0]
    assert sample.edge_failed[2] > 0.8 * waiting
    assert sample.station_queue[2] < 10.0


@pytest.mark.parametrize("engine_class", ENGINES)
def test_a_pool_of_errors_fails_its_share_before_any_call(engine_class: Engine) -> None:
    _, network, conditions = chain()
    conditions.pool_error_ratio[1] = 0.25
    samples = run(engine_class(network, seed=1), conditions, 20)[1:]
    arrivals = sum(sample.op_arrivals[1] for sample in samples)
    assert sum(sample.op_failed[1] for sample in samples) / arrivals == pytest.approx(0.25, abs=0.03)
    assert sum(sample.op_arrivals[2] for sample in samples) / arrivals == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("engine_class", ENGINES)
def test_requests_go_to_pools_by_ready_replicas(engine_class: Engine) -> None:
    _, network, conditions = chain()
    conditions.pool_key = np.array([0, 1, 10, 2])
    conditions.pool_service = np.array([0, 1, 1, 2])
    conditions.pool_start = np.array([0, 1, 3, 4])
    conditions.pool_ready = np.array([1.0, 1.0, 3.0, 1.0])
    conditions.pool_speed = np.ones(4)
    conditions.pool_error_ratio = np.array([0.0, 1.0, 0.0, 0.0])
    samples = run(engine_class(network, seed=1), conditions, 20)[1:]
    share = sum(s.op_failed[1] for s in samples) / sum(s.op_arrivals[1] for s in samples)
    assert share == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("engine_class", ENGINES)
def test_a_saved_state_of_another_fleet_is_refused(engine_class: Engine) -> None:
    _, network, conditions = chain()
    other = fleet(service("a", Work(mean_s=0.5)), rate_rps=1.0)
    engine = engine_class(network, seed=1)
    run(engine, conditions, 1)
    stranger = engine_class(compile_network(other), seed=1)
    with pytest.raises(BadInput, match="another fleet"):
        stranger.load(engine.save())
    with pytest.raises(BadInput, match="without"):
        stranger.load({})


@pytest.mark.parametrize("engine_class", ENGINES)
def test_conditions_that_do_not_fit_are_refused(engine_class: Engine) -> None:
    _, network, conditions = chain()
    engine = engine_class(network, seed=1)
    with pytest.raises(BadInput, match="only goes forwards"):
        engine.advance(conditions, now_ns=0, dt_ns=0)
    conditions.edge_timeout_s = np.ones(1)
    with pytest.raises(BadInput, match="conditions"):
        engine.advance(conditions, now_ns=0, dt_ns=SECOND_NS)
