"""The demo's story, line by line, as UX.md sketches it, and the dossier of which the report is made."""

from __future__ import annotations

import dataclasses
import shlex
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from agent.core.words import change_text
from agent.driver import Episode, Moment
from agent.pager import render_page
from twin.cli.demo.stage import Stage
from twin.cli.home import program
from twin.fleet.plant import plant_of
from twin.ports.services import Judged, Promoted, PromotionOutcome, Verification
from twin.ports.users import read_users
from twin.receipt import read
from twin.spec.canonical import plain
from twin.spec.fault import Fault, fault_text
from twin.spec.fleet import Source
from twin.spec.ids import ServiceId, service_of
from twin.spec.program import Step, calls_of
from twin.spec.receipt import receipt_digest
from twin.spec.verdict import Outcome, Verdict

__all__ = ["incident_dossier", "tell_fault", "tell_incident", "tell_stage"]


COLUMNS: Final = 100
LABEL_COLUMNS: Final = 20  # clock and label
NAME_COLUMNS: Final = 40
WEIGHT_SHOWN: Final = 0.01

Say = Callable[[str], None]


def tell_stage(stage: Stage, say: Say) -> None:
    """Two lines: what production is, and how well its twin knows it."""
    world, twin = stage.world, stage.twin
    users = sum(journey.rate_rps for journey in world.fleet.journeys)
    priors = sum(belief.source is Source.PRIOR for belief in twin.beliefs.values())
    shop = sum(service.namespace == "shop" for service in world.fleet.services)
    say(
        f"production  {len(world.fleet.services):,} services, {int(world.state.pod_ready.sum()):,} pods, "
        f"{users:,.0f} users/s   (seed {stage.seed}; shop imported: {shop} services)"
    )
    say(
        f"twin        built from 10 min of telemetry   median error {stage.calibration.median_error_ratio:.1%}, "
        f"{priors:,} figures from priors"
    )


def tell_fault(fault: Fault, say: Say, *, number: int) -> None:
    """What happens to production."""
    _wrapped(say, f"{number}. fault, hidden from the agent: ", fault_text(fault), indent=3)


def tell_incident(episode: Episode, say: Say, *, number: int, traces: Path) -> None:
    """What the agent saw, thought, rehearsed and did. `traces` is where its trace can be read."""
    alerts = [m for m in episode.moments if m.kind == "signal" and m.data.get("kind") == "alert"]
    # Those that were found to belong together: an incident's alerts, not whatever rang meanwhile.
    seen = episode.incidents[0].alerts_seen if episode.incidents else len(alerts)
    if alerts:
        more = f"      +{_counted(seen - 1, 'alert')}" if seen > 1 else ""
        _at(say, alerts[0].at_s, "alert", alerts[0].text.removeprefix("alert ") + more)
    if episode.incidents:
        context = episode.incidents[0]
        opened_s = episode.detected_at_s or episode.started_s
        told = f'#{number} "{context.incident.title}"      {_counted(seen, "alert")} → 1 incident'
        _at(say, opened_s, "incident", told)
    for moment in _first(episode, "recalled"):
        _at(say, moment.at_s, "recalled", _fitting(moment.text.split(" · "), COLUMNS - LABEL_COLUMNS))
    for moment in _first(episode, "diagnosed"):
        kinds = [text.partition(",")[0].replace("(", " ").rstrip(")") for text in moment.text.split(" · ")]
        _at(say, moment.at_s, "thinks of", _fitting(kinds, COLUMNS - LABEL_COLUMNS))
    for _, verification in episode.verifications[:1]:
        _tell_verification(episode, verification, say)
    for promoted, promotion in _promotions(episode):
        _tell_promotion(episode, promoted, promotion, say)
    for page in episode.pages[:1]:
        say("handed to a human" if episode.promotions else "nothing that may be promoted: handed to a human")
        page = dataclasses.replace(
            page,
            next_command=_typed(f"twin agent trace {page.incident} --from {shlex.quote(str(traces))}"),
            stop_command=_typed(page.stop_command),
        )
        for line in render_page(page).splitlines():
            say(line)


