"""Rehearse plans inside the reproduced incident, each paired with doing nothing.

Every replication forks the situation, draws the twin's uncertain figures once, and plays one arm that does
nothing and one arm a plan under the same noise. So the difference of two arms is the plan's doing.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.change.moves import make_move, moves_of
from twin.fit.beliefs import vary
from twin.fit.cone import is_user
from twin.fleet.plant import plant_of
from twin.fleet.traffic.engine import Sample
from twin.fleet.world import World
from twin.spec.errors import TwinError
from twin.spec.plan import Plan
from twin.spec.units import NS_PER_S, ns

__all__ = ["HORIZON_S", "Arm", "Rehearsal", "rehearse"]

F64 = NDArray[np.float64]
HORIZON_S: Final = 600.0
BIN_S: Final = 5  # Traces are kept in bins of this many seconds.
WINDOW_BINS: Final = 6


@dataclass(frozen=True, slots=True)
class Arm:
    """One run. `let_down`, `users`: (bins, J) users per second who gave up, and who came; `bad`, `asked`:
    (bins, S) requests per second that ended badly, and all. `error` tells why a plan could not be applied."""

    let_down: F64
    users: F64
    bad: F64
    asked: F64
    terminated_sessions: int
    dropped: int
    error: str = ""

    def failing_ratio(self) -> F64:
        """Share of users let down on the journey that fares worst, over the half minute from each bin: (bins,).

        The worst, not the mean: a large fleet's happy users must not hide an unhappy shop.
        """
        users, bad = _ahead(self.users), _ahead(self.let_down)
        ratio: F64 = np.divide(bad, users, out=np.zeros_like(users), where=users > 0.0)
        worst: F64 = ratio.max(axis=1, initial=0.0)
        return worst


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """`nothing[r]` and `arms[p][r]` are paired by replication r."""

    nothing: tuple[Arm, ...]
    arms: tuple[tuple[Arm, ...], ...]


def _ahead(values: F64) -> F64:
    """Sums over each bin and the next ones, WINDOW_BINS in all; fewer at the end: (bins, J)."""
    ends = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    last = np.minimum(np.arange(values.shape[0]) + WINDOW_BINS, values.shape[0])
    summed: F64 = ends[last] - ends[:-1]
    return summed


class _Recorder:
    """Adds ticks up to bins."""

    def __init__(self, world: World, bins: int) -> None:
        network = world.blueprint.network
        self._op_service = network.op_service
        services = len(world.fleet.services)
        self._start_ns = world.now_ns
        self._users = np.array(
            [i for i, journey in enumerate(world.fleet.journeys) if is_user(journey)], dtype=np.int64
        )
        journeys = self._users.size
        self.let_down, self.users = np.zeros((bins, journeys)), np.zeros((bins, journeys))
        self.bad, self.asked = np.zeros((bins, services)), np.zeros((bins, services))

    def __call__(self, end_ns: int, sample: Sample) -> None:
        row = (end_ns - self._start_ns - 1) // (BIN_S * NS_PER_S)
        if row >= self.bad.shape[0]:
            return
        size, users = self.bad.shape[1], self._users
        self.let_down[row] += sample.call_failed[users] / BIN_S
        self.users[row] += (sample.call_failed + sample.call_ok)[users] / BIN_S
        self.bad[row] += np.bincount(self._op_service, sample.op_failed + sample.op_rejected, size) / BIN_S
        self.asked[row] += np.bincount(self._op_service, sample.op_arrivals, size) / BIN_S


def rehearse(
    situation: World,
    plans: Sequence[Plan],
    *,
    replications: Iterable[int],
    horizon_s: float = HORIZON_S,
    jobs: int = 1,
    progress: Callable[[], None] | None = None,
) -> Rehearsal:
    """Play every plan in every replication, and doing nothing beside it.

    `situation` is the twin as it is now, the fitted fault in it. With `jobs` above 1 the replications are
    shared among processes; the result is the same, bit for bit.
    """
    numbers = list(replications)
    tasks = [(situation, tuple(plans), number, horizon_s) for number in numbers]
    rows: list[tuple[Arm, ...]] = []
    if jobs > 1 and len(numbers) > 1 and "fork" in multiprocessing.get_all_start_methods():
        rows = _in_processes(tasks, jobs, progress)
    else:
        for task in tasks:
            rows.append(_replicate(*task))
            if progress is not None:
                progress()
    return Rehearsal(
        nothing=tuple(row[0] for row in rows),
        arms=tuple(tuple(row[1 + p] for row in rows) for p in range(len(plans))),
    )


_SHARED: list[tuple[World, tuple[Plan, ...], int, float]] = []  # What forked workers inherit: nothing is pickled.


def _in_processes(
    tasks: list[tuple[World, tuple[Plan, ...], int, float]], jobs: int, progress: Callable[[], None] | None
) -> list[tuple[Arm, ...]]:
    _SHARED[:] = tasks
    try:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("fork")) as pool:
            rows = []
            for row in pool.map(_replicate_shared, range(len(tasks))):
                rows.append(row)
                if progress is not None:
                    progress()
            return rows
    finally:
        _SHARED.clear()


def _replicate_shared(index: int) -> tuple[Arm, ...]:
    return _replicate(*_SHARED[index])


def _replicate(situation: World, plans: tuple[Plan, ...], number: int, horizon_s: float) -> tuple[Arm, ...]:
    """All arms of one replication, doing nothing first."""
    return tuple(_play(situation, plan, number, horizon_s) for plan in (None, *plans))


def _play(situation: World, plan: Plan | None, number: int, horizon_s: float) -> Arm:
    world = situation.fork(replication=number, watched=False)
    vary(world, number)
    recorder = _Recorder(world, math.ceil(horizon_s / BIN_S))
    world.observers.append(recorder)
    end_ns = world.now_ns + ns(horizon_s)
    error = ""
    if plan is not None:
        plant = plant_of(world, writes=True)
        try:
            for move in moves_of(plan):
                if world.now_ns >= end_ns:
                    break
                make_move(plant, plan, move)
        except TwinError as problem:
            error = str(problem)
    world.run(end_ns)
    return Arm(
        let_down=recorder.let_down,
        users=recorder.users,
        bad=recorder.bad,
        asked=recorder.asked,
        terminated_sessions=world.state.sessions_terminated - situation.state.sessions_terminated,
        dropped=len(world.state.dropped_tables) - len(situation.state.dropped_tables),
        error=error,
    )
