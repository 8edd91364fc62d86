"""OPA's own tests of the rules, and that the committed module is what OPA makes of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from policies import ActionKind, EngineError, Identity, Purpose
from policies.build import BUNDLE, WASM_FILE, compile_bundle, main, read_lock, source_digests
from policies.engine import EmbeddedEngine
from tests.policies.golden import CASES
from tests.real import require_tool

pytestmark = [pytest.mark.real, pytest.mark.requirement("R18")]


def run(*arguments: str) -> str:
    ran = subprocess.run(
        [str(require_tool("opa")), *arguments], cwd=BUNDLE, capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_rules_pass_their_own_tests() -> None:
    results = json.loads(run("test", ".", "--format", "json"))
    assert len(results) >= 30
    assert not [one["name"] for one in results if one.get("fail") or one.get("skip")]


def test_every_line_of_the_rules_is_reached_by_their_tests() -> None:
    covered = json.loads(run("test", ".", "--coverage", "--format", "json"))
    missed = {
        name: one.get("not_covered", []) for name, one in covered["files"].items() if not name.endswith("_test.rego")
    }
    assert {name: rows for name, rows in missed.items() if rows} == {}


def test_the_rules_pass_opas_strict_check_and_are_formatted() -> None:
    run("check", "--strict", ".")
    assert run("fmt", "--list", ".").strip() == ""


def test_the_committed_module_is_what_opa_makes_of_the_rules() -> None:
    """Byte for byte with the pinned OPA. With another one, its decisions have to be the same."""
    wasm, version = compile_bundle(require_tool("opa"))
    assert source_digests() == read_lock()["sources"]
    if version == read_lock()["opa"]:
        assert wasm == WASM_FILE.read_bytes()
    committed, fresh = EmbeddedEngine.from_file(WASM_FILE), EmbeddedEngine(wasm)
    for case in CASES:
        assert committed.decide(case.asked) == fresh.decide(case.asked)


def test_building_again_finds_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    require_tool("opa")
    assert main(["--check"]) == 0
    assert "is what OPA" in capsys.readouterr().out


def test_the_rules_and_the_types_know_the_same_words() -> None:
    answer = json.loads(run("eval", "--format", "json", "--data", ".", "data.twin.policy"))
    known = answer["result"][0]["expressions"][0]["value"]
    assert set(known["kinds"]) == set(ActionKind)
    assert set(known["purposes"]) == set(Purpose)
    assert set(known["purposes_of"]) == set(Identity)


@pytest.mark.parametrize("builtin", ['sprintf("%d", [1])', 'time.parse_rfc3339_ns("2026-12-24T18:00:00Z")'])
def test_a_rule_that_needs_its_hosts_help_does_not_start(builtin: str, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(BUNDLE, bundle)
    with (bundle / "decision.rego").open("a", encoding="utf-8") as file:
        file.write(f"\nhelped := {builtin}\n")
    rules = (bundle / "decision.rego").read_text(encoding="utf-8")
    (bundle / "decision.rego").write_text(
        rules.replace('"checks": checks}', '"checks": checks, "helped": helped}'), encoding="utf-8"
    )
    wasm, _ = compile_bundle(require_tool("opa"), bundle)
    with pytest.raises(EngineError, match="needs builtins of its host"):
        EmbeddedEngine(wasm)


def test_a_mistyped_rule_does_not_compile(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(BUNDLE, bundle)
    (bundle / "typo.rego").write_text("package twin.policy\n\nx if { identty.pass }\n", encoding="utf-8")
    with pytest.raises(EngineError, match="identty"):
        compile_bundle(require_tool("opa"), bundle)
