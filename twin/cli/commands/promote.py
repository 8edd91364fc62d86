"""`twin promote`: carry out what was verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twin.cli.output import emit

if TYPE_CHECKING:
    from twin.fleet.world import World
    from twin.promote.promoter import PromotionService

__all__ = ["command", "service_for"]


@click.command(name="promote")
@click.argument("receipt_file", type=click.Path(path_type=Path))
@click.option("--prod", required=True, help="A saved World's file, or kube:CONTEXT.")
@click.option("--approval", multiple=True, type=click.Path(path_type=Path), help="An approval's file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(receipt_file: Path, prod: str, approval: tuple[Path, ...], as_json: bool) -> None:
    """Check everything again, then canary, watch, and go on or take it back."""
    from twin.cli.commands.receipt import read_envelope_file
    from twin.cli.targets import locked_world
    from twin.spec.errors import ApprovalMissing, ReceiptInvalid

    raw = read_envelope_file(receipt_file)
    try:
        envelope = json.loads(raw)
    except ValueError as error:
        raise ReceiptInvalid("the receipt is not valid", "it is no JSON", "verify the change again") from error
    try:
        approvals = [json.loads(read_envelope_file(path)) for path in approval]
    except ValueError as error:
        raise ApprovalMissing("an approval cannot be read", "it is no JSON", "approve again: twin approve") from error
    with locked_world(prod) as world:
        say: Callable[[str], None] = (lambda _: None) if as_json else (lambda text: click.echo(f"  {text}"))
        service = service_for(prod, world, approvals=approvals, say=say)
        done = service.promote(envelope)
        service.checkpoint()
    if done.exit_code:
        click.echo(f"{done.outcome}: {done.reason}".ljust(88) + f" exit {done.exit_code}", err=True)
    result: dict[str, Any] = {
        "outcome": str(done.outcome), "reason": done.reason, "promotion": done.promotion_id,
        "observed_recovery_s": done.observed_recovery_s, "exit_code": done.exit_code,
    }  # fmt: skip
    if as_json or not done.exit_code:
        recovered = f", users well after {done.observed_recovery_s:.0f} s" if done.observed_recovery_s else ""
        emit(as_json, result, f"promoted {done.promotion_id}: {done.reason}{recovered}")
    raise click.exceptions.Exit(done.exit_code)


def service_for(
    prod: str,
    world: World,
    *,
    approvals: list[dict[str, Any]] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> PromotionService:
    """The promoter of a saved World: it saves the World's file at every move."""
    import policies
    from agent.limits.guard import SqliteWriteGuard
    from twin.cli.home import home, journal_path, trusted_folder
    from twin.cli.targets import save_world
    from twin.fleet.plant import plant_of
    from twin.promote.journal import Journal
    from twin.promote.promoter import PromotionService
    from twin.receipt import load_trusted_keys

    return PromotionService(
        plant=plant_of(world, name=Path(prod).stem, writes=True),
        journal=Journal(journal_path()),
        policy=policies.load(),
        trusted=load_trusted_keys(trusted_folder()),
        guard=SqliteWriteGuard(home() / "guard.sqlite"),
        checkpoint=lambda: save_world(prod, world),
        approvals=approvals or [],
        say=say,
    )
