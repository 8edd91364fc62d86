"""`twin bench` from end to end: a folder of somebody else's scenarios, results on disk, tables, a report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from reports.benchmark import load_results
from scenarios.record import record_of
from tests.scenarios.support import TEXT, write_scenario
from twin.cli.main import cli

pytestmark = pytest.mark.requirement("R21", "R23")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Somebody else's scenarios: the fleet's file is no scenario, so it does not end in .yaml."""
    folder = tmp_path / "others"
    folder.mkdir()
    write_scenario(folder, TEXT.replace("shop.yaml", "shop.fleet"))
    (folder / "shop.yaml").rename(folder / "shop.fleet")
    return folder


def _run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["bench", *map(str, arguments)])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_a_bench_from_end_to_end(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    text = _run("run", "--suite", "small", "--scenarios", folder, "--brain", "offline",
                "--gate", "off", "--gate", "fleet", "--out", out, "--seeds", 1)  # fmt: skip
    assert max(len(line) for line in text.splitlines() if "episodes in" not in line) <= 100
    records = [record_of(line) for line in (out / "episodes.jsonl").read_text().splitlines()]
    assert len(records) == 2
    assert [r.error for r in records] == [""] * 2
    assert sorted(p.name for p in out.iterdir()) == ["episodes.jsonl", "summary.json"], "nothing half written is left"
    data = json.loads(_run("show", out, "--json"))
    assert {(row["brain"], row["gate"]) for row in data["rows"]} == {("offline", "off"), ("offline", "fleet")}
    assert "small" in _run("show", out)
    results = load_results(out)
    assert len(results.rows) == 2
    ungated = next(r for r in records if (r.brain, r.gate) == ("offline", "off"))
    assert ungated.resolved
    assert ungated.safe


def test_a_bench_that_could_not_look_says_so_with_its_exit_code(folder: Path, tmp_path: Path) -> None:
    path = folder / "small.yaml"
    path.write_text(
        path.read_text().replace("fleet: {file: shop.fleet}", "fleet: {file: shop.fleet, rates_rps: {no: 1}}")
    )
    out = tmp_path / "out"
    said = _run("run", "--suite", "small", "--scenarios", folder, "--brain", "noop", "--gate", "off", "--out", out,
                "--seeds", 1, code=4)  # fmt: skip
    assert "could not look: small seed 1 noop/off" in said
    assert len((out / "episodes.jsonl").read_text().splitlines()) == 1, "what was run is kept"


def test_list_and_validate(folder: Path) -> None:
    known = json.loads(_run("list", "--json"))
    assert "unseen" in known["suites"]
    assert sum(scenario["suites"] == ["unseen"] for scenario in known["scenarios"]) >= 3
    listed = _run("list", "--scenarios", folder)
    assert "small" in listed
    assert max(len(line) for line in listed.splitlines()) <= 100
    assert "admitted" in _run("validate", "--suite", "small", "--scenarios", folder, "--seeds", 1)
    path = folder / "small.yaml"
    path.write_text(path.read_text().replace("ratio=0.5", "ratio=0"))
    assert "NOT admitted" in _run("validate", "--suite", "small", "--scenarios", folder, "--seeds", 1, code=4)


def test_results_that_are_not_whole_are_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["bench", "show", str(tmp_path)])
    assert result.exit_code != 0
    assert "cannot read results" in str(result.exception)
