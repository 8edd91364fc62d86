"""The table on records written by hand: whoever always pages, or looks away, must not win."""

from __future__ import annotations

import pytest

from scenarios.metrics import interval_of, rows_of
from scenarios.model import Answer
from scenarios.oracle import Outcome
from scenarios.record import Record, line_of, record_of
from tests.scenarios.support import record
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
                safe=not harmed, pages=int(pages), pages_needless=int(pages),
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
    assert paging.needless_pages == pytest.approx(5 / 6, abs=1e-5)
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


def test_records_go_through_a_line_unchanged() -> None:
    one = record("a", outcome=Outcome.FAILED, verdicts={"effective": 2}, time_to_detect_s=12.5, error="")
    assert record_of(line_of(one)) == one
    for broken in ("", "{}", line_of(one).replace('"harm_s"', '"harms"'), line_of(one).replace("failed", "fine")):
        with pytest.raises(BadInput):
            record_of(broken)
