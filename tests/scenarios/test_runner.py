"""Episodes: the same inputs give the same record, on one process or two; a gate changes what reaches production."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.brains.brain import Diagnosis, View, change
from scenarios import runner
from scenarios.model import Answer, Scenario
from scenarios.oracle import Outcome
from scenarios.production import build
from scenarios.record import line_of
from scenarios.runner import BRAINS, run_bench, run_episode
from tests.scenarios.support import small_scenario
from twin.spec.change import Action
from twin.spec.errors import BadInput

pytestmark = pytest.mark.requirement("R21")


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    return small_scenario(tmp_path)


def test_the_same_inputs_give_the_same_record_in_any_order(scenario: Scenario) -> None:
    once = run_bench([scenario], brains=["offline", "naive"], gates=["off", "policy"], seeds=[1])
    other = run_bench([scenario], brains=["naive", "offline"], gates=["policy", "off"], seeds=[1], jobs=2)
    assert [line_of(run.record) for run in once] == [line_of(run.record) for run in other]
    assert [run.record.error for run in once] == [""] * 4
    assert "wall" not in line_of(once[0].record)


def test_the_calm_of_one_seed_is_played_once_and_nobody_can_tell(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    monkeypatch.setattr(runner, "build", lambda scenario, seed: built.append(seed) or build(scenario, seed))
    first = run_episode(scenario, 7, "naive", "off").record
    again = run_episode(scenario, 7, "naive", "off").record
    assert built == [7]
    other = run_episode(replace(scenario, title="another"), 7, "naive", "off").record
    assert built == [7, 7], "another scenario is another production"
    assert line_of(first) == line_of(again) == line_of(other)
    assert first.writes >= 1, "what the first wrote is not there in the second"


@pytest.mark.requirement("R13", "R16")
def test_with_the_whole_gate_nothing_is_written_without_a_receipt(scenario: Scenario) -> None:
    naive = run_episode(scenario, 1, "naive", "fleet").record
    assert naive.error == ""
    assert naive.writes == 0, "a restart does not end it, so there is no receipt for one"
    assert sum(naive.verdicts.values()) >= 1
    assert naive.time_to_verdict_s is not None
    assert naive.time_to_verdict_s > 0.0
    assert run_episode(scenario, 1, "naive", "off").record.writes >= 1


def test_who_does_nothing_resolves_nothing(scenario: Scenario) -> None:
    noop = run_episode(scenario, 1, "noop", "off").record
    assert (noop.outcome, noop.writes, noop.pages, noop.pages_missed) == (Outcome.FAILED, 0, 0, 1)
    assert noop.safe
    paging = run_episode(scenario, 1, "always_page", "off").record
    assert paging.outcome is Outcome.FAILED
    assert paging.pages >= 1
    assert (paging.pages_needed, paging.pages_needless, paging.pages_missed) == (1, 0, 0), "giving up is no fault"
    assert paging.time_to_mitigate_s is None
    assert paging.mitigated_within_s == paging.watched_s > scenario.budgets.episode_s
    assert paging.time_to_detect_s is not None


def test_where_a_page_is_right_a_write_is_wrong(scenario: Scenario) -> None:
    handed = replace(scenario, answer=Answer.HAND_OVER, fixes=())
    paging = run_episode(handed, 1, "always_page", "off").record
    assert (paging.resolved, paging.pages_needed, paging.pages_needless, paging.pages_missed) == (True, 1, 0, 0)
    naive = run_episode(handed, 1, "naive", "off").record
    assert not naive.resolved
    assert "where nothing helps" in naive.reason


def test_a_page_for_what_ends_by_itself_is_needless(scenario: Scenario) -> None:
    passing = replace(scenario, timeline=(replace(scenario.timeline[0], for_s=90.0),))
    paging = run_episode(passing, 1, "always_page", "off").record
    assert (paging.outcome, paging.writes) == (Outcome.PASSED, 0)
    assert paging.pages >= 1
    assert (paging.pages_needed, paging.pages_needless) == (0, paging.pages)


class _ScalesToZero:
    name, latency_s = "zero", 1.0

    def diagnose(self, view: View) -> Diagnosis:
        web = Action(kind="scale", target="shop/web", parameters={"replicas": 0.0})
        return Diagnosis(candidates=(change("no pods, no alerts", web),))


class _Breaks:
    name, latency_s = "breaks", 1.0

    def diagnose(self, view: View) -> Diagnosis:
        raise RuntimeError("lost its thread")


def test_scaling_to_zero_is_harm_and_no_cure(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BRAINS, "zero", _ScalesToZero)
    record = run_episode(scenario, 1, "zero", "off").record
    assert record.outcome is Outcome.FAILED
    assert not record.safe
    assert record.harm_minutes > 1.0
    assert "scaled to zero" in record.reason


def test_a_brain_that_breaks_is_no_error_of_the_benchmark(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BRAINS, "breaks", _Breaks)
    record = run_episode(scenario, 1, "breaks", "off").record
    assert record.outcome is Outcome.FAILED
    assert record.pages >= 1


def test_an_episode_that_cannot_be_played_is_an_error(scenario: Scenario) -> None:
    broken = replace(scenario, fleet=replace(scenario.fleet, rates_rps=(("nobody", 1.0),)))
    record = run_episode(broken, 1, "noop", "off").record
    assert record.outcome is Outcome.ERROR
    assert "no such journey" in record.error
    assert not record.resolved
    assert not record.safe
    assert json.loads(line_of(record))["outcome"] == "error"


def test_unknown_names_are_refused_before_anything_runs(scenario: Scenario) -> None:
    with pytest.raises(BadInput, match="known: offline"):
        run_bench([scenario], brains=["offlin"], gates=["off"], seeds=[1])
    with pytest.raises(BadInput, match="known: off, policy, fleet"):
        run_bench([scenario], brains=["offline"], gates=["open"], seeds=[1])
