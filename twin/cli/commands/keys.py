"""`twin keys`: make and list signing keys."""

from __future__ import annotations

import click

from twin.cli.output import emit

__all__ = ["command"]


@click.group(name="keys")
def command() -> None:
    """Make and list signing keys."""


@command.command("new")
@click.option("--name", required=True, help="Whose key it is, as alice.")
@click.option("--role", default="approver", show_default=True, type=click.Choice(["approver", "gate"]))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def new(name: str, role: str, as_json: bool) -> None:
    """Make an Ed25519 key pair in TWIN_HOME and trust its public half in that role."""
    from twin.cli.home import keys_folder, trusted_folder
    from twin.receipt import KeyRole, new_key, trust_key

    keys_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    private = keys_folder() / f"{name}.key"
    public = new_key(private, name)
    trust_key(public, trusted_folder(), KeyRole(role))
    emit(as_json, {"private": str(private), "public": str(public)}, f"{private}\n{public} (trusted here as {role})")


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def list_keys(as_json: bool) -> None:
    """Keys that are believed here, and in which role."""
    from twin.cli.home import trusted_folder
    from twin.receipt import load_trusted_keys

    keys = [
        {"name": key.name, "role": str(key.role), "id": key.key_id}
        for key in load_trusted_keys(trusted_folder()).values()
    ]
    lines = [f"{key['role']:<9} {key['name']:<20} {key['id'][:16]}…" for key in keys]
    emit(as_json, keys, "\n".join(lines) or "no key is trusted here; see: twin keys new")
