"""What an import has to say about the files that it read: nothing is dropped in silence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from twin.spec.fleet import Fleet

__all__ = ["ImportResult", "Note", "NoteKind", "Severity"]


class Severity(StrEnum):
    """How much a note should worry its reader."""

    INFO = "info"  # something was assumed, or left aside as it has no bearing
    WARNING = "warning"  # the fleet is poorer for it: an edge, a figure or a workload is missing
    ERROR = "error"  # a part of the input could not be read at all


class NoteKind(StrEnum):
    ASSUMED = "assumed"
    BROKEN = "broken"
    CYCLE = "cycle"
    DANGLING = "dangling"
    EXTERNAL = "external"
    IGNORED = "ignored"
    LOAD = "load"
    METRIC = "metric"
    NO_TRAFFIC = "no-traffic"
    TEMPLATED = "templated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """`line` counts from 1 in `file`; 0 is the file, or the whole input, as such."""

    severity: Severity
    kind: NoteKind
    text: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    fleet: Fleet
    notes: tuple[Note, ...]
