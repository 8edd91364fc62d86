"""`twin promotions`: list, show, abort or undo."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from twin.cli.live import live_options
from twin.cli.output import emit

__all__ = ["command"]


@click.group(name="promotions")
def command() -> None:
    """List, show, abort or undo promotions."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def list_promotions(as_json: bool) -> None:
    """Every promotion in this journal."""
    from twin.cli.home import journal_path
    from twin.promote.journal import Journal

    found = [
        {"id": p.id, "target": p.target, "status": str(p.status), "receipt": p.receipt_digest}
        for p in Journal(journal_path()).promotions()
    ]
    lines = [f"{p['id']:<16} {p['status']:<12} {p['target']:<16} receipt {p['receipt'][:12]}" for p in found]
    emit(as_json, found, "\n".join(lines) or "nothing was promoted from here yet")


@command.command("show")
@click.argument("promotion_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def show(promotion_id: str, as_json: bool) -> None:
    """What a promotion did, entry by entry; the journal's chain is checked."""
    from twin.cli.home import journal_path
    from twin.promote.journal import Journal
    from twin.spec.errors import BadInput

    entries = Journal(journal_path()).entries(promotion_id)
    if not entries:
        raise BadInput(
            f"there is no promotion {promotion_id}", "the journal has none of that id", "twin promotions list"
        )
    rows = [{"number": e.number, "at_s": e.at_s, "kind": str(e.kind), "data": dict(e.data)} for e in entries]
    lines = [
        f"{row['number']:>4}  {row['at_s']:.0f}  {row['kind']:<13} "
        + ", ".join(f"{k}={v}" for k, v in row["data"].items() if k != "undo")  # type: ignore[attr-defined]
        for row in rows
    ]
    emit(as_json, rows, "\n".join(lines))


@command.command("undo")
@click.argument("promotion_id")
@click.option("--prod", required=True, help="A saved World's file, or kube:CONTEXT.")
@live_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def undo(
    promotion_id: str, prod: str, prometheus: str | None, queries: Path | None, ops: Path | None, as_json: bool
) -> None:
    """Take a promotion back: fields that still hold its values get what was there before.

    PROMOTION_ID may be `last`: the newest of this target.
    """
    wanted = _newest(prod) if promotion_id == "last" else promotion_id
    _take_back(wanted, prod, as_json, abort=False, prometheus=prometheus, queries=queries, ops=ops)


@command.command("abort")
@click.argument("promotion_id")
@click.option("--prod", required=True, help="A saved World's file, or kube:CONTEXT.")
@live_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def abort(
    promotion_id: str, prod: str, prometheus: str | None, queries: Path | None, ops: Path | None, as_json: bool
) -> None:
    """Stop a promotion that is under way, and take it back."""
    _take_back(promotion_id, prod, as_json, abort=True, prometheus=prometheus, queries=queries, ops=ops)


def _take_back(
    promotion_id: str,
    prod: str,
    as_json: bool,
    *,
    abort: bool,
    prometheus: str | None,
    queries: Path | None,
    ops: Path | None,
) -> None:
    from twin.cli.commands.promote import service_for
    from twin.cli.targets import write_target
    from twin.spec.errors import PromoterActive

    with ExitStack() as lock:
        try:
            target = lock.enter_context(write_target(prod, prometheus=prometheus, queries=queries, ops=ops))
        except PromoterActive:  # By a World's lock alone somebody is at work: a lease outlives a holder that died.
            if not abort:
                raise
            _ask_to_abort(promotion_id, prod, as_json)
            return
        service = service_for(target)
        try:
            done = service.abort(promotion_id) if abort else service.undo(promotion_id)
        except PromoterActive:  # A live cluster has no lock but its lease: its holder, if it lives, is asked.
            if not (abort and target.plant.live):
                raise
            _ask_to_abort(promotion_id, prod, as_json)
            return
        service.checkpoint()
    lost, lines = _not_taken_back(promotion_id), [f"{promotion_id}: {done.reason}"]
    if lost:
        lines.append(f"  not taken back, for it cannot be: {'; '.join(lost)}")
    if not abort:
        lines.append(f"  the incident that it ended may return; look: twin world status {prod}")
    data = {"outcome": str(done.outcome), "reason": done.reason, "not_taken_back": lost}
    emit(as_json, data, "\n".join(lines))
    raise click.exceptions.Exit(0 if done.exit_code == 9 and not done.left else done.exit_code)


def _not_taken_back(promotion_id: str) -> list[str]:
    """The actions of a promotion that nothing undoes: what is gone stays gone, whatever the journal calls it."""
    from twin.change.catalogue import action_type
    from twin.cli.home import journal_path
    from twin.promote.journal import Journal
    from twin.receipt import read
    from twin.spec.change import Reversibility, action_text, change_from_json
    from twin.spec.errors import TwinError

    promotion = next((p for p in Journal(journal_path()).promotions() if p.id == promotion_id), None)
    try:
        change = change_from_json(read(promotion.envelope).change) if promotion is not None else None
    except TwinError:
        return []  # Written by breaking the glass: there is no receipt.
    return [
        f"{action_text(action)} ({action_type(action.kind).reversibility})"
        for action in (change.actions if change is not None else ())
        if action_type(action.kind).reversibility is not Reversibility.REVERSIBLE
    ]


def _newest(prod: str) -> str:
    """What `last` stands for: the newest promotion of this target. Raises BadInput if there is none."""
    from twin.cli.home import journal_path
    from twin.cli.targets import target_name
    from twin.promote.journal import Journal
    from twin.spec.errors import BadInput

    found = Journal(journal_path()).promotions(target_name(prod))
    if not found:
        raise BadInput(f"nothing was promoted to {prod} from here", "the journal has none", "twin promotions list")
    return found[-1].id


def _ask_to_abort(promotion_id: str, prod: str, as_json: bool) -> None:
    """The promoter that holds the target reads the journal before every move: it is the one to take it back."""
    from twin.cli.home import journal_path
    from twin.cli.targets import NO_METRICS, read_target
    from twin.promote.journal import Journal
    from twin.promote.promoter import ask_to_abort
    from twin.spec.errors import BadInput

    journal = Journal(journal_path())
    promotion = next((p for p in journal.promotions() if p.id == promotion_id), None)
    if promotion is None:
        raise BadInput(
            f"there is no promotion {promotion_id}", "the journal has none of that id", "twin promotions list"
        )
    ask_to_abort(journal, promotion, read_target(prod, prometheus=NO_METRICS).clock.now_s())
    reason = "asked to stop; its promoter takes it back at its next look"
    emit(as_json, {"outcome": "asked", "reason": reason}, f"{promotion_id}: {reason}")
