"""The journal keeps whole entries, and keeps nobody out for longer than it writes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from twin.promote.journal import Journal, Kind, Promotion


def begin(journal: Journal, **fields: Any) -> Promotion:
    told: dict[str, Any] = {"receipt_digest": "a" * 64, "target": "prod", "at_s": 0.0, "envelope": {}, **fields}
    return journal.begin("p", **told)


NO_JSON = {"a": {1}}  # Found out after the transaction was begun.


@pytest.mark.parametrize(
    "fail",
    [
        lambda journal, _: begin(journal, envelope=NO_JSON),
        lambda journal, promotion: journal.append(promotion.id, 1.0, Kind.DONE, NO_JSON),
    ],
    ids=["begin", "append"],
)
def test_what_fails_half_way_leaves_nothing_behind_and_nobody_locked_out(
    tmp_path: Path, fail: Callable[[Journal, Promotion], object]
) -> None:
    journal, other = Journal(tmp_path / "journal.sqlite"), Journal(tmp_path / "journal.sqlite")
    other._db.execute("PRAGMA busy_timeout=0")
    promotion = begin(journal)
    with pytest.raises(TypeError):
        fail(journal, promotion)
    other.append(promotion.id, 2.0, Kind.DONE, {})
    journal.append(promotion.id, 3.0, Kind.DONE, {})
    assert [entry.kind for entry in other.entries(promotion.id)] == [Kind.BEGUN, Kind.DONE, Kind.DONE]
    assert other.promotions() == [promotion]


def test_two_that_begin_the_same_change_at_once_get_two_ids(tmp_path: Path) -> None:
    """Each has read the journal before either wrote: one change may be rolled out on two targets at a time."""
    journals = [Journal(tmp_path / "journal.sqlite") for _ in range(2)]
    assert [journal.promotions() for journal in journals] == [[], []]
    begun = [begin(journal, target=target) for journal, target in zip(journals, ("one", "other"), strict=True)]
    assert [promotion.id for promotion in begun] == ["p1-aaaaaaaa", "p2-aaaaaaaa"]
    assert journals[0].promotions() == begun
