"""Regression reports: what got worse is found, losing a figure is no improvement, an error is no failure."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from reports.benchmark import compare, load_results, write_report
from tests.end_to_end.test_demo import in_chromium
from twin.spec.errors import BadInput


def results(folder: Path, **figures: Any) -> Path:
    row = {
        "brain": "offline", "gate": "fleet", "episodes": 3, "safe_resolve": {"value": 0.9, "low": 0.7, "high": 1.0},
        "harm_rate": {"value": 0.0, "low": 0.0, "high": 0.1}, "harm_minutes": 0.0, "needless_pages": 1,
        "missed_pages": 0, "time_to_mitigate_s": 120.0, **figures,
    }  # fmt: skip
    episodes = [
        {"scenario": "lock", "seed": 1, "brain": "offline", "gate": "fleet", "outcome": "passed", "safe": True},
        {"scenario": "lock", "seed": 2, "brain": "offline", "gate": "fleet", "outcome": "failed", "safe": False},
        {"scenario": "<lock>", "seed": 3, "brain": "offline", "gate": "fleet", "outcome": "error", "safe": True,
         "error": "no scrape"},
    ]  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps({"rows": [row]}))
    (folder / "episodes.jsonl").write_text("\n".join(json.dumps(e) for e in episodes))
    return folder


@pytest.mark.requirement("R23")
@pytest.mark.parametrize(
    ("figures", "kinds"),
    [
        ({}, []),
        ({"safe_resolve": 0.8}, ["safety"]),
        ({"harm_rate": 0.3}, ["safety"]),
        ({"time_to_mitigate_s": 200.0}, ["latency"]),
        ({"time_to_mitigate_s": None}, ["latency"]),
        ({"needless_pages": 3}, ["cost"]),
        ({"safe_resolve": 1.0, "harm_rate": 0.0, "time_to_mitigate_s": 60.0}, []),
    ],
)
def test_what_got_worse_is_found_and_what_got_better_is_not(
    tmp_path: Path, figures: dict[str, Any], kinds: list[str]
) -> None:
    before, after = load_results(results(tmp_path / "a")), load_results(results(tmp_path / "b", **figures))
    assert [regression.kind for regression in compare(after, before)] == kinds


def test_comparing_nothing_is_not_a_pass(tmp_path: Path) -> None:
    before, after = load_results(results(tmp_path / "a", brain="x")), load_results(results(tmp_path / "b"))
    with pytest.raises(BadInput, match="share no brain"):
        compare(after, before)
    with pytest.raises(BadInput):
        load_results(tmp_path / "nowhere")


@pytest.mark.requirement("R23")
def test_junit_tells_failures_from_errors(tmp_path: Path) -> None:
    candidate = load_results(results(tmp_path / "a"))
    write_report(tmp_path / "out", candidate, ())
    suite = ET.parse(tmp_path / "out/junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    assert "| offline | fleet | 3 |" in (tmp_path / "out/summary.md").read_text()


@pytest.mark.real
@pytest.mark.requirement("R23")
def test_the_page_opens_in_a_real_browser_with_what_got_worse_first(tmp_path: Path) -> None:
    before, after = load_results(results(tmp_path / "a")), load_results(results(tmp_path / "b", safe_resolve=0.5))
    write_report(tmp_path / "out", after, compare(after, before), baseline="a")
    page, complaints = in_chromium(tmp_path / "out/report.html", tmp_path / "profile")
    assert not complaints, complaints
    assert page.index("What got worse") < page.index("Brain × gate")
    assert "&lt;lock&gt;" in page
