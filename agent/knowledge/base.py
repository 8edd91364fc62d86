"""Long-term knowledge: architecture notes, known issues, runbooks, post-mortems, past incidents and changes.

A FAISS inner-product index over hashed TF-IDF vectors: exact, small, and the same on every machine. Titles
count more than bodies, since people name what they write about. What an incident taught is written back.
"""

from __future__ import annotations

import json
import re
import sys
import types
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from agent.core.context import Document
from agent.knowledge.vectors import WIDTH, Vectoriser
from twin.spec.canonical import plain

__all__ = ["SORTS", "Knowledge", "Note", "load_folder"]

SORTS: Final = ("architecture", "known_issues", "runbook", "post_mortem", "incident", "change", "snapshot")
TITLE_WEIGHT: Final = 0.55  # of a document's relevance; the rest is its body's
EXCERPT_CHARACTERS: Final = 1200
RELEVANCE_MIN: Final = 0.05
_SORT_WORDS: Final = {
    "architecture": "architecture", "known issues": "known_issues", "runbook": "runbook",
    "post-mortem": "post_mortem", "postmortem": "post_mortem",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A document. `dated_s`: the Unix time that it speaks of; 0 for what holds at all times."""

    id: str
    title: str
    sort: str
    text: str
    dated_s: float = 0.0


class Knowledge:
    """Documents and their index. With a `path` every addition is appended to that file (JSON lines)."""

    def __init__(self, notes: Iterable[Note] = (), *, path: Path | None = None) -> None:
        self._notes: dict[str, Note] = {note.id: note for note in notes}
        self._path = path
        self._index: _Index | None = None
        if path is not None and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                note = Note(**json.loads(line))
                self._notes[note.id] = note

    def __len__(self) -> int:
        return len(self._notes)

    def add(self, note: Note) -> None:
        """Keep a note; one with the same id is replaced. Raises ValueError for an unknown sort."""
        if note.sort not in SORTS:
            raise ValueError(f'"{note.sort}" is no sort of note; known: {", ".join(SORTS)}')
        self._notes[note.id] = note
        self._index = None
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(plain(note), sort_keys=True) + "\n")

    def recall(
        self, query: str, k: int = 3, *, sort: str | None = None, as_of_s: float | None = None
    ) -> tuple[Document, ...]:
        """The `k` most relevant documents, best first, none below RELEVANCE_MIN.

        `as_of_s`: only what was known then, and of dated notes about the same thing the latest one.
        """
        if not self._notes:
            return ()
        if self._index is None:
            self._index = _Index(list(self._notes.values()))
        scored = self._index.search(query)
        allowed = self._known_at(as_of_s)
        found = [
            Document(
                id=note.id, title=note.title, sort=note.sort, relevance=round(score, 4),
                text=note.text[:EXCERPT_CHARACTERS], query=query,
            )
            for note, score in scored
            if (sort is None or note.sort == sort) and note.id in allowed and score >= RELEVANCE_MIN
        ]  # fmt: skip
        return tuple(found[:k])

    def snapshot(self, title: str, *, as_of_s: float) -> Note | None:
        """What a thing looked like at a moment: the latest dated note of that title until then."""
        dated = [n for n in self._notes.values() if n.title == title and 0.0 < n.dated_s <= as_of_s]
        return max(dated, key=lambda note: (note.dated_s, note.id), default=None)

    def _known_at(self, as_of_s: float | None) -> set[str]:
        """Of dated snapshots with one title only the latest counts; later ones than `as_of_s` not at all."""
        latest: dict[str, Note] = {}
        allowed: set[str] = set()
        for note in self._notes.values():
            if as_of_s is not None and note.dated_s > as_of_s:
                continue
            if note.sort != "snapshot":
                allowed.add(note.id)
            elif note.title not in latest or latest[note.title].dated_s < note.dated_s:
                latest[note.title] = note
        return allowed | {note.id for note in latest.values()}


class _Index:
    """Two FAISS indexes, of titles and of bodies: relevance is their weighted cosine."""

    def __init__(self, notes: Sequence[Note]) -> None:
        self._notes = notes
        self._vectoriser = Vectoriser([f"{note.title}\n{note.text}" for note in notes])
        self._titles = self._build([_titled(note) for note in notes])
        self._bodies = self._build([note.text for note in notes])

    def search(self, query: str) -> list[tuple[Note, float]]:
        vector = self._vectoriser.vector(query).reshape(1, WIDTH)
        titles, bodies = self._scores(self._titles, vector), self._scores(self._bodies, vector)
        scores = TITLE_WEIGHT * titles + (1.0 - TITLE_WEIGHT) * bodies
        order = sorted(range(len(self._notes)), key=lambda i: (-scores[i], self._notes[i].id))
        return [(self._notes[i], float(scores[i])) for i in order]

    def _build(self, texts: Sequence[str]) -> Any:
        index = _faiss().IndexFlatIP(WIDTH)
        index.add(np.stack([self._vectoriser.vector(text) for text in texts]))
        return index

    def _scores(self, index: Any, vector: Any) -> Any:
        values, rows = index.search(vector, len(self._notes))
        scores = np.zeros(len(self._notes))
        scores[rows[0]] = values[0]
        return scores


def _titled(note: Note) -> str:
    """ "orders-db architecture" is found by these two words, whatever the heading says."""
    sort = note.sort.replace("_", " ")
    return note.title if sort in note.title.lower() else f"{note.title} {sort}"


def load_folder(folder: Path) -> tuple[Note, ...]:
    """Every Markdown file below a folder. Front matter may give title and sort; else the first heading, or the
    file's name, is the title, and the sort follows from words in it ("… architecture"), else runbook.

    Raises FileNotFoundError without such a folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder")
    notes = []
    for path in sorted(folder.rglob("*.md")):
        if path.name.lower() in ("_index.md", "readme.md"):
            continue
        text = path.read_text(encoding="utf-8")
        matter, body = _front_matter(text)
        heading = re.search(r"^#\s+(.+)$", body, re.MULTILINE)
        title = matter.get("title") or (heading.group(1).strip() if heading else path.stem)
        sort = matter.get("sort") or next((s for w, s in _SORT_WORDS.items() if w in title.lower()), "runbook")
        notes.append(
            Note(
                id=str(path.relative_to(folder)), title=title, sort=sort if sort in SORTS else "runbook", text=body,
                dated_s=float(matter.get("dated_s", 0.0)),
            )
        )  # fmt: skip
    return tuple(notes)


def _front_matter(text: str) -> tuple[Mapping[str, str], str]:
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    if match is None:
        return {}, text
    pairs = (line.partition(":") for line in match[1].splitlines() if ":" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}, text[match.end() :]


@cache
def _faiss() -> types.ModuleType:
    """Imported when first used: it weighs 30 MB. Its SWIG layer warns about itself; that is not our news."""
    if "faiss" in sys.modules:
        return sys.modules["faiss"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import faiss
    module: types.ModuleType = faiss
    module.omp_set_num_threads(1)  # The order of sums must not depend on the machine.
    return module
