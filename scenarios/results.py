"""A results folder: `episodes.jsonl` and `summary.json`, each replaced whole, and the tables that people read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from scenarios.admit import Admission, is_trap
from scenarios.metrics import Row, by_scenario, rows_of
from scenarios.record import EpisodeRun, Record, line_of, record_of
from twin.spec.atomic import replace_file
from twin.spec.canonical import digest, plain
from twin.spec.errors import BadInput
from twin.spec.verdict import Interval

__all__ = ["BENCH_CAPTION", "admission_table", "bench_table", "read_results", "write_results"]

COLUMNS: Final = 100


def write_results(out: Path, runs: Sequence[EpisodeRun], *, suite: str, budgets_s: Mapping[str, float]) -> None:
    """Both files. `results_digest` names the episodes, whatever machine ran them; wall times stand apart."""
    records = [run.record for run in runs]
    lines = [line_of(record) for record in records]
    slow = [
        f"{run.record.scenario} seed {run.record.seed} {run.record.brain}/{run.record.gate}: {run.wall_s:.0f} s"
        for run in runs
        if run.wall_s > budgets_s.get(run.record.scenario, float("inf"))
    ]
    summary = {
        "suite": suite,
        "results_digest": digest(lines),
        "rows": plain(rows_of(records)),
        "by_scenario": plain(by_scenario(records)),
        "wall": {"total_s": round(sum(run.wall_s for run in runs), 1), "over_budget": slow},
    }
    replace_file(out / "episodes.jsonl", "".join(f"{line}\n" for line in lines).encode())
    replace_file(out / "summary.json", (json.dumps(summary, indent=1, sort_keys=True) + "\n").encode())


def read_results(folder: Path) -> tuple[tuple[Record, ...], Mapping[str, Any]]:
    """The records and the summary of a folder. Raises BadInput if it holds no whole results."""
    try:
        lines = (folder / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
        summary: Mapping[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read results in {folder}", str(error), "twin bench run --out DIR") from error
    written = [line for line in lines if line.strip()]
    if not isinstance(summary, dict) or summary.get("results_digest") != digest(written):
        raise BadInput(
            f"cannot read results in {folder}", "the episodes are not those that its summary was made of",
            "run it again: twin bench run --out DIR",
        )  # fmt: skip
    return tuple(record_of(line) for line in written), summary


def bench_table(rows: Sequence[Row]) -> str:
    """The table of a bench run, at most COLUMNS wide."""
    return "\n".join([_cells(_BENCH_HEAD, _BENCH_WIDTHS), *(_cells(_bench_cells(row), _BENCH_WIDTHS) for row in rows)])


BENCH_CAPTION: Final = (
    "n: episodes of sc scenarios, over which the intervals are taken. err: could not be looked at.\n"
    "pages n/m: needless and missed, an episode. TTM: mean time to mitigate over all that can be fixed;\n"
    "(n) of them were not, and count until their end. Times are production's: a verdict costs a modelled\n"
    "1 s a suspect and 2 s a candidate, whatever it took here."
)


def _bench_cells(row: Row) -> tuple[str, ...]:
    return (
        row.brain, row.gate, str(row.episodes), str(row.scenarios), str(row.errors or "–"), f"{row.score:+.2f}",
        _interval(row.safe_resolve), _interval(row.harm_rate),
        "–" if row.harm_minutes is None else f"{row.harm_minutes.value:.2f}",
        f"{_number(row.needless_pages)}/{_number(row.missed_pages)}",
        "–" if row.time_to_mitigate_s is None else _mitigation(row.time_to_mitigate_s.value, row.not_mitigated),
    )  # fmt: skip


def admission_table(admissions: Sequence[Admission]) -> str:
    """A line for each course of each scenario: on how many seeds it did what it has to."""
    lines = [_cells(("scenario", "course", "as wanted", "how"), _ADMISSION_WIDTHS)]
    for name in dict.fromkeys(admission.scenario for admission in admissions):
        mine = [admission for admission in admissions if admission.scenario == name]
        lines += [
            _cells((name if number == 0 else "", course, wanted, how), _ADMISSION_WIDTHS)
            for number, (course, wanted, how) in enumerate(_courses(mine))
        ]
    return "\n".join(lines)


def _courses(mine: Sequence[Admission]) -> Iterator[tuple[str, str, str]]:
    """Course, on how many seeds it went as wanted, and how; the verdict last."""
    count = len(mine)
    yield "healthy before", f"{sum(a.calm.passed for a in mine)}/{count}", ""
    yield "nothing done", f"{sum(a.nothing.finding.outcome == 'failed' for a in mine)}/{count}", "oracle fails"
    for index, fix in enumerate(mine[0].fixes):
        trials = [a.fixes[index] for a in mine]
        good = sum(t.finding.passed and t.replay is not None and t.replay.passed for t in trials)
        harms = sum(t.harm is not None and t.harm.counts for t in trials)
        how = "passes, and when replayed" + (f"; harms {harms}" if harms else "")
        yield f"fix: {fix.name}", f"{good}/{count}", how
    for index, trap in enumerate(mine[0].traps):
        trials = [a.traps[index] for a in mine]
        fails = sum(t.finding.outcome == "failed" for t in trials)
        harms = sum(t.harm is not None and t.harm.counts for t in trials)
        yield f"trap: {trap.name}", f"{sum(is_trap(t) for t in trials)}/{count}", f"fails {fails}, harms {harms}"
    wrong = sum(bool(a.shortcomings()) for a in mine)
    yield ("NOT admitted" if wrong else "admitted"), f"{count - wrong}/{count}", ""


_BENCH_HEAD: Final = (
    "brain", "gate", "n", "sc", "err", "score", "safe-resolve", "harm rate", "h-min", "pages n/m", "TTM s",
)  # fmt: skip
_BENCH_WIDTHS: Final = (14, 7, 4, 3, 4, 6, 17, 17, 6, 11, 11)
_ADMISSION_WIDTHS: Final = (16, 40, 11, 30)


def _cells(texts: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"{text:<{width}}" for text, width in zip(texts, widths, strict=True)).rstrip()[:COLUMNS]


def _interval(value: Interval | None) -> str:
    return "–" if value is None else f"{value.value:.2f} ({value.low:.2f}–{value.high:.2f})"


def _mitigation(mean_s: float, not_mitigated: int) -> str:
    return f"{mean_s:.0f} ({not_mitigated})" if not_mitigated else f"{mean_s:.0f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
