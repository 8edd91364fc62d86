"""Invariants 1, 2 and 4: a World is its state, the same seed gives the same bytes, systems write what they say."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.catalogue import compile_fault
from tests.small_shop import small_shop
from twin.fleet.state import State
from twin.fleet.systems.base import System
from twin.fleet.world import World, drive
from twin.spec.fault import parse_fault
from twin.spec.units import NS_PER_S

FAULTS = (
    "slow(shop/db, factor=6)",
    "errors(shop/catalog, ratio=0.3)",
    "crash_loop(shop/catalog)",
    "bad_rollout(shop/cart, ratio=0.4)",
    "memory_leak(shop/cart, minutes=1)",
    "load_spike(browse, factor=4)",
    "held_slots(shop/db)",
    "node_loss(a-1)",
)


def world_with(fault: str, *, seed: int = 1, engine: str = "tick") -> World:
    world = World.build(small_shop(), seed=seed, traffic=engine)  # type: ignore[arg-type]
    world.inject(compile_fault(parse_fault(fault), world.fleet, start_ns=40 * NS_PER_S))
    return world


@pytest.mark.parametrize("fault", FAULTS)
def test_a_restored_world_and_a_fork_run_on_byte_for_byte(fault: str) -> None:
    world = world_with(fault)
    world.run(100 * NS_PER_S)
    restored, forked = World.restore(world.save()), world.fork()
    for each in (world, restored, forked):
        each.run(220 * NS_PER_S)
    assert restored.save() == world.save()
    assert forked.save() == world.save()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    fault=st.sampled_from(FAULTS), cut_s=st.integers(1, 119), seed=st.integers(0, 2**40), stop_ns=st.integers(0, 10**9)
)
def test_where_a_run_is_cut_makes_no_difference(fault: str, cut_s: int, seed: int, stop_ns: int) -> None:
    whole, cut = world_with(fault, seed=seed), world_with(fault, seed=seed)
    whole.run(120 * NS_PER_S)
    cut.run(cut_s * NS_PER_S + stop_ns % NS_PER_S)
    cut = World.restore(cut.save())
    cut.run(120 * NS_PER_S)
    assert cut.save() == whole.save()


@pytest.mark.parametrize("fault", FAULTS)
def test_systems_may_be_rebuilt_after_every_event_in_any_order(fault: str) -> None:
    whole, rebuilt = world_with(fault), world_with(fault)
    whole.run(120 * NS_PER_S)
    drive(rebuilt.state, lambda: rebuilt.systems()[::-1], 120 * NS_PER_S, rebuild_each_time=True)
    assert rebuilt.save() == whole.save()


def test_replications_differ_and_a_seed_repeats() -> None:
    first, again = world_with(FAULTS[0]), world_with(FAULTS[0])
    other = World.build(small_shop(), seed=1, replication=3)
    for each in (first, again, other):
        each.run(30 * NS_PER_S)
    assert first.save() == again.save()
    assert not np.array_equal(first.history.scrapes[-1].edges, other.history.scrapes[-1].edges)


@pytest.mark.parametrize("pods_max", [60, 13])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_system_writes_only_what_it_declares(fault: str, pods_max: int) -> None:
    world = world_with(fault)
    state = world.state
    state.quota_hard[0, 0] = pods_max  # With 13, the shop's own number, there is no room for a surge.
    drive(state, lambda: [_Checked(system) for system in world.systems()], 200 * NS_PER_S)


class _Checked:
    """A system that complains when its step changes a field that it did not declare."""

    def __init__(self, inner: System) -> None:
        self._inner = inner
        self.rank, self.writes, self.wakes_on = inner.rank, inner.writes, inner.wakes_on  # type: ignore[misc]

    def next_due(self, state: State) -> int:
        return self._inner.next_due(state)

    def step(self, state: State, now_ns: int) -> None:
        before = state.copy()
        self._inner.step(state, now_ns)
        names = [field.name for field in dataclasses.fields(state)]
        changed = {name for name in names if not _same(getattr(before, name), getattr(state, name))}
        undeclared = changed - self._inner.writes
        assert not undeclared, f"{type(self._inner).__name__} wrote {sorted(undeclared)}"


def _same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.shape == b.shape and np.array_equal(a, b, equal_nan=True)
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        return all(_same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, Sequence) and not isinstance(a, str):
        return isinstance(b, Sequence) and len(a) == len(b) and all(map(_same, a, b))
    return a == b
