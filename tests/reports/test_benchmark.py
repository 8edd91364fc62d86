"""Regression reports: whole results or none, what got worse first, an error is no failure."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from reports.benchmark import CAPTION, compare, load_results, write_report
from scenarios.oracle import Outcome
from scenarios.record import EpisodeRun, Record
from scenarios.results import write_results
from tests.end_to_end.test_demo import in_chromium
from tests.scenarios.support import record
from twin.cli.main import cli
from twin.gate.gate import MODELLED_CANDIDATE_S, MODELLED_FIT_S
from twin.spec.errors import BadInput

RECORDS = (
    record("lock", 1, "offline", "fleet", outcome=Outcome.PASSED, resolved=True, safe=True, time_to_mitigate_s=100.0,
           watched_s=900.0),
    record("lock", 2, "offline", "fleet", outcome=Outcome.FAILED, safe=False, harm_minutes=2.0, watched_s=900.0),
    record("<lock>", 3, "offline", "fleet", error="no scrape"),
)  # fmt: skip


def results(folder: Path, records: tuple[Record, ...] = RECORDS) -> Path:
    write_results(folder, [EpisodeRun(record=r, wall_s=1.0) for r in records], suite="s", budgets_s={})
    return folder


def _harmless(records: tuple[Record, ...]) -> tuple[Record, ...]:
    better = {
        "outcome": Outcome.PASSED,
        "resolved": True,
        "safe": True,
        "harm_minutes": 0.0,
        "time_to_mitigate_s": 90.0,
    }
    return tuple(replace(r, **better) if r.outcome is Outcome.FAILED else r for r in records)  # type: ignore[arg-type]


@pytest.mark.requirement("R23")
@pytest.mark.parametrize(
    ("records", "codes"),
    [
        (RECORDS, {"any": 0, "safety": 0, "latency": 0, "cost": 0, "nothing": 0}),
        (RECORDS[:2], {"any": 10, "safety": 10, "latency": 10, "cost": 10, "nothing": 0}),
        (
            (replace(RECORDS[0], safe=False, harm_minutes=1.0), *RECORDS[1:]),
            {"any": 10, "safety": 10, "latency": 0, "cost": 0, "nothing": 0},
        ),
        (
            (replace(RECORDS[0], time_to_mitigate_s=400.0), *RECORDS[1:]),
            {"any": 10, "safety": 0, "latency": 10, "cost": 0, "nothing": 0},
        ),
        (
            (replace(RECORDS[0], pages=1, pages_needless=1), *RECORDS[1:]),
            {"any": 10, "safety": 0, "latency": 0, "cost": 10, "nothing": 0},
        ),
        (_harmless(RECORDS), {"any": 0}),
    ],
)
def test_the_exit_code_follows_what_got_worse(
    records: tuple[Record, ...], codes: dict[str, int], tmp_path: Path
) -> None:
    before, after = results(tmp_path / "before"), results(tmp_path / "after", records)
    for fail_on, code in codes.items():
        arguments = ["report", after, "--baseline", before, "--fail-on", fail_on, "-o", tmp_path / "out"]
        done = CliRunner().invoke(cli, [str(argument) for argument in arguments])
        assert done.exit_code == code, (fail_on, done.output, done.exception)


def test_results_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        load_results(tmp_path / "nowhere")
    folder = results(tmp_path / "cut")
    episodes = folder / "episodes.jsonl"
    whole = episodes.read_text()
    for text in (
        "".join(whole.splitlines(keepends=True)[:1]),
        whole.replace('"harm_minutes": 2.0', '"harm_minutes": NaN'),
    ):
        assert text != whole
        episodes.write_text(text)
        with pytest.raises(BadInput):
            load_results(folder)


def test_rows_come_from_the_episodes_whatever_the_summary_says(tmp_path: Path) -> None:
    folder = results(tmp_path / "a")
    summary = json.loads((folder / "summary.json").read_text())
    summary["rows"][0]["harm_rate"] = summary["rows"][0]["safe_resolve"] = float("nan")
    (folder / "summary.json").write_text(json.dumps(summary))
    row = load_results(folder).rows[0]
    assert (row["harm_rate"]["value"], row["errors"]) == (0.5, 1)


@pytest.mark.requirement("R23")
def test_junit_tells_failures_from_errors(tmp_path: Path) -> None:
    candidate = load_results(results(tmp_path / "a"))
    write_report(tmp_path / "out", candidate, ())
    suite = ET.parse(tmp_path / "out/junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "1")
    summary = (tmp_path / "out/summary.md").read_text()
    assert "| offline | fleet | 3 | 1 | 1 |" in summary, "episodes, scenarios, errors"
    assert "| 500 (100–900) | 1 |" in summary, "time to mitigate with its interval, and how many were not"
    assert CAPTION in summary
    assert CAPTION.replace("'", "&#39;") in (tmp_path / "out/report.html").read_text()
    assert f"modelled {MODELLED_FIT_S:.0f} s a suspect and {MODELLED_CANDIDATE_S:.0f} s a candidate" in CAPTION


@pytest.mark.real
@pytest.mark.requirement("R23")
def test_the_page_opens_in_a_real_browser_with_what_got_worse_first(tmp_path: Path) -> None:
    before = load_results(results(tmp_path / "a", _harmless(RECORDS)))
    after = load_results(results(tmp_path / "b"))
    write_report(tmp_path / "out", after, compare(after, before), baseline="a")
    page, complaints = in_chromium(tmp_path / "out/report.html", tmp_path / "profile")
    assert not complaints, complaints
    assert page.index("What got worse") < page.index("Brain × gate")
    assert "&lt;lock&gt;" in page
