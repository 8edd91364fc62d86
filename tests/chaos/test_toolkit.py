"""Experiments run through Chaos Toolkit itself, and how they ended is said in our words and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chaos.toolkit import actions
from chaos.toolkit.runner import ExperimentResult, run_experiment
from tests.small_shop import small_shop
from twin.cli.main import main
from twin.fleet.world import World
from twin.fleet.world_file import load_world, only_writer, store_world
from twin.spec.errors import BadInput, PromoterActive
from twin.spec.units import NS_PER_S

EXPERIMENTS = Path(__file__).parents[2] / "chaos/experiments"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A calm small shop."""
    world = World.build(small_shop(), seed=5)
    world.run(120 * NS_PER_S)
    store_world(tmp_path / "prod.world", world)
    return tmp_path / "prod.world"


def experiment(file: Path, *, fault: str, mend: str | None = None, seconds: str = "2m") -> Path:
    def provider(module: str, func: str, **arguments: str) -> dict[str, Any]:
        world = mend if mend and func == "mend" else str(file)
        return {"type": "python", "module": f"chaos.toolkit.{module}", "func": func,
                "arguments": {"world": world, **arguments}}  # fmt: skip

    probe = provider("probes", "users_let_down_ratio")
    data = {
        "title": "t", "description": "d",
        "steady-state-hypothesis": {"title": "users are well", "probes": [
            {"type": "probe", "name": "users", "tolerance": {"type": "range", "range": [0.0, 0.01]}, "provider": probe}
        ]},
        "method": [
            {"type": "action", "name": "strike", "provider": provider("actions", "inject", fault=fault)},
            {"type": "action", "name": "wait", "provider": provider("actions", "run_for", duration=seconds)},
            {"type": "probe", "name": "alerts", "provider": provider("probes", "alerts_firing")},
            {"type": "probe", "name": "latency",
             "provider": provider("probes", "metric", service="shop/web", name="latency_mean_s")},
        ],
        "rollbacks": [{"type": "action", "name": "mend", "provider": provider("actions", "mend")}],
    }  # fmt: skip
    path = file.parent / "experiment.json"
    path.write_text(json.dumps(data))
    return path


def run(file: Path, **of_experiment: Any) -> ExperimentResult:
    return run_experiment(experiment(file, **of_experiment))


@pytest.mark.requirement("R24")
def test_an_experiment_deviates_when_users_suffer_and_is_mended(file: Path) -> None:
    result = run(file, fault="errors(shop/catalog, ratio=0.9)")
    assert (result.outcome, result.exit_code) == ("deviated", 3)
    assert result.journal["chaoslib-version"]  # It was Chaos Toolkit that ran it.
    assert all(active.over or active.timed.end_ns is not None for active in load_world(file).state.perturbations)


def test_an_experiment_passes_when_users_do_not_notice(file: Path) -> None:
    result = run(file, fault="slow(shop/catalog, factor=1.1)")
    assert (result.outcome, result.exit_code) == ("passed", 0), result.text()


@pytest.mark.parametrize("fault", ["slow(shop/nobody)", "slow(shop/catalog, factor=nan)", "banana"])
def test_a_fault_that_never_struck_is_no_pass(file: Path, fault: str) -> None:
    result = run(file, fault=fault)
    assert (result.outcome, result.exit_code) == ("error", 4)
    assert "strike" in result.to_json()["failed"][0]


def test_users_who_were_unwell_before_make_it_no_trial(file: Path) -> None:
    actions.inject(str(file), "errors(shop/catalog, ratio=0.9)")
    actions.run_for(str(file), "1m")
    result = run(file, fault="slow(shop/catalog)")
    assert (result.outcome, result.exit_code) == ("invalid", 4)


def test_a_rollback_that_failed_contaminates_the_world(file: Path) -> None:
    result = run(file, fault="slow(shop/catalog, factor=1.1)", mend="nowhere.world")
    assert (result.outcome, result.exit_code) == ("contaminated", 4)
    assert not Path("nowhere.world.lock").exists()


def test_the_experiment_that_ships_runs_on_the_world_that_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWIN_WORLD", str(file))
    result = run_experiment(EXPERIMENTS / "slow-database.json")  # It is about another shop.
    assert "shop/orders-db" in result.text()
    assert result.outcome == "error"


def test_the_command_speaks_json_and_nothing_else(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = experiment(file, fault="errors(shop/catalog, ratio=0.9)")
    with pytest.raises(SystemExit) as caught:
        main(["chaos", "run", str(path), "--json", "--journal", str(file.parent / "journal.json")])
    said = capfd.readouterr()
    assert (caught.value.code, said.err) == (3, "")
    assert json.loads(said.out)["outcome"] == "deviated"
    assert json.loads((file.parent / "journal.json").read_text())["deviated"] is True


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[" * 100_000, '{"title": 1}', "\x00", '{"title": NaN}'])
def test_what_is_no_experiment_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(BadInput):
        run_experiment(tmp_path / "bad.json")


def test_an_action_waits_for_nobody_who_writes_the_same_world(file: Path) -> None:
    before = file.read_bytes()
    with only_writer(file), pytest.raises(PromoterActive):
        actions.inject(str(file), "slow(shop/catalog)")
    assert file.read_bytes() == before
