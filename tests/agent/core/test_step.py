"""The core's promises: pure, idempotent, resumable between any two steps, and a page whenever it fails."""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import Context, Phase, Settings, open_context, step
from agent.core.context import Document
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
)  # fmt: skip
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
)  # fmt: skip
from agent.core.wire import from_json, to_json
from twin.ports.services import PromotionOutcome
from twin.spec.change import Action, Change
from twin.spec.fault import Fault
from twin.spec.ids import FaultKind, ServiceId
from twin.spec.incident import Incident
from twin.spec.signal import Symptom, SymptomKind
from twin.spec.verdict import Outcome, Suspect

SEQUENCE_MAX = 60
CART = ServiceId("shop/cart")
FAULT = Fault(kind=FaultKind("slow"), target="shop/cart", parameters={"factor": 8.0})


def arrival(revision: int = 1, active: int = 1) -> SignalArrived:
    symptom = Symptom(service=CART, kind=SymptomKind.ERRORS, value=0.4, usual=0.0)
    incident = Incident(id="7", title="shop/cart", onset_s=100.0, symptoms=(symptom,))
    return SignalArrived(revision=revision, at_s=500.0, incident=incident, alerts_active=active, alerts_seen=revision)


def a_change(number: int) -> Change:
    undo = Action(kind="scale", target="shop/cart", parameters={"replicas": float(number)})
    return Change(actions=(undo,), reason="test", requester="agent")


class Outside:
    """Everything around the core, decided by a list of choices: the same effect always fares the same."""

    def __init__(self, choices: Sequence[int]) -> None:
        self.choices = choices
        self.done: dict[str, Event] = {}
        self.performed: Counter[str] = Counter()
        self.kinds: dict[str, Effect] = {}

    def carry_out(self, effect: Effect) -> Event:
        """At most once by id, as a promoter does by the receipt's spent mark and a pager by the page's id."""
        if effect.id not in self.done:
            self.performed[effect.id] += 1
            self.kinds[effect.id] = effect
            self.done[effect.id] = self._answer(effect)
        return self.done[effect.id]

    def _answer(self, effect: Effect) -> Event:
        choice = self.choices[int(effect.id, 16) % len(self.choices)]
        name, at_s = effect.id, 600.0
        if choice % 11 == 10 and not isinstance(effect, SendPage | Close):
            return Failed(effect_id=name, at_s=at_s, reason="it broke")
        if choice % 11 == 9 and not isinstance(effect, SendPage | Close):
            return Timeout(effect_id=name, at_s=at_s, after_s=30.0)
        match effect:
            case Gather():
                return Gathered(effect_id=name, at_s=at_s)
            case Route():
                return Routed(effect_id=name, at_s=at_s, specialist="workload", confidence=0.8)
            case Recall():
                document = Document(id="d", title="cart architecture", sort="architecture", relevance=0.8, text="…")
                return Recalled(effect_id=name, at_s=at_s, documents=(document,))
            case Diagnose():
                candidates = tuple(a_change(effect.round * 10 + n) for n in range(choice % 4))
                return Diagnosed(
                    effect_id=name, at_s=at_s, hypotheses=(FAULT,), candidates=candidates, thoughts="hm",
                    hand_over=choice % 5 != 4,
                )  # fmt: skip
            case Verify():
                outcomes = list(Outcome)
                judged = tuple(
                    JudgedChange(
                        change=change, outcome=outcomes[(choice + n) % len(outcomes)], reason="so it is",
                        recovery_s=float(choice), receipt={"plan": n},
                    )
                    for n, change in enumerate(effect.candidates)
                )  # fmt: skip
                suspect = Suspect(fault=FAULT if choice % 3 else None, weight=0.8, residual=0.1)
                return Verified(effect_id=name, at_s=at_s, suspects=(suspect,), judged=judged)
            case Promote():
                outcome = list(PromotionOutcome)[choice % 4]
                code = 6 if choice % 2 else 5
                return Promoted(effect_id=name, at_s=at_s, outcome=outcome, reason="told", exit_code=code)
            case Watch():
                if choice % 2:
                    return WatchedWell(effect_id=name, at_s=at_s)
                return Relapsed(effect_id=name, at_s=at_s, reason="still bad")
            case SendPage():
                return Paged(effect_id=name, at_s=at_s)
            case Remember():
                return Remembered(effect_id=name, at_s=at_s)
            case Close():
                return Closed(effect_id=name, at_s=at_s)