def _tell_verification(episode: Episode, verification: Verification, say: Say) -> None:
    """Suspects on one line, then a line a candidate with the figures that decided."""
    at_s = episode.verdict_at_s or episode.started_s
    suspects = [
        f"{f'{s.fault.kind} {s.fault.target}' if s.fault else 'none of these'} {s.weight:.2f}"
        for s in verification.suspects
        if s.weight >= WEIGHT_SHOWN or s.fault is None
    ]
    _at(say, at_s, "suspects", _fitting(suspects, COLUMNS - LABEL_COLUMNS))
    replications = max((j.verdict.replications for j in verification.judged), default=0)
    denied = sum(judged.verdict.outcome is Outcome.DENIED for judged in verification.judged)
    rehearsed = _counted(len(verification.judged) - denied, "candidate")
    not_rehearsed = f"; {denied} denied before that" if denied else ""
    _at(say, at_s, "rehearsed", f"{rehearsed} on the twin, {replications} paired runs each{not_rehearsed}")
    for judged in verification.judged:
        name = _what_briefly(judged, NAME_COLUMNS)
        if len(name) > NAME_COLUMNS:  # What the figures are matters: a line of its own, rather than without.
            say(f"  {name}")
            name = ""
        head = f"  {name:<{NAME_COLUMNS}} {judged.verdict.outcome.upper():<10} "
        _wrapped(say, head, _why(judged), indent=NAME_COLUMNS + 14)


def _promotions(episode: Episode) -> list[tuple[Moment, Promoted]]:
    """Each promotion with the moment at which the agent told how it had ended."""
    told = [moment for moment in episode.moments if moment.kind == "promoted"]
    return [(moment, promotion) for moment, (_, promotion) in zip(told, episode.promotions, strict=True)]


def _tell_promotion(episode: Episode, promoted: Moment, promotion: Promoted, say: Say) -> None:
    """The receipt it rested on, who approved, how it went, and what would have been without."""
    judged = _promoted_candidate(episode, promoted)
    verdict = None if judged is None else judged.verdict
    if judged is not None and judged.receipt is not None:
        receipt = read(judged.receipt)
        name, plan = receipt_digest(receipt)[:8], _what_briefly(judged, NAME_COLUMNS)
        minutes = (receipt.expires_s - receipt.issued_s) / 60.0
        told = f'{name}  valid {minutes:.0f} min, {receipt.evidence_level}, plan "{plan}"'
        _at(say, episode.verdict_at_s or float(receipt.issued_s), "receipt", told)
        if receipt.approvals_needed:
            _at(say, episode.first_write_at_s or promoted.at_s, "approved", "by the demo's stand-in for a human")
    predicted = verdict.prediction.recovery_s if verdict else None
    figures = [f"predicted {predicted.value:.0f} s" if predicted else "", ""]
    if promotion.observed_recovery_s is not None:
        figures[1] = f"seen after {promotion.observed_recovery_s:.0f} s, by scrapes of 15 s"
    _at(say, promoted.at_s, "promoted", f"{promotion.outcome}, {promotion.reason}   {', '.join(filter(None, figures))}")
    done = promotion.outcome is PromotionOutcome.DONE
    if done and episode.mitigated_at_s is not None and episode.detected_at_s is not None:
        down_s = episode.mitigated_at_s - episode.detected_at_s
        _at(
            say,
            episode.ended_s,
            "closed",
            f"well again {down_s:.0f} s after it was opened; {_without(verdict)}",
        )


def _promoted_candidate(episode: Episode, promoted: Moment) -> Judged | None:
    wanted = str(promoted.data.get("change", ""))
    judged = [j for _, verification in episode.verifications for j in verification.judged if j.receipt is not None]
    return next((j for j in judged if _what(j) == wanted), None)


def _without(verdict: Verdict | None) -> str:
    """What the rehearsal's arm without the change came to at its end."""
    if verdict is None or not verdict.prediction.nothing_rps:
        return "without a fix: not known"
    left = verdict.prediction.nothing_rps[-1]
    return f"without a fix: {left:.0f} users/s let down, no end" if left >= 0.5 else "without a fix: over too"


def _first(episode: Episode, kind: str) -> list[Moment]:
    return [m for m in episode.moments if m.kind == kind][:1]


def _at(say: Say, at_s: float, label: str, text: str) -> None:
    _wrapped(say, f"{_clock(at_s)}  {label:<10}", text, indent=LABEL_COLUMNS)


def _wrapped(say: Say, head: str, text: str, *, indent: int) -> None:
    """Whole, on as many lines as it takes."""
    for line in textwrap.wrap(
        head + text, COLUMNS, subsequent_indent=" " * indent, replace_whitespace=False, break_on_hyphens=False
    ):
        say(line)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _typed(command: str) -> str:
    """A command as it can be typed from here, also where `twin` is not on the PATH."""
    return program() + command.removeprefix("twin") if command.startswith("twin ") else command


