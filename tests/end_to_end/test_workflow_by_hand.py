"""The workflow as a new user tries it, each step a command of its own, with the exit codes that are promised."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from scenarios.record import EpisodeRun
from scenarios.results import read_results, write_results
from twin.fleet.world_file import only_writer

ROOT = Path(__file__).parents[2]
LOCK = "held_slots(shop/orders-db, session=session-4711)"


@dataclass
class Shell:
    """`twin` in a folder of its own."""

    folder: Path

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = self.run(arguments)
        assert done.returncode == code, f"twin {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        if code and not done.stdout:  # An error; a verdict or a report that says no stands on standard output.
            lines = done.stderr.splitlines()
            assert len(lines) == 3, done.stderr
            assert lines[0].endswith(f"exit {code}")
            assert lines[1].startswith("  why   ")
            assert lines[2].startswith("  next  ")
        return done.stdout + done.stderr

    def run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "TWIN_HOME": str(self.folder / "home"), "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-m", "twin.cli.main", *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    def change(self, name: str, kind: str, target: str, **parameters: float | str) -> str:
        data = {
            "apiVersion": "twin/v1alpha1", "kind": "Change", "reason": "a test", "requester": "mallory",
            "actions": [{"kind": kind, "target": target, "parameters": parameters}],
        }  # fmt: skip
        (self.folder / name).write_text(json.dumps(data))
        return name


@pytest.fixture
def twin(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.timeout(600)
@pytest.mark.requirement("R12", "R13", "R22")
def test_the_readme_works_line_by_line(twin: Shell) -> None:
    text = (ROOT / "README.md").read_text().split("## Your own manifests in five minutes")[1].split("\n## ")[0]
    commands, change = (block.split("\n", 1)[1] for block in text.split("```")[1:4:2])
    shutil.copytree(ROOT / "examples", twin.folder / "examples")
    assert change == (twin.folder / "examples/change.yaml").read_text()
    said = {}
    for line in commands.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "twin"
        said[" ".join(arguments[:2])] = twin(*arguments)
    assert "EFFECTIVE" in said["verify examples/change.yaml"]
    assert "promoted" in said["promote receipt.json"]
    assert " 0.0% let down" in said["world status"]
    assert "may return" in said["promotions undo"]


@pytest.mark.timeout(600)
@pytest.mark.requirement("R12", "R13", "R22")
def test_from_manifests_to_a_promotion_and_back(twin: Shell) -> None:
    twin("import", str(ROOT / "examples/shop"), "--hints", str(ROOT / "examples/shop.hints.yaml"), "-o", "shop.yaml")
    twin("world", "new", "shop.yaml", "-o", "prod.world")
    twin("world", "run", "prod.world", "--for", "10m")
    said = twin("observe", "--prod", "prod.world", "-o", "twin.fleet")
    assert "median error" in said
    twin("world", "run", "prod.world", "--for", "90s", "--inject", LOCK)
    twin("observe", "--prod", "prod.world", "-o", "later.fleet")  # Kept current; what is verified stays from before.

    verify = ("--prod", "prod.world", "--fleet", "twin.fleet", "--hypothesis", LOCK)
    trap = twin.change("trap.yaml", "set_route", "shop/checkout--orders", retries=5.0)
    assert "REJECTED" in twin("verify", trap, *verify, "-o", "trap.json", code=3)
    assert not (twin.folder / "trap.json").exists()
    assert "did you mean shop/orders, " in twin(
        "verify", twin.change("typo.yaml", "restart", "shop/odrers"), *verify, "-o", "x.json", code=2
    )
    forbidden = twin.change("drop.yaml", "drop_table", "shop/orders-db", table="orders")
    assert "never drop a table" in twin("verify", forbidden, *verify, "-o", "drop.json", code=5)
    fix = twin.change("fix.yaml", "terminate_session", "shop/orders-db", session="session-4711")
    said = twin("verify", fix, *verify, "-o", "fix.json")
    assert "EFFECTIVE" in said
    assert said.index("twin approve fix.json --prod prod.world") < said.index("twin promote fix.json --prod prod.world")
    assert "0.0% let down" not in twin("world", "status", "prod.world")
    assert "by this machine's clock" in twin("receipt", "check", "fix.json", code=7)
    assert "by the clock of prod.world" in twin("receipt", "check", "fix.json", "--prod", "prod.world")
    shutil.copy(twin.folder / "fix.json", twin.folder / "older.json")
    assert "removed" in twin("verify", forbidden, *verify, "-o", "older.json", code=5)
    assert not (twin.folder / "older.json").exists()
    twin("receipt", "show", "fix.json")
    before = (twin.folder / "prod.world").read_bytes()

    refused = twin("promote", "fix.json", "--prod", "prod.world", code=8)
    assert "0 of 1 approvals" in refused
    assert "--approval FILE" in refused
    twin("keys", "new", "--name", "mallory")
    own = str(twin.folder / "home/keys/mallory.key")
    twin("approve", "fix.json", "--prod", "prod.world", "--key", own, code=8)  # The requester's own.
    twin("keys", "new", "--name", "alice")
    said = twin("approve", "fix.json", "--prod", "prod.world", "--key", "alice", "-o", "alice.json")
    assert "twin promote fix.json --prod prod.world --approval alice.json" in said
    assert (twin.folder / "prod.world").read_bytes() == before, "nothing was written so far"

    with only_writer(twin.folder / "prod.world"):
        twin("promote", "fix.json", "--prod", "prod.world", "--approval", "alice.json", code=12)
        assert "no promotion p1" in twin("promotions", "abort", "p1", "--prod", "prod.world", code=2)
    twin("takeover", "--by", "alice")
    assert "kill switch" in twin("promote", "fix.json", "--prod", "prod.world", "--approval", "alice.json", code=5)
    twin("takeover", "--release")
    assert (twin.folder / "prod.world").read_bytes() == before, "nor by any refusal"

    (twin.folder / "fix.approval-bob.json").write_text("{}")  # Nobody's: passed over.
    shutil.copy(twin.folder / "alice.json", twin.folder / "fix.approval-alice.json")
    said = twin("promote", "fix.json", "--prod", "prod.world")  # With what lies beside the receipt.
    assert "promoted" in said
    assert "0.0% let down" in twin("world", "status", "prod.world")
    assert "spent" in twin("promote", "fix.json", "--prod", "prod.world", "--approval", "alice.json", code=7)

    promotions = json.loads(twin("promotions", "list", "--json"))
    assert [p["status"] for p in promotions] == ["done"]
    twin("promotions", "show", promotions[0]["id"])
    said = twin("promotions", "undo", promotions[0]["id"], "--prod", "prod.world")
    assert "cannot be: terminate session shop/orders-db session=session-4711" in said
    twin("promotions", "undo", promotions[0]["id"], "--prod", "prod.world", code=2)

    bench = ("bench", "run", "--suite", "smoke", "--brain", "noop", "--gate", "off", "--seeds", "1")
    twin(*bench, "--out", "bench")
    twin("report", "bench", "-o", "report")
    assert "<html" in (twin.folder / "report/report.html").read_text()
    records, _ = read_results(twin.folder / "bench")
    assert any(record.pages_missed for record in records), "who does nothing calls nobody"
    golden = [EpisodeRun(record=dataclasses.replace(record, pages_missed=0), wall_s=1.0) for record in records]
    write_results(twin.folder / "golden", golden, suite="smoke", budgets_s={})
    assert "missed pages" in twin("report", "bench", "--baseline", "golden", "-o", "report", code=10)
    twin("report", "bench", "--baseline", "golden", "--fail-on", "latency", "-o", "report")


@pytest.mark.timeout(600)
@pytest.mark.requirement("R13")
def test_refusals_write_nothing_and_say_why(twin: Shell) -> None:
    twin("import", str(ROOT / "examples/shop"), "--hints", str(ROOT / "examples/shop.hints.yaml"), "-o", "shop.yaml")
    twin("world", "new", "shop.yaml", "-o", "prod.world")
    twin("world", "run", "prod.world", "--for", "5m")
    twin("observe", "--prod", "prod.world", "-o", "twin.fleet", "--window", "5m")
    twin("world", "run", "prod.world", "--for", "90s", "--inject", "bad_rollout(shop/cart, image=cart:v2)")
    undo = twin.change("undo.yaml", "rollout_undo", "shop/cart")
    hypothesis = ("--hypothesis", "bad_rollout(shop/cart, image=cart:v2)")
    twin("verify", undo, "--prod", "prod.world", "--fleet", "twin.fleet", *hypothesis, "-o", "undo.json")
    receipt = twin.folder / "undo.json"
    text = receipt.read_text()

    other = twin.folder / "other.world"
    other.write_bytes((twin.folder / "prod.world").read_bytes())
    before = other.read_bytes()
    assert "another target" in twin("promote", "undo.json", "--prod", "other.world", code=6)
    (twin.folder / "moved").mkdir()
    moved = twin.folder / "moved/prod.world"
    moved.write_bytes(before)
    glass = twin.change("glass.yaml", "set_resources", "shop/cart", cpu_limit="3")
    twin("break-glass", glass, "--prod", "moved/prod.world", "--name", "ana", "--reason", "now")
    changed = moved.read_bytes()
    assert "drifted" in twin("promote", "undo.json", "--prod", "moved/prod.world", code=6)
    assert moved.read_bytes() == changed
    receipt.write_text(text[: len(text) // 2])
    twin("promote", "undo.json", "--prod", "prod.world", code=7)
    receipt.write_text(text.replace('"payload": "ey', '"payload": "eY'))
    twin("promote", "undo.json", "--prod", "prod.world", code=7)
    assert other.read_bytes() == before
    receipt.write_text(text)

    twin("world", "run", "prod.world", "--for", "16m")
    assert "expired" in twin("promote", "undo.json", "--prod", "prod.world", code=7)

    twin("verify", "missing.yaml", "--prod", "prod.world", "--fleet", "twin.fleet", "-o", "x.json", code=2)
    (twin.folder / "whole.yaml").write_text((twin.folder / "undo.yaml").read_text())
    for wrong in ("fly(shop/cart)", "slow(shop/nobody)", "slow(shop/cart, factor=nan)", "slow"):
        twin(
            "verify", "whole.yaml", "--prod", "prod.world", "--fleet", "twin.fleet", "--hypothesis", wrong, "-o",
            "x.json", code=2,
        )  # fmt: skip
    for kind, parameters in (("fly", {}), ("scale", {"replicas": -1.0}), ("set_route", {"retries": 1e9})):
        change = twin.change("bad.yaml", kind, "shop/cart", **parameters)
        twin("verify", change, "--prod", "prod.world", "--fleet", "twin.fleet", "-o", "x.json", code=2)
    (twin.folder / "nan.yaml").write_text(
        "apiVersion: twin/v1alpha1\nkind: Change\nreason: r\nrequester: q\n"
        "actions: [{kind: scale, target: shop/cart, parameters: {replicas: .nan}}]\n"
    )
    twin("verify", "nan.yaml", "--prod", "prod.world", "--fleet", "twin.fleet", "-o", "x.json", code=2)
    (twin.folder / "twice.yaml").write_text(
        "apiVersion: twin/v1alpha1\nkind: Change\nreason: r\nrequester: q\nactions:\n"
        "- {kind: scale, target: shop/orders, parameters: {replicas: 3}}\n"
        "- {kind: scale, target: shop/orders, parameters: {replicas: 4}}\n"
    )
    assert "one field" in twin(
        "verify", "twice.yaml", "--prod", "prod.world", "--fleet", "twin.fleet", "-o", "x.json", code=2
    )
    world = (twin.folder / "prod.world").read_bytes()
    (twin.folder / "old.world").write_bytes(world[:8] + b"\0\0\0\x63" + world[12:])
    assert "format 99" in twin("world", "status", "old.world", code=2)
    (twin.folder / "cut.world").write_bytes(world[: len(world) // 2])
    twin("world", "status", "cut.world", code=2)
    (twin.folder / "big.yaml").write_bytes(b"a: " + b"x" * (50 * 2**20))
    twin("world", "new", "big.yaml", "-o", "x.world", code=2)
    (twin.folder / "laughs.yaml").write_text(
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(
            f"{b}: &{b} [{', '.join('*' + a for _ in range(9))}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        )
    )
    twin("world", "new", "laughs.yaml", "-o", "x.world", code=2)
    assert not (twin.folder / "x.world").exists()
    assert not (twin.folder / "x.json").exists()
