"""`twin`: parse, call the library, map what happens to an exit code."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Any, Final

import click

__all__ = ["COMMANDS", "EXIT_CODES", "cli", "main"]

EXIT_CODES: Final[dict[int, str]] = {
    0: "done; a verdict is effective or harmless",
    1: "an internal error",
    2: "usage, or bad input",
    3: "rejected by the rehearsal, or a hypothesis that deviates",
    4: "inconclusive: nobody can tell, or a promotion is held for a human",
    5: "denied by policy",
    6: "production drifted, or the incident is another one",
    7: "the receipt is invalid, spent or expired",
    8: "an approval is missing",
    9: "rolled back",
    10: "a regression was found",
    11: "something that is needed is missing",
    12: "another promoter or command is active",
    130: "stopped by Ctrl-C",
}

# name: (module of twin.cli.commands, one line of help). Listed here so that --help imports none of them.
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "demo": ("demo", "Watch two incidents in a fleet of 2,000 services, from alert to report."),
    "doctor": ("doctor", "What is here, what will be used, what is missing and how to get it."),
    "import": ("import_", "Kubernetes manifests to a fleet file."),
    "generate": ("generate", "A fleet that looks like the large ones that were measured."),
    "world": ("world", "Make, run and look at a simulated production."),
    "observe": ("observe", "Build a twin from what production's telemetry shows."),
    "change": ("change", "List what a change may do, and what it may name in a target."),
    "verify": ("verify", "Rehearse a change on the twin; write a signed receipt if it may go on."),
    "keys": ("keys", "Make and list signing keys."),
    "receipt": ("receipt", "Show or check a receipt, offline."),
    "approve": ("approve", "Approve a receipt for one target."),
    "promote": ("promote", "Carry out what was verified: canary, watch, rollback."),
    "promotions": ("promotions", "List, show, abort or undo promotions."),
    "takeover": ("takeover", "Stop the agent and every promotion, at once."),
    "break-glass": ("break_glass", "A named human writes without a receipt, for minutes, journalled."),
    "shadow": ("shadow", "Make, load and look at clusters that play production."),
    "chaos": ("chaos", "List faults; run Chaos Toolkit experiments on a World."),
    "policy": ("policy", "Ask policy about a call; test the rules."),
    "bench": ("bench", "Scenario benchmarks: is the agent safe, and how fast."),
    "report": ("report", "Report on a benchmark, alone or against a baseline."),
    "agent": ("agent", "Look at the agent's incidents and thoughts."),
}


class _CtrlC(Exception):
    """What was going on, and what to do about it."""


class _LazyGroup(click.Group):
    """Imports a command's module when it is run, so that `--help` comes at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"twin.cli.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Ctrl-C leaves as an exception of ours: click would print an empty line, and forget where it came."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise _CtrlC(getattr(error, "during", ""), getattr(error, "next_step", "")) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="twin-testbed", prog_name="twin")
def cli() -> None:
    """Rehearse every fix of an SRE agent on a model of the whole fleet before production sees it."""


def main(argv: list[str] | None = None) -> None:
    """Entry point. Every error of ours becomes three lines and its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    # A fleet is hundreds of thousands of small objects that live as long as the command: to look through all of
    # them for cycles after every few hundred new ones doubles the time that a list of objects takes.
    gc.set_threshold(100_000, 20, 100)
    try:
        code = cli.main(args=arguments, prog_name="twin", standalone_mode=False)  # An Exit comes back as its code.
        sys.stdout.flush()
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "twin"
        _complain("the command cannot be understood", error.format_message(), f"{command} --help", 2, arguments)
    except click.ClickException as error:
        _complain("the command cannot be carried out", error.format_message(), "twin --help", 2, arguments)
    except (click.Abort, KeyboardInterrupt):
        _complain("stopped", f"Ctrl-C; {_NOTHING_KEPT}", "run the command again", 130, arguments)
    except _CtrlC as stop:
        during, next_step = stop.args
        why = f"Ctrl-C during: {during}; " if during else "Ctrl-C; "
        _complain(
            "stopped", why + (_NOTHING_KEPT if not next_step else "what was done so far is kept"),
            next_step or "run the command again", 130, arguments,
        )  # fmt: skip
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Else the interpreter complains when it flushes.
        sys.exit(0)
    except Exception as error:
        _report(error, arguments)
    else:
        sys.exit(code if isinstance(code, int) else 0)


_NOTHING_KEPT: Final = "nothing was written: files are written whole, at the end"


def _report(error: Exception, arguments: list[str]) -> None:
    import sqlite3

    from policies.errors import EngineError, PolicyError
    from twin.spec.errors import TwinError

    if isinstance(error, TwinError):
        _complain(error.what, error.why, error.next_step, error.exit_code, arguments)
    if isinstance(error, PolicyError):
        code = 11 if isinstance(error, EngineError) else 2
        _complain(error.what, error.why, error.next_step, code, arguments)
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        _complain(
            f"cannot use{where}", error.strerror or str(error), "check the path and its permissions", 2, arguments
        )
    if isinstance(error, sqlite3.Error):
        home = os.environ.get("TWIN_HOME") or "~/.twin"
        _complain(
            f"cannot use a database in {home}", str(error),
            "keep a copy of the damaged file and move it away; or free the disk, or the lock", 2, arguments,
        )  # fmt: skip
    what = f"{type(error).__name__}: {error}"
    _complain("internal error", what, "please report it, with the command that you ran", 1, arguments)


def _complain(what: str, why: str, next_step: str, code: int, arguments: list[str]) -> None:
    from twin.cli.output import complain

    complain("--json" in arguments, what, why, next_step, code)
    sys.exit(code)


if __name__ == "__main__":
    main()
