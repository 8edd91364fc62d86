"""The options of commands that may speak to a live cluster, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["live_options"]

F = TypeVar("F", bound=Callable[..., Any])


def live_options(command: F) -> F:
    """--prometheus, --queries and --ops, as the arguments `prometheus`, `queries` and `ops`."""
    command = click.option(
        "--ops", type=click.Path(path_type=Path), help="Which services of a live production are databases."
    )(command)
    command = click.option(
        "--queries", type=click.Path(path_type=Path), help="Which series say what, where production is live."
    )(command)
    return click.option(
        "--prometheus", envvar="PROMETHEUS_URL", metavar="URL",
        help="Where a live production's metrics are; or PROMETHEUS_URL.",
    )(command)  # fmt: skip
