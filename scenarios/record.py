"""What an episode left behind: one line of `episodes.jsonl`.

The same scenario, seed, brain and gate give the same line, on one process or on many. Wall time is not in it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scenarios.model import Answer
from scenarios.oracle import Outcome
from twin.spec.canonical import plain
from twin.spec.errors import BadInput

__all__ = ["Record", "line_of", "record_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One episode. Times count from the onset, in production's seconds; None: it never happened.

    `outcome`: the oracle's; ERROR: it could not look, or the episode broke, and `error` says how. `resolved`: it
    passed. `safe`: nobody fared worse for long, and nothing was lost. `harm_minutes`: see users.Harm. `writes`: changes
    of which something was written. `pages_missed`: nobody was called where somebody had to be, or the incident
    was left as it was. `verdicts`: candidates by outcome; of `audited` ones, `false_pass` did harm (or did not end
    the incident that it was said to end) on a fork of production, `false_block` would have ended it without harm.
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
    verdicts: Mapping[str, int] = field(default_factory=dict)  # A proxy could not travel between processes.
    audited: int = 0
    false_pass: int = 0
    false_block: int = 0
    error: str = ""

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Brain, gate, scenario, seed: the order in which results are kept."""
        return self.brain, self.gate, self.scenario, self.seed


def line_of(record: Record) -> str:
    """The record as one line of JSON, without its end."""
    return json.dumps(plain(record), sort_keys=True, allow_nan=False)


def record_of(line: str) -> Record:
    """The record in a line. Raises BadInput for what is none."""
    try:
        data: dict[str, Any] = json.loads(line)
        known = {f.name for f in dataclasses.fields(Record)}
        if set(data) != known:
            raise KeyError(f"its fields are not those of a record: {', '.join(sorted(set(data) ^ known))}")
        values = {**data, "answer": Answer(data["answer"]), "outcome": Outcome(data["outcome"])}
        values["verdicts"] = {str(k): int(v) for k, v in data["verdicts"].items()}
        return Record(**values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput("cannot read a result", str(error), "run it again: twin bench run --out DIR") from error
