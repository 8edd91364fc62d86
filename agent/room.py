"""The incident room: what is known of an incident while it lasts, so that any worker can go on with it.

It holds the context (one, replaced as a whole) and four lists: logs, hypotheses, actions, tool outputs. Lists
are bounded; what falls out is counted. A room expires 24 h after its incident closed, never before.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

__all__ = ["EXPIRES_S", "LISTS", "MemoryRoom", "Room", "SqliteRoom"]

EXPIRES_S: Final = 24 * 3600.0
ENTRIES_MAX: Final = 200
ENTRY_CHARACTERS_MAX: Final = 20_000
LISTS: Final = ("logs", "hypotheses", "actions", "tool_outputs")


class Room(Protocol):
    """Times are Unix seconds. Values are plain JSON."""

    def put(self, incident: str, key: str, value: Mapping[str, Any]) -> None:
        """Replace a document of the incident, as a whole."""
        ...

    def get(self, incident: str, key: str) -> Mapping[str, Any] | None: ...

    def append(self, incident: str, name: str, entry: Mapping[str, Any], *, entry_id: str) -> None:
        """Add to one of LISTS; an entry with an id that is there already changes nothing. Raises ValueError."""
        ...

    def entries(self, incident: str, name: str) -> Sequence[Mapping[str, Any]]:
        """Oldest first; at most ENTRIES_MAX."""
        ...

    def dropped(self, incident: str, name: str) -> int:
        """How many entries fell out of the list."""
        ...

    def close(self, incident: str, *, at_s: float) -> None:
        """The incident is over: the room may expire EXPIRES_S later. Closing again changes nothing."""
        ...

    def incidents(self, *, open_only: bool = False) -> Sequence[str]: ...

    def expire(self, *, now_s: float) -> Sequence[str]:
        """Forget rooms whose time has come. Returns their incidents."""
        ...


def _checked(name: str, entry: Mapping[str, Any]) -> str:
    if name not in LISTS:
        raise ValueError(f'a room has no list "{name}"; it has {", ".join(LISTS)}')
    text = json.dumps(entry, sort_keys=True)
    if len(text) <= ENTRY_CHARACTERS_MAX:
        return text
    return json.dumps({"cut": True, "characters": len(text), "start": text[: ENTRY_CHARACTERS_MAX - 200]})


@dataclass(slots=True)
class _Kept:
    documents: dict[str, str] = field(default_factory=dict)
    lists: dict[str, dict[str, str]] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    closed_s: float | None = None


class MemoryRoom:
    """Rooms in memory, for benchmarks."""

    def __init__(self, *, entries_max: int = ENTRIES_MAX) -> None:
        self._rooms: dict[str, _Kept] = {}
        self._entries_max = entries_max

    def put(self, incident: str, key: str, value: Mapping[str, Any]) -> None:
        self._rooms.setdefault(incident, _Kept()).documents[key] = json.dumps(value, sort_keys=True)

    def get(self, incident: str, key: str) -> Mapping[str, Any] | None:
        kept = self._rooms.get(incident)
        text = kept.documents.get(key) if kept else None
        return None if text is None else _loads(text)

    def append(self, incident: str, name: str, entry: Mapping[str, Any], *, entry_id: str) -> None:
        text = _checked(name, entry)
        kept = self._rooms.setdefault(incident, _Kept())
        entries = kept.lists.setdefault(name, {})
        if entry_id in entries:
            return
        entries[entry_id] = text
        while len(entries) > self._entries_max:
            del entries[next(iter(entries))]
            kept.dropped[name] = kept.dropped.get(name, 0) + 1

    def entries(self, incident: str, name: str) -> Sequence[Mapping[str, Any]]:
        kept = self._rooms.get(incident)
        return [_loads(text) for text in kept.lists.get(name, {}).values()] if kept else []

    def dropped(self, incident: str, name: str) -> int:
        kept = self._rooms.get(incident)
        return kept.dropped.get(name, 0) if kept else 0

    def close(self, incident: str, *, at_s: float) -> None:
        kept = self._rooms.setdefault(incident, _Kept())
        kept.closed_s = at_s if kept.closed_s is None else kept.closed_s

    def incidents(self, *, open_only: bool = False) -> Sequence[str]:
        return [name for name, kept in self._rooms.items() if not open_only or kept.closed_s is None]

    def expire(self, *, now_s: float) -> Sequence[str]:
        gone = [
            name
            for name, kept in self._rooms.items()
            if kept.closed_s is not None and now_s - kept.closed_s >= EXPIRES_S
        ]
        for name in gone:
            del self._rooms[name]
        return gone


class SqliteRoom:
    """Rooms in a file: they outlive the worker. Safe between processes."""

    def __init__(self, path: Path | str, *, entries_max: int = ENTRIES_MAX) -> None:
        self._path = str(path)
        self._entries_max = entries_max
        with self._transaction() as db:
            db.execute("create table if not exists rooms (incident text primary key, closed_s real)")
            db.execute(
                "create table if not exists documents (incident text, key text, value text, "
                "primary key (incident, key))"
            )
            db.execute(
                "create table if not exists entries (number integer primary key autoincrement, incident text, "
                "name text, id text, value text, unique (incident, name, id))"
            )
            db.execute(
                "create table if not exists dropped (incident text, name text, count integer, "
                "primary key (incident, name))"
            )

    def put(self, incident: str, key: str, value: Mapping[str, Any]) -> None:
        with self._transaction() as db:
            db.execute("insert or ignore into rooms values (?, null)", (incident,))
            db.execute(
                "insert or replace into documents values (?, ?, ?)", (incident, key, json.dumps(value, sort_keys=True))
            )

    def get(self, incident: str, key: str) -> Mapping[str, Any] | None:
        with self._transaction() as db:
            row = db.execute("select value from documents where incident = ? and key = ?", (incident, key)).fetchone()
        return None if row is None else _loads(row[0])

    def append(self, incident: str, name: str, entry: Mapping[str, Any], *, entry_id: str) -> None:
        text = _checked(name, entry)
        with self._transaction() as db:
            db.execute("insert or ignore into rooms values (?, null)", (incident,))
            db.execute(
                "insert or ignore into entries (incident, name, id, value) values (?, ?, ?, ?)",
                (incident, name, entry_id, text),
            )
            gone = db.execute(
                "delete from entries where incident = ? and name = ? and number not in "
                "(select number from entries where incident = ? and name = ? order by number desc limit ?)",
                (incident, name, incident, name, self._entries_max),
            ).rowcount
            if gone:
                db.execute(
                    "insert into dropped values (?, ?, ?) on conflict (incident, name) "
                    "do update set count = count + excluded.count",
                    (incident, name, gone),
                )

    def entries(self, incident: str, name: str) -> Sequence[Mapping[str, Any]]:
        with self._transaction() as db:
            rows = db.execute(
                "select value from entries where incident = ? and name = ? order by number", (incident, name)
            ).fetchall()
        return [_loads(value) for (value,) in rows]

    def dropped(self, incident: str, name: str) -> int:
        with self._transaction() as db:
            row = db.execute("select count from dropped where incident = ? and name = ?", (incident, name)).fetchone()
        return 0 if row is None else int(row[0])

    def close(self, incident: str, *, at_s: float) -> None:
        with self._transaction() as db:
            db.execute("insert or ignore into rooms values (?, null)", (incident,))
            db.execute("update rooms set closed_s = coalesce(closed_s, ?) where incident = ?", (at_s, incident))

    def incidents(self, *, open_only: bool = False) -> Sequence[str]:
        where = "where closed_s is null" if open_only else ""
        with self._transaction() as db:
            rows = db.execute(f"select incident from rooms {where} order by rowid").fetchall()
        return [incident for (incident,) in rows]

    def expire(self, *, now_s: float) -> Sequence[str]:
        with self._transaction() as db:
            rows = db.execute(
                "select incident from rooms where closed_s is not null and ? - closed_s >= ?", (now_s, EXPIRES_S)
            ).fetchall()
            for table in ("rooms", "documents", "entries", "dropped"):
                db.executemany(f"delete from {table} where incident = ?", rows)
        return [incident for (incident,) in rows]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._path, timeout=10.0, isolation_level=None)
        try:
            db.execute("pragma journal_mode = wal")
            db.execute("begin immediate")
            try:
                yield db
            except BaseException:
                db.execute("rollback")
                raise
            db.execute("commit")
        finally:
            db.close()


def _loads(text: str) -> Mapping[str, Any]:
    value: Mapping[str, Any] = json.loads(text)
    return value
