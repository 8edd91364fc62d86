"""The write guard: asked before every step of every write, by every agent and promoter of a target.

What is counted is predicted pod terminations, not calls: one restart of forty replicas is forty. Whoever
cannot read the guard's memory may not write: every error of the store is a refusal.

An admission is counted when it is given, not when the write is done. A writer that dies in between has
cost the others a minute at worst; the other way round two writers could both pass on the last free place.

Admissions and breakers belong to a target: each has a clock and workloads of its own, and twenty pods ended in
one World say nothing about another. The switches stop the writers of all targets.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from twin.spec.errors import PolicyDenied

__all__ = ["Breaker", "MemoryWriteGuard", "SqliteWriteGuard", "Switch"]

WINDOW_S: Final = 60.0
FAILURES_MAX: Final = 3
BUSY_TIMEOUT_S: Final = 10.0

KILL_SWITCH: Final = "kill switch"
FENCE: Final = "fence"

_SCHEMA: Final = """
create table if not exists admissions (target text not null, at_s real not null, kind text not null,
                                       scope text not null, terminations integer not null);
create index if not exists admissions_by_time on admissions (target, at_s);
create table if not exists breakers (target text not null, kind text not null, scope text not null,
                                     failures integer not null, opened_s real, primary key (target, kind, scope));
