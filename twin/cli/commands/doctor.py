"""`twin doctor`: what is here, what will be used, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import click

from twin.cli.output import emit

__all__ = ["command"]


@click.command(name="doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(as_json: bool) -> None:
    """Look at this machine. Exit code 0: everything that `make demo` needs is here."""
    from twin.cli.doctor_tools import HOW_TO_GET, find_tool
    from twin.cli.home import home, trusted_folder
    from twin.receipt import load_trusted_keys

    packages = ("simpy", "numpy", "numba", "faiss-cpu", "wasmtime", "chaostoolkit")
    found = {name: importlib.metadata.version(name) for name in packages}
    tools = {name: find_tool(name) for name in HOW_TO_GET}
    opa_url = os.environ.get("OPA_URL")
    keys = load_trusted_keys(trusted_folder())
    lines = [
        f"python     {platform.python_version()} on {platform.machine()}, {os.cpu_count()} cores",
        f"packages   {', '.join(f'{name} {version}' for name, version in found.items())}",
        f"policy     {'OPA server at ' + opa_url if opa_url else 'embedded (WebAssembly)'}",
        f"home       {home()}: {len(keys)} trusted keys",
        f"shadows    {_shadows()}",
    ]
    lines += [
        f"{name:<10} {path}" if path else f"{name:<10} missing; only tests need it: {HOW_TO_GET[name]}"
        for name, path in tools.items()
    ]
    data = {"packages": found, "tools": {k: str(v) if v else None for k, v in tools.items()}, "opa_url": opa_url}
    emit(as_json, data, "\n".join(lines))


def _shadows() -> str:
    from twin.cli.shadows import pool_here
    from twin.spec.errors import TwinError

    try:
        names = [record.name for record in pool_here().records()]
    except TwinError as error:
        return str(error)
    return ", ".join(names) or "none; twin shadow up makes one"
