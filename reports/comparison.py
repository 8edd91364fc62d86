"""What got worse between two benchmark runs, and whether the two can be compared at all.

Episodes are compared in pairs: the same scenario and seed with the same brain and gate share their noise draw by draw,
so a difference comes from what was changed. Three questions, in this order:

1. Coverage. Episodes that only one of the two ran, or only one could look at, rows that are gone: what was not seen
   may have got worse, so this is a regression of its own, and no choice of figures hides it.
2. All scenarios together. The mean difference of a figure with its interval, scenarios drawn with replacement: worse if
   the whole interval is, and the mean by more than the figure's tolerance.
3. Each scenario alone, for one that breaks cannot move the interval of six. Worse if half of its seeds got worse, net
   of those that got better, or if more did than an exact sign test puts down to chance. New harm gets no such
   benefit of doubt: one seed is enough, net.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from scenarios.metrics import CONFIDENCE, clustered_interval
from scenarios.model import Answer
from scenarios.oracle import Outcome
from scenarios.record import Record
from twin.spec.errors import BadInput

__all__ = ["KINDS", "Regression", "find_regressions"]

KINDS: Final = ("coverage", "safety", "latency", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """One thing that got worse. `where`: the scenario, if it is only one."""

    kind: str
    brain: str
    gate: str
    figure: str
    what: str
    where: str = ""

    def words(self) -> str:
        place = f", {self.where}" if self.where else ""
        return f"{self.brain} / {self.gate}{place}: {self.what}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figure:
    """A figure of an episode, the larger the worse. `value`: None where it does not apply.

    `tolerance` and `tolerance_ratio` (of the mean before): so much more is not worth a word.
    """

    kind: str
    name: str
    value: Callable[[Record], float | None]
    tolerance: float = 0.0
    tolerance_ratio: float = 0.0
    doubt: bool = True


_FIGURES: Final = (
    _Figure(
        kind="safety", name="not safely resolved", tolerance=0.02, value=lambda r: float(not (r.resolved and r.safe))
    ),
    _Figure(kind="safety", name="harm rate", value=lambda r: float(not r.safe), doubt=False),
    _Figure(kind="safety", name="harm minutes", value=lambda r: r.harm_minutes, tolerance=0.05, doubt=False),
    _Figure(kind="safety", name="missed pages", value=lambda r: float(r.pages_missed)),
    _Figure(
        kind="latency", name="time to mitigate, s", tolerance=5.0, tolerance_ratio=0.2,
        value=lambda r: r.mitigated_within_s if r.answer is Answer.FIX else None,
    ),
    _Figure(kind="cost", name="needless pages", value=lambda r: float(r.pages_needless), tolerance_ratio=0.2),
)  # fmt: skip

_Key = tuple[str, int]


def find_regressions(candidate: Sequence[Record], baseline: Sequence[Record]) -> tuple[Regression, ...]:
    """What got worse from baseline to candidate, coverage first; empty if nothing did.

    Raises BadInput if the two share no brain and gate, or hold an episode twice.
    """
    now, then = _by_row(candidate), _by_row(baseline)
    if not now.keys() & then.keys():
        raise BadInput("the results cannot be compared", "they share no brain and gate", "run the same suite for both")
    found: list[Regression] = []
    for brain, gate in sorted(then):
        if (brain, gate) not in now:
            what = f"not run any more; {len(then[brain, gate])} episodes in the baseline"
            found.append(Regression(kind="coverage", brain=brain, gate=gate, figure="row", what=what))
            continue
        found += _compared(brain, gate, now[brain, gate], then[brain, gate])
    return tuple(sorted(found, key=lambda r: (KINDS.index(r.kind), r.brain, r.gate, r.figure, r.where)))


def _by_row(records: Sequence[Record]) -> dict[tuple[str, str], dict[_Key, Record]]:
    rows: dict[tuple[str, str], dict[_Key, Record]] = {}
    for record in records:
        row = rows.setdefault((record.brain, record.gate), {})
        key = (record.scenario, record.seed)
        if key in row:
            raise BadInput(
                "the results cannot be compared",
                f"{key[0]} seed {key[1]} is there twice",
                "run it again: twin bench run",
            )
        row[key] = record
    return rows


def _compared(brain: str, gate: str, now: Mapping[_Key, Record], then: Mapping[_Key, Record]) -> Iterator[Regression]:
    for what in _coverage(now, then):
        yield Regression(kind="coverage", brain=brain, gate=gate, figure="episodes", what=what)
    pairs = [
        (then[key], now[key])
        for key in sorted(now.keys() & then.keys())
        if Outcome.ERROR not in (then[key].outcome, now[key].outcome)
    ]
    for figure in _FIGURES:
        for where, what in _worse(figure, pairs):
            yield Regression(kind=figure.kind, brain=brain, gate=gate, figure=figure.name, what=what, where=where)


def _coverage(now: Mapping[_Key, Record], then: Mapping[_Key, Record]) -> Iterator[str]:
    for some, other, words in ((then, now, "not run any more"), (now, then, "not in the baseline")):
        only = sorted(some.keys() - other.keys())
        if only:
            yield f"{len(only)} of {len(some)} episodes {words}: {_names(only)}"
    blind_now, blind_then = _blind(now), _blind(then)
    common = now.keys() & then.keys()
    for blind, words in (
        (blind_now - blind_then, "could not be looked at"),
        (blind_then - blind_now, "had not been seen"),
    ):
        both = sorted(blind & common)
        if both:
            yield f"{len(both)} of {len(now)} episodes {words}: {_names(both)}"
    if not (now.keys() - blind_now) & (then.keys() - blind_then):
        yield "no episode was seen by both"


def _blind(records: Mapping[_Key, Record]) -> set[_Key]:
    return {key for key, record in records.items() if record.outcome is Outcome.ERROR}


def _names(keys: Sequence[_Key]) -> str:
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return ", ".join(f"{scenario} seed {seed}" for scenario, seed in keys[:3]) + more


def _worse(figure: _Figure, pairs: Sequence[tuple[Record, Record]]) -> Iterator[tuple[str, str]]:
    """(scenario or nothing, words) for all scenarios together, and for each alone."""
    by_scenario: dict[str, list[tuple[float, float]]] = {}
    for then, now in pairs:
        before, after = figure.value(then), figure.value(now)
        if before is not None and after is not None:
            by_scenario.setdefault(now.scenario, []).append((before, after))
    if not by_scenario:
        return
    means = _means([pair for values in by_scenario.values() for pair in values])
    tolerance = figure.tolerance + figure.tolerance_ratio * means[0]
    # One scenario alone is judged by its seeds, below: its own interval would be one of no width.
    if len(by_scenario) > 1 and means[1] - means[0] > tolerance:
        found = clustered_interval([[after - before for before, after in values] for values in by_scenario.values()])
        if found.low > 0.0:
            yield "", f"{_change(figure, *means)}, by {found.value:.3g} ({found.low:.3g}–{found.high:.3g})"
    for scenario, values in by_scenario.items():
        mine = _means(values)
        margin = figure.tolerance + figure.tolerance_ratio * mine[0]
        worse = sum(after - before > margin for before, after in values)
        better = sum(before - after > margin for before, after in values)
        net = worse - better
        sure = 2 * net >= len(values) or _sign_test(worse, better) <= 1.0 - CONFIDENCE
        if net > 0 and (sure or not figure.doubt):
            yield scenario, f"{_change(figure, *mine)}, on {worse} of {len(values)} seeds"


def _means(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return tuple(math.fsum(side) / len(values) for side in zip(*values, strict=True))  # type: ignore[return-value]


def _change(figure: _Figure, before: float, after: float) -> str:
    return f"{figure.name} {before:.3g} → {after:.3g}"


def _sign_test(worse: int, better: int) -> float:
    """Chance of at least so many worse ones among those that differ, were either as likely."""
    count = worse + better
    return sum(math.comb(count, k) for k in range(worse, count + 1)) / 2.0**count