create table if not exists switches (name text primary key, at_s real not null, by text not null,
                                     reason text not null);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Something that stops all writes until it is released. `name`: "kill switch" (a human) or "fence"
    (the dead man's switch)."""

    name: str
    at_s: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Failures in a row of one kind of action in one scope of a target; open from `opened_s`, until a human
    resets it."""

    target: str
    kind: str
    scope: str
    failures: int
    opened_s: float | None


class SqliteWriteGuard:
    """Implements WriteGuard on a file that all writers share; safe between processes.

    In `target`, `terminations_max` pods may be terminated in any `window_s` seconds: the safety nets' figure. A
    guard that is told none lets no pod be terminated; it is enough for switches. `failures_max` failures in a
    row open the breaker of that kind and scope, until `reset`.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        target: str = "",
        terminations_max: int = 0,
        window_s: float = WINDOW_S,
        failures_max: int = FAILURES_MAX,
    ) -> None:
        self._path = str(path)
        self._target = target
        self._terminations_max = terminations_max
        self._window_s = window_s
        self._failures_max = failures_max
        self._kept: sqlite3.Connection | None = None
        with self._transaction() as db:
            columns = [row[1] for row in db.execute("pragma table_info(breakers)")]
            if columns and "target" not in columns:  # Before there were targets. They counted refused calls, not fixes.
                db.execute("drop table admissions")
                db.execute("drop table breakers")
            for statement in filter(None, map(str.strip, _SCHEMA.split(";"))):
                db.execute(statement)

    # The port

    def admit(self, *, kind: str, scope: str, pod_terminations: int, now_s: float) -> None:
        """Return if the write may go ahead, and count it. Raises PolicyDenied with the reason."""
        what = f"cannot {kind.replace('_', ' ')} {scope}"
        if pod_terminations < 0:
            raise PolicyDenied(what, f"{pod_terminations} terminations are no prediction", "verify the change again")
        try:
            with self._transaction() as db:
                self._refuse_if_stopped(db, what)
                self._refuse_if_open(db, what, kind, scope)
                self._refuse_if_too_fast(db, what, pod_terminations, now_s)
                self._count(db, kind, scope, pod_terminations, now_s)
        except sqlite3.Error as error:
            raise PolicyDenied(what, f"the write guard cannot be asked: {error}", f"look at {self._path}") from error

    def record(self, *, kind: str, scope: str, ok: bool, now_s: float) -> None:
        """Say how it went. A success ends the row of failures; it does not close an open breaker.

        Raises PolicyDenied if it cannot be written down: the next failure could then go uncounted.
        """
        try:
            with self._transaction() as db:
                row = db.execute(
                    "select failures, opened_s from breakers where target = ? and kind = ? and scope = ?",
                    (self._target, kind, scope),
                ).fetchone()
                failures, opened_s = row or (0, None)
                if opened_s is None:
                    failures = 0 if ok else failures + 1
                    if failures >= self._failures_max:
                        opened_s = now_s
                    db.execute(
                        "insert or replace into breakers values (?, ?, ?, ?, ?)",
                        (self._target, kind, scope, failures, opened_s),
                    )
        except sqlite3.Error as error:
            raise PolicyDenied(
                f"cannot record {kind} {scope}", f"the write guard cannot be written: {error}", f"look at {self._path}"
            ) from error

    def count(self, *, kind: str, scope: str, pod_terminations: int, now_s: float) -> None:
        """Count what is written without asking. Raises PolicyDenied if it cannot be written down."""
        try:
            with self._transaction() as db:
                self._count(db, kind, scope, pod_terminations, now_s)
        except sqlite3.Error as error:
            raise PolicyDenied(
                f"cannot count {kind} {scope}", f"the write guard cannot be written: {error}", f"look at {self._path}"
            ) from error

    @property
    def terminations_max(self) -> int:
        return self._terminations_max

    def terminations(self, *, now_s: float) -> int:
        """Pod terminations admitted within the window that ends now. Raises PolicyDenied if it cannot be read."""
        try:
            with self._transaction() as db:
                return self._counted(db, now_s)
        except sqlite3.Error as error:
            raise PolicyDenied(
                "cannot count pod terminations", f"the write guard cannot be asked: {error}", f"look at {self._path}"
            ) from error

    # For humans and for the watchdog

    def engage(self, *, by: str, reason: str, now_s: float) -> None:
        """The kill switch: no write of any agent or promoter from now on. The first reason stands."""
        self._set(Switch(name=KILL_SWITCH, at_s=now_s, by=by, reason=reason))

    def release(self) -> None:
        self._clear(KILL_SWITCH)

    def fence(self, *, by: str, reason: str, now_s: float) -> None:
        """The dead man's switch: an agent that may be hung must not wake up and write."""
        self._set(Switch(name=FENCE, at_s=now_s, by=by, reason=reason))

    def unfence(self) -> None:
        self._clear(FENCE)

    def reset(self, *, kind: str, scope: str) -> None:
        """A human closes a breaker."""
        with self._transaction() as db:
            db.execute("delete from breakers where target = ? and kind = ? and scope = ?", (self._target, kind, scope))

    def switches(self) -> tuple[Switch, ...]:
        """What stops writes now."""
        with self._transaction() as db:
            rows = db.execute("select name, at_s, by, reason from switches order by name").fetchall()
        return tuple(Switch(name=name, at_s=at_s, by=by, reason=reason) for name, at_s, by, reason in rows)

    def open_breakers(self) -> tuple[Breaker, ...]:
        """Those of every target."""
        with self._transaction() as db:
            rows = db.execute(
                "select target, kind, scope, failures, opened_s from breakers where opened_s is not null "
                "order by target, kind, scope"
            ).fetchall()
        return tuple(Breaker(target=t, kind=k, scope=s, failures=f, opened_s=o) for t, k, s, f, o in rows)

    def failures(self) -> dict[tuple[str, str], int]:
        """Failures in a row, by kind and scope, of breakers that are on their way."""
        with self._transaction() as db:
            rows = db.execute(
                "select kind, scope, failures from breakers where target = ? and failures > 0", (self._target,)
            ).fetchall()
        return {(kind, scope): failures for kind, scope, failures in rows}

    # Inside

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One writer at a time, across processes; nothing half done. The file is opened each time, so that
        neither a fork nor another thread inherits a connection."""
        db = self._kept or sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        try:
            if self._path != ":memory:":
                db.execute("pragma journal_mode = wal")
                db.execute("pragma synchronous = full")
            db.execute("begin immediate")
            try:
                yield db
            except BaseException:
                db.execute("rollback")
                raise
            db.execute("commit")
        finally:
            if self._path == ":memory:":
                self._kept = db
            else:
                db.close()

    def _refuse_if_stopped(self, db: sqlite3.Connection, what: str) -> None:
        for name, by, reason in db.execute("select name, by, reason from switches order by name"):
            raise PolicyDenied(
                what, f"the {name} is engaged by {by}: {reason}", "a human releases it, when writing is safe again"
            )

    def _refuse_if_open(self, db: sqlite3.Connection, what: str, kind: str, scope: str) -> None:
        row = db.execute(
            "select failures from breakers where target = ? and kind = ? and scope = ? and opened_s is not null",
            (self._target, kind, scope),
        ).fetchone()
        if row is not None:
            raise PolicyDenied(
                what,
                f"the breaker is open: it failed {row[0]} times in a row",
                f"find out why, then close it: twin agent reset {kind} {scope} --prod …",
            )

    def _refuse_if_too_fast(self, db: sqlite3.Connection, what: str, terminations: int, now_s: float) -> None:
        if terminations == 0:
            return
        db.execute(
            "delete from admissions where target = ? and at_s <= ?", (self._target, now_s - 10.0 * self._window_s)
        )
        used = self._counted(db, now_s)
        if used + terminations > self._terminations_max:
            limit = f"{self._terminations_max} in {self._window_s:g} s"
            raise PolicyDenied(
                what,
                f"{terminations} pod terminations after {used} in the last {self._window_s:g} s: at most {limit}",
                "wait, or terminate fewer at a time",
            )

    def _count(self, db: sqlite3.Connection, kind: str, scope: str, terminations: int, now_s: float) -> None:
        if terminations:
            db.execute(
                "insert into admissions values (?, ?, ?, ?, ?)", (self._target, now_s, kind, scope, terminations)
            )

    def _counted(self, db: sqlite3.Connection, now_s: float) -> int:
        """A clock that was set back must not free places: what lies in the future counts too."""
        row = db.execute(
            "select sum(terminations) from admissions where target = ? and at_s > ?",
            (self._target, now_s - self._window_s),
        )
        return int(row.fetchone()[0] or 0)

    def _set(self, switch: Switch) -> None:
        with self._transaction() as db:
            db.execute(
                "insert or ignore into switches values (?, ?, ?, ?)",
                (switch.name, switch.at_s, switch.by, switch.reason),
            )

    def _clear(self, name: str) -> None:
        with self._transaction() as db:
            db.execute("delete from switches where name = ?", (name,))


class MemoryWriteGuard(SqliteWriteGuard):
    """The same rules, forgotten at the end: for benchmarks, where an episode is a life."""

    def __init__(
        self,
        *,
        target: str = "",
        terminations_max: int = 0,
        window_s: float = WINDOW_S,
        failures_max: int = FAILURES_MAX,
    ) -> None:
        super().__init__(
            ":memory:", target=target, terminations_max=terminations_max, window_s=window_s, failures_max=failures_max
        )
