"""The demo's story, line by line, as UX.md sketches it, and the dossier of which the report is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from agent.driver import Episode
from agent.pager import render_page
from twin.cli.demo.stage import Stage
from twin.fleet.plant import plant_of
from twin.ports.plant import Metric
from twin.ports.services import Judged, Verification
from twin.receipt import read
from twin.spec.canonical import plain
from twin.spec.change import action_text
from twin.spec.fault import fault_text
from twin.spec.fleet import Source
from twin.spec.ids import ServiceId, service_of
from twin.spec.program import Step, calls_of
from twin.spec.receipt import receipt_digest
from twin.spec.verdict import Outcome

__all__ = ["incident_dossier", "tell_incident", "tell_stage"]


SUSPECTS_SHOWN: Final = 3

Say = Callable[[str], None]


def tell_stage(stage: Stage, say: Say) -> None:
    """Two lines: what production is, and how well its twin knows it."""
    world, twin = stage.world, stage.twin
    users = sum(journey.rate_rps for journey in world.fleet.journeys)
    priors = sum(belief.source is Source.PRIOR for belief in twin.beliefs.values())
    shop = sum(service.namespace == "shop" for service in world.fleet.services)
    say(
        f"production  {len(world.fleet.services):,} services, {int(world.state.pod_ready.sum()):,} pods, "
        f"{users:,.0f} users/s   (generated, seed {stage.seed}; shop imported: {shop} services)"
    )
    say(
        f"twin        built from 10 min of telemetry   median error {stage.calibration.median_error_ratio:.1%}, "
        f"{priors:,} figures from priors"
    )


def tell_incident(episode: Episode, say: Say, *, number: int) -> None:
    """What the agent saw, thought, rehearsed and did."""
    alerts = [m for m in episode.moments if m.kind == "signal" and m.data.get("kind") == "alert"]
    if alerts:
        more = f"      +{len(alerts) - 1} alerts" if len(alerts) > 1 else ""
        say(f"{_clock(alerts[0].at_s)}  alert     {_cut(alerts[0].text, 60)}{more}")
    if episode.incidents:
        context = episode.incidents[0]
        opened = episode.detected_at_s or episode.started_s
        scope = f"{len(alerts)} alerts, {len(context.incident.services)} services"
        say(f'{_clock(opened)}  incident  #{number} "{_cut(context.incident.title, 48)}"  {scope}')
    for kind, word in (("recalled", "recalled"), ("diagnosed", "thinks")):
        moment = next((m for m in episode.moments if m.kind == kind), None)
        if moment is not None:
            say(f"{_clock(moment.at_s)}  {word:<9} {_cut(moment.text, 78)}")
    for _, verification in episode.verifications[:1]:
        tell_verification(verification, say)
    for _, promotion in episode.promotions:
        moment = next(m for m in episode.moments if m.kind == "promoted")
        observed = f", observed {promotion.observed_recovery_s:.0f} s" if promotion.observed_recovery_s else ""
        predicted = _predicted_s(episode)
        told = f"predicted {predicted:.0f} s" if predicted is not None else "no prediction"
        how = f"{promotion.outcome}, {promotion.reason}"
        say(f"{_clock(moment.at_s)}  promoted  {promotion.promotion_id}: {how}   {told}{observed}")
    for page in episode.pages[:1]:
        for line in render_page(page).splitlines():
            say(line)


def tell_verification(verification: Verification, say: Say) -> None:
    """Suspects on one line, then a line a candidate with the figures that decided."""
    shown = (
        f"{fault_text(s.fault) if s.fault else 'none of these'} {s.weight:.2f}"
        for s in verification.suspects[:SUSPECTS_SHOWN]
    )
    say(f"          suspects  {_cut(' · '.join(shown), 88)}")
    replications = max((j.verdict.replications for j in verification.judged), default=0)
    say(f"          rehearsed {len(verification.judged)} candidates on the twin, {replications} paired runs each")
    for judged in verification.judged:
        say(f"  {_cut(_what(judged), 34):<34} {judged.verdict.outcome.upper():<12} {_cut(_why(judged), 50)}")


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
        "promotions": [plain(promotion) for _, promotion in episode.promotions],
        "pages": [plain(page) for page in episode.pages],
        "observed_let_down_rps": _observed(stage, episode),
        "call_graph": _graph(stage, episode),
    }


def _observed(stage: Stage, episode: Episode) -> list[list[float]]:
    """Users let down a second, as production's own telemetry showed it: (Unix seconds, users/s)."""
    telemetry = plant_of(stage.world).telemetry
    users = [edge.id for edge in telemetry.edges() if edge.id.caller == "user"]
    window = {"start_s": episode.started_s, "end_s": episode.ended_s}
    rate = telemetry.edge_series(Metric.REQUESTS_RPS, users, **window)
    bad = telemetry.edge_series(Metric.ERROR_RATIO, users, **window)
    let_down = (rate.values * bad.values).sum(axis=1)
    return [[float(at_s), round(float(value), 3)] for at_s, value in zip(rate.times_s, let_down, strict=True)]


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
    return ", ".join(action_text(action) for action in judged.change.actions)


def _why(judged: Judged) -> str:
    verdict = judged.verdict
    if verdict.outcome is Outcome.EFFECTIVE and verdict.prediction.recovery_s is not None and verdict.effect:
        recovery = verdict.prediction.recovery_s
        return (
            f"recovers in {recovery.value:.0f} s ({recovery.low:.0f}–{recovery.high:.0f}), p ≥ {verdict.effect.low:.2f}"
        )
    if verdict.harmed:
        worst = verdict.harmed[0]
        where = f"+{worst.worst_rps:.0f} failures/s at {worst.service} for {worst.minutes:.0f} min"
        return f"{where}, {len(verdict.harmed)} harmed"
    return verdict.reason


def _predicted_s(episode: Episode) -> float | None:
    for _, verification in episode.verifications:
        for judged in verification.judged:
            if judged.verdict.outcome is Outcome.EFFECTIVE and judged.verdict.prediction.recovery_s is not None:
                return judged.verdict.prediction.recovery_s.value
    return None


def _receipt(envelope: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if envelope is None:
        return None
    receipt = read(envelope)
    return {**plain(receipt), "digest": receipt_digest(receipt)}


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%H:%M:%S")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
