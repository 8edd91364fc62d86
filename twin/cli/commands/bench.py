"""`twin bench`: scenario benchmarks. Is the agent safe, and how fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twin.cli.output import emit, progress

if TYPE_CHECKING:
    from scenarios.model import Scenario

__all__ = ["command"]

_FOLDERS = click.option(
    "--scenarios", "folders", multiple=True, type=click.Path(path_type=Path), help="Another folder of scenario files."
)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
_JOBS = click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 256), help="Processes.")


@click.group(name="bench")
def command() -> None:
    """Scenario benchmarks: is the agent safe, and how fast."""


@command.command("list")
@_FOLDERS
@_AS_JSON
def list_scenarios(folders: tuple[Path, ...], as_json: bool) -> None:
    """Scenarios, suites, brains and gates. What is in suite "unseen" is in no other, "all" included."""
    from scenarios.files import find_scenarios
    from scenarios.runner import BRAINS, GATES

    found = find_scenarios(folders)
    suites = sorted({suite for scenario in found for suite in scenario.suites})
    data = {
        "scenarios": [
            {"name": s.name, "title": s.title, "engine": s.engine, "answer": s.answer.value, "suites": list(s.suites)}
            for s in found
        ],
        "suites": suites,
        "brains": list(BRAINS),
        "gates": list(GATES),
    }
    lines = [f"{s.name:<23}{s.engine:<7}{s.answer.value:<11}{s.title}"[:100] for s in found]
    lines += [
        "",
        f"suites  {', '.join(['all', *suites])}",
        f"brains  {', '.join(BRAINS)}",
        f"gates   {', '.join(GATES)}",
    ]
    emit(as_json, data, "\n".join(lines))


@command.command("validate")
@click.option("--suite", default="all", show_default=True, help="A suite's or a scenario's name.")
@click.option("--seeds", default=20, show_default=True, type=click.IntRange(1, 1000), help="Seeds 1 to N.")
@_FOLDERS
@_JOBS
@_AS_JSON
def validate(suite: str, seeds: int, folders: tuple[Path, ...], jobs: int, as_json: bool) -> None:
    """Judge the scenarios before they judge an agent: nothing, every fix, every trap, on every seed.

    Exit code 4 if a scenario does not hold what it promises.
    """
    from scenarios.admit import admit, shortcomings
    from scenarios.results import admission_table
    from twin.spec.canonical import plain

    chosen = _chosen(folders, suite)
    with progress(quiet=as_json) as bar:
        bar.stage(f"validating {len(chosen)} scenarios", len(chosen) * seeds)
        admissions = admit(chosen, range(1, seeds + 1), jobs=jobs, progress=bar.advance)
    wrong = {s.name: shortcomings([a for a in admissions if a.scenario == s.name]) for s in chosen}
    lines = [admission_table(admissions)]
    lines += [f"  {name}: {text}"[:200] for name, texts in wrong.items() for text in texts[:10]]
    emit(as_json, {"admissions": plain(admissions), "shortcomings": wrong}, "\n".join(lines))
    raise click.exceptions.Exit(4 if any(wrong.values()) else 0)


@command.command("run")
@click.option("--suite", default="smoke", show_default=True, help="A suite's or a scenario's name.")
@click.option("--brain", "brains", multiple=True, help="May be given again.  [default: offline, naive]")
@click.option("--gate", "gates", multiple=True, help="off, policy or fleet; may be given again.  [default: off, fleet]")
@click.option(
    "--seeds", default=None, type=click.IntRange(1, 1000), help="Seeds 1 to N.  [default: 1 in smoke, else 3]"
)
@click.option("--first-seed", default=1, show_default=True, type=click.IntRange(1), help="Where the seeds begin.")
@_FOLDERS
@_JOBS
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The folder of the results.")
@_AS_JSON
def run(
    suite: str, brains: tuple[str, ...], gates: tuple[str, ...], seeds: int | None, first_seed: int,
    folders: tuple[Path, ...], jobs: int, out: Path, as_json: bool,
) -> None:  # fmt: skip
    """Every scenario with every brain, gate and seed; episodes.jsonl and summary.json in --out.

    Exit code 4 if an episode could not be looked at: its results are written, and say less than was asked for.
    """
    from scenarios.metrics import rows_of
    from scenarios.results import BENCH_CAPTION, bench_table, write_results
    from scenarios.runner import run_bench
    from twin.spec.canonical import plain

    chosen = _chosen(folders, suite)
    count = seeds if seeds is not None else 1 if suite == "smoke" else 3
    brains, gates = brains or ("offline", "naive"), gates or ("off", "fleet")
    with progress(quiet=as_json) as bar:
        bar.stage(f"running {len(chosen)} scenarios", len(chosen) * count * len(brains) * len(gates))
        runs = run_bench(
            chosen, brains=brains, gates=gates, seeds=range(first_seed, first_seed + count), jobs=jobs,
            progress=bar.advance,
        )  # fmt: skip
    write_results(out, runs, suite=suite, budgets_s={s.name: s.budgets.wall_s for s in chosen})
    rows = rows_of(r.record for r in runs)
    errors = [r.record for r in runs if r.record.outcome.value == "error"]
    lines = [
        bench_table(rows),
        BENCH_CAPTION,
        "",
        f"{len(runs)} episodes in {out}; twin bench show {out}, twin report {out} -o REPORT",
    ]
    lines += [f"  could not look: {_name(r)}: {r.error or r.reason}"[:200] for r in errors[:10]]
    emit(
        as_json, {"out": str(out), "episodes": len(runs), "errors": len(errors), "rows": plain(rows)}, "\n".join(lines)
    )
    raise click.exceptions.Exit(4 if errors else 0)


@command.command("show")
@click.argument("folder", type=click.Path(path_type=Path))
@_AS_JSON
def show(folder: Path, as_json: bool) -> None:
    """The table of a results folder, whole and by scenario."""
    from scenarios.metrics import by_scenario, rows_of
    from scenarios.results import BENCH_CAPTION, bench_table, read_results
    from twin.spec.canonical import plain

    records, summary = read_results(folder)
    lines = [bench_table(rows_of(records)), BENCH_CAPTION]
    for name, rows in by_scenario(records).items():
        lines += ["", name, bench_table(rows)]
    lines += [
        f"  could not look: {_name(r)}: {r.error or r.reason}"[:200] for r in records if r.outcome.value == "error"
    ]
    data: dict[str, Any] = {"rows": plain(rows_of(records)), "by_scenario": plain(by_scenario(records))}
    emit(as_json, {**data, "results_digest": summary["results_digest"]}, "\n".join(lines))


def _chosen(folders: tuple[Path, ...], suite: str) -> tuple[Scenario, ...]:
    from scenarios.files import find_scenarios, in_suite

    return in_suite(find_scenarios(folders), suite)


def _name(record: Any) -> str:
    return f"{record.scenario} seed {record.seed} {record.brain}/{record.gate}"
