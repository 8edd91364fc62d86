"""Run an experiment through Chaos Toolkit itself, and say in our words how it ended.

before.met=false: the trial is invalid. completed and not deviated: passed. deviated: failed. failed, aborted or
interrupted: an error. A rollback that did not succeed contaminates what comes after.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaoslib.exceptions import ChaosException
from chaoslib.experiment import ensure_experiment_is_valid
from chaoslib.experiment import run_experiment as run_with_chaoslib
from chaoslib.loader import load_experiment

from twin.spec.atomic import replace_file
from twin.spec.errors import BadInput

__all__ = ["ExperimentResult", "run_experiment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentResult:
    """`outcome`: passed, deviated, invalid, error or contaminated."""

    title: str
    outcome: str
    journal: Mapping[str, Any]

    @property
    def exit_code(self) -> int:
        return {"passed": 0, "deviated": 3, "invalid": 4}.get(self.outcome, 1)

    def to_json(self) -> dict[str, Any]:
        return {"title": self.title, "outcome": self.outcome, "status": self.journal.get("status")}

    def text(self) -> str:
        lines = [f"{self.outcome.upper()}  {self.title}"]
        for run in [*self.journal.get("run", []), *self.journal.get("rollbacks", [])]:
            lines.append(f"  {run['status']:<10} {run['activity']['name']}  {run.get('output', '')}")
        return "\n".join(lines)


def run_experiment(experiment: Path, journal_file: Path | None = None) -> ExperimentResult:
    """Run it with the rollbacks always made. Raises BadInput for what is no experiment."""
    if not experiment.is_file():
        raise BadInput(f"cannot read {experiment}", "there is no such file", "give a Chaos Toolkit experiment")
    try:
        loaded = load_experiment(str(experiment))
        ensure_experiment_is_valid(loaded)
    except (ChaosException, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(
            f"{experiment} is no experiment", str(error), "see chaostoolkit.org, and chaos/experiments"
        ) from error
    journal = run_with_chaoslib(loaded, settings={"runtime": {"rollbacks": {"strategy": "always"}}})
    if journal_file is not None:
        replace_file(journal_file, json.dumps(journal, indent=1, default=str).encode())
    return ExperimentResult(title=str(loaded.get("title", "")), outcome=_outcome(journal), journal=journal)


def _outcome(journal: Mapping[str, Any]) -> str:
    before = (journal.get("steady_states") or {}).get("before") or {}
    if before.get("steady_state_met") is False:
        return "invalid"
    if any(run.get("status") != "succeeded" for run in journal.get("rollbacks", [])):
        return "contaminated"
    if journal.get("deviated"):
        return "deviated"
    return "passed" if journal.get("status") == "completed" else "error"
