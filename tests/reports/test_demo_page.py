"""The demo's page says what happened, whatever it was: done, undone, held, refused, paged, or nothing at all."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from reports.demo_page import render_demo

pytestmark = pytest.mark.requirement("R23")

SAME, OTHER = {"Deployment": "aa"}, {"Deployment": "bb"}


def verdict(outcome: str, reason: str = "") -> dict[str, Any]:
    prediction = {
        "times_s": [0.0, 60.0], "recovery_s": {"value": 38.0, "low": 31.0, "high": 52.0},
        **{f"{arm}{end}_rps": [1.0, 0.0] for arm in ("nothing", "change") for end in ("", "_low", "_high")},
    }  # fmt: skip
    stages = [{"stage": "rehearsal", "verdict": "pass", "reason": reason, "wall_s": 0.1}]
    return {"outcome": outcome, "reason": reason, "effect": None, "harm": None, "harmed": [], "helped": [],
            "prediction": prediction, "stages": stages}  # fmt: skip


def candidate(action: str, outcome: str = "effective", reason: str = "") -> dict[str, Any]:
    steps = [{"operation": f"do {action}", "arguments": {}}]
    receipt = {
        "digest": f"d-{action}", "plan_digest": "", "base_digest": "", "evidence_level": "simulated",
        "reversibility": "", "approvals_needed": 0, "policy_revision": "", "seeds": [], "fingerprint": "",
        "plan": {"steps": steps},
    }  # fmt: skip
    promotable = outcome in ("effective", "harmless")
    return {"action": action, "verdict": verdict(outcome, reason), "receipt": receipt if promotable else None}


def promotion(change: str, outcome: str, reason: str = "so it was") -> dict[str, Any]:
    return {"change": change, "outcome": outcome, "reason": reason, "observed_recovery_s": None, "exit_code": 0}


PAGE = {name: name for name in ("impact", "likely", "tried", "in_flight", "next_command", "stop_command")}


def page_of(**values: Any) -> str:
    """The text of a page of one incident: two candidates with receipts, of which nothing was promoted."""
    incident = {
        "number": 1, "title": "t", "candidates": [candidate("harmless one", "harmless"), candidate("right one")],
        "promotions": [], "pages": [], "moments": [], "first_write_at_s": None, "mitigated_at_s": None,
        "observed_let_down_rps": [], "call_graph": {"hit": [], "services": [], "edges": []},
        "base": {"before": SAME, "after": SAME}, **values,
    }  # fmt: skip
    dossier = {
        "title": "twin demo", "seed": 1, "command": "twin demo", "policy_revision": "abc", "incidents": [incident],
        "calibration": {"median_error_ratio": 0.1},
    }  # fmt: skip
    return html.unescape(re.sub(r"\s+", " ", render_demo(dossier)))


WROTE = {"before": SAME, "after": OTHER}
SENTENCES = {
    "done": (
        {"promotions": [promotion("right one", "done")], "mitigated_at_s": 9.0, "base": WROTE},
        ["Incident 1 was ended by “right one”.", "verified and promoted; predicted to recover in 38 s", "What changed"],
    ),
    "done, and of no use": (
        {"promotions": [promotion("right one", "done")], "base": WROTE, "pages": [PAGE]},
        ["was not seen to end after “right one”, and a human was paged.", "users were not seen to be well again"],
    ),
    "rolled back": (
        {"promotions": [promotion("right one", "rolled_back", "worse than predicted")]},
        ["what was promoted was rolled back, and nobody was paged.", "rolled back: worse than predicted.",
         "Nobody was paged.", "What was changed, and undone"],
    ),
    "held": (
        {"promotions": [promotion("right one", "held", "unclear canary")], "base": WROTE, "pages": [PAGE]},
        ["what was begun is held half-way, and a human was paged.", "held where it was: unclear canary."],
    ),
    "refused": (
        {"promotions": [promotion("right one", "refused", "the base drifted")], "pages": [PAGE]},
        ["the promoter refused what was verified, and a human was paged; nothing was written.",
         "refused by the promoter: the base drifted."],
    ),
    "paged": ({"pages": [PAGE]}, ["Incident 1 was handed to a human; nothing was written."]),
    "neither": ({}, ["Incident 1: no change was promoted, and nobody was paged; nothing was written."]),
    "rolled back, then done": (
        {"promotions": [promotion("harmless one", "rolled_back"), promotion("right one", "done")], "base": WROTE,
         "mitigated_at_s": 9.0},
        ["Incident 1 was ended by “right one”.", "“harmless one” was promoted and rolled back"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_the_page_says_what_happened(name: str) -> None:
    values, sentences = SENTENCES[name]
    page = page_of(**values)
    for sentence in sentences:
        assert sentence in page
    handed_over = values.get("pages") and not values.get("promotions")
    assert ("handed to a human" in page) == bool(handed_over)
    undone = any(p["outcome"] != "refused" for p in values.get("promotions", []))
    assert ("othing was written" in page) == (not undone)


def test_what_was_promoted_is_shown_and_not_the_first_that_could_have_been() -> None:
    page = page_of(promotions=[promotion("right one", "done")], mitigated_at_s=9.0, base=WROTE)
    assert "do right one" in page
    assert "d-right one" in page
    assert "do harmless one" not in page


def test_a_write_is_never_denied() -> None:
    assert "othing was written" not in page_of(pages=[PAGE], base=WROTE)


def test_what_was_confirmed_on_fresh_replications_says_so() -> None:
    fresh = candidate("right one", reason="on fresh replications: recovers in 16 of 16 runs")
    assert "confirmed on fresh replications" in page_of(candidates=[fresh])
    assert "confirmed on fresh replications" not in page_of()
