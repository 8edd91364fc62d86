"""`twin report`: report on a benchmark, alone or against a baseline."""

from __future__ import annotations

from pathlib import Path

import click

from twin.cli.output import emit
from twin.spec.units import counted

__all__ = ["command"]


@click.command(name="report")
@click.argument("results", type=click.Path(path_type=Path))
@click.option("--baseline", type=click.Path(path_type=Path), default=None, help="Results to compare with.")
@click.option(
    "--fail-on", default="any", show_default=True, type=click.Choice(["safety", "latency", "cost", "any", "nothing"]),
    help="Which regressions give exit code 10. What was not run or not seen always does, but for nothing.",
)  # fmt: skip
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The folder of the report.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(results: Path, baseline: Path | None, fail_on: str, out: Path, as_json: bool) -> None:
    """Write report.html, summary.md, junit.xml and report.json. Exit code 10 if the candidate is worse."""
    from reports.benchmark import compare, load_results, write_report

    candidate = load_results(results)
    regressions = compare(candidate, load_results(baseline)) if baseline is not None else ()
    written = write_report(out, candidate, regressions, baseline=str(baseline or ""))
    lines = [f"{r.kind:<8} {r.words()}" for r in regressions]
    lines.append(f"{counted(len(regressions), 'regression')}; " + ", ".join(str(path) for path in written))
    data = {"regressions": [r.words() for r in regressions], "files": [str(path) for path in written]}
    emit(as_json, data, "\n".join(lines))
    worse = [r for r in regressions if fail_on != "nothing" and (fail_on == "any" or r.kind in (fail_on, "coverage"))]
    raise click.exceptions.Exit(10 if worse else 0)
