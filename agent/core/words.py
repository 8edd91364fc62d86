"""What the core says to people and to its own memory: queries, pages, lessons. Pure text from a context."""

from __future__ import annotations

from collections import Counter

from agent.core.context import Context
from agent.core.effects import Promote
from twin.spec.change import Change, action_text
from twin.spec.fault import fault_text
from twin.spec.incident import Page
from twin.spec.signal import Symptom, SymptomKind
from twin.spec.verdict import Outcome

__all__ = ["change_text", "lesson", "make_page", "recall_queries", "symptom_text"]

SERVICES_ASKED_MAX = 4
_LOUDNESS = (
    SymptomKind.ERRORS,
    SymptomKind.RESTARTS,
    SymptomKind.UNREADY,
    SymptomKind.LATENCY,
    SymptomKind.SATURATION,
    SymptomKind.MEMORY,
    SymptomKind.TRAFFIC,
)


def change_text(change: Change) -> str:
    return ", ".join(action_text(action) for action in change.actions) or "nothing"


def symptom_text(symptom: Symptom) -> str:
    """One symptom with its unit."""
    match symptom.kind:
        case SymptomKind.ERRORS:
            return f"{symptom.service}: {symptom.value:.0%} errors"
        case SymptomKind.LATENCY:
            return f"{symptom.service}: p99 {symptom.value:.3g} s, usually {symptom.usual:.3g} s"
        case SymptomKind.SATURATION:
            return f"{symptom.service}: {symptom.value:.0%} busy"
        case SymptomKind.RESTARTS:
            return f"{symptom.service}: {symptom.value:.0f} restarts"
        case SymptomKind.UNREADY:
            return f"{symptom.service}: {symptom.value:.0f} of {symptom.usual:.0f} replicas ready"
        case SymptomKind.MEMORY:
            return f"{symptom.service}: memory {symptom.value / 2**20:.0f} MiB, near its limit"
        case SymptomKind.TRAFFIC:
            return f"{symptom.service}: {symptom.value:.3g} requests/s, usually {symptom.usual:.3g}"


def recall_queries(context: Context) -> tuple[str, ...]:
    """Architecture and known issues of the services that suffer, then the symptoms themselves."""
    ranked = sorted(context.incident.symptoms, key=lambda s: (_LOUDNESS.index(s.kind), -s.value, s.service))
    services = list(dict.fromkeys(symptom.service for symptom in ranked))[:SERVICES_ASKED_MAX]
    names = [service.split("/")[-1] for service in services]
    queries = [text for name in names for text in (f"{name} architecture", f"{name} known issues")]
    kinds = Counter(symptom.kind for symptom in ranked)
    seen = " ".join(kind.value for kind, _ in kinds.most_common(3))
    return (*queries, f"runbook {seen} {context.specialist} {' '.join(names)}".strip())


def make_page(context: Context, *, page_id: str, why: str) -> Page:
    """One screen: what hurts, what it likely is, what was tried, what is under way, what to do now."""
    return Page(
        id=page_id,
        incident=context.incident.id,
        at_s=context.updated_s,
        impact=_impact(context),
        likely=_likely(context, why),
        tried=_tried(context),
        in_flight=_in_flight(context),
        next_command=f"twin agent trace {context.incident.id}",
        stop_command=context.settings.stop_command,
    )


def lesson(context: Context) -> tuple[str, str]:
    """Title and text of what is written back to long-term knowledge."""
    title = f"incident {context.incident.id}: {context.incident.title}"
    lines = [
        f"Outcome: {context.outcome}.",
        f"Symptoms: {'; '.join(symptom_text(s) for s in context.incident.symptoms[:8])}.",
        f"Suspects: {_suspects(context) or 'none'}.",
    ]
    for attempt in context.attempts:
        fate = attempt.promoted or f"{attempt.outcome or 'not judged'} ({attempt.reason})"
        lines.append(f"Tried {change_text(attempt.change)}: {fate}.")
    return title, "\n".join(lines)


def _impact(context: Context) -> str:
    incident = context.incident
    ranked = sorted(incident.symptoms, key=lambda s: (_LOUDNESS.index(s.kind), -s.value, s.service))
    worst = "; ".join(symptom_text(symptom) for symptom in ranked[:2]) or incident.title
    count = len(incident.services)
    more = f" (+{count - 1} services)" if count > 1 else ""
    return f"{worst}{more}; {context.alerts_seen} alerts since {_clock(incident.onset_s)}"


def _likely(context: Context, why: str) -> str:
    suspects = _suspects(context)
    if not suspects and context.hypotheses:
        suspects = "unproven: " + " · ".join(fault_text(fault) for fault in context.hypotheses[:3])
    return f"{suspects or 'unknown'} · handed over because: {why}"


def _suspects(context: Context) -> str:
    return " · ".join(
        f"{fault_text(s.fault) if s.fault else 'none of these'} {s.weight:.2f}" for s in context.suspects[:3]
    )


def _tried(context: Context) -> str:
    written = [f"{change_text(a.change)} → {a.promoted}" for a in context.attempts if a.promoted]
    refused = [
        f"{change_text(a.change)} ({a.outcome}: {a.reason})"
        for a in context.attempts
        if not a.promoted and a.outcome is not None and a.outcome is not Outcome.EFFECTIVE
    ]
    parts = [f"written: {'; '.join(written)}" if written else "nothing was written"]
    if refused:
        parts.append(f"not written: {'; '.join(refused[:3])}")
    return " · ".join(parts)


def _in_flight(context: Context) -> str:
    flying = [effect for effect in context.pending if isinstance(effect, Promote)]
    if context.chosen is not None:
        return f"{change_text(context.chosen)}: it may be half done, see `twin promotions list`"
    return "; ".join(change_text(effect.change) for effect in flying) or "none"


def _clock(at_s: float) -> str:
    """Time of day in UTC, from Unix seconds; no clock is read."""
    seconds = int(at_s) % 86_400
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02} UTC"
