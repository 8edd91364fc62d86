"""The command line as a whole: every listed command is there, documented, and refuses nonsense in three lines."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import click
import pytest

from twin.cli.main import COMMANDS, cli

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_listed_command_is_there_and_helps(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    assert command.help


def test_the_documentation_is_what_the_commands_say() -> None:
    spec = importlib.util.spec_from_file_location("make_commands", ROOT / "docs/make_commands.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/commands.md").read_text() == module.document(), "run: python docs/make_commands.py"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nonsense"], 2),
        (["verify"], 2),
        (["world", "status", "missing.world"], 2),
        (["world", "status", "kube:prod"], 11),
        (["receipt", "check", "missing.json"], 7),
        (["chaos", "run", "missing.json"], 2),
        (["report", "missing", "-o", "x"], 2),
        (["demo", "--services", "3"], 2),
        (["promotions", "show", "p1"], 2),
    ],
)
def test_an_error_is_three_lines_and_its_code(arguments: list[str], code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twin.cli.main", *arguments],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "TWIN_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr
    assert len(lines) == 3
    assert lines[0].endswith(f"exit {code}")
    assert lines[1].startswith("  why   ")
    assert lines[2].startswith("  next  ")
