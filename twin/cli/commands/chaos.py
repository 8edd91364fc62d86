"""`twin chaos`: list faults; run Chaos Toolkit experiments on a World."""

from __future__ import annotations

from pathlib import Path

import click

from twin.cli.output import emit

__all__ = ["command"]


@click.group(name="chaos")
def command() -> None:
    """List faults; run Chaos Toolkit experiments on a World."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def list_faults(as_json: bool) -> None:
    """Every kind of fault, with its target and parameters."""
    from chaos.catalogue import fault_types
    from twin.spec.canonical import plain

    lines = []
    for kind in fault_types():
        figures = ", ".join(f"{p.name}={p.default:g}" if isinstance(p.default, float) else f"{p.name}={p.default}"
                            for p in kind.parameters)  # fmt: skip
        lines.append(f"{kind.kind}({kind.target}{', ' if figures else ''}{figures})\n    {kind.summary}")
    emit(as_json, plain(list(fault_types())), "\n".join(lines))


@command.command("run")
@click.argument("experiment", type=click.Path(path_type=Path))
@click.option(
    "--journal", type=click.Path(path_type=Path), default=None, help="Where to write Chaos Toolkit's journal."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def run(experiment: Path, journal: Path | None, as_json: bool) -> None:
    """Run an experiment through Chaos Toolkit itself. Exit code 3: its hypothesis deviates. 4: nobody can tell."""
    from chaos.toolkit.runner import run_experiment

    result = run_experiment(experiment, journal)
    emit(as_json, result.to_json(), result.text())
    raise click.exceptions.Exit(result.exit_code)
