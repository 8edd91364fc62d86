"""The agent's rules: `step(context, event) -> (context, effects)`, and nothing else decides.

Pure: no clock, no chance, no I/O. An event that answers no pending effect, or an old revision, changes
nothing, so a bus may deliver everything twice and a worker may die between any two steps.

Whatever fails, is refused, stays unclear or looks like nothing known ends in a page with all that is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from agent.core.context import Attempt, Context, Phase, Settings, change_key
from agent.core.effects import (
    Close,
    Diagnose,
    Effect,
    Gather,
    Promote,
    Recall,
    Remember,
    Route,
    SendPage,
    Verify,
    Watch,
    effect_id,
)
from agent.core.events import (
    Closed,
    Diagnosed,
    Event,
    Failed,
    Gathered,
    JudgedChange,
    Paged,
    Promoted,
    Recalled,
    Relapsed,
    Remembered,
    Routed,
    SignalArrived,
    Timeout,
    Verified,
    WatchedWell,
)
from agent.core.words import lesson, make_page, recall_queries
from twin.ports.services import PromotionOutcome
from twin.spec.canonical import plain
from twin.spec.change import Change
from twin.spec.signal import SymptomKind
from twin.spec.verdict import Outcome

__all__ = ["open_context", "step"]

Step = tuple[Context, tuple[Effect, ...]]
NOTES_MAX = 50
ATTEMPTS_MAX = 60
DRIFT_EXIT_CODE = 6  # Production moved since the rehearsal: rehearse again, on what it is now.


def open_context(event: SignalArrived, settings: Settings) -> Context:
    """The context of a new incident, before its first step."""
    return Context(incident=event.incident, settings=settings, opened_s=event.at_s, updated_s=event.at_s)


def step(context: Context, event: Event) -> Step:
    """One step. The returned effects are also in the new context's `pending`."""
    if context.phase is Phase.CLOSED:
        return context, ()
    if isinstance(event, SignalArrived):
        return _on_signals(context, event)
    effect = next((e for e in context.pending if e.id == event.effect_id), None)
    if effect is None:
        return context, ()
    if isinstance(event, Failed | Timeout):
        return _on_failure(context, effect, event)
    if not isinstance(event, _ANSWERS[type(effect)]):
        return context, ()
    answered = replace(context, pending=tuple(e for e in context.pending if e.id != effect.id), updated_s=event.at_s)
    return _on_answer(answered, effect, event)


_ANSWERS: dict[type, tuple[type, ...]] = {
    Gather: (Gathered,),
    Route: (Routed,),
    Recall: (Recalled,),
    Diagnose: (Diagnosed,),
    Verify: (Verified,),
    Promote: (Promoted,),
    Watch: (WatchedWell, Relapsed),
    SendPage: (Paged,),
    Remember: (Remembered,),
    Close: (Closed,),
}


def _on_signals(context: Context, event: SignalArrived) -> Step:
    if event.revision <= context.revision:
        return context, ()
    context = replace(
        context,
        revision=event.revision,
        incident=event.incident,
        alerts_active=event.alerts_active,
        alerts_seen=event.alerts_seen,
        updated_s=event.at_s,
    )
    if event.merged_into and context.phase in _MERGEABLE:
        context = replace(context, merged_into=event.merged_into, pending=(), phase=Phase.LEARN)
        return _close(context, f"joined {event.merged_into}")
    if context.phase is Phase.SIGNAL:
        return _emit(replace(context, phase=Phase.CORRELATE), partial(Gather, duration_s=context.settings.gather_s))
    if context.phase is Phase.HANDED_OVER:
        return _watch_if_quiet(context)
    return context, ()


def _watch_if_quiet(context: Context) -> Step:
    """A human has it: look whether it is over once all alerts have resolved."""
    if context.alerts_active > 0 or _awaits(context, Watch):
        return context, ()
    return _emit(context, partial(Watch, duration_s=context.settings.watch_s))


_MERGEABLE = frozenset({Phase.SIGNAL, Phase.CORRELATE, Phase.ROUTE, Phase.RETRIEVE, Phase.HYPOTHESISE, Phase.GATE})


def _on_answer(context: Context, effect: Effect, event: Event) -> Step:
    match event:
        case Gathered() if context.phase is Phase.HYPOTHESISE:
            return _think(context)
        case Gathered():
            return _emit(replace(context, phase=Phase.ROUTE), Route)
        case Routed():
            context = replace(
                context, phase=Phase.RETRIEVE, specialist=event.specialist, specialist_confidence=event.confidence
            )
            return _emit(context, partial(Recall, queries=recall_queries(context)))
        case Recalled():
            return _think(replace(context, documents=event.documents))
        case Diagnosed():
            return _on_diagnosed(context, event)
        case Verified():
            return _on_verified(context, event)
        case Promoted():
            assert isinstance(effect, Promote)
            return _on_promoted(context, effect, event)
        case WatchedWell():
            if context.phase is Phase.HANDED_OVER:
                return _learn(context, "handed over, and over now")
            return _learn(context, "resolved" if context.promotions else "ended by itself")
        case Relapsed():
            return _on_relapse(context, event)
        case Remembered():
            return _close(context, context.outcome)
        case Closed():
            return replace(context, phase=Phase.CLOSED), ()
        case _:  # Paged: a human has it; the phase says so already.
            return context, ()


