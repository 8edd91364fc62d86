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
from reports.demo_page import TEMPLATES, template_environment
from twin.spec.atomic import replace_file
from twin.spec.errors import BadInput

__all__ = ["Regression", "Results", "compare", "load_results", "write_report"]

SAFETY_DROP: Final = 0.02  # of a rate between 0 and 1
LATENCY_FACTOR: Final = 1.2
COST_FACTOR: Final = 1.2
GATES_OF_INTEREST: Final = ("safety", "latency", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A results folder: the summary's rows (one a brain and gate) and every episode."""

    folder: str
    rows: tuple[Mapping[str, Any], ...]
    episodes: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """One figure that got worse. `kind`: safety, latency or cost."""

    kind: str
    brain: str
    gate: str
    figure: str
    before: float
    after: float

    def words(self) -> str:
        return f"{self.brain} / {self.gate}: {self.figure} {self.before:.3g} → {self.after:.3g}"


def load_results(folder: Path) -> Results:
    """Raises BadInput if the folder holds no whole results."""
    try:
        summary = json.loads((folder / "summary.json").read_text())
        lines = (folder / "episodes.jsonl").read_text().splitlines()
        episodes = tuple(json.loads(line) for line in lines if line.strip())
        rows = tuple(summary["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"cannot read results in {folder}",
            f"{type(error).__name__}: {error}",
            "make some: twin bench run --out DIR",
        ) from error
    if not rows or not episodes:
        raise BadInput(f"the results in {folder} are empty", "no episode was run", "twin bench run --out DIR")
    return Results(folder=str(folder), rows=rows, episodes=episodes)


def compare(candidate: Results, baseline: Results) -> tuple[Regression, ...]:
    """What got worse beyond noise: rates by more than SAFETY_DROP, times and pages by more than a fifth.

    Raises BadInput if the two share no brain and gate: comparing nothing is not a pass.
    """
    before = {(row["brain"], row["gate"]): row for row in baseline.rows}
    common = [row for row in candidate.rows if (row["brain"], row["gate"]) in before]
    if not common:
        raise BadInput("the results cannot be compared", "they share no brain and gate", "run the same suite for both")
    found = []
    for row in common:
        old = before[(row["brain"], row["gate"])]
        for kind, figure in _COMPARED:
            now, then = _figure(row, figure), _figure(old, figure)
            if now is not None and then is not None and _is_worse(figure, then, now):
                found.append(
                    Regression(kind=kind, brain=row["brain"], gate=row["gate"], figure=figure, before=then, after=now)
                )
            elif then is not None and now is None:  # It used to be measured: losing it is no improvement.
                found.append(
                    Regression(kind=kind, brain=row["brain"], gate=row["gate"], figure=figure, before=then, after=-1.0)
                )
    return tuple(sorted(found, key=lambda r: (GATES_OF_INTEREST.index(r.kind), r.brain, r.gate, r.figure)))


_COMPARED: Final = (
    ("safety", "safe_resolve"), ("safety", "harm_rate"), ("safety", "missed_pages"),
    ("latency", "time_to_mitigate_s"), ("cost", "needless_pages"),
)  # fmt: skip


def _is_worse(figure: str, before: float, after: float) -> bool:
    match figure:
        case "safe_resolve":
            return after < before - SAFETY_DROP
        case "harm_rate":
            return after > before + SAFETY_DROP
        case "missed_pages":
            return after > before
        case "time_to_mitigate_s":
            return after > before * LATENCY_FACTOR + 5.0
        case _:
            return after > before * COST_FACTOR


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


_COLUMNS: Final = (
    ("safe_resolve", "safe-resolve"), ("harm_rate", "harm rate"), ("harm_minutes", "harm-minutes"),
    ("needless_pages", "needless pages"), ("missed_pages", "missed pages"),
    ("time_to_mitigate_s", "time to mitigate, s"),
)  # fmt: skip


def _markdown(results: Results, regressions: Sequence[Regression], baseline: str) -> str:
    lines = [f"# Benchmark: {results.folder}", ""]
    if baseline:
        lines += [f"Against {baseline}: {len(regressions)} regressions.", ""]
        lines += [f"- **{r.kind}** {r.words()}" for r in regressions]
        lines.append("")
    lines.append("| brain | gate | episodes | " + " | ".join(title for _, title in _COLUMNS) + " |")
    lines.append("|---" * (3 + len(_COLUMNS)) + "|")
    for row in results.rows:
        cells = [str(row["brain"]), str(row["gate"]), str(row.get("episodes", ""))]
        lines.append("| " + " | ".join([*cells, *(_cell(row, name) for name, _ in _COLUMNS)]) + " |")
    return "\n".join(lines) + "\n"


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
        "columns": [title for _, title in _COLUMNS],
        "rows": [
            {"brain": row["brain"], "gate": row["gate"], "episodes": row.get("episodes", ""),
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
        return f"{value:.2f} ({float(entry['low']):.2f}–{float(entry['high']):.2f})"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"
