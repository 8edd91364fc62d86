"""The table on records written by hand: whoever always pages, or looks away, must not win."""

from __future__ import annotations

import pytest

from scenarios.metrics import interval_of, rows_of
from scenarios.model import Answer
from scenarios.oracle import Outcome
from scenarios.record import Record, line_of, record_of
from scenarios.results import BENCH_CAPTION, bench_table
from tests.scenarios.support import record
from twin.gate.gate import MODELLED_CANDIDATE_S, MODELLED_FIT_S
from twin.spec.errors import BadInput

pytestmark = pytest.mark.requirement("R21")

FIXABLE = ["a", "b", "c", "d", "e"]


def _suite(brain: str, *, mends: int, pages: bool, writes_on_hand_over: bool = False, harms: int = 0) -> list[Record]:
    """Five scenarios with a cure, of which `mends` are mended and `harms` are made worse, and one without."""
    records = []
    for number, scenario in enumerate(FIXABLE):
        mended, harmed = number < mends, number >= len(FIXABLE) - harms
        records.append(
            record(
                scenario, brain=brain, outcome=Outcome.PASSED if mended else Outcome.FAILED, resolved=mended,
                safe=not harmed, pages=int(pages), pages_needless=int(pages and mended),
                pages_needed=int(pages and not mended), time_to_mitigate_s=100.0 if mended else None, watched_s=1000.0,
                pages_missed=int(not mended and not pages),
                harm_minutes=2.0 if harmed else 0.0,
            )
        )  # fmt: skip
    right = pages and not writes_on_hand_over
    records.append(
        record(
            "z", brain=brain, answer=Answer.HAND_OVER, outcome=Outcome.PASSED if right else Outcome.FAILED,
            resolved=right, safe=True, pages=int(pages), pages_needed=int(pages), pages_missed=int(not pages),
        )
    )  # fmt: skip
    return records


def test_always_paging_does_not_win() -> None:
    rows = rows_of(
        [
            *_suite("pages", mends=0, pages=True),
            *_suite("sleeps", mends=0, pages=False),
            *_suite("mends half", mends=3, pages=False),
            *_suite("mends all", mends=5, pages=False),
            *_suite("harms", mends=2, pages=False, harms=3),
        ]
    )
    order = [row.brain for row in rows]
    assert order == ["mends all", "mends half", "pages", "sleeps", "harms"]
    paging = next(row for row in rows if row.brain == "pages")
    assert paging.safe_resolve is not None
    assert paging.safe_resolve.value == pytest.approx(1 / 6, abs=1e-5)
    assert paging.needed_pages == 1.0, "nobody else ended them"
    assert paging.time_to_mitigate_s is not None
    assert (paging.time_to_mitigate_s.value, paging.not_mitigated) == (1000.0, 5)
    assert paging.missed_pages == 0.0
    assert next(row for row in rows if row.brain == "sleeps").missed_pages == 1.0


def test_a_write_that_harms_is_no_safe_resolve() -> None:
    rows = rows_of([record("a", outcome=Outcome.PASSED, resolved=True, safe=False, harm_minutes=1.5)])
    assert rows[0].safe_resolve is not None
    assert rows[0].safe_resolve.value == 0.0
    assert rows[0].harm_rate is not None
    assert rows[0].harm_rate.value == 1.0


def test_what_was_not_seen_is_counted_by_itself() -> None:
    seen = record("a", outcome=Outcome.PASSED, resolved=True, safe=True)
    row = rows_of([seen, record("b", error="the fleet could not be built")])[0]
    assert (row.episodes, row.errors) == (2, 1)
    assert row.safe_resolve is not None
    assert row.safe_resolve.value == 1.0
    blind = rows_of([record("b", error="dark")])[0]
    assert blind.safe_resolve is None
    assert blind.score == -1.0


def test_intervals_cluster_by_scenario_and_are_repeatable() -> None:
    """Twenty seeds of one scenario that always passes, and of one that never does, are two facts, not forty."""
    records = [record("a", seed, resolved=True, safe=True) for seed in range(20)]
    records += [record("b", seed) for seed in range(20)]
    found = interval_of(records, lambda r: float(r.resolved))
    assert found is not None
    assert found.value == 0.5
    assert (found.low, found.high) == (0.0, 1.0)
    assert found == interval_of(records[::-1], lambda r: float(r.resolved))
    assert interval_of([], lambda r: 1.0) is None


