"""The demo's terminal tells each promotion as it went, and closes nothing that was not ended."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from agent.driver import Episode, Moment
from twin.cli.demo.story import tell_fault, tell_incident
from twin.ports.services import Judged, Promoted, PromotionOutcome, Verification
from twin.spec.change import Action, Change
from twin.spec.fault import parse_fault
from twin.spec.incident import Page
from twin.spec.verdict import Outcome, Suspect, Verdict

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


def told(
    promotions: list[tuple[str, PromotionOutcome]],
    *,
    pages: tuple[Page, ...] = (),
    verifications: tuple[tuple[str, Verification], ...] = (),
) -> list[str]:
    lines: list[str] = []
    episode = Episode(
        started_s=0.0, ended_s=100.0, incidents=(), pages=pages, verifications=verifications, let_down=(),
        detected_at_s=10.0, verdict_at_s=20.0, first_write_at_s=30.0, mitigated_at_s=80.0,
        moments=tuple(
            Moment(at_s=30.0 + number, kind="promoted", text=change, data={"change": change})
            for number, (change, _) in enumerate(promotions)
        ),
        promotions=tuple(("i", Promoted(outcome=how, reason=change, exit_code=0)) for change, how in promotions),
    )  # fmt: skip
    tell_incident(episode, lines.append, number=1, traces=Path("my out/traces.jsonl"))
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


def test_the_pages_commands_stand_whole_and_work_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin.cli.demo.story.program", lambda: ".venv/bin/twin")
    lines = told([], pages=(PAGE,))
    assert "│ next      .venv/bin/twin agent trace i --from 'my out/traces.jsonl'" in lines
    assert "│ stop it   .venv/bin/twin takeover" in lines


def test_a_long_name_is_shortened_by_words_and_a_long_reason_is_wrapped() -> None:
    long = Action(kind="set_route", target="shop/checkout--orders", parameters={"retries": 0.0, "timeout_s": 0.6})
    change = Change(actions=(long, long), reason="r", requester="q")
    verdict = Verdict(outcome=Outcome.REJECTED, reason="a reason of many words " * 6 + "end", stages=(), suspects=())
    judged = (
        Judged(change=change, verdict=verdict),
        Judged(change=change, verdict=dataclasses.replace(verdict, outcome=Outcome.DENIED, reason="a net: and why")),
    )
    suspect = Suspect(fault=None, weight=1.0, residual=1.0)
    lines = told([], verifications=(("i", Verification(suspects=(suspect,), judged=judged, modelled_s=1.0)),))
    text = "\n".join(lines)
    assert "…" not in text
    assert max(map(len, lines)) <= 100
    assert "  set route checkout--orders retries=0 timeout_s=0.6 +1" in lines
    assert "end" in text.split()
    assert "rehearsed 1 candidate on the twin, 0 paired runs each; 1 denied before that" in text


def test_a_long_fault_is_told_whole() -> None:
    lines: list[str] = []
    tell_fault(parse_fault(f"held_slots(shop/orders-db, session={'s' * 40}, station=row-lock)"), lines.append, number=1)
    assert max(map(len, lines)) <= 100
    assert "row-lock)" in lines[-1]
