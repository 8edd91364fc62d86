"""`twin change`: what a change may do, and to what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from twin.cli.live import live_options
from twin.cli.output import emit

if TYPE_CHECKING:
    from twin.change.catalogue import ActionType
    from twin.spec.fault import Parameter

__all__ = ["action_lines", "command"]

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


@click.group(name="change")
def command() -> None:
    """List actions, and what they may name."""


@command.command("list")
@_JSON
def list_actions(as_json: bool) -> None:
    """Every kind of action, with its target, its parameters, and whether it can be undone."""
    from twin.change.catalogue import action_types
    from twin.spec.canonical import plain

    types = action_types()
    emit(as_json, {"actions": plain(list(types))}, "\n".join(line for one in types for line in action_lines(one)))


@command.command("targets")
@click.option("--prod", required=True, help="A saved World's file, or kube:CONTEXT.")
@click.option("--kind", "sort", help="Only these, as `twin change list` calls them: workload, node, …")
@live_options
@_JSON
def targets(
    prod: str, sort: str | None, prometheus: str | None, queries: Path | None, ops: Path | None, as_json: bool
) -> None:
    """What the actions of a change may name in a target."""
    from twin.change.catalogue import TARGET_KINDS
    from twin.cli.targets import names_of, read_target
    from twin.spec.errors import BadInput

    if sort is not None and sort not in TARGET_KINDS:
        raise BadInput(f'there is no target "{sort}"', f"known: {', '.join(TARGET_KINDS)}", "name one of them")
    plant = read_target(prod, prometheus=prometheus, queries=queries, ops=ops)
    found = {one: names_of(plant, one) for one in TARGET_KINDS if sort in (None, one)}
    lines = [f"{one:<9} {name}" for one, names in found.items() for name in names]
    emit(as_json, {"targets": found}, "\n".join(lines) or "nothing that an action could name")


def action_lines(kind: ActionType) -> list[str]:
    """One action, as it is listed."""
    lines = [f"{kind.kind:<18} {kind.target:<9} {kind.reversibility:<12} {kind.summary}"]
    return lines + [f"    {one.name:<16} {_range(one):<27} {one.help}" for one in kind.parameters]


def _range(parameter: Parameter) -> str:
    if parameter.low is None or parameter.high is None:
        return "text" if parameter.default is None else f"text, {parameter.default}"
    whole = "whole, " if parameter.whole else ""
    default = "" if parameter.default is None else f", default {parameter.default:g}"
    return f"{whole}{parameter.low:g}–{parameter.high:.15g}{default}"
