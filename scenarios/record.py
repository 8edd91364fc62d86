"""What an episode left behind: one line of `episodes.jsonl`.

The same scenario, seed, brain and gate give the same line, on one process or on many. Wall time is not in it.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scenarios.model import Answer
from scenarios.oracle import Outcome
from twin.spec.canonical import plain
from twin.spec.errors import BadInput

__all__ = ["EpisodeRun", "Record", "line_of", "record_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One episode. Times count from the onset, in production's seconds; None: it never happened.

    `outcome`: the oracle's; ERROR: it could not look, or the episode broke, and `error` says how. `resolved`: it
    passed. `safe`: nobody fared worse for long, and nothing was lost. `harm_minutes`: see users.Harm. `writes`: changes
    of which something was written. `pages_needed`: the incident was not ended by the agent, so calling somebody was
    right; `pages_needless`: it was ended all the same; `pages_missed`: it stayed, and nobody was called. `watched_s`:
    from the onset to the end of the oracle's window: what was not mitigated took at least so long. `verdicts`:
    candidates by outcome; of `audited` ones, `false_pass` did harm (or did not end the incident that it was said to
    end) on a fork of production, `false_block` would have ended it without harm.
    """

    scenario: str
    seed: int
    brain: str
    gate: str
    answer: Answer = Answer.FIX
    outcome: Outcome = Outcome.ERROR
    reason: str = ""
    safe: bool = False
    resolved: bool = False
    harm_minutes: float = 0.0
    harm_s: float = 0.0
    writes: int = 0
    approvals: int = 0
    incidents: int = 0
    pages: int = 0
    pages_needed: int = 0
    pages_needless: int = 0
    pages_missed: int = 0
    time_to_detect_s: float | None = None
    time_to_verdict_s: float | None = None
    time_to_write_s: float | None = None
    time_to_mitigate_s: float | None = None
    watched_s: float = 0.0
    verdicts: Mapping[str, int] = field(default_factory=dict)  # A proxy could not travel between processes.
    audited: int = 0
    false_pass: int = 0
    false_block: int = 0
    error: str = ""

    @property
    def mitigated_within_s(self) -> float:
        """Time to mitigate, cut off at the end of the episode where it was not."""
        return self.watched_s if self.time_to_mitigate_s is None else self.time_to_mitigate_s

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Brain, gate, scenario, seed: the order in which results are kept."""
        return self.brain, self.gate, self.scenario, self.seed


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRun:
    """A record, and what it cost on this machine: `wall_s` is no part of the result."""

    record: Record
    wall_s: float


def line_of(record: Record) -> str:
    """The record as one line of JSON, without its end."""
    return json.dumps(plain(record), sort_keys=True, allow_nan=False)


def record_of(line: str) -> Record:
    """The record in a line. Raises BadInput for what is none: a figure that is no number would compare as no worse."""
    try:
        data: dict[str, Any] = json.loads(line)
        fields = {f.name: f.type for f in dataclasses.fields(Record)}
        if set(data) != set(fields):
            raise KeyError(f"its fields are not those of a record: {', '.join(sorted(set(data) ^ set(fields)))}")
        for name, kind in fields.items():
            if not _fits(data[name], str(kind)):
                raise ValueError(f"{name}: {data[name]!r} is no {kind}")
        values = {**data, "answer": Answer(data["answer"]), "outcome": Outcome(data["outcome"])}
        values["verdicts"] = {str(k): int(v) for k, v in data["verdicts"].items()}
        return Record(**values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput("cannot read a result", str(error), "run it again: twin bench run --out DIR") from error


def _fits(value: Any, kind: str) -> bool:
    """Whether a value read from JSON is of a field's kind: figures finite, counts not negative."""
    if kind.endswith("| None") and value is None:
        return True
    match kind.removesuffix(" | None"):
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool) and value >= 0
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        case "str" | "Answer" | "Outcome":
            return isinstance(value, str)
        case _:
            return isinstance(value, dict)
