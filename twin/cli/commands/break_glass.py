"""`twin break-glass`: a named human writes without a receipt. The hard nets stay."""

from __future__ import annotations

import time
from pathlib import Path

import click

from twin.cli.live import live_options
from twin.cli.output import complain, emit

__all__ = ["command"]


@click.command(name="break-glass")
@click.argument("change_file", type=click.Path(path_type=Path))
@click.option("--prod", required=True, help="A saved World's file, or kube:CONTEXT.")
@click.option("--name", "who", required=True, help="Who does it. It is journalled and paged.")
@click.option("--reason", required=True, help="Why it cannot wait for a rehearsal.")
@live_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    change_file: Path,
    prod: str,
    who: str,
    reason: str,
    prometheus: str | None,
    queries: Path | None,
    ops: Path | None,
    as_json: bool,
) -> None:
    """Apply a change at once, without rehearsal, receipt or canary. Never what a hard safety net forbids."""
    from agent.pager import ConsoleSink, FileSink, Pager
    from twin.cli.commands.promote import service_for
    from twin.cli.home import home, stop_command
    from twin.cli.targets import compile_here, write_target
    from twin.receipt import is_agent
    from twin.spec.change import action_text
    from twin.spec.change_file import read_change
    from twin.spec.errors import PolicyDenied
    from twin.spec.incident import Page

    if is_agent(who):
        raise PolicyDenied("break-glass is for humans", f'"{who}" is a program\'s name', "let a human do it")
    change = read_change(change_file)
    with write_target(prod, prometheus=prometheus, queries=queries, ops=ops) as target:
        service = service_for(target)
        plant = service.plant
        plan = compile_here(change, plant)
        now_s = plant.clock.now_s()
        done = service.break_glass(plan, who=who, reason=reason)
        service.checkpoint()
    what = ", ".join(action_text(action) for action in change.actions)
    written = not done.exit_code
    page = Page(
        id=done.promotion_id, incident="", at_s=now_s, impact=f"{who} broke the glass on {plant.name}: {what}",
        likely=reason, tried=what if written else f"{what}: {done.reason}", in_flight="; ".join(done.left) or "none",
        next_command=f"twin promotions show {done.promotion_id}",
        stop_command=stop_command(home()),
    )  # fmt: skip
    pager = Pager(home() / "outbox.sqlite", [FileSink(home() / "pages.txt"), *([] if as_json else [ConsoleSink()])])
    pager.page(page, now_s=time.time())  # noqa: TID251 - the edge: the pager's own clock
    if not written:
        next_step = f"look: twin promotions show {done.promotion_id}"
        complain(as_json, f"rolled back: {done.promotion_id}", done.reason, next_step, done.exit_code)
        raise click.exceptions.Exit(done.exit_code)
    emit(
        as_json,
        {"promotion": done.promotion_id},
        f"written without rehearsal: {done.promotion_id}; journalled and paged",
    )
