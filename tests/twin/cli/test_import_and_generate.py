from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from twin.cli.main import main
from twin.spec.files import read_fleet

EXAMPLES = Path(__file__).parents[3] / "examples"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def test_the_shop_imports_by_the_command_that_its_readme_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "shop.yaml"
    assert run("import", EXAMPLES / "shop", "--hints", EXAMPLES / "shop.hints.yaml", "-o", out) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 11 services, ")
    assert len(read_fleet(out).services) == 11


def test_json_is_one_object_with_every_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shop.json"
    assert run("import", EXAMPLES / "shop", "-o", out, "--json") == 0
    captured = capsys.readouterr()
    facts = json.loads(captured.out)
    assert captured.err == ""
    assert facts["services"] == 11
    assert facts["priors"] > 50
    assert len(facts["notes"]) == facts["infos"] + facts["warnings"] + facts["errors"]
    assert json.loads(out.read_text())["kind"] == "Fleet"


def test_manifests_come_from_standard_input_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(path.read_text() for path in sorted((EXAMPLES / "shop").glob("*.yaml")))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert run("import", "-", "-o", tmp_path / "out.yaml") == 0
    assert len(read_fleet(tmp_path / "out.yaml").services) == 11


def test_a_bad_file_ends_in_three_lines_and_exit_2_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "chart.yaml"
    bad.write_text("kind: Deployment\nmetadata:\n  name: {{ .Values.name }}\n")
    assert run("import", bad, "-o", tmp_path / "out.yaml") == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert f"{bad}:3" in lines[1]
    assert "helm template" in lines[2]
    assert not (tmp_path / "out.yaml").exists()


def test_a_generated_fleet_reads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "fleet.yaml"
    assert run("generate", "--services", "50", "--seed", "3", "-o", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["services"] == 50
    assert len(read_fleet(out).services) == 50
    first = out.read_bytes()
    assert run("generate", "--services", "50", "--seed", "3", "-o", out) == 0
    assert out.read_bytes() == first


@pytest.mark.parametrize("count", ["0", "-1", "1000000"])
def test_a_fleet_of_an_impossible_size_is_refused(count: str, tmp_path: Path) -> None:
    assert run("generate", "--services", count, "-o", tmp_path / "x.yaml") == 2