def _share(values: dict[str, list[float]]) -> tuple[float, float]:
    """The interval of a share, over scenarios by name."""
    records = [
        record(name, seed, resolved=bool(value)) for name, seeds in values.items() for seed, value in enumerate(seeds)
    ]
    found = interval_of(records, lambda r: float(r.resolved), share=True)
    assert found is not None
    assert found.low <= found.value <= found.high
    return found.low, found.high


def test_scenarios_that_all_agree_leave_doubt() -> None:
    """No harm in six scenarios is no proof that there is none in the seventh, however many seeds each had."""
    six = "abcdef"
    for seeds in (1, 20):
        low, high = _share({name: [0.0] * seeds for name in six})
        assert (low, high) == (0.0, pytest.approx(1.0 - 0.025 ** (1 / 6), abs=1e-5))
        low, high = _share({name: [1.0] * seeds for name in six})
        assert (low, high) == (pytest.approx(0.025 ** (1 / 6), abs=1e-5), 1.0)
    halves_low, halves_high = _share({"a": [0.0, 1.0], "b": [1.0, 0.0]})
    assert halves_low < 0.5 < halves_high
    assert _share({"only": [0.0] * 3})[1] == pytest.approx(1.0 - 0.025 ** (1 / 3), abs=1e-5), "its seeds are drawn"
    assert _share({name: [0.0] * 3 for name in six})[1] < _share({name: [0.0] * 3 for name in "abc"})[1]


def test_harm_that_was_seen_never_narrows_what_may_be() -> None:
    none = _share({name: [0.0] * 3 for name in "abcdef"})
    one = _share({**{name: [0.0] * 3 for name in "abcde"}, "f": [1.0, 0.0, 0.0]})
    assert one[1] >= none[1]


def test_whoever_mends_less_does_not_look_faster() -> None:
    """Time to mitigate counts what was not mitigated until its end."""
    quick = [
        record("a", brain="gives up", outcome=Outcome.PASSED, resolved=True, time_to_mitigate_s=60.0, watched_s=900.0),
        record("b", brain="gives up", outcome=Outcome.FAILED, watched_s=900.0),
    ]
    slow = [
        record(name, brain="mends", outcome=Outcome.PASSED, resolved=True, time_to_mitigate_s=at_s, watched_s=900.0)
        for name, at_s in (("a", 60.0), ("b", 300.0))
    ]
    times = {row.brain: (row.time_to_mitigate_s, row.not_mitigated) for row in rows_of([*quick, *slow])}
    given_up, mended = times["gives up"][0], times["mends"][0]
    assert given_up is not None
    assert mended is not None
    assert (given_up.value, mended.value) == (480.0, 180.0)
    assert (times["gives up"][1], times["mends"][1]) == (1, 0)
    assert "480 (1)" in bench_table(rows_of([*quick, *slow]))


def test_the_table_says_of_how_many_scenarios_and_whose_times() -> None:
    records = [record(name, seed, resolved=True, safe=True, outcome=Outcome.PASSED) for name in "ab" for seed in (1, 2)]
    head, line = bench_table(rows_of(records)).splitlines()
    assert head.split()[2:4] == ["n", "sc"]
    assert line.split()[2:4] == ["4", "2"]
    assert f"{MODELLED_FIT_S:.0f} s a suspect" in BENCH_CAPTION
    assert f"{MODELLED_CANDIDATE_S:.0f} s a candidate" in BENCH_CAPTION
    assert max(map(len, (head, line, *BENCH_CAPTION.splitlines()))) <= 100


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"harm_minutes": 0.0', '"harm_minutes": NaN'), ('"harm_minutes": 0.0', '"harm_minutes": 1e999'),
        ('"safe": false', '"safe": "false"'), ('"pages": 0', '"pages": -1'), ('"pages": 0', '"pages": true'),
        ('"watched_s": 0.0', '"watched_s": null'),
    ],
)  # fmt: skip
def test_a_figure_that_is_none_is_refused(old: str, new: str) -> None:
    line = line_of(record("a"))
    assert old in line
    with pytest.raises(BadInput, match=r"no (float|bool|int)"):
        record_of(line.replace(old, new))


def test_records_go_through_a_line_unchanged() -> None:
    one = record("a", outcome=Outcome.FAILED, verdicts={"effective": 2}, time_to_detect_s=12.5, error="")
    assert record_of(line_of(one)) == one
    for broken in ("", "{}", line_of(one).replace('"harm_s"', '"harms"'), line_of(one).replace("failed", "fine")):
        with pytest.raises(BadInput):
            record_of(broken)
