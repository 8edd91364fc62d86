"""What a person sees: progress bars on a terminal only, one line a stage without one, files written whole."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

__all__ = ["StageProgress", "emit", "progress", "write_bytes", "write_text"]


def emit(as_json: bool, data: Any, text: str) -> None:
    """One JSON object on standard output, or the text for people."""
    click.echo(json.dumps(data, sort_keys=True) if as_json else text)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file atomically: after a crash there is the old one or the new one, never half of either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically."""
    write_bytes(path, text.encode())


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
