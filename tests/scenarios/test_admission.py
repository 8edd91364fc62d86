"""Every scenario of the catalogue holds what it promises, on the first seed; all seeds: `twin bench validate`.

Request-level productions take too long for every run of the tests: their smallest relative is played instead.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.admit import Admission, Trial, admit, admit_seed, shortcomings
from scenarios.files import find_scenarios
from scenarios.model import Answer, Scenario
from scenarios.oracle import Finding, Outcome
from scenarios.results import admission_table
from scenarios.users import Harm
from tests.scenarios.support import TEXT, small_scenario

pytestmark = pytest.mark.requirement("R21")

ON_TICKS = [scenario for scenario in find_scenarios() if scenario.engine == "tick"]
ON_REQUESTS = [scenario for scenario in find_scenarios() if scenario.engine == "simpy"]


@pytest.mark.parametrize("scenario", ON_TICKS, ids=lambda scenario: scenario.name)
def test_it_is_admitted_on_the_first_seed(scenario: Scenario) -> None:
    found = admit_seed(scenario, 1)
    assert found.shortcomings() == ()
    assert len(admission_table([found]).splitlines()[0]) <= 100


@pytest.mark.parametrize("scenario", ON_REQUESTS, ids=lambda scenario: scenario.name)
def test_a_request_level_one_is_admitted_on_ticks_too(scenario: Scenario) -> None:
    """The same faults, cures and traps on the fluid engine. The request level itself: `twin bench validate`."""
    assert admit_seed(replace(scenario, engine="tick"), 1).shortcomings() == ()


def test_request_level_productions_are_judged_alike(tmp_path: Path) -> None:
    text = TEXT.replace("calm: 3m", "calm: 2m\nengine: simpy").replace(
        "fleet: {file: shop.yaml}", "fleet: {file: shop.yaml, rates_rps: {browse: 8}}"
    )
    scenario = small_scenario(tmp_path, text.replace("episode: 6m", "episode: 3m").replace("window: 2m", "window: 1m"))
    assert admit_seed(scenario, 1).shortcomings() == ()


WRONG_SCENARIOS = {
    "a fix that does not mend": ("kind: rollout_undo, target: shop/cart", "kind: restart, target: shop/cart"),
    "a trap that mends": ("kind: restart, target: shop/cart", "kind: rollout_undo, target: shop/cart"),
    "an incident that is none": ("ratio=0.5", "ratio=0"),
    "a trigger that breaks what was mended": ('slow(shop/cart, factor=1.2)", for: 30s', 'errors(shop/web, ratio=0.6)"'),
}


@pytest.mark.parametrize("name", WRONG_SCENARIOS)
def test_a_scenario_that_would_teach_the_wrong_thing_is_not_admitted(name: str, tmp_path: Path) -> None:
    old, new = WRONG_SCENARIOS[name]
    assert old in TEXT
    found = admit([small_scenario(tmp_path, TEXT.replace(old, new))], [1])
    assert shortcomings(found)
    assert "NOT admitted" in admission_table(found)


def test_what_could_not_be_seen_admits_nothing() -> None:
    passed, dark = Finding(Outcome.PASSED), Finding(Outcome.ERROR, ("dark",))
    failed = Finding(Outcome.FAILED, ("down",))

    def admission(calm: Finding, nothing: Finding, fix: Finding, trap: Finding) -> Admission:
        harm = Harm(minutes=1.0, seconds=60.0)
        return Admission(
            scenario="a", seed=1, roles=(), calm=calm, nothing=Trial(name="nothing", finding=nothing),
            fixes=(Trial(name="fix", finding=fix, replay=fix),), traps=(Trial(name="trap", finding=trap, harm=harm),),
        )  # fmt: skip

    assert admission(passed, failed, passed, failed).shortcomings() == ()
    assert admission(passed, failed, passed, passed).shortcomings() == (), "it passed in the end, and did harm"
    for place in range(4):
        findings = [passed, failed, passed, failed]
        findings[place] = dark
        assert admission(*findings).shortcomings(), f"an error in place {place} is a shortcoming"


def test_a_page_is_the_only_answer_where_nothing_helps() -> None:
    for scenario in find_scenarios():
        if scenario.answer is Answer.HAND_OVER:
            assert not scenario.fixes
            assert len(scenario.traps) >= 2
