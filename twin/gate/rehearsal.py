"""Rehearse plans inside the reproduced incident, each paired with doing nothing.

Every replication forks the situation, draws the twin's uncertain figures once, and plays one arm that does
nothing and one arm a plan under the same noise. So the difference of two arms is the plan's doing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.change.moves import make_move, moves_of
from twin.fit.beliefs import vary
from twin.fit.cone import is_user
from twin.fit.forks import in_forks
from twin.fleet.plant import plant_of
from twin.fleet.traffic.engine import Sample
from twin.fleet.world import World
from twin.gate.bins import add_tick, count_missing
from twin.spec.errors import NotFound, TwinError
from twin.spec.fleet import Fleet
from twin.spec.ids import JourneyName
from twin.spec.plan import Plan
from twin.spec.units import NS_PER_S, ns

__all__ = ["HORIZON_S", "Arm", "Rehearsal", "rehearse", "user_journeys"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
HORIZON_S: Final = 600.0
BIN_S: Final = 5  # Traces are kept in bins of this many seconds.
WINDOW_BINS: Final = 6


@dataclass(frozen=True, slots=True)
class Arm:
    """One run. `let_down`, `users`: (bins, J) users per second who gave up, and who came; `bad`, `asked`:
    (bins, S) requests per second that ended badly, and all; `missing`: (bins, S) pods that are wanted and not
    ready, at most.

    `sessions_lost`: database sessions that ended without the plan's naming them; `dropped`: tables that are gone.
    `error` tells why a plan could not be carried out; `absent`: because what it acts on is not there."""

    let_down: F64
    users: F64
    bad: F64
    asked: F64
    missing: I64
    sessions_lost: int
    dropped: int
    error: str = ""
    absent: bool = False

    def excess_ratio(self, usual: F64) -> F64:
        """By how much more than its `usual` (J,) share the journey that fares worst lets users down, over the half
        minute from each bin: (bins,).

        The worst, not the mean: a large fleet's happy users must not hide an unhappy shop. Each against its own
        usual share: a journey that always fails must not excuse another.
        """
        return _worst(self.let_down, self.users, usual)

    def failing_ratio(self, usual: F64) -> F64:
        """The same of requests, by how much more than its `usual` (S,) share the worst service fails: (bins,)."""
        return _worst(self.bad, self.asked, usual)

    def is_whole(self) -> bool:
        """Whether every figure is one."""
        return all(bool(np.isfinite(part).all()) for part in (self.let_down, self.users, self.bad, self.asked))


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """`nothing[r]` and `arms[p][r]` are paired by replication r."""

    nothing: tuple[Arm, ...]
    arms: tuple[tuple[Arm, ...], ...]


def _worst(bad: F64, all_: F64, usual: F64) -> F64:
    total = _ahead(all_)
    ratio = np.divide(_ahead(bad), total, out=np.zeros_like(total), where=total > 0.0)
    worst: F64 = (ratio - usual).max(axis=1, initial=0.0)
    return worst


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
        self._rows = np.array(_user_rows(world.fleet), dtype=np.int64)
        journeys = self._rows.size
        self.let_down, self.users = np.zeros((bins, journeys)), np.zeros((bins, journeys))
        self.bad, self.asked = np.zeros((bins, services)), np.zeros((bins, services))
        self.missing = np.zeros((bins, services), dtype=np.int64)
        self._state = world.state
        self._ready = np.zeros(services, dtype=np.int64)

    def __call__(self, end_ns: int, sample: Sample) -> None:
        row = (end_ns - self._start_ns - 1) // (BIN_S * NS_PER_S)
        if row >= self.bad.shape[0]:
            return
        add_tick(
            self._rows, sample.call_failed, sample.call_ok,
            self._op_service, sample.op_failed, sample.op_rejected, sample.op_arrivals, BIN_S,
            self.let_down[row], self.users[row], self.bad[row], self.asked[row],
        )  # fmt: skip
        state = self._state
        count_missing(state.pod_service, state.pod_ready, state.wanted, self._ready, self.missing[row])


def rehearse(
    situation: World,
    plans: Sequence[Plan],
    *,
    replications: Iterable[int],
    horizon_s: float = HORIZON_S,
    jobs: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> Rehearsal:
    """Play every plan in every replication, and doing nothing beside it.

    `situation` is the twin as it is now, the fitted fault in it. With `jobs` above 1 the replications are
    shared among processes; the result is the same, bit for bit.
    """
    tasks = [(situation, tuple(plans), number, horizon_s) for number in replications]
    rows = in_forks(_replicate, tasks, jobs=jobs, progress=progress)
    return Rehearsal(
        nothing=tuple(row[0] for row in rows),
        arms=tuple(tuple(row[1 + p] for row in rows) for p in range(len(plans))),
    )


def _replicate(situation: World, plans: tuple[Plan, ...], number: int, horizon_s: float) -> tuple[Arm, ...]:
    """All arms of one replication, doing nothing first."""
    return tuple(_play(situation, plan, number, horizon_s) for plan in (None, *plans))


def _play(situation: World, plan: Plan | None, number: int, horizon_s: float) -> Arm:
    world = situation.fork(replication=number, watched=False)
    vary(world, number)
    recorder = _Recorder(world, math.ceil(horizon_s / BIN_S))
    world.observers.append(recorder)
    end_ns = world.now_ns + ns(horizon_s)
    error, absent, first = "", False, True
    if plan is not None:
        plant = plant_of(world, writes=True)
        try:
            for move in moves_of(plan):
                if world.now_ns >= end_ns:
                    break
                make_move(plant, plan, move)
                first = False
        except TwinError as problem:
            error, absent = str(problem), first and isinstance(problem, NotFound)
    world.run(end_ns)
    ended = world.state.sessions_terminated - situation.state.sessions_terminated
    return Arm(
        let_down=recorder.let_down,
        users=recorder.users,
        bad=recorder.bad,
        asked=recorder.asked,
        missing=recorder.missing,
        sessions_lost=max(ended - _sessions_named(plan), 0),
        dropped=len(world.state.dropped_tables) - len(situation.state.dropped_tables),
        error=error,
        absent=absent,
    )


def _sessions_named(plan: Plan | None) -> int:
    return 0 if plan is None else sum(action.kind == "terminate_session" for action in plan.change.actions)


def _user_rows(fleet: Fleet) -> list[int]:
    return [row for row, journey in enumerate(fleet.journeys) if is_user(journey)]


def user_journeys(fleet: Fleet) -> tuple[JourneyName, ...]:
    """People's journeys, in the order of an Arm's columns (J,)."""
    return tuple(fleet.journeys[row].name for row in _user_rows(fleet))