def live(
    outside: Outside, *, gated: bool, crashes: Sequence[int] = (), twice: bool = False, steps_max: int = 150
) -> Context:
    """A worker on one incident. It dies after the steps in `crashes`, with everything but the stored context."""
    stored = json.dumps(to_json(open_context(arrival(), Settings(gated=gated))))
    todo: deque[Event] = deque([arrival()])
    for number in range(steps_max):
        if not todo:
            break
        event = todo.popleft()
        context = from_json(Context, json.loads(stored))
        after, effects = step(context, event)
        if twice:
            again, more = step(after, event)
            assert again == after
            assert all(isinstance(e, SendPage | Close) for e in more)  # Only these are asked for again, by their id.
        stored = json.dumps(to_json(after))
        if after.sequence >= SEQUENCE_MAX:
            break  # The baseline that calls nobody watches on for ever.
        if number in crashes:
            # A new worker: what was due is asked for again, out of the context alone. The bus redelivers.
            todo = deque([arrival(), *(outside.carry_out(e) for e in from_json(Context, json.loads(stored)).pending)])
            continue
        todo.extend(outside.carry_out(effect) for effect in effects)
    return from_json(Context, json.loads(stored))


choices = st.lists(st.integers(0, 10_000), min_size=1, max_size=40)


@pytest.mark.requirement("R2")
@settings(max_examples=60, deadline=None)
@given(choices=choices, gated=st.booleans(), crashes=st.sets(st.integers(0, 60), max_size=12))
def test_a_worker_that_dies_between_any_two_steps_is_resumed_and_nothing_is_done_twice(
    choices: list[int], gated: bool, crashes: set[int]
) -> None:
    calm, torn = Outside(choices), Outside(choices)
    straight = live(calm, gated=gated)
    resumed = live(torn, gated=gated, crashes=sorted(crashes))
    assert to_json(resumed) == to_json(straight)
    assert torn.performed == calm.performed
    assert set(torn.performed.values()) <= {1}


@pytest.mark.requirement("R2")
@settings(max_examples=40, deadline=None)
@given(choices=choices, gated=st.booleans())
def test_every_event_may_come_twice(choices: list[int], gated: bool) -> None:
    once, twice = Outside(choices), Outside(choices)
    assert to_json(live(once, gated=gated)) == to_json(live(twice, gated=gated, twice=True))
    assert once.performed == twice.performed


@pytest.mark.requirement("R19")
@settings(max_examples=60, deadline=None)
@given(choices=choices, gated=st.booleans())
def test_an_incident_ends_closed_or_with_exactly_one_page(choices: list[int], gated: bool) -> None:
    outside = Outside(choices)
    context = live(outside, gated=gated)
    pages = [e for e in outside.kinds.values() if isinstance(e, SendPage)]
    promotions = [e for e in outside.kinds.values() if isinstance(e, Promote)]
    if context.unattended:
        return  # The baseline that wants nobody called watches for ever.
    assert context.phase in (Phase.CLOSED, Phase.HANDED_OVER)
    assert len(pages) <= 1
    assert context.phase is Phase.CLOSED or len(pages) == 1
    assert len({e.id for e in promotions}) == len(promotions)
    assert context.round <= context.settings.rounds_max


@pytest.mark.requirement("R13")
@settings(max_examples=60, deadline=None)
@given(choices=choices)
def test_only_what_the_gate_found_effective_is_promoted(choices: list[int]) -> None:
    outside = Outside(choices)
    live(outside, gated=True)
    verdicts = {
        to_json(judged.change)["actions"][0]["parameters"]["replicas"]: judged.outcome
        for event in outside.done.values()
        if isinstance(event, Verified)
        for judged in event.judged
    }
    for effect in outside.kinds.values():
        if isinstance(effect, Promote):
            assert verdicts[effect.change.actions[0].parameters["replicas"]] is Outcome.EFFECTIVE


@pytest.mark.requirement("R4")
@given(choices=choices)
@settings(max_examples=60, deadline=None)
def test_architecture_and_known_issues_are_asked_for_before_any_reasoning(choices: list[int]) -> None:
    outside = Outside(choices)
    live(outside, gated=True)
    kinds = [effect.kind for effect in outside.kinds.values()]
    if "diagnose" in kinds:
        recall = next(e for e in outside.kinds.values() if isinstance(e, Recall))
        assert kinds.index("recall") < kinds.index("diagnose")
        assert {"cart architecture", "cart known issues"} <= set(recall.queries)


@pytest.mark.parametrize("broken", ["route", "recall", "diagnose", "verify", "promote", "watch"])
@pytest.mark.requirement("R19")
def test_whatever_breaks_a_human_gets_a_page_that_says_so(broken: str) -> None:
    outside = Outside([0])
    context, effects = step(open_context(arrival(), Settings()), arrival())
    for _ in range(40):
        if not effects:
            break
        effect = effects[0]
        if isinstance(effect, SendPage):
            break
        answer: Event = _smooth(effect)
        if effect.kind == broken:
            answer = Failed(effect_id=effect.id, at_s=600.0, reason="it broke badly")
        context, effects = step(context, answer)
    page = next(e.page for e in effects if isinstance(e, SendPage))
    assert context.phase is Phase.HANDED_OVER
    assert f"{broken} failed: it broke badly" in page.likely
    assert page.stop_command == "twin takeover"
    assert "twin agent trace 7" in page.next_command
    if broken == "promote":
        assert "may be half done" in page.in_flight
    assert outside.performed == Counter()