def _think(context: Context) -> Step:
    """One more round with the brain, or a human if there have been enough."""
    if context.round >= context.settings.rounds_max:
        return _hand_over(context, f"no fix after {context.round} rounds")
    context = replace(context, phase=Phase.HYPOTHESISE, round=context.round + 1)
    return _emit(context, partial(Diagnose, round=context.round, tried=context.tried))


def _on_diagnosed(context: Context, event: Diagnosed) -> Step:
    fresh = tuple(c for c in _distinct(event.candidates) if change_key(c) not in context.tried)
    context = replace(context, hypotheses=event.hypotheses, thoughts=event.thoughts)
    if not event.hand_over and not fresh:
        return _watch(replace(context, unattended=True))
    if _looks_over(context):
        return _watch(_noted(context, "all alerts have resolved: looking whether it is over"))
    if not context.settings.gated:
        if not fresh:
            return _hand_over(context, "no candidate")
        return _write_ungated(replace(context, queue=fresh))
    if not fresh and context.round > 1:
        return _hand_over(context, "no further candidate")
    # Without candidates the gate is asked all the same: its suspects make the page worth reading.
    context = replace(context, phase=Phase.GATE)
    return _emit(context, partial(Verify, hypotheses=event.hypotheses, candidates=fresh))


def _on_verified(context: Context, event: Verified) -> Step:
    attempts = tuple(
        Attempt(change=j.change, round=context.round, outcome=j.outcome, reason=j.reason) for j in event.judged
    )
    context = replace(context, suspects=event.suspects, attempts=(*context.attempts, *attempts)[-ATTEMPTS_MAX:])
    allowed = (Outcome.EFFECTIVE, Outcome.HARMLESS) if context.settings.promote_harmless else (Outcome.EFFECTIVE,)
    usable = [j for j in event.judged if j.outcome in allowed and j.receipt is not None]
    if _looks_over(context):
        return _watch(_noted(context, "all alerts have resolved: looking whether it is over"))
    unexplained = _is_unexplained(event)
    if not event.judged and not (unexplained and _is_young(context)):
        return _hand_over(context, "nothing to propose")
    if not usable:
        if unexplained:
            if _is_young(context):
                return _wait_for_evidence(context)
            return _hand_over(context, "nothing that the twin can reproduce")
        return _think(context)
    best = min(usable, key=_preference)
    assert best.receipt is not None
    context = replace(context, phase=Phase.PROMOTE, chosen=best.change)
    return _emit(context, partial(Promote, change=best.change, receipt=best.receipt))


def _is_unexplained(event: Verified) -> bool:
    """None of the suspects explains it; or none could be tried, because too little of it is seen so far."""
    if event.suspects:
        return event.suspects[0].fault is None
    return not event.judged or any(judged.outcome is Outcome.INCONCLUSIVE for judged in event.judged)


def _is_young(context: Context) -> bool:
    """Few scrapes show it yet: that the twin cannot reproduce it may be for want of evidence."""
    age_s = context.updated_s - context.incident.onset_s
    return age_s < context.settings.young_s


def _wait_for_evidence(context: Context) -> Step:
    """Look again a few scrapes later. Verdicts about what was not reproduced decide nothing: ask anew."""
    context = _noted(context, "not reproduced yet: waiting for more evidence")
    now = context.round
    stale = tuple(replace(a, stale=a.stale or (a.round == now and not a.promoted)) for a in context.attempts)
    context = replace(context, phase=Phase.HYPOTHESISE, attempts=stale, round=context.round - 1)
    return _emit(context, partial(Gather, duration_s=context.settings.evidence_s))


def _preference(judged: JudgedChange) -> tuple[int, float, int]:
    """Effective before harmless, soonest recovery (in steps of 15 s: less is noise), then the smaller change. Among
    equals the one that the brain proposed first: a gate that does not rehearse tells nothing apart."""
    recovery = 1e9 if judged.recovery_s is None else judged.recovery_s // 15.0
    return (0 if judged.outcome is Outcome.EFFECTIVE else 1, recovery, len(judged.change.actions))


