"""From a rehearsal's arms to a verdict on one plan.

Harm to service j is what the change adds: the time during which more of its requests end badly than
without the change, by more than δ. Effect is recovery that doing nothing does not have. Both are counted
over paired replications and given with exact (Clopper–Pearson) intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from twin.gate.rehearsal import BIN_S, Arm
from twin.spec.ids import ServiceId
from twin.spec.verdict import RECOVERED_RATIO, Harm, Interval, Prediction

__all__ = ["Judgement", "Measure", "clopper_pearson", "delta_rps", "judge", "prediction_of", "recovery_s"]

F64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

RECOVERED_FOR_S: Final = 60.0
SOONER_S: Final = 60.0  # Recovery counts as the change's doing if it comes so much sooner.
DELTA_RATIO: Final = 0.02  # δ: share of a service's requests
DELTA_RPS: Final = 0.5  # and as many a second more, which is noise where many are asked …
DELTA_SMALL_RATIO: Final = 0.2  # … and never more than this share where few are: small services can be harmed too.
HARM_FOR_S: Final = 30.0
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Judgement:
    """Counts over replications: recovered with the change, without it, made effective, harmed.

    `unfelt`: users are well all the time without it; `unseen` says why the arms cannot be judged at all; `absent`: all
    errors mean that the target is not there.
    `sessions_lost` and `dropped` are the worst over replications.
    """

    effect: Interval
    harm: Interval
    recovered: int
    recovered_alone: int
    replications: int
    harmed: tuple[Harm, ...]
    helped: tuple[Harm, ...]
    prediction: Prediction
    sessions_lost: int
    dropped: int
    errors: tuple[str, ...]
    absent: bool
    unfelt: bool
    unseen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What the end of an incident is seen by. `usual`: (J,) share of users let down while all is well. `short`: (S,)
    services whose pods count: those that the incident is about, or that production lacks pods of. A pod of another one
    that the twin lacks, and production does not, is the twin's error and nothing to be cured. `failing`: (S,) services
    that the incident shows failing, and `usual_failing`: (S,) the share of their requests that fails while all is well:
    they decide where no user feels the incident."""

    usual: F64
    short: Bool
    failing: Bool
    usual_failing: F64


def judge(
    services: Sequence[ServiceId],
    nothing: Sequence[Arm],
    change: Sequence[Arm],
    *,
    measure: Measure,
    journeys: Sequence[str] = (),
) -> Judgement:
    """Compare paired arms. `journeys`: their names, for those who will compare the prediction with production."""
    count = len(nothing)
    unseen = _unseen(nothing, change)
    if unseen:  # Nothing can be counted; the intervals stay as wide as they are without a run.
        nothing, change, count = (), (), 0
    unfelt = bool(nothing) and all(_is_well(arm, measure) for arm in nothing)
    alone = [recovery_s(arm, measure, unfelt=unfelt) for arm in nothing]
    changed = [recovery_s(b, measure, beside=a, unfelt=unfelt) for a, b in zip(nothing, change, strict=True)]
    effective = sum(
        after is not None and (before is None or before - after >= SOONER_S)
        for before, after in zip(alone, changed, strict=True)
    )
    harmful = [_harm(a, b) for a, b in zip(nothing, change, strict=True)]
    return Judgement(
        effect=clopper_pearson(effective, count),
        harm=clopper_pearson(sum(bool(h.any()) for h in harmful), count),
        recovered=sum(after is not None for after in changed),
        recovered_alone=sum(before is not None for before in alone),
        replications=count,
        harmed=_ranked(services, nothing, change, sign=1.0) if count else (),
        helped=_ranked(services, nothing, change, sign=-1.0) if count else (),
        prediction=prediction_of(nothing, change, changed, journeys, measure.usual) if count else Prediction(),
        sessions_lost=max((arm.sessions_lost for arm in change), default=0),
        dropped=max((arm.dropped for arm in change), default=0),
        errors=tuple(dict.fromkeys(arm.error for arm in change if arm.error)),
        absent=any(arm.error for arm in change) and all(arm.absent for arm in change if arm.error),
        unfelt=unfelt,
        unseen=unseen,
    )


def _unseen(nothing: Sequence[Arm], change: Sequence[Arm]) -> str:
    """Why arms say nothing, if so: a figure that is none is never "well", and neither is a journey without users."""
    if not nothing or len(nothing) != len(change):
        return "nothing was rehearsed"
    if not all(arm.is_whole() for arm in (*nothing, *change)):
        return "the twin's figures broke down in the rehearsal"
    came = np.array([[arm.users.sum(axis=0) > 0.0 for arm in arms] for arms in (nothing, change)])  # (2, R, J)
    if (came[0] & ~came[1]).any():
        return "with the change nobody's request is answered or given up, so nothing can be said of users"
    return ""


def recovery_s(arm: Arm, measure: Measure, *, beside: Arm | None = None, unfelt: bool = False) -> float | None:
    """Seconds until users are well for good and no pod is missing, at least RECOVERED_FOR_S before the end;
    None if never. Pods count, because a crash loop that other replicas hide is an incident too.

    `beside`: the same run without the change, whose own missing pods are no fault of this one's. `unfelt`: no user
    feels the incident; then the services that fail in it have to be well.
    """
    bad = np.flatnonzero(_ill(arm, measure, beside=beside, unfelt=unfelt))
    first_well = 0 if bad.size == 0 else int(bad[-1]) + 1
    bins = arm.users.shape[0]
    if (bins - first_well) * BIN_S < RECOVERED_FOR_S:
        return None
    return float(first_well * BIN_S)


