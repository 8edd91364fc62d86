"""`twin takeover`: a human takes the wheel."""

from __future__ import annotations

import time
from pathlib import Path

import click

from twin.cli.output import emit

__all__ = ["command"]


@click.command(name="takeover")
@click.option("--by", "who", default="a human", show_default=True, help="Your name, for the record.")
@click.option(
    "--home", "folder", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Whose guard and journal: the agent's that sent the page. Default: TWIN_HOME.",
)  # fmt: skip
@click.option("--release", is_flag=True, help="Give it back: agents and promoters may write again.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(who: str, folder: Path | None, release: bool, as_json: bool) -> None:
    """Stop every write of agents and promoters that use this TWIN_HOME, at once and until released.

    What is under way stops, within seconds of its target's time, and is taken back. Rollbacks are never stopped.
    """
    from agent.limits.guard import SqliteWriteGuard
    from twin.cli.home import home, stop_command
    from twin.promote.journal import Journal, Status

    folder = folder or home()
    guard = SqliteWriteGuard(folder / "guard.sqlite")
    if release:
        guard.release()
        emit(as_json, {"stopped": False}, "released: agents and promoters may write again")
        return
    guard.engage(by=who, reason=f"taken over by {who}", now_s=time.time())  # noqa: TID251 - the edge
    open_ones = [p.id for p in Journal(folder / "journal.sqlite").promotions() if p.status is Status.OPEN]
    lines = [f"stopped by {who}: no agent and no promoter writes from here any more"]
    lines += [
        f"  under way: {promotion}; take it back: twin promotions abort {promotion} --prod …" for promotion in open_ones
    ]
    lines.append(f"  give it back: {stop_command(folder)} --release")
    emit(as_json, {"stopped": True, "open": open_ones}, "\n".join(lines))
