"""What users felt, from the traffic itself: not from telemetry, which can be late, noisy or blind.

A UserLog is attached to a World and counts, for every journey, who came, who was let down and who waited longer
than promised, in bins of BIN_S on the World's own time. Logs of two Worlds that were forked from one another
have the same bins, so they can be compared moment by moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.fleet.traffic.engine import Sample
from twin.fleet.world import World
from twin.gate.judge import HARM_FOR_S, RECOVERED_FOR_S, delta_rps
from twin.gate.rehearsal import BIN_S
from twin.spec.units import NS_PER_S
from twin.spec.verdict import RECOVERED_RATIO

__all__ = ["Harm", "UserLog", "Users", "harm_of", "recovered_at_s", "watch_users"]

F64 = NDArray[np.float64]

WINDOW_BINS: Final = 6  # Half a minute, as HARM_FOR_S: a shorter dip is not told from noise.
CHANCE_SIGMAS: Final = 4.0  # Beyond so many standard deviations of counting, a difference is no chance.


@dataclass(frozen=True, slots=True)
class Users:
    """(bins, J) users who came, were let down, and were answered too late; `start_bin` counts from time zero."""

    start_bin: int
    came: F64
    let_down: F64
    late: F64

    def between(self, start_s: float, end_s: float) -> Users:
        """The whole bins within two moments of the World's time."""
        first = max(-int(-start_s // BIN_S), self.start_bin) - self.start_bin
        last = max(int(end_s // BIN_S) - self.start_bin, first)
        return Users(self.start_bin + first, self.came[first:last], self.let_down[first:last], self.late[first:last])

    def let_down_ratio(self) -> F64:
        """Share of each journey's users who were let down: (J,); NaN where nobody came."""
        came = self.came.sum(axis=0)
        ratio: F64 = np.divide(self.let_down.sum(axis=0), came, out=np.full(came.size, np.nan), where=came > 0.0)
        return ratio

    def late_ratio(self) -> F64:
        """Share of each journey's users in seconds that were too slow on average: (J,); NaN where nobody came."""
        came = self.came.sum(axis=0)
        ratio: F64 = np.divide(self.late.sum(axis=0), came, out=np.full(came.size, np.nan), where=came > 0.0)
        return ratio


@dataclass(slots=True)
class UserLog:
    """An observer of a World's ticks."""

    latency_slo_s: F64  # (J,)
    rows: dict[int, F64] = field(default_factory=dict)  # bin → (3, J)

    def __call__(self, end_ns: int, sample: Sample) -> None:
        journeys = self.latency_slo_s.size
        row = self.rows.setdefault((end_ns - 1) // (BIN_S * NS_PER_S), np.zeros((3, journeys)))
        failed = sample.call_failed[:journeys]
        came = failed + sample.call_ok[:journeys]
        row[0] += came
        row[1] += failed
        # Slower on average than the tail was promised to be: late beyond doubt, on every engine.
        row[2] += np.where(sample.call_latency_mean_s[:journeys] > self.latency_slo_s, came - failed, 0.0)

    def users(self) -> Users:
        """What was counted, as arrays."""
        journeys = self.latency_slo_s.size
        if not self.rows:
            return Users(0, *(np.zeros((0, journeys)) for _ in range(3)))
        first, last = min(self.rows), max(self.rows)
        blank = np.zeros((3, journeys))
        stacked = np.stack([self.rows.get(row, blank) for row in range(first, last + 1)])
        return Users(first, stacked[:, 0], stacked[:, 1], stacked[:, 2])


def watch_users(world: World, *, before: UserLog | None = None) -> UserLog:
    """Attach a log. With `before`, the log of the World that this one was forked from, its counts so far are
    taken over, for the running bin is shared."""
    slo = np.array([journey.latency_slo_s for journey in world.fleet.journeys])
    log = UserLog(slo, {} if before is None else {row: counts.copy() for row, counts in before.rows.items()})
    world.observers.append(log)
    return log


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """`minutes`: of one user's time, weighted by what a failure costs him: a minute in which everybody was let down
    who else would have been served is 1. `seconds`: how long anybody was worse off. `worst_journey` by cost."""

    minutes: float
    seconds: float
    worst_journey: str = ""

    @property
    def counts(self) -> bool:
        """Whether it lasted long enough to be called harm."""
        return self.seconds >= HARM_FOR_S


def harm_of(world: World, real: Users, without: Sequence[Users]) -> Harm:
    """How much worse users fared than without a write, for one log of each write that was left out.

    A journey is worse in half a minute if more of its users were let down than in the log without the write, by
    more than the judge's δ and by more than chance; where several writes were made, by the worst comparison.
    """
    weights = np.array([journey.weight for journey in world.fleet.journeys])
    came, bad = _windows(real)
    worst = np.zeros_like(came)
    for other in without:
        came_else, bad_else = _windows(_like(other, real))
        both = slice(0, came_else.shape[0])
        worst[both] = np.maximum(worst[both], _excess(came[both], bad[both], came_else, bad_else))
    if not worst.any():
        return Harm(minutes=0.0, seconds=0.0)
    window_s = WINDOW_BINS * BIN_S
    typical = float((came.mean(axis=0) * weights).sum())
    cost = (worst * weights).sum(axis=0)
    return Harm(
        minutes=round(float(cost.sum()) / max(typical, 1e-9) * window_s / 60.0, 4),
        seconds=float((worst > 0.0).any(axis=1).sum() * window_s),
        worst_journey=str(world.fleet.journeys[int(np.argmax(cost))].name),
    )


def _like(users: Users, real: Users) -> Users:
    """The log cut to the bins of another, which it shares its past with, as far as both go."""
    first = real.start_bin - users.start_bin
    if first < 0:
        raise ValueError("the log without a write has to begin with the one with it")
    rows = slice(first, first + real.came.shape[0])
    return Users(real.start_bin, users.came[rows], users.let_down[rows], users.late[rows])


def _windows(users: Users) -> tuple[F64, F64]:
    """Users who came and who were let down, by whole windows of WINDOW_BINS: (W, J) each."""
    count, journeys = users.came.shape[0] // WINDOW_BINS, users.came.shape[1]
    rows = count * WINDOW_BINS
    came, bad = (part[:rows].reshape(count, WINDOW_BINS, journeys).sum(axis=1) for part in (users.came, users.let_down))
    return came, bad


def _excess(came: F64, bad: F64, came_else: F64, bad_else: F64) -> F64:
    """Users let down beyond what would have been, in each window: (W, J). δ is the judge's."""
    window_s = WINDOW_BINS * BIN_S
    asked_rps = np.maximum(came, came_else) / window_s
    delta = window_s * delta_rps(asked_rps)
    chance = CHANCE_SIGMAS * np.sqrt(bad + bad_else)
    more = bad - bad_else
    return np.where(more > np.maximum(delta, chance), more - delta, 0.0)


def recovered_at_s(users: Users, usual: F64) -> float | None:
    """When users were well again for good, in the World's seconds; None if they were not, for RECOVERED_FOR_S at the
    end. `usual`: (J,) share let down while all is well. The journey that fares worst decides."""
    came, bad = _windows(users)
    if not came.shape[0]:
        return None
    ratio = np.divide(bad, came, out=np.zeros_like(bad), where=came > 0.0)
    ill = np.flatnonzero((ratio > usual + RECOVERED_RATIO).any(axis=1))
    first_well = 0 if ill.size == 0 else int(ill[-1]) + 1
    window_s = WINDOW_BINS * BIN_S
    if (came.shape[0] - first_well) * window_s < RECOVERED_FOR_S:
        return None
    return float(users.start_bin * BIN_S + first_well * window_s)
