"""`twin promote`: carry out what was verified."""

from __future__ import annotations

import glob
import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twin.cli.live import live_options
from twin.cli.output import Stopped, complain, emit

if TYPE_CHECKING:
    from twin.cli.targets import Target
    from twin.promote.promoter import PromotionService

__all__ = ["command", "service_for", "stopped"]


@click.command(name="promote")
@click.argument("receipt_file", type=click.Path(path_type=Path))
@click.option("--prod", required=True, help="A saved World's file, or kube:CONTEXT.")
@click.option("--approval", multiple=True, type=click.Path(path_type=Path),
              help="An approval's file, once for each. Default: this receipt's, beside it.")  # fmt: skip
@live_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    receipt_file: Path, prod: str, approval: tuple[Path, ...], prometheus: str | None, queries: Path | None,
    ops: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Check everything again, then canary, watch, and go on or take it back."""
    from twin.cli.commands.receipt import read_envelope
    from twin.cli.targets import write_target
    from twin.spec.errors import ApprovalMissing, BadInput, ReceiptInvalid

    if not receipt_file.is_file():  # A mistyped name is no invalid receipt.
        raise BadInput(
            f"cannot read {receipt_file}", "there is no such file", "make one: twin verify … -o receipt.json"
        )
    envelope = read_envelope(receipt_file, ReceiptInvalid, "verify the change again: twin verify")
    approval = approval or _approvals_beside(receipt_file, envelope)
    approvals = [read_envelope(path, ApprovalMissing, "approve it again: twin approve") for path in approval]
    with write_target(prod, prometheus=prometheus, queries=queries, ops=ops) as target:
        say: Callable[[str], None] = (lambda _: None) if as_json else (lambda text: click.echo(f"  {text}"))
        service = service_for(target, approvals=approvals, say=say)
        try:
            done = service.attempt(envelope)
        except KeyboardInterrupt as error:
            raise stopped(service, prod, receipt_file) from error
        except ApprovalMissing as error:
            raise ApprovalMissing(error.what, error.why, _how_to_approve(receipt_file, prod)) from error
        service.checkpoint()
    result: dict[str, Any] = {
        "outcome": str(done.outcome), "reason": done.reason, "promotion": done.promotion_id,
        "observed_recovery_s": done.observed_recovery_s, "exit_code": done.exit_code,
    }  # fmt: skip
    if done.exit_code:
        what = f"{str(done.outcome).replace('_', ' ')}: promotion {done.promotion_id}"
        next_step = f"look: twin promotions show {done.promotion_id}"
        if done.outcome == "held":
            next_step += f"; then leave it, or: twin promotions undo {done.promotion_id} --prod {prod}"
        if done.left:
            next_step += f"; mend what is in the way, then: twin promotions undo {done.promotion_id} --prod {prod}"
        complain(as_json, what, done.reason, next_step, done.exit_code)
    if as_json or not done.exit_code:
        recovered = f", users well after {done.observed_recovery_s:.0f} s" if done.observed_recovery_s else ""
        emit(as_json, result, f"promoted {done.promotion_id}: {done.reason}{recovered}")
    raise click.exceptions.Exit(done.exit_code)


def _how_to_approve(receipt_file: Path, prod: str) -> str:
    approve = shlex.join(["twin", "approve", str(receipt_file), "--prod", prod, "--key"])
    promote = shlex.join(["twin", "promote", str(receipt_file), "--prod", prod, "--approval"])
    return f"{approve} NAME; then: {promote} FILE"


def _approvals_beside(receipt_file: Path, envelope: Mapping[str, Any]) -> tuple[Path, ...]:
    """What `twin approve` left beside the receipt, of this very receipt; one of an earlier one would refuse all."""
    from twin.receipt import read
    from twin.receipt.envelope import read_envelope
    from twin.receipt.strict import Malformed
    from twin.spec.errors import TwinError
    from twin.spec.receipt import receipt_digest

    try:
        digest, found = receipt_digest(read(envelope)), []
    except TwinError:
        return ()  # The promoter says what is wrong with it.
    for path in sorted(receipt_file.parent.glob(f"{glob.escape(receipt_file.stem)}.approval-*.json")):
        try:
            payload = json.loads(read_envelope(path.read_bytes()).payload)
        except (OSError, ValueError, RecursionError, Malformed):
            continue
        if isinstance(payload, dict) and payload.get("receipt_digest") == digest:
            found.append(path)
    return tuple(found)


def stopped(service: PromotionService, prod: str, receipt_file: Path) -> Stopped:
    """Ctrl-C in a promotion: how far it came is in the journal, and in the World's file."""
    from twin.promote.journal import Kind, Status

    open_ones = [p for p in service.journal.promotions(service.plant.name) if p.status is Status.OPEN]
    if not open_ones:
        return Stopped("the checks before the first write")
    promotion = open_ones[-1].id
    made = sum(entry.kind in (Kind.DONE, Kind.OBSERVED) for entry in service.journal.entries(promotion))
    return Stopped(
        f"promotion {promotion}, {made} moves done, the one under way not",
        f"finish it: twin promote {receipt_file} --prod {prod}; or take it back: twin promotions abort {promotion} "
        f"--prod {prod}",
    )


def service_for(
    target: Target,
    *,
    approvals: list[dict[str, Any]] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> PromotionService:
    """The promoter of a target: it makes the target durable at every move."""
    import policies
    from agent.limits.guard import SqliteWriteGuard
    from twin.cli.home import home, journal_path, trusted_folder
    from twin.promote.journal import Journal
    from twin.promote.promoter import PromotionService
    from twin.receipt import load_trusted_keys

    policy = policies.load()
    return PromotionService(
        plant=target.plant,
        journal=Journal(journal_path()),
        policy=policy,
        trusted=load_trusted_keys(trusted_folder()),
        guard=SqliteWriteGuard(
            home() / "guard.sqlite", target=target.where, terminations_max=policy.pod_terminations_per_minute_max
        ),
        checkpoint=target.checkpoint,
        approvals=approvals or [],
        say=say,
        where=target.where,
    )
