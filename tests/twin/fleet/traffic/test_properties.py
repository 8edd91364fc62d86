"""What holds for every fleet and every change of conditions, on both engines."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.twin.fleet.traffic.fleets import SECOND_NS, Ledger, assert_same, disturbed, random_fleets, run
from twin.fleet.traffic.engine import Sample
from twin.fleet.traffic.interpreter import InterpreterEngine
from twin.fleet.traffic.network import compile_network, initial_conditions
from twin.fleet.traffic.tick import TickEngine

ENGINES = [TickEngine, InterpreterEngine]
Engine = type[TickEngine] | type[InterpreterEngine]

few = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # Shrinking a fleet takes minutes; the seed is fixed.
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def assert_possible(sample: Sample) -> None:
    for name in Sample.__dataclass_fields__:
        figures = np.asarray(getattr(sample, name))
        assert np.all(np.isfinite(figures)), f"{name}: {figures}"
        assert np.all(figures >= -1e-9), f"{name}: {figures}"
    assert np.all(sample.pool_utilisation <= 1.0)
    assert np.all(sample.edge_retried <= sample.edge_issued + 1e-9)
    assert np.all(sample.op_latency_p50_s <= sample.op_latency_p99_s + 1e-12)


@pytest.mark.parametrize("engine_class", ENGINES)
@given(data=st.data())
@few
def test_every_attempt_is_accounted_for_whatever_happens(engine_class: Engine, data: st.DataObject) -> None:
    fleet = data.draw(random_fleets())
    network = compile_network(fleet)
    conditions = initial_conditions(network, fleet)
    engine = engine_class(network, seed=7)
    ledger = Ledger()
    for phase in range(3):
        for sample in run(engine, conditions, 3, dt_ns=SECOND_NS // 2):
            assert_possible(sample)
            ledger.add(sample)
            slack = 1e-9 * (1.0 + np.asarray(ledger.issued))
            assert np.all(np.abs(ledger.open - sample.edge_in_flight) <= slack)
            if engine_class is InterpreterEngine:
                assert np.array_equal(ledger.open, sample.edge_in_flight)
        conditions = data.draw(disturbed(network, conditions, fresh_key=100 * (phase + 1)))


@pytest.mark.parametrize("engine_class", ENGINES)
@given(data=st.data())
@few
def test_saved_forked_and_repeated_runs_go_on_byte_for_byte(engine_class: Engine, data: st.DataObject) -> None:
    fleet = data.draw(random_fleets())
    network = compile_network(fleet)
    first = initial_conditions(network, fleet)
    second = data.draw(disturbed(network, first, fresh_key=100))
    third = data.draw(disturbed(network, second, fresh_key=200))
    engine, twin = engine_class(network, seed=3), engine_class(network, seed=3)
    for conditions in (first, second):
        for one, other in zip(run(engine, conditions, 2), run(twin, conditions, 2), strict=True):
            assert_same(one, other)
    forked = engine.fork(replication=None)
    loaded = engine_class(network, seed=99)
    loaded.load(engine.save())
    for conditions in (second, third):
        for one, two, three in zip(
            run(engine, conditions, 2), run(forked, conditions, 2), run(loaded, conditions, 2), strict=True
        ):
            assert_same(one, two)
            assert_same(one, three)