def _write_ungated(context: Context) -> Step:
    change, *rest = context.queue
    context = replace(
        context,
        phase=Phase.PROMOTE,
        queue=tuple(rest),
        chosen=change,
        attempts=(*context.attempts, Attempt(change=change, round=context.round))[-ATTEMPTS_MAX:],
    )
    receipt = {"kind": "ungated", "change": _plain_change(change)}
    return _emit(context, partial(Promote, change=change, receipt=receipt))


def _on_promoted(context: Context, effect: Promote, event: Promoted) -> Step:
    key = change_key(effect.change)
    drifted = event.outcome is PromotionOutcome.REFUSED and event.exit_code == DRIFT_EXIT_CODE
    told = f"{event.outcome}: {event.reason}" if event.reason else str(event.outcome)
    context = replace(
        context,
        promotions=context.promotions + 1,
        chosen=None,
        attempts=tuple(
            replace(a, promoted=told) if change_key(a.change) == key and not a.promoted else a for a in context.attempts
        ),
    )
    match event.outcome:
        case PromotionOutcome.DONE:
            return _watch(context)
        case PromotionOutcome.HELD:
            return _hand_over(context, "the canary is unclear; it was kept as it is")
        case PromotionOutcome.ROLLED_BACK if event.left:
            return _hand_over(context, f"it was rolled back, but not all of it: {'; '.join(event.left)}")
        case PromotionOutcome.ROLLED_BACK:
            return _again(context, "it was rolled back")
        case PromotionOutcome.REFUSED:
            if not context.settings.gated and context.queue:
                return _write_ungated(context)
            if drifted:
                return _again(context, "production drifted")
            return _hand_over(context, f"promotion was refused: {event.reason}")


def _looks_over(context: Context) -> bool:
    """All alerts have resolved, and none is of a kind that comes and goes: a leak is quiet between two deaths."""
    coming_back = {SymptomKind.RESTARTS, SymptomKind.MEMORY, SymptomKind.UNREADY}
    return (
        context.alerts_active == 0
        and not context.promotions
        and not any(symptom.kind in coming_back for symptom in context.incident.symptoms)
    )


def _on_relapse(context: Context, event: Relapsed) -> Step:
    if context.phase is Phase.HANDED_OVER:
        return _watch_if_quiet(context)
    if context.unattended:
        return _watch(context)
    return _again(_noted(context, event.reason), event.reason)


def _again(context: Context, why: str) -> Step:
    if context.promotions >= context.settings.promotions_max:
        return _hand_over(context, f"{context.promotions} promotions did not end it: {why}")
    return _think(context)


def _watch(context: Context) -> Step:
    return _emit(replace(context, phase=Phase.WATCH), partial(Watch, duration_s=context.settings.watch_s))


def _on_failure(context: Context, effect: Effect, event: Failed | Timeout) -> Step:
    why = event.reason if isinstance(event, Failed) else f"no answer in {event.after_s:g} s"
    if isinstance(effect, SendPage | Close):
        return context, (effect,)  # Nothing may come in between a human and his page: again, under the same id.
    context = replace(context, pending=tuple(e for e in context.pending if e.id != effect.id), updated_s=event.at_s)
    if isinstance(effect, Remember):
        return _close(_noted(context, f"the lesson is not written down: {why}"), context.outcome)
    return _hand_over(context, f"{effect.kind} failed: {why}")


def _hand_over(context: Context, why: str) -> Step:
    """Page once; then look whether it ends."""
    context = _noted(replace(context, phase=Phase.HANDED_OVER, outcome=f"handed over: {why}"), why)
    if context.paged:
        return _watch_if_quiet(context)
    page_id = effect_id(context.incident.id, context.sequence)
    page = make_page(context, page_id=page_id, why=why)
    paged, effects = _emit(replace(context, paged=True), partial(SendPage, page=page))
    watching, more = _watch_if_quiet(paged)
    return watching, (*effects, *more)


def _learn(context: Context, outcome: str) -> Step:
    context = replace(context, phase=Phase.LEARN, outcome=outcome)
    title, text = lesson(context)
    return _emit(context, partial(Remember, title=title, text=text))


def _close(context: Context, outcome: str) -> Step:
    return _emit(replace(context, outcome=outcome, phase=Phase.LEARN), partial(Close, outcome=outcome))


def _emit(context: Context, make: Callable[..., Effect]) -> Step:
    effect = make(id=effect_id(context.incident.id, context.sequence))
    context = replace(context, sequence=context.sequence + 1, pending=(*context.pending, effect))
    return context, (effect,)


def _awaits(context: Context, kind: type) -> bool:
    return any(isinstance(effect, kind) for effect in context.pending)


def _noted(context: Context, note: str) -> Context:
    return replace(context, notes=(*context.notes, note)[-NOTES_MAX:])


def _distinct(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple({change_key(change): change for change in reversed(changes)}.values())[::-1]


def _plain_change(change: Change) -> dict[str, object]:
    data: dict[str, object] = plain(change)
    return data
