"""The report page of a demo run: one self-contained HTML file, verdict first, evidence below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, select_autoescape
from markupsafe import Markup

from reports.charts import call_graph, curves

__all__ = ["render_demo", "template_environment"]

TEMPLATES: Final = Path(__file__).parent / "templates"
_KINDS_SHOWN: Final = frozenset(
    {
        "signal",
        "incident",
        "routed",
        "recalled",
        "diagnosed",
        "verified",
        "promoting",
        "promoted",
        "page",
        "closed",
        "failed",
    }
)
MOMENTS_MAX: Final = 60


def template_environment() -> Environment:
    """Jinja with escaping on: every text of a run is somebody else's."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=select_autoescape(default_for_string=True, default=True),
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def render_demo(dossier: Mapping[str, Any]) -> str:
    """HTML of a dossier as `twin demo` writes it."""
    incidents = [_incident(incident) for incident in dossier["incidents"]]
    page = {**dossier, "incidents": incidents, "lead": " ".join(i["headline"] for i in incidents)}
    style = Markup((TEMPLATES / "style.css").read_text())
    return template_environment().get_template("demo.html.j2").render(page=page, style=style)


def _incident(incident: Mapping[str, Any]) -> dict[str, Any]:
    candidates = [_candidate(candidate) for candidate in incident["candidates"]]
    done = [p for p in incident["promotions"] if p["outcome"] == "done"]
    chosen = next((c for c in candidates if c["receipt"] and done), None)
    graph = incident["call_graph"]
    verdict = (
        chosen["verdict"] if chosen else (candidates[0]["verdict"] if candidates else {"harmed": [], "helped": []})
    )
    rejected = [c for c in candidates if c["verdict"]["outcome"] == "rejected"]
    harmed = {h["service"]: h["failed_requests"] for c in rejected for h in c["verdict"]["harmed"]}
    helped = {h["service"]: h["failed_requests"] for h in verdict["helped"]} if chosen else {}
    headline, lead = _words(incident, chosen, rejected)
    return {
        **incident,
        "candidates": candidates,
        "chosen": chosen,
        "headline": headline,
        "lead": lead,
        "receipt": chosen["receipt"] if chosen else None,
        "rollback": _rollback(chosen),
        "curves": Markup(curves(chosen["verdict"]["prediction"], _observed(incident))) if chosen else None,
        "graph": Markup(call_graph(graph, harmed, helped)),
        "moments": [
            {**moment, "clock": datetime.fromtimestamp(moment["at_s"], UTC).strftime("%H:%M:%S")}
            for moment in incident["moments"]
            if moment["kind"] in _KINDS_SHOWN
        ][:MOMENTS_MAX],
    }


def _words(
    incident: Mapping[str, Any], chosen: Mapping[str, Any] | None, rejected: list[dict[str, Any]]
) -> tuple[str, str]:
    """(a few words for the top of the page, a sentence for the incident)."""
    number = incident["number"]
    if chosen is None:
        return (
            f"Incident {number} was handed to a human; nothing was written.",
            "No change was seen to end it, so a human was paged with what is known, and nothing was written.",
        )
    recovery = chosen["verdict"]["prediction"]["recovery_s"]
    predicted = f"; predicted to recover in {recovery['value']:.0f} s" if recovery else ""
    observed = next((p["observed_recovery_s"] for p in incident["promotions"] if p["observed_recovery_s"]), None)
    seen = f", users well when looked at {observed:.0f} s after the first write" if observed else ""
    turned = (
        f" {len(rejected)} tempting wrong fix{'es were' if len(rejected) > 1 else ' was'} rejected." if rejected else ""
    )
    return (
        f"Incident {number} was ended by “{chosen['action']}”.{turned}",
        f"“{chosen['action']}” was verified and promoted{predicted}{seen}.{turned}",
    )


def _candidate(candidate: Mapping[str, Any]) -> dict[str, Any]:
    verdict = candidate["verdict"]
    receipt = candidate["receipt"]
    return {
        **candidate,
        "effect": _interval(verdict["effect"]),
        "harm": _interval(verdict["harm"]),
        "worst": _worst(verdict["harmed"]),
        "steps": [_step(step) for step in receipt["plan"]["steps"]] if receipt else [],
    }  # fmt: skip


def _worst(harmed: Sequence[Mapping[str, Any]]) -> str:
    if not harmed:
        return ""
    worst = harmed[0]
    how = f"+{worst['worst_rps']:g} failed requests/s for {worst['minutes']:.1f} min"
    return f"worst: {worst['service']}, {how}; {len(harmed)} services harmed"


def _step(step: Mapping[str, Any]) -> str:
    if "operation" in step:
        return f"{step['operation']} " + ", ".join(f"{k}={v}" for k, v in step["arguments"].items())
    ref = step["ref"]
    fields = "\n".join(f"  + {'.'.join(path)}: {value}" for path, value in step["fields"])
    return f"{ref['kind']} {ref['namespace']}/{ref['name']}\n{fields}"


def _interval(interval: Mapping[str, float] | None) -> str:
    return "–" if interval is None else f"{interval['value']:.2f} ({interval['low']:.2f}–{interval['high']:.2f})"


def _rollback(chosen: Mapping[str, Any] | None) -> str:
    if chosen is None:
        return ""
    shadow = [s for s in chosen["verdict"]["stages"] if s["stage"] == "shadow"]
    return shadow[0]["reason"] if shadow else "not rehearsed"


def _observed(incident: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Production's own curve on the prediction's axis: users let down a second since the first write."""
    start_s = incident["first_write_at_s"]
    if start_s is None:
        return []
    users_rps = float(incident["users_rps"])
    return [
        (at_s - start_s, ratio * users_rps) for at_s, ratio in incident["observed_let_down_ratio"] if at_s >= start_s
    ]
