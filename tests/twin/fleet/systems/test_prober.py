"""Probes of pods that are too busy: each kind at its own pace, readiness before liveness."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.small_shop import small_shop
from twin.fleet.state import NEVER_NS, Phase
from twin.fleet.systems.prober import ProberSystem
from twin.fleet.world import World
from twin.spec.fleet import Probe
from twin.spec.units import NS_PER_S


def _probed(readiness_s: float, liveness_s: float) -> tuple[ProberSystem, World]:
    """A prober of its own, and a World whose first service has these probes; three failures in a row count."""
    fleet = small_shop()
    first = replace(
        fleet.services[0],
        readiness=Probe(period_s=readiness_s, timeout_s=1.0, failure_threshold=3),
        liveness=Probe(period_s=liveness_s, timeout_s=1.0, failure_threshold=3),
    )
    world = World.build(replace(fleet, services=(first, *fleet.services[1:])), seed=1)
    world.run(60 * NS_PER_S)
    return ProberSystem(world.blueprint), world


def _waits(prober: ProberSystem, world: World, seconds: int, *, wait_s: float = 9.0) -> tuple[int, int]:
    """Everybody waits too long from now on. After how many seconds are all pods out, and after how many restarted?"""
    state, start_ns = world.state, world.state.now_ns
    state.wait_s[0] = wait_s
    state.readiness_due_ns[0] = state.liveness_due_ns[0] = start_ns
    out = dead = -1
    for second in range(seconds):
        prober.step(state, start_ns + second * NS_PER_S)
        pods = state.pods_of(0)
        if out < 0 and not state.pod_ready[pods].any():
            out = second
        if dead < 0 and (state.pod_phase[pods] == Phase.BACKOFF).any():
            dead = second
    return out, dead


def test_readiness_that_is_asked_more_often_sheds_before_liveness_kills() -> None:
    """It once was asked no more often than liveness: pods were killed while they could have worked it off."""
    prober, world = _probed(readiness_s=5.0, liveness_s=10.0)
    assert _waits(prober, world, 40) == (10, 20)


def test_liveness_keeps_its_pace_beside_a_slower_readiness() -> None:
    prober, world = _probed(readiness_s=20.0, liveness_s=5.0)
    assert _waits(prober, world, 60) == (10, 10), "a container that restarts is not ready"


def test_who_answers_again_is_let_in_and_asked_no_more() -> None:
    prober, world = _probed(readiness_s=5.0, liveness_s=10.0)
    _waits(prober, world, 13)
    state = world.state
    state.wait_s[0] = 0.0
    for second in range(13, 30):
        prober.step(state, state.now_ns + second * NS_PER_S)
    pods = state.pods_of(0)
    assert state.pod_ready[pods].all()
    assert not state.pod_restarts[pods].any()
    assert not state.pod_live_fails[pods].any()
    assert state.readiness_due_ns[0] == state.liveness_due_ns[0] == NEVER_NS


def test_a_restarted_container_begins_without_failures() -> None:
    _, world = _probed(readiness_s=5.0, liveness_s=10.0)
    state = world.state
    pods = state.pods_of(0)
    state.pod_phase[pods] = Phase.BACKOFF
    state.pod_ready[pods] = False
    state.pod_live_fails[pods] = 2
    state.pod_due_ns[pods] = state.now_ns + NS_PER_S
    world.run_for(120 * NS_PER_S)
    assert (state.pod_phase[pods] == Phase.RUNNING).all()
    assert not np.any(state.pod_live_fails[pods])
