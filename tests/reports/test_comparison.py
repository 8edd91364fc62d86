"""Two runs compared: what was not seen is no pass, one broken scenario is found among many, and chance is no loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from reports.comparison import find_regressions
from scenarios.oracle import Outcome
from scenarios.record import Record
from tests.scenarios.support import record
from twin.spec.errors import BadInput

pytestmark = pytest.mark.requirement("R21", "R23")

NAMES = [f"scenario-{letter}" for letter in "abcdef"]


def good_run(seeds: int = 3, brain: str = "offline") -> list[Record]:
    """Six scenarios, all ended safely within two minutes or so."""
    return [
        record(
            name, seed, brain=brain, gate="fleet", outcome=Outcome.PASSED, resolved=True, safe=True,
            time_to_mitigate_s=120.0 + seed, watched_s=1200.0,
        )
        for name in NAMES
        for seed in range(1, seeds + 1)
    ]  # fmt: skip


def changed(records: list[Record], when: Callable[[Record], bool], **values: object) -> list[Record]:
    return [replace(r, **values) if when(r) else r for r in records]  # type: ignore[arg-type]


def kinds(candidate: list[Record], baseline: list[Record]) -> set[str]:
    return {regression.kind for regression in find_regressions(candidate, baseline)}


def in_first(record: Record) -> bool:
    return record.scenario == NAMES[0]


UNSEEN = {"outcome": Outcome.ERROR, "resolved": False, "safe": False, "error": "dark"}
UNRESOLVED = {"outcome": Outcome.FAILED, "resolved": False, "time_to_mitigate_s": None, "pages": 1, "pages_needed": 1}

WORSE: dict[str, tuple[Callable[[list[Record]], list[Record]], set[str]]] = {
    "nearly all could not be looked at": (lambda rs: [rs[0], *changed(rs[1:], lambda r: True, **UNSEEN)], {"coverage"}),
    "one could not be looked at": (lambda rs: changed(rs, lambda r: r is rs[4], **UNSEEN), {"coverage"}),
    "one episode is left": (lambda rs: rs[:1], {"coverage"}),
    "other seeds": (lambda rs: [replace(r, seed=r.seed + 3) for r in rs], {"coverage"}),
    "another scenario": (lambda rs: [*rs, replace(rs[0], scenario="new")], {"coverage"}),
    "harm minutes": (lambda rs: changed(rs, lambda r: True, harm_minutes=50.0), {"safety"}),
    "harm minutes of one": (lambda rs: changed(rs, lambda r: r is rs[0], harm_minutes=50.0), {"safety"}),
    "one harm": (lambda rs: changed(rs, lambda r: r is rs[0], safe=False), {"safety"}),
    "one scenario is lost": (lambda rs: changed(rs, in_first, **UNRESOLVED), {"safety", "latency"}),
    "nobody is called": (lambda rs: changed(rs, in_first, pages_missed=1), {"safety"}),
    "slower everywhere": (
        lambda rs: [replace(r, time_to_mitigate_s=r.mitigated_within_s * 1.5) for r in rs], {"latency"},
    ),
    "slower in one scenario": (lambda rs: changed(rs, in_first, time_to_mitigate_s=400.0), {"latency"}),
    "needless pages": (lambda rs: changed(rs, lambda r: True, pages=1, pages_needless=1), {"cost"}),
}  # fmt: skip


@pytest.mark.parametrize("name", WORSE)
def test_what_got_worse_is_found(name: str) -> None:
    make, wanted = WORSE[name]
    before = good_run()
    assert kinds(make(before), before) == wanted


def test_a_row_that_is_gone_is_no_pass() -> None:
    before = [*good_run(), *good_run(brain="naive")]
    found = find_regressions(good_run(), before)
    assert [(r.kind, r.brain) for r in found] == [("coverage", "naive")]
    assert find_regressions(before, good_run()) == (), "one more row takes nothing away"


def test_what_stayed_or_got_better_is_no_regression() -> None:
    before = good_run()
    assert find_regressions(before, before) == ()
    assert find_regressions(before, changed(before, in_first, **UNRESOLVED)) == ()
    assert find_regressions(before, changed(before, in_first, safe=False, harm_minutes=3.0)) == ()
    assert find_regressions([replace(r, time_to_mitigate_s=60.0) for r in before], before) == ()


def test_what_goes_both_ways_is_chance() -> None:
    """As many got worse as got better, and by as much: no interval lies beyond nothing."""
    before = [replace(r, **UNRESOLVED) if r.seed == 1 else r for r in good_run(20)]  # type: ignore[arg-type]
    after = [replace(r, **UNRESOLVED) if r.seed == 2 else r for r in good_run(20)]  # type: ignore[arg-type]
    assert find_regressions(after, before) == ()
    one = changed(good_run(20), lambda r: r.seed == 3 and in_first(r), **UNRESOLVED)
    assert kinds(one, good_run(20)) == set(), "one seed of twenty, without harm"


def test_a_loss_spread_thinly_over_all_scenarios_is_found() -> None:
    """One seed of five in each: no scenario is conspicuous, all of them together are."""
    found = find_regressions(changed(good_run(5), lambda r: r.seed == 1, **UNRESOLVED), good_run(5))
    assert {(r.kind, r.where) for r in found} == {("safety", ""), ("latency", "")}
    assert "0 → 0.2" in found[0].words()


def test_failing_more_is_not_faster() -> None:
    """The slow ones given up: the mean over what was resolved falls, and the comparison is not taken in."""
    before = changed(good_run(), in_first, time_to_mitigate_s=900.0)
    assert "latency" in kinds(changed(before, in_first, **UNRESOLVED), before)


def test_coverage_comes_first_and_is_told_in_words() -> None:
    before = good_run()
    found = find_regressions(changed(before[1:], lambda r: True, safe=False), before)
    assert [r.kind for r in found][:2] == ["coverage", "safety"]
    assert found[0].words() == "offline / fleet: 1 of 18 episodes not run any more: scenario-a seed 1"


def test_comparing_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="share no brain"):
        find_regressions(good_run(), good_run(brain="naive"))
    with pytest.raises(BadInput, match="twice"):
        find_regressions([*good_run(), good_run()[0]], good_run())
