"""What a person sees: text or one JSON object, progress bars on a terminal only, files written whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from twin.spec.atomic import replace_file

__all__ = ["StageProgress", "emit", "progress", "write_text"]


def emit(as_json: bool, data: Any, text: str) -> None:
    """One JSON object on standard output, or the text for people."""
    click.echo(json.dumps(data, sort_keys=True) if as_json else text)


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically."""
    replace_file(path, text.encode())


class StageProgress:
    """A bar per stage on a terminal; without one, nothing: the caller's own line says what happened."""

    def __init__(self, bars: Any | None) -> None:
        self._bars = bars
        self._task: Any = None

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of `total` steps."""
        if self._bars is not None:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._task = self._bars.add_task(name, total=total)

    def advance(self) -> None:
        """One step is done."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task)


@contextmanager
def progress(*, quiet: bool) -> Iterator[StageProgress]:
    """A progress display on standard error, if that is a terminal and nobody asked for silence."""
    if quiet or not sys.stderr.isatty():
        yield StageProgress(None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    ) as bars:  # fmt: skip
        yield StageProgress(bars)
