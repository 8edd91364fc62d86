"""Every scenario of the catalogue holds what it promises, on the first seed; all seeds: `twin bench validate`.

Request-level productions take long: all are played on ticks, and one, with its times cut short, on its own engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.admit import Admission, Trial, _carry_out, admit, admit_seed, shortcomings
from scenarios.files import HELD_OUT, find_scenarios, in_suite
from scenarios.model import Answer, Remedy, Scenario
from scenarios.oracle import Finding, Outcome
from scenarios.production import Production, build
from scenarios.results import admission_table
from scenarios.users import Harm
from tests.scenarios.support import TEXT, small_scenario
from twin.change.moves import Apply, Move, WaitRollout
from twin.spec.change import Action
from twin.spec.errors import Inconclusive

pytestmark = pytest.mark.requirement("R21")

KNOWN = in_suite(find_scenarios(), "all")
UNSEEN = in_suite(find_scenarios(), HELD_OUT)
ON_TICKS = [scenario for scenario in KNOWN if scenario.engine == "tick"]
ON_REQUESTS = [scenario for scenario in KNOWN if scenario.engine == "simpy"]


@pytest.mark.parametrize("scenario", ON_TICKS, ids=lambda scenario: scenario.name)
def test_it_is_admitted_on_the_first_seed(scenario: Scenario) -> None:
    found = admit_seed(scenario, 1)
    assert found.shortcomings() == ()
    assert len(admission_table([found]).splitlines()[0]) <= 100


@pytest.mark.parametrize("scenario", ON_REQUESTS, ids=lambda scenario: scenario.name)
def test_a_request_level_one_is_admitted_on_ticks_too(scenario: Scenario) -> None:
    """The same faults, cures and traps on the fluid engine. The request level itself: `twin bench validate`."""
    assert admit_seed(replace(scenario, engine="tick"), 1).shortcomings() == ()


def test_a_request_level_one_is_admitted_on_its_own_engine() -> None:
    """A lock, which ticks only approximate. Fewer users, shorter times and one trap, for the sake of the clock: all
    of it on every seed is `twin bench validate`."""
    scenario = next(scenario for scenario in ON_REQUESTS if scenario.name == "held-lock")
    short = replace(
        scenario,
        fleet=replace(scenario.fleet, rates_rps=tuple((name, rate / 2) for name, rate in scenario.fleet.rates_rps)),
        traps=scenario.traps[:1],
        calm_s=120.0,
        budgets=replace(scenario.budgets, episode_s=240.0, act_after_s=90.0),
        oracle=replace(scenario.oracle, window_s=90.0),
    )
    assert short.engine == "simpy"
    assert admit_seed(short, 1).shortcomings() == ()


@pytest.mark.parametrize("scenario", UNSEEN, ids=lambda scenario: scenario.name)
def test_a_held_out_one_is_admitted_on_one_seed(scenario: Scenario) -> None:
    """On ticks; on its own engine: `twin bench validate --suite unseen`."""
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


def _with_trap(scenario: Scenario, target: str, *, refused: bool) -> Scenario:
    trap = Remedy(name="restart it", actions=(Action(kind="restart", target=target),), refused=refused)
    return replace(scenario, traps=(trap,))


def test_a_trap_that_could_not_be_carried_out_admits_nothing(tmp_path: Path) -> None:
    """The oracle fails after it, as it does when nothing is done: nothing was."""
    scenario = small_scenario(tmp_path)
    nowhere, there = "shop/no-such-service", "shop/cart"
    found = admit_seed(_with_trap(scenario, nowhere, refused=False), 1)
    assert found.traps[0].finding.outcome is Outcome.FAILED
    assert "could not be carried out" in found.shortcomings()[0]
    assert "NOT admitted" in admission_table([found])
    assert admit_seed(_with_trap(scenario, nowhere, refused=True), 1).shortcomings() == ()
    assert "should have been refused" in admit_seed(_with_trap(scenario, there, refused=True), 1).shortcomings()[0]


def _restarts(*targets: str) -> Remedy:
    return Remedy(name="restart", actions=tuple(Action(kind="restart", target=target) for target in targets))


def _carried_out(
    production: Production, remedy: Remedy, at_wait: Callable[[Production], None], monkeypatch: pytest.MonkeyPatch
) -> tuple[str, int]:
    """What refused, and how much was written, where every wait for a roll-out ends like this."""
    written = []
    copy = production.fork()

    def make(plant: object, plan: object, move: Move) -> None:
        if isinstance(move, Apply):
            written.append(move)
        elif isinstance(move, WaitRollout):
            at_wait(copy)

    monkeypatch.setattr("scenarios.admit.make_move", make)
    return _carry_out(copy, remedy), len(written)


def test_what_is_not_written_after_a_wait_in_vain_was_not_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vain(_: Production) -> None:
        raise Inconclusive("cart does not get there", "it crashes", "look")

    production = build(small_scenario(tmp_path), 1)
    assert _carried_out(production, _restarts("shop/cart"), vain, monkeypatch) == ("", 1)
    error, written = _carried_out(production, _restarts("shop/cart", "shop/orders"), vain, monkeypatch)
    assert "does not get there" in error
    assert written == 1


def test_a_remedy_whose_last_write_is_done_at_the_bell_was_carried_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = small_scenario(tmp_path)
    production = build(replace(scenario, budgets=replace(scenario.budgets, episode_s=1.0)), 1)

    def until_the_bell(copy: Production) -> None:
        copy.run_to(copy.strike_s + copy.scenario.budgets.episode_s)

    assert _carried_out(production, _restarts("shop/cart"), until_the_bell, monkeypatch) == ("", 1)
    error, written = _carried_out(production, _restarts("shop/cart", "shop/orders"), until_the_bell, monkeypatch)
    assert "the episode ended after" in error
    assert written == 1


def test_a_page_is_the_only_answer_where_nothing_helps() -> None:
    for scenario in find_scenarios():
        if scenario.answer is Answer.HAND_OVER:
            assert not scenario.fixes
            assert len(scenario.traps) >= 2
