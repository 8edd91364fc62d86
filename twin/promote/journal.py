"""The promoter's journal: what it meant to do, and what it did, in an order that nobody can rewrite unseen.

SQLite with a write-ahead log and synchronous FULL: when `append` returns, the entry is on the disk. Each
entry holds the hash of the one before, so a changed or missing line shows.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from twin.spec.canonical import canonical_bytes
from twin.spec.errors import TwinError

__all__ = ["Entry", "Journal", "Kind", "Promotion", "Status"]


class Kind(StrEnum):
    """What an entry says. Numbers of moves are in its data."""

    BEGUN = "begun"
    INTENT = "intent"
    DONE = "done"
    OBSERVED = "observed"
    ROLLING_BACK = "rolling_back"
    FINISHED = "finished"
    UNDONE = "undone"
    ABORT_ASKED = "abort_asked"


class Status(StrEnum):
    """How a promotion stands. OPEN ones are finished or undone by the next run."""

    OPEN = "open"
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    ROLLED_BACK_IN_PART = "rolled_back_in_part"  # The target refused some of it: a human has to look.
    HELD = "held"
    UNDONE = "undone"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    id: str
    receipt_digest: str
    target: str
    status: Status
    at_s: float
    envelope: Mapping[str, Any]  # the receipt, whole, so that a later run can finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`at_s` is the target's Unix time."""

    promotion: str
    number: int
    at_s: float
    kind: Kind
    data: Mapping[str, Any]


_SCHEMA = """
CREATE TABLE IF NOT EXISTS promotions (
    id TEXT PRIMARY KEY, receipt_digest TEXT NOT NULL, target TEXT NOT NULL, status TEXT NOT NULL,
    at_s REAL NOT NULL, envelope TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
    number INTEGER PRIMARY KEY, promotion TEXT NOT NULL REFERENCES promotions(id), at_s REAL NOT NULL,
    kind TEXT NOT NULL, data TEXT NOT NULL, hash TEXT NOT NULL);
"""


class Journal:
    """One file for all promotions of one TWIN_HOME."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=10.0)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        self._db.close()

    def begin(
        self,
        prefix: str,
        *,
        receipt_digest: str,
        target: str,
        at_s: float,
        envelope: Mapping[str, Any],
        where: str = "",
    ) -> Promotion:
        """Write down a new promotion before anything else happens. `where` is the target's place, if it has one.

        Its id is numbered here, in the transaction that writes it: two promoters of one home never get the same.
        """
        with self._transaction():
            number = self._db.execute("SELECT COUNT(*) + 1 FROM promotions").fetchone()[0]
            promotion = Promotion(
                id=f"{prefix}{number}-{receipt_digest[:8]}", receipt_digest=receipt_digest, target=target,
                status=Status.OPEN, at_s=at_s, envelope=envelope,
            )  # fmt: skip
            self._db.execute(
                "INSERT INTO promotions VALUES (?, ?, ?, ?, ?, ?)",
                (
                    promotion.id,
                    promotion.receipt_digest,
                    promotion.target,
                    promotion.status.value,
                    promotion.at_s,
                    json.dumps(promotion.envelope, sort_keys=True),
                ),
            )
            self._add(promotion.id, at_s, Kind.BEGUN, {"receipt": receipt_digest, "where": where})
        return promotion

    def append(
        self, promotion: str, at_s: float, kind: Kind, data: Mapping[str, Any], *, status: Status | None = None
    ) -> None:
        """Add an entry, and set the promotion's status with it; both are on the disk when this returns."""
        with self._transaction():
            self._add(promotion, at_s, kind, data)
            if status is not None:
                self._db.execute("UPDATE promotions SET status = ? WHERE id = ?", (status.value, promotion))

    def promotions(self, target: str | None = None) -> Sequence[Promotion]:
        """All, or those of one target, oldest first."""
        rows = self._db.execute(
            "SELECT id, receipt_digest, target, status, at_s, envelope FROM promotions "
            "WHERE ? IS NULL OR target = ? ORDER BY rowid",
            (target, target),
        )
        return [
            Promotion(id=i, receipt_digest=r, target=t, status=Status(s), at_s=a, envelope=json.loads(e))
            for i, r, t, s, a, e in rows
        ]

    def entries(self, promotion: str) -> Sequence[Entry]:
        """A promotion's entries, in order. Raises TwinError if somebody changed the journal."""
        self._check_chain()
        rows = self._db.execute(
            "SELECT number, at_s, kind, data FROM entries WHERE promotion = ? ORDER BY number", (promotion,)
        )
        return [Entry(promotion=promotion, number=n, at_s=a, kind=Kind(k), data=json.loads(d)) for n, a, k, d in rows]

    def says(self, promotion: str, kind: Kind) -> bool:
        """Whether there is such an entry. For looking often: the chain is not checked, as `entries` does."""
        row = self._db.execute(
            "SELECT 1 FROM entries WHERE promotion = ? AND kind = ? LIMIT 1", (promotion, kind.value)
        ).fetchone()
        return row is not None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All of it, or nothing: what fails half-way must not keep every other writer out."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # Some errors, a full disk among them, have rolled it back already.
                self._db.execute("ROLLBACK")
            raise

    def _add(self, promotion: str, at_s: float, kind: Kind, data: Mapping[str, Any]) -> None:
        last = self._db.execute("SELECT number, hash FROM entries ORDER BY number DESC LIMIT 1").fetchone()
        number, before = (last[0] + 1, last[1]) if last else (1, "")
        text = json.dumps(data, sort_keys=True)
        digest = _hash(before, number, promotion, at_s, kind.value, text)
        self._db.execute(
            "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", (number, promotion, at_s, kind.value, text, digest)
        )

    def _check_chain(self) -> None:
        before, expected = "", 1
        rows = self._db.execute("SELECT number, promotion, at_s, kind, data, hash FROM entries ORDER BY number")
        for number, promotion, at_s, kind, data, digest in rows:
            if number != expected or digest != _hash(before, number, promotion, at_s, kind, data):
                raise TwinError(
                    "the journal was changed",
                    f"entry {number} does not follow from the one before",
                    "keep the file, and compare it with a copy",
                )
            before, expected = digest, number + 1


def _hash(before: str, number: int, promotion: str, at_s: float, kind: str, data: str) -> str:
    return hashlib.sha256(canonical_bytes([before, number, promotion, at_s, kind, data])).hexdigest()
