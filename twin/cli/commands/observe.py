"""`twin observe`: build a twin from what production shows."""

from __future__ import annotations

from pathlib import Path

import click

from twin.cli.live import live_options
from twin.cli.output import emit, write_text

__all__ = ["command"]


@click.command(name="observe")
@click.option("--prod", required=True, help="A saved World's file, or kube:CONTEXT.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The twin's file.")
@click.option("--window", default="10m", show_default=True, help="How much of the past to look at.")
@live_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    prod: str, out: Path, window: str, prometheus: str | None, queries: Path | None, ops: Path | None, as_json: bool
) -> None:
    """Build a twin from production's objects, metrics and traces, and say how well it fits."""
    from twin.cli.targets import read_target
    from twin.fit.beliefs import count_by_source
    from twin.fit.calibration import calibrate
    from twin.fit.observe import observe
    from twin.spec.errors import Inconclusive
    from twin.spec.files import write_fleet
    from twin.spec.units import counted, parse_duration_s

    plant = read_target(prod, prometheus=prometheus, queries=queries, ops=ops)
    window_s = parse_duration_s(window)
    twin = observe(plant, window_s=window_s)
    try:
        fit = calibrate(plant, window_s=window_s)
    except Inconclusive:  # Too little to hold anything out: the twin stands, how well it fits is not known.
        fit = None
    write_text(out, write_fleet(twin))
    sources = count_by_source(dict(twin.beliefs))
    rests_on = ", ".join(f"{count} {source}" for source, count in sources.items())
    told = "how well it fits is not known: the window is too short to hold any of it out"
    if fit is not None:
        told = f"median error {fit.median_error_ratio:.1%} (nine in ten below {fit.p90_error_ratio:.1%})"
    figures = {
        "services": len(twin.services),
        "median_error_ratio": fit.median_error_ratio if fit else None,
        "p90_error_ratio": fit.p90_error_ratio if fit else None,
        **{str(source): count for source, count in sources.items()},
    }
    services = counted(len(twin.services), "service")
    emit(as_json, figures, f"{out}: {services}, {told}; figures: {rests_on}")
