"""The pager: pages are written down first, then sent until somebody has them, over restarts.

At least once: a page that was sent right before a crash may come twice. It is never lost, and never held
back by one that cannot be delivered.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import textwrap
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TextIO

from twin.spec.canonical import plain
from twin.spec.incident import Page

__all__ = ["ConsoleSink", "FileSink", "Pager", "PagerSink", "Queued", "WebhookSink", "page_from_json", "render_page"]

RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
COLUMNS: Final = 100
LABEL_COLUMNS: Final = 10
LINES_PER_ENTRY: Final = 4  # One screen: 7 entries fit into 30 lines, whatever they say.

_SCHEMA: Final = """
create table if not exists pages (
    number integer primary key autoincrement, id text unique not null, page text not null,
    attempts integer not null default 0, due_s real not null, last_error text not null default '',
    taken text not null default '[]',
    delivered_s real, acknowledged_s real
)
"""


class PagerSink(Protocol):
    """Where pages go. True: it has the page for good. False, or any exception: try again later."""

    def send(self, page: Page) -> bool: ...


class ConsoleSink:
    """Prints the page; a human who looks at the terminal has it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def send(self, page: Page) -> bool:
        print(render_page(page), file=self._stream or sys.stderr, flush=True)
        return True


class FileSink:
    """Appends the page as one JSON line, and waits until it is on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def send(self, page: Page) -> bool:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(page), sort_keys=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return True


class WebhookSink:
    """POSTs the page as JSON; any 2xx counts as taken. The page's id is the idempotency key."""

    def __init__(self, url: str, *, timeout_s: float = 5.0) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url} is no http(s) address")
        self._url, self._timeout_s = url, timeout_s

    def send(self, page: Page) -> bool:
        body = json.dumps({**plain(page), "text": render_page(page)}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": page.id}
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                return 200 <= int(answer.status) < 300
        except urllib.error.HTTPError as error:
            with closing(error):
                return False
        except OSError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A page and how it fares; `taken` names the sinks that have it. Times in Unix seconds."""

    page: Page
    attempts: int
    due_s: float
    last_error: str
    taken: tuple[str, ...]
    delivered_s: float | None
    acknowledged_s: float | None


class Pager:
    """An outbox on a file (or ":memory:"). `page` writes down, `pump` sends what is due.

    `repeat_s`: a delivered page that no human has acknowledged is sent again after so long; None: a sink
    that took it is enough. Retries wait 1, 2, 4 … 60 s.
    """

    def __init__(self, path: Path | str, sinks: Sequence[PagerSink], *, repeat_s: float | None = None) -> None:
        self._path = str(path)
        self._sinks = tuple(sinks)
        self._repeat_s = repeat_s
        self._kept: sqlite3.Connection | None = None
        with self._open() as db:
            db.execute(_SCHEMA)

    def page(self, page: Page, *, now_s: float) -> None:
        """Write the page down, once by its id, and try to send it. It is safe when this returns."""
        with self._open() as db:
            db.execute(
                "insert or ignore into pages (id, page, due_s) values (?, ?, ?)",
                (page.id, json.dumps(plain(page), sort_keys=True), now_s),
            )
        self.pump(now_s=now_s)

    def pump(self, *, now_s: float) -> int:
        """Send every page that is due; returns how many nobody has yet."""
        for queued in self.waiting():
            if queued.due_s <= now_s:
                self._attempt(queued, now_s)
        return len(self.waiting())

    def acknowledge(self, page_id: str, *, now_s: float) -> bool:
        """A human has it. False: there is no such page."""
        with self._open() as db:
            done = db.execute("update pages set acknowledged_s = ? where id = ?", (now_s, page_id))
            return done.rowcount > 0

    def waiting(self) -> tuple[Queued, ...]:
        """Pages that are still to be sent, oldest first."""
        want = "acknowledged_s is null" if self._repeat_s is not None else "delivered_s is null"
        return self._select(f"where {want} and acknowledged_s is null")

    def pages(self) -> tuple[Queued, ...]:
        """Every page ever, oldest first."""
        return self._select("")

    def _attempt(self, queued: Queued, now_s: float) -> None:
        """Send to every sink that has not taken it: a console must not make up for a dead webhook."""
        again = queued.delivered_s is not None
        taken = [] if again else list(queued.taken)
        errors = []
        for name, sink in self._named_sinks():
            if name in taken:
                continue
            try:
                if sink.send(queued.page):
                    taken.append(name)
                else:
                    errors.append(f"{name}: not taken")
            except Exception as error:  # A sink that breaks must not keep the page from the others.
                errors.append(f"{name}: {error}")
        delivered = bool(self._sinks) and not errors
        retry_s = min(RETRY_FIRST_S * 2.0 ** min(queued.attempts, 10), RETRY_MAX_S)
        wait_s = self._repeat_s if delivered and self._repeat_s is not None else retry_s
        with self._open() as db:
            db.execute(
                "update pages set attempts = attempts + 1, due_s = ?, last_error = ?, taken = ?, "
                "delivered_s = coalesce(delivered_s, ?) where id = ?",
                (
                    now_s + wait_s, "; ".join(errors), json.dumps(taken), now_s if delivered else None,
                    queued.page.id,
                ),
            )  # fmt: skip

    def _named_sinks(self) -> list[tuple[str, PagerSink]]:
        return [(f"{type(sink).__name__} {number}", sink) for number, sink in enumerate(self._sinks)]

    def _select(self, where: str) -> tuple[Queued, ...]:
        with self._open() as db:
            rows = db.execute(
                "select page, attempts, due_s, last_error, taken, delivered_s, acknowledged_s from pages "
                f"{where} order by number"
            ).fetchall()
        return tuple(
            Queued(
                page=page_from_json(json.loads(page)), attempts=attempts, due_s=due_s, last_error=last_error,
                taken=tuple(json.loads(taken)), delivered_s=delivered_s, acknowledged_s=acknowledged_s,
            )
            for page, attempts, due_s, last_error, taken, delivered_s, acknowledged_s in rows
        )  # fmt: skip

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        db = self._kept or sqlite3.connect(self._path, timeout=10.0, isolation_level=None)
        if self._path == ":memory:":
            self._kept = db
            yield db
            return
        try:
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = full")
            yield db
        finally:
            db.close()


def page_from_json(data: dict[str, object]) -> Page:
    """Raises TypeError or KeyError for what no page looks like."""
    texts = {name: str(value) for name, value in data.items() if name != "at_s"}
    return Page(at_s=float(str(data["at_s"])), **texts)


def render_page(page: Page) -> str:
    """The page as a box of at most 100 columns, but for its commands, and one screen."""
    entries = (
        ("PAGE", page.impact),
        ("likely", page.likely),
        ("tried", page.tried),
        ("in flight", page.in_flight),
    )
    commands = (("next", page.next_command), ("stop it", page.stop_command))
    lines = []
    for row, (label, text) in enumerate(entries):
        corner = "┌" if row == 0 else "│"
        if row == 0:
            head, indent = f"{corner} {label}  ", "│ " + " " * LABEL_COLUMNS
        else:
            head, indent = f"{corner} {label:<{LABEL_COLUMNS}}", "│ " + " " * LABEL_COLUMNS
        wrapped = textwrap.wrap(" ".join(text.split()) or "nothing", COLUMNS - len(indent), break_on_hyphens=False) or [
            "nothing"
        ]
        if len(wrapped) > LINES_PER_ENTRY:
            wrapped = wrapped[:LINES_PER_ENTRY]
            wrapped[-1] = wrapped[-1][: COLUMNS - len(indent) - 2] + " …"
        lines.append(head + wrapped[0])
        lines += [indent + line for line in wrapped[1:]]
    # A command is copied: it stands whole on a line of its own, however long its paths are.
    lines += [f"│ {label:<{LABEL_COLUMNS}}{command}" for label, command in commands]
    return "\n".join([*lines, "└"])
