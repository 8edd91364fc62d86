"""`twin approve`: approve a receipt for one target."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from twin.cli.output import emit, write_text

__all__ = ["command"]


@click.command(name="approve")
@click.argument("receipt_file", type=click.Path(path_type=Path))
@click.option("--prod", required=True, help="The target: a saved World's file, or kube:CONTEXT.")
@click.option("--key", required=True, help="Your key, by its name (twin keys new --name alice: alice) or its file.")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=None, help="Default: beside the receipt.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(receipt_file: Path, prod: str, key: str, out: Path | None, as_json: bool) -> None:
    """Sign the receipt's digest and target. The requester and agents may not."""
    from twin.cli.commands.receipt import read_envelope_file
    from twin.cli.home import key_file, trusted_folder
    from twin.cli.targets import NO_METRICS, read_target
    from twin.receipt import approve, check, load_signer, load_trusted_keys
    from twin.spec.errors import ApprovalMissing, BaseDrifted

    plant = read_target(prod, prometheus=NO_METRICS)
    trusted = load_trusted_keys(trusted_folder())
    signer = load_signer(key_file(key))
    checked = check(read_envelope_file(receipt_file), trusted, plant.clock.now_s())
    if checked.receipt.target != plant.name:
        raise BaseDrifted(
            "the receipt is for another target",
            f"it names {checked.receipt.target}, not {plant.name}",
            "verify it here",
        )
    known = trusted.get(str(signer.public_key.keyid))
    if known is None:
        raise ApprovalMissing("this key approves nothing", "nobody trusts it here", "twin keys new --role approver")
    path = out or receipt_file.with_suffix(f".approval-{known.name}.json")
    write_text(path, json.dumps(approve(checked, known.name, signer, plant.clock.now_s()), indent=1))
    promote = shlex.join(["twin", "promote", str(receipt_file), "--prod", prod, "--approval", str(path)])
    text = f"{path}: approved by {known.name}\n  next  {promote}"
    if checked.receipt.approvals_needed > 1:
        text += f"\n  needs {checked.receipt.approvals_needed} approvals by different people: --approval once for each"
    emit(as_json, {"approval": str(path), "approver": known.name, "next": promote}, text)
