"""The interpreter's own behaviour: copies that are played late, and quantiles of a handful."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.twin.fleet.traffic.fleets import assert_same, fleet, op, run, service
from twin.fleet.traffic.interpreter import InterpreterEngine, _quantile
from twin.fleet.traffic.network import compile_network, initial_conditions
from twin.spec.program import Call, Work


def test_a_fork_is_played_when_it_is_first_advanced_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most copies are never advanced: they admit a write, or are kept for a question that nobody asks."""
    plain = fleet(service("a", Work(mean_s=0.01), Call(target=op("b"))), service("b", Work(mean_s=0.01)), rate_rps=50.0)
    network = compile_network(plain)
    conditions = initial_conditions(network, plain)
    engine = InterpreterEngine(network, seed=5)
    run(engine, conditions, 5)
    played: list[InterpreterEngine] = []
    advance = InterpreterEngine._advance

    def counted(self: InterpreterEngine, *given: Any) -> Any:
        played.append(self)
        return advance(self, *given)

    monkeypatch.setattr(InterpreterEngine, "_advance", counted)
    copy = engine.fork()
    of_the_copy = copy.fork()
    for name, array in engine.save().items():
        assert np.array_equal(of_the_copy.save()[name], array), name
    assert not played
    (here,), (there,), (elsewhere,) = (run(one, conditions, 1) for one in (engine, of_the_copy, copy))
    assert_same(here, there)
    assert_same(here, elsewhere)
    assert [sum(one is who for one in played) for who in (engine, of_the_copy, copy)] == [1, 6, 6]


@given(st.lists(st.floats(0.0, 1e3), min_size=1, max_size=50), st.sampled_from([0.5, 0.99]))
def test_a_quantile_is_numpys(figures: list[float], q: float) -> None:
    assert _quantile(sorted(figures), q) == np.quantile(figures, q)