def _ill(arm: Arm, measure: Measure, *, beside: Arm | None, unfelt: bool) -> Bool:
    """(bins,) where something is wrong."""
    short = (arm.missing > 0) & measure.short
    if beside is not None:
        short |= arm.missing > beside.missing  # Wherever the change itself leaves them out.
    ill: Bool = (arm.excess_ratio(measure.usual) > RECOVERED_RATIO) | short.any(axis=1)
    if unfelt and measure.failing.any():
        fails = arm.failing_ratio(np.where(measure.failing, measure.usual_failing, np.inf))
        ill |= fails > RECOVERED_RATIO
    return ill


def _is_well(arm: Arm, measure: Measure) -> bool:
    return not _ill(arm, measure, beside=None, unfelt=False).any()


def _harm(nothing: Arm, change: Arm) -> NDArray[np.bool_]:
    """Which services are worse by more than δ for HARM_FOR_S in all: (S,). Users count as one more: (S+1,)."""
    worse = _excess(nothing.bad, change.bad, np.maximum(nothing.asked, change.asked))
    users = _excess(
        nothing.let_down.sum(axis=1, keepdims=True),
        change.let_down.sum(axis=1, keepdims=True),
        np.maximum(nothing.users, change.users).sum(axis=1, keepdims=True),
    )
    seconds = np.concatenate([(worse > 0.0).sum(axis=0), (users > 0.0).sum(axis=0)]) * BIN_S
    return seconds >= HARM_FOR_S


def _excess(nothing: F64, change: F64, asked: F64) -> F64:
    return np.maximum(_smooth(change) - _smooth(nothing) - delta_rps(_smooth(asked)), 0.0)


def delta_rps(asked: F64) -> F64:
    """δ in requests a second, by how many are asked."""
    delta: F64 = DELTA_RATIO * asked + np.minimum(DELTA_RPS, DELTA_SMALL_RATIO * asked)
    return delta


def _smooth(values: F64) -> F64:
    """Mean of each bin and its two neighbours: a single noisy bin is no harm."""
    padded = np.concatenate([values[:1], values, values[-1:]])
    smoothed: F64 = (padded[:-2] + padded[1:-1] + padded[2:]) / 3.0
    return smoothed


def _ranked(
    services: Sequence[ServiceId], nothing: Sequence[Arm], change: Sequence[Arm], *, sign: float
) -> tuple[Harm, ...]:
    """Services by how much worse (or better) they fare, mean over replications; at most twelve."""
    found: list[Harm] = []
    difference = sign * np.mean([b.bad - a.bad for a, b in zip(nothing, change, strict=True)], axis=0)
    asked = np.mean([np.maximum(a.asked, b.asked) for a, b in zip(nothing, change, strict=True)], axis=0)
    excess = np.maximum(_smooth(difference) - delta_rps(_smooth(asked)), 0.0)
    minutes = (excess > 0.0).sum(axis=0) * BIN_S / 60.0
    for index in np.argsort(-excess.sum(axis=0), kind="stable")[:12]:
        if minutes[index] * 60.0 >= HARM_FOR_S:
            found.append(
                Harm(
                    service=services[int(index)],
                    worst_rps=round(float(_smooth(difference)[:, index].max()), 3),
                    minutes=round(float(minutes[index]), 3),
                    failed_requests=round(float(np.maximum(difference[:, index], 0.0).sum() * BIN_S), 1),
                )
            )
    return tuple(found)


def prediction_of(
    nothing: Sequence[Arm],
    change: Sequence[Arm],
    recoveries: Sequence[float | None],
    journeys: Sequence[str] = (),
    usual: Sequence[float] | F64 = (),
) -> Prediction:
    """Users let down a second over time, with and without; recovery's median and 10th to 90th percentile."""
    without = np.array([arm.let_down.sum(axis=1) for arm in nothing])
    with_change = np.array([arm.let_down.sum(axis=1) for arm in change])
    known = sorted(r for r in recoveries if r is not None)
    recovery = None
    if len(known) * 2 > len(recoveries):
        recovery = Interval(
            value=float(np.median(known)), low=float(np.quantile(known, 0.1)), high=float(np.quantile(known, 0.9))
        )
    return Prediction(
        times_s=tuple(float(i * BIN_S) for i in range(without.shape[1])),
        nothing_rps=_row(np.median(without, axis=0)),
        nothing_low_rps=_row(np.quantile(without, 0.1, axis=0)),
        nothing_high_rps=_row(np.quantile(without, 0.9, axis=0)),
        change_rps=_row(np.median(with_change, axis=0)),
        change_low_rps=_row(np.quantile(with_change, 0.1, axis=0)),
        change_high_rps=_row(np.quantile(with_change, 0.9, axis=0)),
        recovery_s=recovery,
        journeys=tuple(journeys),
        usual=_row(np.asarray(usual)) if journeys else (),
    )


def _row(values: F64) -> tuple[float, ...]:
    return tuple(round(float(v), 4) for v in values)


def clopper_pearson(hits: int, count: int, confidence: float = CONFIDENCE) -> Interval:
    """The exact interval of a proportion (Clopper and Pearson 1934), by bisection on the binomial tail."""
    if count == 0:
        return Interval(value=0.0, low=0.0, high=1.0)
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if hits == 0 else _bisect(lambda p: _at_least(hits, count, p) - tail)
    high = 1.0 if hits == count else _bisect(lambda p: tail - (1.0 - _at_least(hits + 1, count, p)))
    return Interval(value=hits / count, low=round(low, 6), high=round(high, 6))


def _at_least(hits: int, count: int, p: float) -> float:
    return math.fsum(math.comb(count, k) * p**k * (1.0 - p) ** (count - k) for k in range(hits, count + 1))


def _bisect(rising: Callable[[float], float]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if rising(middle) > 0.0:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)