def _fitting(parts: Sequence[str], width: int) -> str:
    """As many of the parts as fit on a line, each once."""
    told = ""
    for part in dict.fromkeys(parts):
        longer = f"{told} · {part}" if told else part
        if len(longer) > width:
            break
        told = longer
    return told or parts[0]


def incident_dossier(stage: Stage, episode: Episode, *, number: int, title: str) -> dict[str, Any]:
    """Plain JSON: everything that the report page shows of one incident."""
    candidates = []
    for _, verification in episode.verifications:
        for judged in verification.judged:
            candidates.append(
                {
                    "action": _what(judged),
                    "reason": judged.change.reason,
                    "verdict": plain(judged.verdict),
                    "receipt": _receipt(judged.receipt),
                }
            )
    return {
        "number": number,
        "title": title,
        "started_s": episode.started_s,
        "detected_at_s": episode.detected_at_s,
        "verdict_at_s": episode.verdict_at_s,
        "first_write_at_s": episode.first_write_at_s,
        "mitigated_at_s": episode.mitigated_at_s,
        "moments": [{"at_s": m.at_s, "kind": m.kind, "text": m.text, "data": plain(m.data)} for m in episode.moments],
        "candidates": candidates,
        "promotions": [{**plain(p), "change": str(m.data.get("change", ""))} for m, p in _promotions(episode)],
        "pages": [plain(page) for page in episode.pages],
        "observed_let_down_rps": _observed(stage, episode),
        "call_graph": _graph(stage, episode),
    }


def _observed(stage: Stage, episode: Episode) -> list[list[float]]:
    """Users let down a second, as production's own telemetry showed it: (Unix seconds, users/s)."""
    users = read_users(plant_of(stage.world).telemetry, start_s=episode.started_s, end_s=episode.ended_s)
    let_down = np.where(users.whole, users.let_down_rps, 0.0).sum(axis=1)
    return [[float(at_s), round(float(value), 3)] for at_s, value in zip(users.times_s, let_down, strict=True)]


def _graph(stage: Stage, episode: Episode) -> dict[str, Any]:
    """The incident's services and their direct neighbours, with who calls whom."""
    hit = {service for context in episode.incidents for service in context.incident.services}
    edges = []
    for service in stage.twin.services:
        for operation in service.operations:
            for call in operation.steps:
                edges += [(service.id, callee) for callee in _callees(call)]
    near = sorted({e for e in edges if e[0] in hit or e[1] in hit})
    names = sorted(hit | {end for edge in near for end in edge})
    return {"hit": sorted(hit), "services": names, "edges": [list(edge) for edge in near]}


def _callees(step: Step) -> list[ServiceId]:
    return [service_of(call.target) for call in calls_of((step,))]


def _what(judged: Judged) -> str:
    return change_text(judged.change)


def _what_briefly(judged: Judged, width: int) -> str:
    """The first action without namespace and parameters' names, and how many more there are; shorter for a `width`."""
    first, *more = judged.change.actions
    what = first.kind.replace("terminate", "end").replace("_", " ")
    values = (f" {k}={v:g}" if isinstance(v, float) else f" {v}" for k, v in sorted(first.parameters.items()))
    name, figures = f"{what} {first.target.split('/')[-1]}", "".join(values)
    whole = name + figures + (f" +{len(more)} more" if more else "")
    return whole if len(whole) <= width else whole.removesuffix(" more")


def _why(judged: Judged) -> str:
    verdict = judged.verdict
    if verdict.outcome is Outcome.EFFECTIVE and verdict.prediction.recovery_s is not None and verdict.effect:
        recovery = verdict.prediction.recovery_s
        return (
            f"recovers in {recovery.value:.0f} s ({recovery.low:.0f}–{recovery.high:.0f}), p ≥ {verdict.effect.low:.2f}"
        )
    if verdict.harmed:
        worst = verdict.harmed[0]
        others = len(verdict.harmed) - 1
        more = f", {others} more" if others else ""
        return f"+{worst.worst_rps:.0f} failures/s at {worst.service.split('/')[1]} for {worst.minutes:.0f} min{more}"
    return verdict.reason.partition(":")[0] if verdict.outcome is Outcome.DENIED else verdict.reason


def _receipt(envelope: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if envelope is None:
        return None
    receipt = read(envelope)
    return {**plain(receipt), "digest": receipt_digest(receipt)}


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S")
