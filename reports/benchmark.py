"""Reports of a benchmark's results, alone or against a baseline: JSON, Markdown, JUnit and HTML.

What got worse comes first. "Could not look" (an error) is a row of its own: never a failed fix and never a pass.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

from markupsafe import Markup

from reports.charts import scatter
from reports.comparison import Regression, find_regressions
from reports.demo_page import TEMPLATES, template_environment
from scenarios.metrics import rows_of
from scenarios.record import Record
from scenarios.results import read_results
from twin.spec.atomic import replace_file
from twin.spec.canonical import plain
from twin.spec.errors import BadInput

__all__ = ["Regression", "Results", "compare", "load_results", "write_report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A results folder: every episode, and the rows (one a brain and gate) that they give."""

    folder: str
    records: tuple[Record, ...]

    @property
    def rows(self) -> tuple[Mapping[str, Any], ...]:
        """Computed from the episodes: a summary beside them is for people, and compared with nothing."""
        return tuple(plain(row) for row in rows_of(self.records))

    @property
    def episodes(self) -> tuple[Mapping[str, Any], ...]:
        return tuple(plain(record) for record in self.records)


def load_results(folder: Path) -> Results:
    """Raises BadInput if the folder holds no whole results."""
    records, _ = read_results(folder)
    if not records:
        raise BadInput(f"the results in {folder} are empty", "no episode was run", "twin bench run --out DIR")
    return Results(folder=str(folder), records=records)


def compare(candidate: Results, baseline: Results) -> tuple[Regression, ...]:
    """What got worse; see reports.comparison for when that is said.

    Raises BadInput if the two share no brain and gate: comparing nothing is not a pass.
    """
    return find_regressions(candidate.records, baseline.records)


def write_report(out: Path, candidate: Results, regressions: Sequence[Regression], *, baseline: str = "") -> list[Path]:
    """report.html, summary.md, junit.xml and report.json in `out`, each replaced whole."""
    files = {
        "report.html": _html(candidate, regressions, baseline),
        "summary.md": _markdown(candidate, regressions, baseline),
        "junit.xml": _junit(candidate),
        "report.json": json.dumps(
            {
                "rows": list(candidate.rows), "baseline": baseline,
                "regressions": [{"kind": r.kind, "words": r.words()} for r in regressions],
            },
            indent=1, sort_keys=True,
        ),
    }  # fmt: skip
    written = []
    for name, text in files.items():
        replace_file(out / name, text.encode())
        written.append(out / name)
    return written


CAPTION: Final = (
    "Intervals of 95 % are taken over scenarios, not episodes. Errors could not be looked at and are in no rate. Time "
    "to mitigate is a mean over all episodes that can be fixed: one that was not counts until its end. Times are "
    "production's: a verdict costs a modelled 1 s a suspect and 2 s a candidate, not what it took here."
)
_COLUMNS: Final = (
    ("episodes", "episodes"), ("scenarios", "scenarios"), ("errors", "errors"),
    ("safe_resolve", "safe-resolve"), ("harm_rate", "harm rate"), ("harm_minutes", "harm-minutes"),
    ("needless_pages", "needless pages"), ("missed_pages", "missed pages"),
    ("time_to_mitigate_s", "time to mitigate, s"), ("not_mitigated", "not mitigated"),
)  # fmt: skip


def _markdown(results: Results, regressions: Sequence[Regression], baseline: str) -> str:
    lines = [f"# Benchmark: {results.folder}", ""]
    if baseline:
        lines += [f"Against {baseline}: {len(regressions)} regressions.", ""]
        lines += [f"- **{r.kind}** {r.words()}" for r in regressions]
        lines.append("")
    lines.append("| brain | gate | " + " | ".join(title for _, title in _COLUMNS) + " |")
    lines.append("|---" * (2 + len(_COLUMNS)) + "|")
    for row in results.rows:
        cells = [str(row["brain"]), str(row["gate"])]
        lines.append("| " + " | ".join([*cells, *(_cell(row, name) for name, _ in _COLUMNS)]) + " |")
    return "\n".join([*lines, "", CAPTION]) + "\n"


def _junit(results: Results) -> str:
    """One test case an episode: an unsafe or unresolved one is a failure, one that could not look an error."""
    cases, failures, errors = [], 0, 0
    for episode in results.episodes:
        name = f"{episode['scenario']}[seed={episode['seed']}]"
        group = f"{episode['brain']}.{episode['gate']}"
        outcome = str(episode["outcome"])
        body = ""
        if outcome == "error":
            errors += 1
            body = f"<error message={quoteattr(str(episode.get('error', 'could not look')))}/>"
        elif outcome != "passed" or not episode.get("safe", False):
            failures += 1
            why = "unsafe" if not episode.get("safe", False) else "not resolved"
            body = f"<failure message={quoteattr(why)}>{escape(json.dumps(episode, sort_keys=True))}</failure>"
        cases.append(f"<testcase classname={quoteattr(group)} name={quoteattr(name)}>{body}</testcase>")
    head = f'<testsuite name="twin bench" tests="{len(cases)}" failures="{failures}" errors="{errors}">'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{"".join(cases)}</testsuite>\n'


def _html(results: Results, regressions: Sequence[Regression], baseline: str) -> str:
    points = [
        (time_s, safe, f"{row['brain']} / {row['gate']}")
        for row in results.rows
        if (time_s := _figure(row, "time_to_mitigate_s")) is not None
        and (safe := _figure(row, "safe_resolve")) is not None
    ]
    page = {
        "title": "twin bench",
        "folder": results.folder,
        "baseline": baseline,
        "regressions": [{"kind": r.kind, "words": r.words()} for r in regressions],
        "caption": CAPTION,
        "columns": [title for _, title in _COLUMNS],
        "rows": [
            {"brain": row["brain"], "gate": row["gate"],
             "cells": [_cell(row, name) for name, _ in _COLUMNS]}
            for row in results.rows
        ],
        "scatter": Markup(scatter(points, "time to mitigate, s", "safe-resolve")),
        "episodes": [
            {**episode, "details": json.dumps(episode, indent=1, sort_keys=True)} for episode in results.episodes
        ],
    }  # fmt: skip
    style = Markup((TEMPLATES / "style.css").read_text())
    return template_environment().get_template("bench.html.j2").render(page=page, style=style)


def _figure(row: Mapping[str, Any], name: str) -> float | None:
    """A figure that may be a number, an interval or absent."""
    value = row.get(name)
    if isinstance(value, Mapping):
        value = value.get("value")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _cell(row: Mapping[str, Any], name: str) -> str:
    value, entry = _figure(row, name), row.get(name)
    if value is None:
        return "–"
    if isinstance(entry, Mapping) and "low" in entry and "high" in entry:
        digits = 0 if value >= 100 else 2
        return f"{value:.{digits}f} ({float(entry['low']):.{digits}f}–{float(entry['high']):.{digits}f})"
    return f"{value:.0f}" if value >= 100 or isinstance(entry, int) else f"{value:.2f}"
