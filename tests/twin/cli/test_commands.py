"""The command line as a whole: every listed command is there, documented, and refuses nonsense in three lines."""

from __future__ import annotations

import importlib.util
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from agent.limits import SqliteWriteGuard
from tests.small_shop import small_shop
from twin.cli.commands.verify import verdict_text
from twin.cli.home import stop_command
from twin.cli.main import COMMANDS, EXIT_CODES, cli, main
from twin.cli.output import complain
from twin.cli.targets import compile_here
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.fleet.world_file import store_world
from twin.spec import errors
from twin.spec.change import Action, Change
from twin.spec.errors import BadInput, TwinError
from twin.spec.fault import Fault, fault_text
from twin.spec.ids import FaultKind
from twin.spec.verdict import Outcome, Suspect, Verdict

ROOT = Path(__file__).parents[3]


def every_command() -> list[tuple[str, ...]]:
    """("import",), ("world", "new"), …: whatever can be run."""
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        inner = command.commands if isinstance(command, click.Group) else {}
        found += [(name, sub) for sub in inner] or [(name,)]
    return found


def command_of(path: tuple[str, ...]) -> click.Command:
    command = cli.get_command(click.Context(cli), path[0])
    assert command is not None
    return command.commands[path[1]] if isinstance(command, click.Group) else command


