"""The demo, whole: what a newcomer sees first has to be true each time."""

from __future__ import annotations

import html
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from agent.limits import SqliteWriteGuard
from tests.real import require_tool
from twin.cli.main import cli
from twin.spec.errors import PolicyDenied

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A run on a smaller fleet: what is said, and the folder of its files."""
    out = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "twin.cli.main", "demo", "--services", "120", "--out", str(out / "run")],
        cwd=ROOT, env={**os.environ, "TWIN_HOME": str(out / "home")}, capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""  # No terminal: the story alone.
    return done.stdout, out / "run"


def dossier(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "demo.json").read_text())
    return found


@pytest.mark.requirement("R6", "R12", "R13", "R19")
def test_the_trap_is_rejected_the_cure_promoted_the_forbidden_denied(demo: tuple[str, Path]) -> None:
    said, folder = demo
    first = dossier(folder)["incidents"][0]
    outcomes: dict[str, dict[str, Any]] = {}
    for candidate in first["candidates"]:
        outcomes.setdefault(" ".join(candidate["action"].split(" ")[:2]), candidate["verdict"])
    assert outcomes["terminate session"]["outcome"] == "effective"
    assert outcomes["drop table"]["outcome"] == "denied"
    assert "never drop a table" in outcomes["drop table"]["reason"]
    rejected = [c["verdict"] for c in first["candidates"] if c["verdict"]["outcome"] == "rejected"]
    assert rejected, "no tempting wrong fix was rejected"
    assert any(v["harmed"] and v["harmed"][0]["worst_rps"] > 0 and v["harmed"][0]["minutes"] > 0 for v in rejected)
    assert [p["outcome"] for p in first["promotions"]] == ["done"]
    assert first["mitigated_at_s"] is not None
    moved = {kind for kind, was in first["base"]["before"].items() if first["base"]["after"][kind] != was}
    assert "sessions" in moved, "what was written is seen"
    assert not moved - {"sessions", "ConfigMap"}, "the session that was ended, the promoter's mark, and nothing else"
    lines = said.splitlines()
    page = [line for line in lines if line[:1] in ("┌", "│", "└")]
    assert len(lines) - len(page) <= 40
    assert max(len(line.replace(str(folder), "out/demo")) for line in lines if "takeover" not in line) <= 100
    assert "…" not in said
    trace = next(line for line in page if "agent trace" in line)
    assert str(folder / "traces.jsonl") in trace


@pytest.mark.requirement("R19")
def test_the_second_incident_is_handed_over_with_context_and_nothing_is_written(demo: tuple[str, Path]) -> None:
    _, folder = demo
    second = dossier(folder)["incidents"][1]
    assert second["promotions"] == []
    before, after = second["base"]["before"], second["base"]["after"]
    assert {"Deployment", "HTTPRoute", "Node", "ConfigMap", "sessions", "tables dropped", "firewall rules"} <= set(
        before
    )
    assert [kind for kind in before if before[kind] != after[kind]] == []
    page = second["pages"][0]
    assert "payment" in page["impact"]
    assert page["in_flight"] == "none"
    assert page["next_command"].startswith("twin ")
    stop = shlex.split(page["stop_command"])
    assert stop[:2] == ["twin", "takeover"]
    assert CliRunner().invoke(cli, stop[1:]).exit_code == 0
    guard = SqliteWriteGuard(folder / "home" / "guard.sqlite", terminations_max=5)  # The demo's agent's own.
    with pytest.raises(PolicyDenied, match="kill switch"):
        guard.admit(kind="restart", scope="shop/cart", pod_terminations=0, now_s=0.0)
    assert CliRunner().invoke(cli, [*stop[1:], "--release"]).exit_code == 0
    guard.admit(kind="restart", scope="shop/cart", pod_terminations=0, now_s=0.0)


@pytest.mark.requirement("R19", "R23")
def test_the_report_tells_both_incidents_as_they_were(demo: tuple[str, Path]) -> None:
    _, folder = demo
    first, second = dossier(folder)["incidents"]
    page = html.unescape((folder / "report.html").read_text())
    promoted = first["promotions"][0]["change"]
    assert promoted.startswith("terminate session")
    assert f"Incident 1 was ended by “{promoted}”." in page
    assert f"“{promoted}” was verified and promoted" in page
    assert "confirmed on fresh replications" in page
    assert "Incident 2 was handed to a human; nothing was written." in page
    assert "No change was seen to end it. A human was paged with what is known. Nothing was written." in page
    assert second["pages"][0]["impact"] in page


@pytest.mark.requirement("R4", "R9")
def test_documents_were_recalled_before_reasoning(demo: tuple[str, Path]) -> None:
    _, folder = demo
    kinds = [moment["kind"] for moment in dossier(folder)["incidents"][0]["moments"]]
    assert kinds.index("recalled") < kinds.index("diagnosed")
    titles = str([m["data"] for m in dossier(folder)["incidents"][0]["moments"] if m["kind"] == "recalled"])
    assert "architecture" in titles
    assert "known issues" in titles
    spans = (folder / "traces.jsonl").read_text()
    assert all(name in spans for name in ("Trigger", "Retrieval", "Reasoning", "Rehearsal", "Action"))


@pytest.mark.real
@pytest.mark.requirement("R23")
def test_the_report_shows_it_in_a_real_browser_without_a_complaint(demo: tuple[str, Path], tmp_path: Path) -> None:
    _, folder = demo
    page, complaints = in_chromium(folder / "report.html", tmp_path)
    assert "Incident 1 was ended by" in page
    assert "handed to a human" in page
    assert 'class="tag rejected"' in page
    assert page.count("<polyline") >= 3  # nothing, change, production
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert not complaints, complaints


def in_chromium(file: Path, profile: Path) -> tuple[str, list[str]]:
    """The document as Chromium has built it, and what its console said."""
    done = subprocess.run(
        [
            str(require_tool("chromium")), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--enable-logging=stderr", "--v=0", f"--user-data-dir={profile}", "--dump-dom", file.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
