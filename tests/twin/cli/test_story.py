"""The demo's terminal tells each promotion as it went, and closes nothing that was not ended."""

from __future__ import annotations

import pytest

from agent.driver import Episode, Moment
from twin.cli.demo.story import tell_incident
from twin.ports.services import Promoted, PromotionOutcome
from twin.spec.incident import Page

pytestmark = pytest.mark.requirement("R19", "R22")

PAGE = Page(
    id="p",
    incident="i",
    at_s=90.0,
    impact="users",
    likely="unknown",
    tried="x",
    in_flight="none",
    next_command="twin x",
)


def told(promotions: list[tuple[str, PromotionOutcome]], *, pages: tuple[Page, ...] = ()) -> list[str]:
    lines: list[str] = []
    episode = Episode(
        started_s=0.0, ended_s=100.0, incidents=(), pages=pages, verifications=(), let_down=(), detected_at_s=10.0,
        verdict_at_s=20.0, first_write_at_s=30.0, mitigated_at_s=80.0,
        moments=tuple(
            Moment(at_s=30.0 + number, kind="promoted", text=change, data={"change": change})
            for number, (change, _) in enumerate(promotions)
        ),
        promotions=tuple(("i", Promoted(outcome=how, reason=change, exit_code=0)) for change, how in promotions),
    )  # fmt: skip
    tell_incident(episode, lines.append, number=1)
    return lines


def test_each_promotion_is_told_at_its_own_moment_and_only_what_was_done_closes() -> None:
    lines = told([("first", PromotionOutcome.ROLLED_BACK), ("second", PromotionOutcome.DONE)])
    assert next(line for line in lines if "rolled_back, first" in line).startswith("00:00:30")
    assert next(line for line in lines if "done, second" in line).startswith("00:00:31")
    assert len([line for line in lines if "closed" in line]) == 1
    assert not [line for line in told([("first", PromotionOutcome.HELD)]) if "closed" in line]


def test_what_was_promoted_in_vain_is_not_called_nothing() -> None:
    assert "nothing that may be promoted: handed to a human" in told([], pages=(PAGE,))
    lines = told([("first", PromotionOutcome.ROLLED_BACK)], pages=(PAGE,))
    assert "handed to a human" in lines
    assert not [line for line in lines if line.startswith("nothing that may be promoted")]
