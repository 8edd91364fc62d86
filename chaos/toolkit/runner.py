"""Run an experiment through Chaos Toolkit itself, and say in our words how it ended.

before.met=false: the trial is invalid. completed and not deviated: passed. deviated: failed. failed, aborted or
interrupted, or with an activity that failed (Chaos Toolkit goes on then): an error, since the fault may never have
struck. A rollback that did not succeed contaminates what comes after.
"""

from __future__ import annotations

import json
import logging
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
        """Only a passed experiment is a pass; whatever could not be judged is inconclusive."""
        return {"passed": 0, "deviated": 3}.get(self.outcome, 4)

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title, "outcome": self.outcome, "status": self.journal.get("status"),
            "failed": [f"{name}: {why}" for name, why in self._failures()], "exit_code": self.exit_code,
        }  # fmt: skip

    def text(self) -> str:
        lines = [f"{self.outcome.upper():<10} {self.title}".ljust(78) + f" exit {self.exit_code}"]
        for run in [*self.journal.get("run", []), *self.journal.get("rollbacks", [])]:
            lines.append(f"  {run['status']:<10} {run['activity']['name']}  {run.get('output') or ''}".rstrip())
        lines += [f"  why   {name}: {why}" for name, why in self._failures()]
        return "\n".join(lines)

    def _failures(self) -> list[tuple[str, str]]:
        """What failed or lay outside its tolerance, and why, in the order in which it happened."""
        states = self.journal.get("steady_states") or {}
        before, after = ((states.get(when) or {}).get("probes", []) for when in ("before", "after"))
        found = []
        for run in [*before, *self.journal.get("run", []), *after, *self.journal.get("rollbacks", [])]:
            if run.get("exception"):
                found.append((run["activity"]["name"], str(run["exception"][-1]).strip()))
            elif run.get("tolerance_met") is False:
                found.append((run["activity"]["name"], f"{run.get('output')} lies outside the tolerance"))
        return found


def run_experiment(experiment: Path, journal_file: Path | None = None) -> ExperimentResult:
    """Run it with the rollbacks always made. Raises BadInput for what is no experiment."""
    if not experiment.is_file():
        raise BadInput(f"cannot read {experiment}", "there is no such file", "give a Chaos Toolkit experiment")
    try:
        loaded = load_experiment(str(experiment))
        ensure_experiment_is_valid(loaded)
    except (ChaosException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            f"{experiment} is no experiment", str(error), "see chaostoolkit.org, and chaos/experiments"
        ) from error
    logging.getLogger("logzero").addHandler(logging.NullHandler())  # It says in its own words what we say in ours.
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
    runs = journal.get("run", [])
    if journal.get("status") not in ("completed", "failed") or any(run.get("status") != "succeeded" for run in runs):
        return "error"
    if journal.get("deviated"):
        return "deviated"
    return "passed" if journal.get("status") == "completed" else "error"
