"""`twin import`: Kubernetes manifests to a fleet file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from twin.cli.output import emit, write_text

__all__ = ["command"]

_NOTES_SHOWN = 20


@click.command(name="import")
@click.argument("sources", nargs=-1, required=True, metavar="FILE|DIR|-...")
@click.option("--metrics", type=click.Path(path_type=Path), help="CSV or JSON of measured rates, times and cores.")
@click.option("--hints", type=click.Path(path_type=Path), help="YAML of journeys, programs and calls.")
@click.option("--name", help="The fleet's name; by default the first source's.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The fleet's file (.yaml or .json).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    sources: tuple[str, ...], metrics: Path | None, hints: Path | None, name: str | None, out: Path, as_json: bool
) -> None:
    """Kubernetes manifests to a fleet file: files, folders, or - for standard input.

    What manifests cannot say is taken from --hints and --metrics, and assumed otherwise; the notes say what.
    """
    from twin.spec.errors import BadInput
    from twin.spec.files import write_fleet, write_fleet_json
    from twin.spec.fleet import Source
    from twin.spec.importers import (
        ManifestText,
        Severity,
        apply_metrics,
        import_kubernetes,
        read_hints,
        read_metrics,
        read_sources,
    )
    from twin.spec.program import calls_of
    from twin.spec.yaml_reader import BYTES_MAX, read_bytes_as_text

    if sum(source == "-" for source in sources) > 1:
        raise BadInput("cannot import", "standard input is named twice", "name - once")
    given_hints = read_hints(hints) if hints else None
    given_metrics = read_metrics(metrics) if metrics else None
    texts, unreadable = read_sources([Path(source) for source in sources if source != "-"])
    if "-" in sources:
        data = sys.stdin.buffer.read(BYTES_MAX + 1)
        texts.append(ManifestText("standard input", read_bytes_as_text(data, "standard input")))
    if not texts and unreadable:
        why = unreadable[0].text.removeprefix("left out: ")
        raise BadInput(f"cannot read {unreadable[0].file}", why, "name files that can be read")
    result = import_kubernetes(texts, name=name or _name_of(sources[0]), hints=given_hints)
    if given_metrics is not None:
        result = apply_metrics(result, given_metrics)
    fleet, notes = result.fleet, (*unreadable, *result.notes)
    write_text(out, write_fleet_json(fleet) if out.suffix.lower() == ".json" else write_fleet(fleet))

    counts = {severity.value: sum(note.severity is severity for note in notes) for severity in Severity}
    priors = sum(belief.source is Source.PRIOR for belief in fleet.beliefs.values())
    calls = sum(1 for service in fleet.services for o in service.operations for _ in calls_of(o.steps))
    lines = [f"{out}: {len(fleet.services)} services, {calls} calls, {len(fleet.journeys)} journeys, {priors} priors"]
    # What is missing comes before what was merely assumed.
    order = list(Severity)[::-1]
    shown = sorted(notes, key=lambda note: order.index(note.severity))
    lines += [f"  {note.severity.value:<8} {note}" for note in shown[:_NOTES_SHOWN]]
    if len(shown) > _NOTES_SHOWN:
        lines.append(f"  … and {len(shown) - _NOTES_SHOWN} more notes (--json shows all)")
    facts = {
        "file": str(out),
        "services": len(fleet.services),
        "calls": calls,
        "journeys": len(fleet.journeys),
        "priors": priors,
        **{f"{severity}s": count for severity, count in counts.items()},
        "notes": [
            {"severity": n.severity.value, "kind": n.kind.value, "file": n.file, "line": n.line, "text": n.text}
            for n in notes
        ],
    }
    emit(as_json, facts, "\n".join(lines))


def _name_of(source: str) -> str:
    return "imported" if source == "-" else Path(source).resolve().stem or "imported"
