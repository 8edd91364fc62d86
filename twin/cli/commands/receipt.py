"""`twin receipt`: show or check a receipt, offline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from twin.cli.output import emit

if TYPE_CHECKING:
    from twin.spec.errors import TwinError

__all__ = ["command", "read_envelope", "read_envelope_file"]


@click.group(name="receipt")
def command() -> None:
    """Show or check a receipt. Needs no network."""


@command.command("show")
@click.argument("receipt_file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The whole receipt as JSON.")
def show(receipt_file: Path, as_json: bool) -> None:
    """What a receipt says. Its signature is not checked: see `twin receipt check`."""
    from twin.receipt import read
    from twin.spec.canonical import plain
    from twin.spec.receipt import receipt_digest

    receipt = read(read_envelope_file(receipt_file))
    lines = [
        f"{receipt.outcome.upper()}  receipt {receipt_digest(receipt)[:12]}  plan {receipt.plan_digest[:12]}",
        f"  target   {receipt.target}, asked for by {receipt.requester}",
        f"  why      {receipt.reason}",
        f"  level    {receipt.evidence_level}; {receipt.reversibility}; needs {receipt.approvals_needed} approvals",
        *(f"  {stage.stage:<13}{stage.verdict:<13}{stage.reason}" for stage in receipt.stages),
    ]
    emit(as_json, plain(receipt), "\n".join(lines))


@command.command("check")
@click.argument("receipt_file", type=click.Path(path_type=Path))
@click.option("--at", "at_s", type=float, default=None, help="Unix time of the target; default: this machine's.")
@click.option("--prod", default=None, help="By this target's clock: a World's is not this machine's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def check_file(receipt_file: Path, at_s: float | None, prod: str | None, as_json: bool) -> None:
    """Check signature, signer, form and age. Exit code 7 if anything is wrong."""
    from twin.cli.home import trusted_folder
    from twin.cli.targets import NO_METRICS, read_target
    from twin.receipt import check, load_trusted_keys
    from twin.spec.errors import BadInput, ReceiptInvalid

    if prod is not None and at_s is not None:
        raise BadInput("--at and --prod are two clocks", "only one can be asked", "leave one of them out")
    envelope = read_envelope_file(receipt_file)
    if prod is not None:
        moment, clock = read_target(prod, prometheus=NO_METRICS).clock.now_s(), f"by the clock of {prod}"
    elif at_s is not None:
        moment, clock = at_s, "at the time that was given"
    else:
        moment, clock = time.time(), "by this machine's clock"  # noqa: TID251 - the edge: a person asks about now
    try:
        checked = check(envelope, load_trusted_keys(trusted_folder()), moment)
    except ReceiptInvalid as error:
        if "expired" not in error.why and "not yet valid" not in error.why:
            raise
        own = "" if prod is not None else "; a World has its own clock: twin receipt check FILE --prod prod.world"
        raise ReceiptInvalid(error.what, f"{error.why}, {clock}", error.next_step + own) from error
    emit(
        as_json,
        {"digest": checked.digest, "gate": checked.gate, "seconds_left": checked.seconds_left},
        f"valid: signed by {checked.gate}, good for another {checked.seconds_left:.0f} s {clock}",
    )


def read_envelope_file(path: Path) -> bytes:
    """A receipt's or approval's bytes. Raises ReceiptInvalid if there is no such file."""
    from twin.spec.errors import ReceiptInvalid

    return _read_bytes(path, ReceiptInvalid, "give the receipt's file")


def read_envelope(path: Path, error_type: type[TwinError], next_step: str) -> dict[str, Any]:
    """The JSON object in a receipt's or approval's file, strictly read. Raises `error_type`."""
    from twin.receipt.strict import Malformed, load_json

    try:
        found = load_json(_read_bytes(path, error_type, next_step), _SIZE_MAX_BYTES)
        if not isinstance(found, dict):
            raise Malformed("it holds no object")
    except Malformed as error:
        raise error_type(f"cannot read {path}", str(error), next_step) from error
    return found


def _read_bytes(path: Path, error_type: type[TwinError], next_step: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_SIZE_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise error_type(f"cannot read {path}", getattr(error, "strerror", "") or str(error), next_step) from error


_SIZE_MAX_BYTES: Final = 64 * 2**20
