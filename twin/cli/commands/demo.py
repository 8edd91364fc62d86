"""`twin demo`: watch two incidents in a large fleet, from alert to report."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from twin.cli.output import emit, progress, write_text

__all__ = ["clear", "command"]

SETTLE_S = 300.0
LIMIT_S = 600.0  # to close an incident; one that was handed over is watched for as long, and nothing may be written


@click.command(name="demo")
@click.option("--services", default=2000, show_default=True, help="How many services production has: 40 or more.")
@click.option("--seed", default=7, show_default=True, help="Of everything that is random in it.")
@click.option("--out", default="out/demo", show_default=True, type=click.Path(path_type=Path), help="Where files go.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Processes for the rehearsals.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(services: int, seed: int, out: Path, jobs: int, as_json: bool) -> None:
    """A fault strikes a fleet of 2,000 services. The agent proposes fixes; the twin rehearses them; the tempting
    wrong ones are rejected, the right one is promoted on a signed receipt. Then a second incident, which it
    hands over to a human."""
    from reports.demo_page import render_demo
    from twin.cli.demo.stage import set_stage, written_state
    from twin.cli.demo.story import incident_dossier, tell_fault, tell_incident, tell_stage
    from twin.cli.home import program
    from twin.spec.errors import BadInput
    from twin.spec.fault import parse_fault
    from twin.spec.units import ns

    if services < 40:
        raise BadInput(f"a fleet of {services} is too small", "the shop alone has 11 services", "use 40 or more")
    started = time.perf_counter()
    clear(out)
    incidents: list[dict[str, Any]] = []
    # Without a terminal there are no progress lines: the story itself tells how far it is.
    with _swept(out), progress(quiet=as_json or not sys.stderr.isatty()) as bar:

        def say(text: str) -> None:
            if not as_json:
                bar.pause()
                click.echo(text)

        stage = set_stage(services=services, seed=seed, out=out, bar=bar)
        tell_stage(stage, say)
        story = (
            ("held_slots(shop/orders-db, station=row-lock, session=session-4711)", "a lock that nobody gives back"),
            ("errors(shop/payment, ratio=0.35)", "a failure that no change of ours cures"),
        )
        for number, (text, title) in enumerate(story, start=1):
            fault = parse_fault(text)
            if incidents:  # The last one is mended; production calms down before the next.
                stage.world.run_for(ns(SETTLE_S))
            say("")
            tell_fault(fault, say, number=number)
            stage.strike(fault)
            before = written_state(stage.world)
            episode = stage.run_agent(limit_s=LIMIT_S, jobs=jobs, bar=bar)
            tell_incident(episode, say, number=number, traces=out / "traces.jsonl")
            base = {"before": before, "after": written_state(stage.world)}
            incidents.append(incident_dossier(stage, episode, number=number, title=title) | {"base": base})
            stage.mend()
    dossier = {
        "title": "twin demo", "seed": seed, "services": services,
        "calibration": {"median_error_ratio": stage.calibration.median_error_ratio,
                        "p90_error_ratio": stage.calibration.p90_error_ratio},
        "policy_revision": stage.policy.revision,
        "epoch_s": stage.world.fleet.epoch_s,
        "command": f"twin demo --services {services} --seed {seed}",
        "incidents": incidents,
    }  # fmt: skip
    write_text(out / "demo.json", json.dumps(dossier, indent=1, sort_keys=True))
    write_text(out / "report.html", render_demo(dossier))
    wall_s = time.perf_counter() - started
    told = f"\nreport    {out / 'report.html'}   ({wall_s:.0f} s)\nyour own  {program()} import DIR -o fleet.yaml"
    emit(as_json, dossier, told)


def clear(out: Path) -> None:
    """An empty folder. Only what an earlier demo left is removed: --out . must not cost anybody their files."""
    from twin.spec.errors import BadInput

    if out.exists() and not out.is_dir():
        raise BadInput(f"cannot write to {out}", "it is no folder", "name a folder: --out DIR")
    if out.is_dir() and any(out.iterdir()):
        if not (out / _MARK).exists():
            raise BadInput(
                f"cannot write to {out}", "it holds files that no demo made", "name another folder: --out DIR"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()


@contextmanager
def _swept(out: Path) -> Iterator[None]:
    """A demo that is stopped leaves nothing: what lies there is its own, since `clear`."""
    try:
        yield
    except KeyboardInterrupt:
        shutil.rmtree(out, ignore_errors=True)
        raise


_MARK = ".twin-demo"