def twin(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twin.cli.main", *arguments],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "TWIN_HOME": str(folder / "home"), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("path", every_command(), ids=" ".join)
def test_every_command_is_documented_and_speaks_json(path: tuple[str, ...]) -> None:
    command = command_of(path)
    assert command.help
    options = {name for parameter in command.params for name in parameter.opts}
    assert "--json" in options
    undocumented = [p.name for p in command.params if isinstance(p, click.Option) and not p.help and not p.hidden]
    assert undocumented in ([], ["role"])


HEAVY = (
    "numba",
    "numpy",
    "pydantic",
    "faiss",
    "simpy",
    "pandas",
    "wasmtime",
    "chaoslib",
    "yaml",
    "cryptography",
    "psycopg",
)


def test_no_commands_help_imports_anything_heavy() -> None:
    code = (
        "import sys\nfrom twin.cli.main import main\n"
        f"for path in {[[], *map(list, every_command())]!r}:\n"
        "    try:\n        main([*path, '--help'])\n"
        "    except SystemExit as done:\n        assert not done.code, path\n"
        f"    heavy = {HEAVY!r} and set({HEAVY!r}) & set(sys.modules)\n"
        "    assert not heavy, (path, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", ["commands", "actions"])
def test_the_documentation_is_what_the_commands_say(page: str) -> None:
    spec = importlib.util.spec_from_file_location(f"make_{page}", ROOT / f"docs/make_{page}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / f"docs/{page}.md").read_text() == module.document(), f"run: python docs/make_{page}.py"


def test_every_exit_code_is_listed() -> None:
    raised = {
        kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, TwinError)
    }
    assert raised | {outcome.exit_code for outcome in Outcome} <= set(EXIT_CODES)


def test_targets_are_listed_by_sort(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World.build(small_shop(), seed=1)
    store_world(tmp_path / "prod.world", world)
    prod = ["--prod", str(tmp_path / "prod.world")]
    assert code_of(["change", "targets", *prod, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["targets"]
    assert found["quota"] == ["shop/all"]
    assert "shop/web--cart" in found["route"]
    assert {"a-0", "b-1"} <= set(found["node"])
    assert found["workload"] == ["shop/cart", "shop/catalog", "shop/db", "shop/orders", "shop/web"]
    assert code_of(["change", "targets", *prod, "--kind", "node"]) == 0
    assert "shop" not in capsys.readouterr().out
    assert code_of(["change", "targets", *prod, "--kind", "planet"]) == 2


def code_of(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    return done.value.code


def test_a_mistyped_target_is_told_others_of_its_own_sort() -> None:
    plant = plant_of(World.build(small_shop(), seed=1))
    for kind, target, parameters, hint in (
        ("set_quota", "shop/al", {"pods": 70.0}, "did you mean shop/all?"),
        ("cordon", "a0", {}, "did you mean a-0"),
        ("restart", "shop/ordes", {}, "did you mean shop/orders"),
    ):
        action = Action(kind=kind, target=target, parameters=parameters)
        with pytest.raises(BadInput) as told:
            compile_here(Change(actions=(action,), reason="r", requester="ana"), plant)
        assert told.value.next_step.startswith(hint)


DEEP, NAN, LIST = "[" * 100_000, '{"payload": NaN}', "[1]"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["nonsense"], 2),
        (["verify"], 2),
        (["world", "new", "deep.json", "-o", "x.world"], 2),
        (["world", "new", "missing.yaml", "-o", "x.world"], 2),
        (["world", "new", "missing.yaml", "-o", "x.world", "--seed", "-1"], 2),
        (["world", "run", "missing.world", "--for", "1m"], 2),
        (["world", "run", "missing.world", "--for", "nan"], 2),
        (["world", "status", "missing.world"], 2),
        (["world", "status", "deep.json"], 2),
        (["world", "status", "kube:prod"], 2),
        (["observe", "--prod", "missing.world", "-o", "x"], 2),
        (["receipt", "check", "missing.json"], 7),
        (["receipt", "check", "deep.json"], 7),
        (["receipt", "show", "nan.json"], 7),
        (["promote", "missing.json", "--prod", "missing.world"], 2),
        (["verify", "c.yaml", "--prod", "p.world", "--fleet", "t", "-o", "r.json", "--images", "real"], 2),
        (["shadow", "up", "--context", "k3d-mine"], 2),
        (["shadow", "up", "--context", "k3d-mine", "--outside", "192.0.2.1:443"], 2),
        (["shadow", "up", "--context", "kind-mine", "--outside", "nowhere"], 2),
        (["shadow", "up", "--outside", "192.0.2.1:443"], 2),
        (["shadow", "up", "--context", "kind-mine", "--outside", "192.0.2.1:443", "--workers", "2"], 2),
        (["promote", "deep.json", "--prod", "missing.world"], 7),
        (["promote", "nan.json", "--prod", "missing.world"], 7),
        (["promote", "list.json", "--prod", "missing.world"], 7),
        (["promote", "object.json", "--prod", "missing.world"], 2),
        (["promote", "object.json", "--prod", "kube:prod"], 2),
        (["promote", "object.json", "--prod", "missing.world", "--approval", "deep.json"], 8),
        (["promote", "object.json", "--prod", "missing.world", "--ops", "missing.yaml"], 2),
        (["observe", "--prod", "kube:prod", "--prometheus", "http://127.0.0.1:9", "-o", "x", "--ops", "deep.json"], 2),
        (["promotions", "show", "p1"], 2),
        (["promotions", "undo", "p1", "--prod", "missing.world"], 2),
        (["break-glass", "deep.json", "--prod", "missing.world", "--name", "agent", "--reason", "x"], 5),
        (["shadow", "up", "--name", "../x"], 2),
        (["shadow", "up", "--feature-gate", "Odd"], 2),
        (["shadow", "load", "missing"], 2),
        (["shadow", "load", "deep.json"], 2),
        (["shadow", "load", "kube:prod"], 2),
        (["shadow", "status", "--name", "nobody"], 2),
        (["shadow", "snapshot", "missing.world", "-n", "shop", "-o", "s.json"], 2),
        (["keys", "new", "--name", "../x"], 2),
        (["chaos", "run", "missing.json"], 2),
        (["chaos", "run", "deep.json"], 2),
        (["policy", "check", "missing.json"], 2),
        (["policy", "check", "deep.json"], 2),
        (["agent", "trace"], 2),
        (["agent", "trace", "--from", "deep.json"], 2),
        (["agent", "trace", "--from", "list.json"], 2),
        (["report", "missing", "-o", "x"], 2),
        (["bench", "show", "missing"], 2),
        (["demo", "--services", "3"], 2),
        (["demo", "--out", "."], 2),
        (["generate", "--services", "20", "--rate", "nan", "-o", "x.yaml"], 2),
        (["generate", "--services", "20", "-o", "."], 2),
        (["import", "missing", "-o", "x.yaml"], 2),
        (["import", "deep.json", "-o", "x.yaml"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_error_is_three_lines_and_its_code_and_leaves_nothing_behind(
    arguments: list[str], code: int, tmp_path: Path
) -> None:
    for name, text in (("deep", DEEP), ("nan", NAN), ("list", LIST), ("object", "{}")):
        (tmp_path / f"{name}.json").write_text(text)
    before = sorted(tmp_path.iterdir())
    done = twin(tmp_path, *arguments)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert len(lines) == 3
    assert lines[0].endswith(f"exit {code}")
    assert lines[1].startswith("  why   ")
    assert lines[2].startswith("  next  ")
    assert sorted(path for path in tmp_path.iterdir() if path.name != "home") == before


def test_an_error_in_json_is_one_object_and_all_that_is_said(tmp_path: Path) -> None:
    done = twin(tmp_path, "world", "status", "missing.world", "--json")
    assert done.stdout == ""
    assert json.loads(done.stderr) == {
        "error": "cannot read missing.world", "why": "there is no such file", "exit_code": 2,
        "next": "make one: twin world new fleet.yaml -o prod.world",
    }  # fmt: skip


def test_an_error_of_many_lines_is_still_three(capsys: pytest.CaptureFixture[str]) -> None:
    complain(False, "what\nnow", "a\n\tb", "c\n", 1)
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_broken_journal_is_no_internal_error(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/journal.sqlite").write_text("no database" * 1000)
    done = twin(tmp_path, "promotions", "list")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 3), done.stderr


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m twin.cli.main chaos list | true"
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "TWIN_HOME": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""


@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["text", "json"])
def test_ctrl_c_says_what_was_and_was_not_done(as_json: list[str], tmp_path: Path) -> None:
    """A World of its own runs for a simulated month; it is stopped, and the file is what it was."""
    assert twin(tmp_path, "generate", "--services", "20", "-o", "f.yaml").returncode == 0
    assert twin(tmp_path, "world", "new", "f.yaml", "-o", "w.world").returncode == 0
    before = (tmp_path / "w.world").read_bytes()
    arguments = ["world", "run", "w.world", "--for", "30d", *as_json]
    returncode, out, err = stopped_once_there(tmp_path, "w.world.lock", *arguments, after_s=2.0)
    assert (returncode, out) == (130, "")
    said = json.loads(err)["why"] if as_json else err
    assert len(err.splitlines()) == (1 if as_json else 4)
    assert as_json or err.startswith("running 30d …\n")  # No terminal: a line a stage.
    assert "Ctrl-C during: running 30d" in said
    assert "nothing was written" in said
    assert (tmp_path / "w.world").read_bytes() == before


def test_a_demo_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    arguments = ["demo", "--services", "40", "--out", "demo"]
    returncode, _, err = stopped_once_there(tmp_path, "demo/traces.jsonl", *arguments)
    assert returncode == 130, err
    assert not (tmp_path / "demo").exists()


def stopped_once_there(folder: Path, file: str, *arguments: str, after_s: float = 0.0) -> tuple[int, str, str]:
    """Let a command run until a file of its folder is there, and so long after it, and press Ctrl-C."""
    running = subprocess.Popen(
        [sys.executable, "-m", "twin.cli.main", *arguments],
        cwd=folder, env={"PYTHONPATH": str(ROOT), "TWIN_HOME": str(folder / "home")},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # What a shell starts in the background ignores Ctrl-C, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not (folder / file).exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(after_s)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    return running.returncode, out, err


def test_the_demo_removes_what_an_earlier_demo_left_and_nothing_else(tmp_path: Path) -> None:
    from twin.cli.commands.demo import clear
    from twin.spec.errors import BadInput

    clear(tmp_path / "out")
    (tmp_path / "out/report.html").write_text("old")
    clear(tmp_path / "out")
    assert not (tmp_path / "out/report.html").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("precious")
    with pytest.raises(BadInput):
        clear(tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").read_text() == "precious"


@pytest.mark.timeout(600)
def test_json_is_one_value_on_standard_output_and_silence_beside_it(tmp_path: Path) -> None:
    (tmp_path / "question.json").write_text("{}")
    for arguments, code in (
        (["generate", "--services", "20", "-o", "f.yaml"], 0),
        (["import", str(ROOT / "examples/shop"), "-o", "shop.yaml"], 0),
        (["world", "new", "f.yaml", "-o", "prod.world"], 0),
        (["world", "run", "prod.world", "--for", "3m"], 0),
        (["world", "status", "prod.world"], 0),
        (["observe", "--prod", "prod.world", "-o", "twin.fleet", "--window", "3m"], 0),
        (["doctor"], 0),
        (["keys", "new", "--name", "ana"], 0),
        (["keys", "list"], 0),
        (["promotions", "list"], 0),
        (["takeover"], 0),
        (["takeover", "--release"], 0),
        (["agent", "status"], 0),
        (["chaos", "list"], 0),
        (["bench", "list"], 0),
        (["policy", "check", "question.json"], 5),
    ):
        done = twin(tmp_path, *arguments, "--json")
        assert (done.returncode, done.stderr) == (code, ""), arguments
        json.loads(done.stdout)


def test_a_verdict_fits_into_a_hundred_columns_but_for_a_suspect_which_is_never_cut() -> None:
    parameters = {"session": "session-4711", "share": 0.588235294, "station": "a-row-lock-with-quite-a-name" * 3}
    fault = Fault(kind=FaultKind("held_slots"), target="shop/orders-db", parameters=parameters)
    verdict = Verdict(
        outcome=Outcome.INCONCLUSIVE, reason="short", stages=(),
        suspects=(Suspect(fault=fault, weight=0.87, residual=1.0), Suspect(fault=None, weight=0.1, residual=2.0)),
    )  # fmt: skip
    lines = verdict_text(Path("fix.yaml"), verdict, None).splitlines()
    assert [line for line in lines if line.endswith(f"0.87  {fault_text(fault)}")]
    assert max(len(line) for line in lines if "0.87" not in line) <= 100
    assert any("0.10  none of these" in line for line in lines)


def test_what_is_to_be_done_next_stands_whole_and_in_its_order() -> None:
    effective = Verdict(outcome=Outcome.EFFECTIVE, reason="short", stages=(), suspects=())
    said = verdict_text(Path("c.yaml"), effective, Path("r.json"), prod="prod.world", approvals_needed=1)
    assert said.index("twin approve r.json --prod prod.world --key") < said.index(
        "twin promote r.json --prod prod.world"
    )
    assert "approve" not in verdict_text(Path("c.yaml"), effective, Path("r.json"), prod="prod.world")
    harmless = Verdict(outcome=Outcome.HARMLESS, reason="short", stages=(), suspects=())
    said = verdict_text(Path("c.yaml"), harmless, Path("r.json"), prod="prod.world")
    assert "may not be promoted" in said
    assert "--hypothesis" in said
    assert "twin promote" not in said


def test_a_world_is_not_overwritten_unasked(tmp_path: Path) -> None:
    assert twin(tmp_path, "generate", "--services", "20", "-o", "f.yaml").returncode == 0
    (tmp_path / "w.world").write_text("precious")
    refused = twin(tmp_path, "world", "new", "f.yaml", "-o", "w.world")
    assert (refused.returncode, (tmp_path / "w.world").read_text()) == (2, "precious")
    assert "--force" in refused.stderr
    assert twin(tmp_path, "world", "new", "f.yaml", "-o", "w.world", "--force").returncode == 0


@pytest.mark.requirement("R19")
def test_takeover_stops_whom_it_names_and_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "agent's home").mkdir()
    theirs = SqliteWriteGuard(tmp_path / "agent's home" / "guard.sqlite")
    assert twin(tmp_path, *shlex.split(stop_command(tmp_path / "agent's home"))[1:]).returncode == 0
    assert [switch.name for switch in theirs.switches()] == ["kill switch"]
    assert not (tmp_path / "home" / "guard.sqlite").exists()
    assert twin(tmp_path, "takeover", "--home", "agent's home", "--release").returncode == 0
    assert theirs.switches() == ()
    assert twin(tmp_path, "takeover", "--home", "nowhere").returncode == 2  # A mistyped stop must not look like one.


@pytest.mark.requirement("R11")
def test_a_human_sees_which_breakers_are_open_and_closes_one(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    guard = SqliteWriteGuard(tmp_path / "home" / "guard.sqlite", target=str(tmp_path / "prod.world"))
    for at_s in (1.0, 2.0, 3.0):
        guard.record(kind="restart", scope="shop/cart", ok=False, now_s=at_s)
    assert "restart shop/cart" in twin(tmp_path, "agent", "status").stdout
    other = twin(tmp_path, "agent", "reset", "restart", "shop/cart", "--prod", "other.world")
    assert (other.returncode, len(guard.open_breakers())) == (2, 1)
    assert twin(tmp_path, "agent", "reset", "restart", "shop/cart", "--prod", "prod.world").returncode == 0
    assert guard.open_breakers() == ()
