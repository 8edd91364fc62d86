"""Write docs/commands.md from the command line's own help: python docs/make_commands.py"""

from __future__ import annotations

from pathlib import Path

import click

from twin.cli.main import COMMANDS, EXIT_CODES, cli

HEAD = "# Commands\nMade from the commands' own help by `python docs/make_commands.py`; a test keeps it so.\n"
CODES = """## Exit codes
| code | what |
|---|---|
"""


def document() -> str:
    """Every command and sub-command with its help, in the order of `twin --help`."""
    parts = [HEAD, f"```\n{_help(cli, 'twin')}\n```\n"]
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli, info_name="twin"), name)
        assert command is not None
        parts += _pages(command, f"twin {name}")
    return "\n".join([*parts, CODES + "\n".join(f"| {code} | {what} |" for code, what in EXIT_CODES.items()) + "\n"])


def _pages(command: click.Command, path: str) -> list[str]:
    pages = [f"## {path}\n```\n{_help(command, path)}\n```\n"]
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            pages += _pages(inner, f"{path} {name}")
    return pages


def _help(command: click.Command, path: str) -> str:
    # With the group's own settings: click keeps a command's help option from the first context that asks for it,
    # so any other settings would depend on what ran before.
    context = click.Context(command, info_name=path, terminal_width=100, **cli.context_settings)
    lines = command.get_help(context).splitlines()
    # The number of cores is this machine's; the text must be the same on all.
    return "\n".join(_without_cores(line) for line in lines).strip()


def _without_cores(line: str) -> str:
    return line.split("[default: ")[0].rstrip() + "  [default: cores]" if line.lstrip().startswith("--jobs") else line


if __name__ == "__main__":
    Path(__file__).with_name("commands.md").write_text(document())
