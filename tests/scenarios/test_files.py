"""Scenario files: every one of the catalogue loads, and what is wrong in one is told with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.files import CATALOGUE, HELD_OUT, UNSEEN, find_scenarios, in_suite, read_scenario
from scenarios.model import Answer, Observed
from scenarios.production import fleet_of
from scenarios.roles import exposure, filled, find_roles
from tests.scenarios.support import TEXT, small_scenario, write_scenario
from twin.spec.errors import BadInput

pytestmark = pytest.mark.requirement("R21")


@pytest.mark.parametrize(
    "path", sorted([*CATALOGUE.glob("*.yaml"), *UNSEEN.glob("*.yaml")]), ids=lambda path: path.stem
)
def test_every_file_of_the_catalogue_loads_and_fits_its_fleet(path: Path) -> None:
    scenario = read_scenario(path)
    assert scenario.name == path.stem
    assert scenario.traps
    assert (scenario.answer is Answer.HAND_OVER) == (not scenario.fixes)
    for seed in (1, 2, 3):
        fleet = fleet_of(scenario.fleet, seed)
        roles = find_roles(scenario.roles, fleet, seed)
        known = {str(service.id) for service in fleet.services}
        assert all(name in known for role, name in roles.items() if role == "service")


def test_the_core_suite_covers_both_answers_and_both_engines() -> None:
    core = in_suite(find_scenarios(), "core")
    assert len(core) >= 6
    assert {scenario.answer for scenario in core} == set(Answer)
    assert sum(scenario.engine == "simpy" for scenario in core) >= 2


def test_what_is_held_out_is_run_only_when_it_is_named() -> None:
    found = find_scenarios()
    unseen = in_suite(found, HELD_OUT)
    assert {s.name for s in unseen} == {path.stem for path in UNSEEN.glob("*.yaml")}
    assert len(unseen) >= 3
    for suite in ("all", "core", "smoke"):
        assert not {s.name for s in in_suite(found, suite)} & {s.name for s in unseen}
    assert in_suite(found, unseen[0].name) == (unseen[0],)


def test_some_of_the_core_suite_shows_itself_through_noise_blind_spots_and_late() -> None:
    """A twin that is built from perfect telemetry says nothing about one that is not."""
    seen = [scenario.observed for scenario in in_suite(find_scenarios(), "core") if scenario.observed != Observed()]
    assert len(seen) >= 2
    assert all(observed.noise_ratio > 0.0 for observed in seen)
    assert any(observed.missing_edges_ratio > 0.0 for observed in seen)
    assert any(observed.staleness_s > 0.0 for observed in seen)


WRONG = {
    "an unknown key": (("calm: 3m", "clam: 3m"), 6, 'unknown key "clam"'),
    "a number in quotes": (("window: 2m", 'window: 2m, let_down_max: "0.1"'), 19, "let_down_max"),
    "no such fault": (("bad_rollout(shop/cart", "bad_rolout(shop/cart"), 8, 'no fault "bad_rolout"'),
    "no such parameter of a fault": (("ratio=0.5", "share=0.5"), 8, 'no parameter "share"'),
    "no such action": (("kind: rollout_undo", "kind: rolback"), 14, 'no action "rolback"'),
    "no such parameter of an action": (
        ("{kind: restart, target: shop/cart}", "{kind: restart, target: shop/cart, parameters: {hard: 1}}"),
        18,
        'no parameter "hard"',
    ),
    "a role nobody declared": (("target: shop/cart}\noracle", 'target: "{cart}"}\noracle'), 18, 'no role "cart"'),
    "no fleet": (("{file: shop.yaml}", "{file: shop.yml}"), 5, "there is no shop.yml"),
    "two fleets": (("{file: shop.yaml}", "{file: shop.yaml, services: 40}"), 5, "file and services given"),
    "nothing to replay": (
        ('replay:\n  - {fault: "slow(shop/cart, factor=1.2)", for: 30s}\n', ""),
        7,
        "nothing can be replayed",
    ),
    "a fix that is refused": (("undo the roll-out\n", "undo the roll-out\n    refused: true\n"), 13, "mends nothing"),
    "a page that is also a fix": (("timeline:", "answer: hand_over\ntimeline:"), 12, "handed over names a fix"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    (old, new), line, message = WRONG[name]
    assert old in TEXT
    with pytest.raises(BadInput) as caught:
        small_scenario(tmp_path, TEXT.replace(old, new))
    assert message in str(caught.value)
    assert f"line {line}:" in str(caught.value)


def test_other_folders_add_scenarios_and_a_name_is_given_once(tmp_path: Path) -> None:
    write_scenario(tmp_path)
    (tmp_path / "shop.yaml").rename(tmp_path / "shop.fleet")
    (tmp_path / "small.yaml").write_text(TEXT.replace("shop.yaml", "shop.fleet"), encoding="utf-8")
    assert "small" in {scenario.name for scenario in find_scenarios([tmp_path])}
    (tmp_path / "again.yaml").write_text(TEXT.replace("shop.yaml", "shop.fleet"), encoding="utf-8")
    with pytest.raises(BadInput, match="is called"):
        find_scenarios([tmp_path])
    with pytest.raises(BadInput, match="known: all"):
        in_suite(find_scenarios(), "nonsense")


def test_roles_follow_from_fleet_and_seed() -> None:
    scenario = read_scenario(CATALOGUE / "crash-loop.yaml")
    struck = []
    for seed in range(1, 6):
        fleet = fleet_of(scenario.fleet, seed)
        roles = find_roles(scenario.roles, fleet, seed)
        assert roles == find_roles(scenario.roles, fleet_of(scenario.fleet, seed), seed)
        service = next(s for s in fleet.services if s.id == roles["service"])
        assert not service.stateful
        assert exposure(fleet)[service.id] > 0.0
        struck.append(roles["service"])
    assert len(set(struck)) > 1, "one scenario ought to strike different places"
    assert filled("slow({service})", {"service": "a/b"}) == "slow(a/b)"