@pytest.mark.requirement("R19")
def test_a_rollback_with_a_rest_goes_to_a_human_with_the_command_that_stops_this_agent() -> None:
    settings = Settings(stop_command="twin takeover --home /srv/agent")
    context, effects = step(open_context(arrival(), settings), arrival())
    while effects[0].kind != "page":
        effect = effects[0]
        answer: Event = _smooth(effect)
        if effect.kind == "promote":
            answer = Promoted(
                effect_id=effect.id, at_s=600.0, outcome=PromotionOutcome.ROLLED_BACK, reason="worse", exit_code=9,
                left=("deployment/shop/cart: forbidden",),
            )  # fmt: skip
        context, effects = step(context, answer)
    page = next(e.page for e in effects if isinstance(e, SendPage))
    assert "not all of it: deployment/shop/cart: forbidden" in page.likely
    assert page.stop_command == "twin takeover --home /srv/agent"


def _smooth(effect: Effect) -> Event:
    """Everything goes well."""
    if isinstance(effect, Diagnose):
        return Diagnosed(
            effect_id=effect.id, at_s=600.0, hypotheses=(FAULT,), candidates=(a_change(1), a_change(2)), thoughts=""
        )
    if isinstance(effect, Verify):
        judged = tuple(
            JudgedChange(change=c, outcome=Outcome.EFFECTIVE, reason="", recovery_s=60.0 * n, receipt={"n": n})
            for n, c in enumerate(effect.candidates)
        )
        return Verified(effect_id=effect.id, at_s=600.0, suspects=(), judged=judged)
    if isinstance(effect, Promote):
        return Promoted(effect_id=effect.id, at_s=600.0, outcome=PromotionOutcome.DONE, reason="", exit_code=0)
    return Outside([1])._answer(effect)


def test_the_soonest_recovery_wins_among_the_effective() -> None:
    context, effects = step(open_context(arrival(), Settings()), arrival())
    while not isinstance(effects[0], Promote):
        context, effects = step(context, _smooth(effects[0]))
    assert effects[0].change == a_change(1)


def test_among_equals_what_was_proposed_first_is_promoted() -> None:
    """A gate that asks policy only calls everything effective, and predicts nothing."""
    context, effects = step(open_context(arrival(), Settings()), arrival())
    proposed = (a_change(9), a_change(1), a_change(5))  # not in order of their names
    while not isinstance(effects[0], Promote):
        answer = _smooth(effects[0])
        if isinstance(effects[0], Diagnose):
            assert isinstance(answer, Diagnosed)
            answer = replace(answer, candidates=proposed)
        if isinstance(effects[0], Verify):
            judged = tuple(
                JudgedChange(change=c, outcome=Outcome.EFFECTIVE, reason="allowed", receipt={}) for c in proposed
            )
            answer = Verified(effect_id=effects[0].id, at_s=600.0, suspects=(), judged=judged)
        context, effects = step(context, answer)
    assert effects[0].change == proposed[0]


def test_none_of_these_is_looked_at_again_while_young_and_then_handed_over() -> None:
    context, effects = step(open_context(arrival(), Settings(young_s=550.0)), arrival())
    asked = 0
    while effects and not isinstance(effects[0], SendPage):
        effect = effects[0]
        answer = _smooth(effect)
        if isinstance(effect, Verify):
            asked += 1
            assert len(effect.candidates) == 2  # Verdicts about what was not reproduced do not count.
            judged = tuple(JudgedChange(change=c, outcome=Outcome.HARMLESS, reason="") for c in effect.candidates)
            nobody = Suspect(fault=None, weight=0.9, residual=0.6)
            at_s = 600.0 if asked == 1 else 700.0
            answer = Verified(effect_id=effect.id, at_s=at_s, suspects=(nobody,), judged=judged)
        context, effects = step(context, answer)
    assert asked == 2
    assert isinstance(effects[0], SendPage)
    assert "nothing that the twin can reproduce" in effects[0].page.likely


def test_an_effects_id_follows_from_incident_and_number_alone() -> None:
    assert effect_id("7", 3) == effect_id("7", 3)
    assert len({effect_id(str(i), n) for i in range(20) for n in range(20)}) == 400


def test_a_page_that_could_not_be_written_down_is_asked_for_again() -> None:
    context, effects = step(open_context(arrival(), Settings()), arrival())
    context, effects = step(context, Failed(effect_id=effects[0].id, at_s=1.0, reason="no"))
    page = effects[0]
    assert isinstance(page, SendPage)
    after, again = step(context, Failed(effect_id=page.id, at_s=2.0, reason="disk full"))
    assert again == (page,)
    assert after == context


def test_alerts_that_resolve_by_themselves_are_watched_and_closed_without_a_page() -> None:
    context, effects = step(open_context(arrival(), Settings()), arrival())
    context, _ = step(context, arrival(revision=2, active=0))
    seen = []
    while effects:
        seen.append(effects[0].kind)
        context, effects = step(context, _smooth(effects[0]))
    assert context.phase is Phase.CLOSED
    assert context.outcome == "ended by itself"
    assert "page" not in seen
    assert "promote" not in seen
