"""`twin agent`: look at the agent's incidents and thoughts."""

from __future__ import annotations

from pathlib import Path

import click

from twin.cli.output import emit

__all__ = ["command"]

TRACES = "out/demo/traces.jsonl"


@click.group(name="agent")
def command() -> None:
    """Look at the agent's incidents and thoughts."""


@command.command("trace")
@click.argument("incident", required=False)
@click.option(
    "--from", "traces", default=TRACES, show_default=True, type=click.Path(path_type=Path), help="Its traces."
)
@click.option("--json", "as_json", is_flag=True, help="The spans as JSON.")
def trace(incident: str | None, traces: Path, as_json: bool) -> None:
    """What the agent saw, recalled, thought, rehearsed and did, as a tree; of all incidents, or of one."""
    from agent.telemetry.render import render_trace
    from agent.telemetry.trace import read_spans
    from twin.spec.errors import BadInput

    if not traces.is_file():
        raise BadInput(f"cannot read {traces}", "there is no such file", "make one: twin demo; or name it: --from FILE")
    try:
        spans = read_spans(traces, incident=incident)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadInput(f"cannot read {traces}", f"it holds no traces: {error}", "name it: --from FILE") from error
    if not spans:
        raise BadInput(f"there is no incident {incident}", f"{traces} has no trace of it", "leave the name out: all")
    emit(as_json, spans, render_trace(spans))


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def status(as_json: bool) -> None:
    """Whether writes from this TWIN_HOME are stopped, which breakers are open, and what is under way."""
    from agent.limits.guard import SqliteWriteGuard
    from twin.cli.home import home, journal_path
    from twin.promote.journal import Journal, Status
    from twin.spec.canonical import plain

    guard = SqliteWriteGuard(home() / "guard.sqlite")
    switches, breakers = plain(guard.switches()), plain(guard.open_breakers())
    open_ones = [p.id for p in Journal(journal_path()).promotions() if p.status is Status.OPEN]
    lines = [f"stopped    {s['name']}: {s['reason']} (by {s['by']})" for s in switches] or ["writes     allowed"]
    lines += [
        f"broken     {b['kind']} {b['scope']} of {b['target']}: failed {b['failures']} times in a row" for b in breakers
    ]
    lines.append(f"under way  {', '.join(open_ones) or 'nothing'}")
    emit(as_json, {"switches": switches, "breakers": breakers, "open": open_ones}, "\n".join(lines))


@command.command("reset")
@click.argument("kind")
@click.argument("scope")
@click.option("--prod", required=True, help="A saved World's file, or kube:CONTEXT.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def reset(kind: str, scope: str, prod: str, as_json: bool) -> None:
    """Close the breaker of a kind of action (rollout_undo) in a scope (shop/cart), once you know why it failed."""
    from agent.limits.guard import SqliteWriteGuard
    from twin.cli.home import home
    from twin.cli.targets import guard_target
    from twin.spec.errors import BadInput

    guard = SqliteWriteGuard(home() / "guard.sqlite", target=guard_target(prod))
    broken = [(b.kind, b.scope) for b in guard.open_breakers() if b.target == guard_target(prod)]
    if (kind, scope) not in broken:
        known = ", ".join(" ".join(one) for one in broken) or "none"
        raise BadInput(f"no breaker of {kind} {scope} is open", f"open on {prod}: {known}", "twin agent status")
    guard.reset(kind=kind, scope=scope)
    emit(as_json, {"kind": kind, "scope": scope, "open": False}, f"closed: {kind} {scope} may be tried again")
