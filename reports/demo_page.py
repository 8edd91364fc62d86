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
_FRESH: Final = "on fresh replications"  # How the gate says that it has played the chosen one once more.


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
    told = _decisive(incident["promotions"])
    chosen = None if told is None else _promoted(candidates, told)
    done = told is not None and told["outcome"] == "done"
    graph = incident["call_graph"]
    rejected = [c for c in candidates if c["verdict"]["outcome"] == "rejected"]
    harmed = {h["service"]: h["failed_requests"] for c in rejected for h in c["verdict"]["harmed"]}
    helped = {h["service"]: h["failed_requests"] for h in chosen["verdict"]["helped"]} if chosen and done else {}
    headline, lead = _words(incident, chosen, rejected)
    return {
        **incident,
        "candidates": candidates,
        "chosen": chosen,
        "changed": _CHANGED[told["outcome"]] if told else "",
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
            and (moment["kind"] != "signal" or moment["data"].get("kind") in ("alert", "deploy"))
        ][:MOMENTS_MAX],
    }


_CHANGED: Final = {
    "done": "What changed", "rolled_back": "What was changed, and undone", "held": "What was begun, and is held",
    "refused": "What was to change, and was refused",
}  # fmt: skip


def _decisive(promotions: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The promotion that the page is about: the last that was done, else the last."""
    done = [promotion for promotion in promotions if promotion["outcome"] == "done"]
    return done[-1] if done else promotions[-1] if promotions else None


def _promoted(candidates: Sequence[dict[str, Any]], promotion: Mapping[str, Any]) -> dict[str, Any] | None:
    """The candidate that a promotion was of: of those with a receipt, the last that was judged."""
    same = [c for c in candidates if c["action"] == promotion["change"] and c["receipt"]]
    return same[-1] if same else None


def _words(
    incident: Mapping[str, Any], chosen: Mapping[str, Any] | None, rejected: Sequence[Mapping[str, Any]]
) -> tuple[str, str]:
    """(a few words for the top of the page, some sentences for the incident)."""
    promotions, paged = incident["promotions"], bool(incident["pages"])
    told = [_promotion_words(incident, promotion, chosen) for promotion in promotions]
    number = incident["number"]
    if any(promotion["outcome"] == "done" for promotion in promotions):
        last = _decisive(promotions)
        assert last is not None
        ended = "was ended by" if incident["mitigated_at_s"] is not None else "was not seen to end after"
        headline = f"Incident {number} {ended} “{last['change']}”."
    elif promotions:
        headline = f"Incident {number} was not ended: {_BRIEFLY[promotions[-1]['outcome']]}."
    else:
        headline = f"Incident {number}: no change was promoted."
        told = ["No change was seen to end it."]
    if paged:
        told.append("A human was paged with what is known.")
        headline = headline[:-1] + ", and a human was paged." if promotions else _HANDED_OVER.format(number=number)
    elif not any(promotion["outcome"] == "done" for promotion in promotions):
        told.append("Nobody was paged.")
        headline = headline[:-1] + ", and nobody was paged."
    if _nothing_written(incident):
        told.append("Nothing was written.")
        headline = headline[:-1] + "; nothing was written."
    if rejected:
        many = len(rejected) > 1
        turned = f"{len(rejected)} tempting wrong fix{'es were' if many else ' was'} rejected."
        told.append(turned)
        headline = f"{headline} {turned}"
    return headline, " ".join(told)


_HANDED_OVER: Final = "Incident {number} was handed to a human."
_BRIEFLY: Final = {
    "rolled_back": "what was promoted was rolled back", "held": "what was begun is held half-way",
    "refused": "the promoter refused what was verified",
}  # fmt: skip


def _promotion_words(
    incident: Mapping[str, Any], promotion: Mapping[str, Any], chosen: Mapping[str, Any] | None
) -> str:
    change, reason = promotion["change"], promotion["reason"]
    match promotion["outcome"]:
        case "done":
            mine = chosen if chosen is not None and chosen["action"] == change else None
            recovery = mine["verdict"]["prediction"]["recovery_s"] if mine else None
            predicted = f"; predicted to recover in {recovery['value']:.0f} s" if recovery else ""
            observed = promotion["observed_recovery_s"]
            seen = f", users well when looked at {observed:.0f} s after the first write" if observed else ""
            if incident["mitigated_at_s"] is None:
                seen = ", and users were not seen to be well again"
            return f"“{change}” was verified and promoted{predicted}{seen}."
        case "rolled_back":
            return f"“{change}” was promoted and rolled back: {reason}."
        case "held":
            return f"“{change}” was begun and is held where it was: {reason}."
        case _:
            return f"“{change}” was verified, and refused by the promoter: {reason}."


def _nothing_written(incident: Mapping[str, Any]) -> bool:
    """Whether production is seen to be as it was, and no promotion began: what was undone was written all the same."""
    base = incident.get("base")
    same = base is not None and base["before"] == base["after"]
    return same and all(promotion["outcome"] == "refused" for promotion in incident["promotions"])


def _candidate(candidate: Mapping[str, Any]) -> dict[str, Any]:
    verdict = candidate["verdict"]
    receipt = candidate["receipt"]
    return {
        **candidate,
        "effect": _interval(verdict["effect"]),
        "harm": _interval(verdict["harm"]),
        "worst": _worst(verdict["harmed"]),
        "confirmed": verdict["outcome"] == "effective" and any(_FRESH in s["reason"] for s in verdict["stages"]),
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
    return [(at_s - start_s, rps) for at_s, rps in incident["observed_let_down_rps"] if at_s >= start_s]
