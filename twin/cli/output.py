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

__all__ = ["StageProgress", "Stopped", "complain", "emit", "progress", "write_text"]


class Stopped(KeyboardInterrupt):
    """Ctrl-C, with what was going on, and what to do about it if that is not simply to run the command again."""

    def __init__(self, during: str = "", next_step: str = "") -> None:
        super().__init__(during, next_step)
        self.during, self.next_step = during, next_step


def emit(as_json: bool, data: Any, text: str) -> None:
    """One JSON object on standard output, or the text for people."""
    click.echo(json.dumps(data, sort_keys=True) if as_json else text)


def complain(as_json: bool, what: str, why: str, next_step: str, code: int) -> None:
    """An error on standard error: three lines (what, why, what to do), or one JSON object."""
    what, why, next_step = (" ".join(text.split()) for text in (what, why, next_step))
    if as_json:
        click.echo(json.dumps({"error": what, "why": why, "next": next_step, "exit_code": code}), err=True)
    else:
        click.echo(f"{what[:90]:<90} exit {code}\n  why   {why}\n  next  {next_step}", err=True)


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically."""
    replace_file(path, text.encode())


class StageProgress:
    """A bar per stage on a terminal; without one a line per stage, or nothing if silence was asked for."""

    def __init__(self, bars: Any | None, *, lines: bool = False) -> None:
        self._bars, self._lines = bars, lines
        self._task: Any = None
        self._stage, self._total, self._done = "", 0, 0

    def stage(self, name: str, total: int) -> None:
        """Begin a stage of `total` steps."""
        self._stage, self._total, self._done = name, total, 0
        if self._lines:
            click.echo(f"{name} …", err=True)
        if self._bars is not None:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._bars.start()
            self._task = self._bars.add_task(name, total=total)

    def advance(self) -> None:
        """One step is done."""
        self._done += 1
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task)

    def pause(self) -> None:
        """Take the bar away, until the next stage: what is said next stands on a clean line."""
        if self._bars is not None:
            if self._task is not None:
                self._bars.remove_task(self._task)
                self._task = None
            self._bars.stop()

    def where(self) -> str:
        """How far it has come, for whoever is stopped here."""
        return f"{self._stage}, {self._done} of {self._total} done" if self._stage else ""


@contextmanager
def progress(*, quiet: bool) -> Iterator[StageProgress]:
    """A progress display on standard error: bars on a terminal, one line a stage elsewhere, nothing if `quiet`.

    Ctrl-C within it becomes Stopped, which knows how far it had come.
    """
    with _display(quiet=quiet) as shown:
        try:
            yield shown
        except Stopped:
            raise
        except KeyboardInterrupt as error:
            raise Stopped(shown.where()) from error


@contextmanager
def _display(*, quiet: bool) -> Iterator[StageProgress]:
    if quiet or not sys.stderr.isatty():
        yield StageProgress(None, lines=not quiet)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    ) as bars:  # fmt: skip
        yield StageProgress(bars)
