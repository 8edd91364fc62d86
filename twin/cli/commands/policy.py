"""`twin policy`: ask policy about a call, test the rules."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import click

from twin.cli.output import emit

__all__ = ["command"]


@click.group(name="policy")
def command() -> None:
    """Ask policy about a call; test the rules."""


@command.command("check")
@click.argument("call_file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The whole decision as JSON.")
def check(call_file: Path, as_json: bool) -> None:
    """Decide one call, in the form of policies/README.md. Exit code 5 if it is denied."""
    import policies
    from twin.spec.errors import BadInput
    from twin.spec.yaml_reader import read_file_text

    try:
        question = json.loads(read_file_text(call_file))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"cannot read {call_file}", str(error), "write JSON as policies/README.md says") from error
    decision = policies.load().decide(question)
    lines = [("allowed" if decision.allow else "DENIED") + f": {decision.reason}"]
    lines += [
        f"  {'pass' if c.passed else 'FAIL'}  {c.name:<14} {c.reason} {c.source}".rstrip() for c in decision.checks
    ]
    emit(as_json, {"allow": decision.allow, "checks": [c.to_json() for c in decision.checks]}, "\n".join(lines))
    raise click.exceptions.Exit(0 if decision.allow else 5)


@command.command("test")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def test(as_json: bool) -> None:
    """Run the rules' own tests with the real OPA. Exit code 3 if one fails."""
    import policies
    from twin.cli.doctor_tools import require_tool
    from twin.spec.errors import TwinError

    bundle = Path(policies.__file__).parent / "bundle"
    done = subprocess.run(
        [str(require_tool("opa")), "test", "--format=json", str(bundle)], capture_output=True, text=True, check=False
    )
    try:
        results = json.loads(done.stdout)
    except ValueError as error:
        raise TwinError("the rules' tests cannot be run", done.stderr or done.stdout, "twin doctor") from error
    failed = [f"{case['package']}.{case['name']}" for case in results if case.get("fail") or case.get("error")]
    lines = [f"{len(results)} tests, {len(failed)} failed", *(f"  FAIL  {name}" for name in failed)]
    emit(as_json, {"tests": len(results), "failed": failed}, "\n".join(lines))
    raise click.exceptions.Exit(3 if failed or not results else 0)
