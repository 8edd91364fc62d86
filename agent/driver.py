"""The driver for benchmark and demo: an agent's episode on a plant's own clock.

Signals that were pushed are taken up every LOOK_S; the core says what to do; effects are carried out here.
What takes time in production (a model's reply, a rehearsal) is answered at once and told later: its answer is
due when its modelled latency has passed on the plant's clock, while the plant runs on.

The context is stored before an effect is carried out and its answer is delivered by effect id, so that a
driver that dies is followed by another, on the same room, that goes on.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agent.brains.brain import Brain, Diagnosis, View
from agent.core.context import Context, Document, Settings
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
    Verified,
    WatchedWell,
)
from agent.core.step import open_context, step
from agent.core.wire import from_json, to_json
from agent.core.words import change_text
from agent.correlate import Correlator, Graph
from agent.health import look, users_let_down
from agent.knowledge import Knowledge, Note
from agent.pager import Pager
from agent.room import MemoryRoom, Room
from agent.router import route
from twin.ports.plant import Plant
from twin.ports.services import Promoted as PromotedAnswer
from twin.ports.services import Promoter, Verification, Verifier, VerifyRequest
from twin.spec.canonical import plain
from twin.spec.change import change_from_json
from twin.spec.errors import TwinError
from twin.spec.fault import fault_text
from twin.spec.ids import ServiceId
from twin.spec.incident import Page
from twin.spec.signal import Signal, SignalKind

__all__ = ["Driver", "Episode", "Moment", "Services", "ungated_change"]

LOOK_S: Final = 5.0  # Signals are pushed; a simulated clock has to look for them.
WATCH_LOOK_S: Final = 15.0  # one scrape
SCRAPES_S: Final = 16.0
RECALL_K: Final = 2
SIGNALS_SHOWN_S: Final = 1800.0
WELL_LOOKS: Final = 3  # so many looks in a row without trouble end a watch early
MITIGATED_RATIO: Final = 0.02
MITIGATED_FOR_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Something that happened. `kind`: signal, incident, recalled, diagnosed, verified, promoted, page, …"""

    at_s: float
    kind: str
    text: str
    incident: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """What an agent did. Times are the plant's Unix seconds; None: it never happened.

    `detected_at_s`: first incident opened; `verdict_at_s`: first verdict; `mitigated_at_s`: from then on at
    most MITIGATED_RATIO more users than before were let down, for at least MITIGATED_FOR_S.
    """

    started_s: float
    ended_s: float
    moments: tuple[Moment, ...]
    incidents: tuple[Context, ...]
    pages: tuple[Page, ...]
    verifications: tuple[tuple[str, Verification], ...]
    promotions: tuple[tuple[str, PromotedAnswer], ...]
    let_down: tuple[tuple[float, float], ...]
    detected_at_s: float | None
    verdict_at_s: float | None
    first_write_at_s: float | None
    mitigated_at_s: float | None

    @property
    def closed(self) -> bool:
        """Every incident came to its end."""
        return all(context.phase.value == "closed" for context in self.incidents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """All that an agent uses. Without a verifier its changes go to the promoter as they are: give a writer
    that accepts a World only. `observe` is told every Moment as it happens, for people and traces."""

    plant: Plant
    brain: Brain
    promoter: Promoter
    pager: Pager
    verifier: Verifier | None = None
    knowledge: Knowledge = field(default_factory=Knowledge)
    room: Room = field(default_factory=MemoryRoom)
    observe: Callable[[Moment], None] = lambda _moment: None


@dataclass(order=True, slots=True)
class _Due:
    at_s: float
    number: int
    incident: str = field(compare=False)
    event: Event = field(compare=False)


@dataclass(slots=True)
class _Watching:
    effect: Watch
    end_s: float
    next_s: float
    well_looks: int = 0


class Driver:
    """One agent on one plant. `run` goes on until all is closed, or until a moment."""

    def __init__(self, services: Services, *, settings: Settings | None = None) -> None:
        self._services = services
        self._settings = settings or Settings(gated=services.verifier is not None)
        self._correlator = Correlator()
        self._graph = Graph()
        self._contexts: dict[str, Context] = {}
        self._due: list[_Due] = []
        self._numbers = 0
        self._cursor = 0
        self._watching: dict[str, _Watching] = {}
        self._usual_ratio: float | None = None
        self._moments: list[Moment] = []
        self._pages: list[Page] = []
        self._verifications: list[tuple[str, Verification]] = []
        self._promotions: list[tuple[str, PromotedAnswer]] = []
        self._let_down: list[tuple[float, float]] = []
        self._written: list[tuple[float, float, frozenset[str]]] = []
        self._resume()

    def run(self, *, until_s: float, stop_when_closed: bool = True, after: int | None = None) -> Episode:
        """Work until `until_s`, or until every incident is closed, those that are open now and at least one.
        `after`: signals up to this cursor are old news (default: those that are there now)."""
        plant = self._services.plant
        started_s = plant.clock.now_s()
        if after is not None:
            self._cursor = after
        if self._usual_ratio is None:  # Who takes over in the middle of an incident must not take it for usual.
            self._usual_ratio = _or_zero(users_let_down(plant, start_s=started_s - 300.0, end_s=started_s))
        self._keep()
        over = {name for name, context in self._contexts.items() if context.phase.value == "closed"}
        for context in list(self._contexts.values()):
            for effect in context.pending:
                self._carry_out(context.incident.id, effect)
        while True:
            self._look()
            self._deliver()
            now_s = plant.clock.now_s()
            mine = [context for name, context in self._contexts.items() if name not in over]
            done = mine and all(context.phase.value == "closed" for context in mine)
            if now_s >= until_s or (done and stop_when_closed):
                break
            next_s = min([now_s + LOOK_S, until_s, *([self._due[0].at_s] if self._due else [])])
            plant.clock.sleep(max(next_s - now_s, 0.001))
        return self._episode(started_s)

    # Looking

    def _look(self) -> None:
        """Take up what was pushed, note how users fare, and see to the watches and the pager."""
        plant = self._services.plant
        now_s = plant.clock.now_s()
        ratio = users_let_down(plant, start_s=now_s - SCRAPES_S, end_s=now_s)
        if not self._let_down or self._let_down[-1][0] < now_s:
            self._let_down.append((now_s, ratio))
        pushed = list(plant.telemetry.signals(after=self._cursor))
        if pushed:
            self._cursor = pushed[-1][0]
            if any(signal.kind is SignalKind.ALERT for _, signal in pushed):
                self._graph = Graph(plant.telemetry.edges())
            signals = [signal for _, signal in pushed]
            for signal in signals:
                self._say("signal", f"{signal.kind} {signal.text}", at_s=signal.at_s, data=plain(signal))
            updates = self._correlator.add(signals, self._graph, also=self._struck_together(signals))
            self._services.room.put("correlation", "state", self._correlator.save())
            self._services.room.put("correlation", "cursor", {"cursor": self._cursor})
            for update in updates:
                event = SignalArrived(
                    revision=update.revision, at_s=now_s, incident=update.incident,
                    alerts_active=update.alerts_active, alerts_seen=update.alerts_seen,
                    merged_into=update.merged_into,
                )  # fmt: skip
                name = update.incident.id
                if name not in self._contexts:
                    self._contexts[name] = open_context(event, self._settings)
                    self._say("incident", f"#{name} {update.incident.title}", incident=name)
                self._take(name, event)
        for name in list(self._watching):
            self._watch_on(name)
        self._services.pager.pump(now_s=now_s)

    def _struck_together(self, signals: Sequence[Signal]) -> dict[str, frozenset[ServiceId]]:
        """For events about a machine: the services that have pods on it."""
        about = [s for s in signals if s.kind is SignalKind.EVENT and s.service is None and s.reason.startswith("Node")]
        if not about:
            return {}
        by_node: dict[str, set[ServiceId]] = {}
        for pod in self._services.plant.kube.list_objects("Pod"):
            node = pod["spec"].get("nodeName")
            owner = next(iter(pod["metadata"].get("ownerReferences", ())), None)
            if node and owner:
                app = pod["metadata"].get("labels", {}).get("app", owner["name"])
                by_node.setdefault(node, set()).add(ServiceId(f"{pod['metadata']['namespace']}/{app}"))
        return {
            signal.id: frozenset(services)
            for signal in about
            for node, services in by_node.items()
            if node in signal.text.replace(":", " ").split()
        }

    def _watch_on(self, name: str) -> None:
        watching = self._watching[name]
        plant = self._services.plant
        now_s = plant.clock.now_s()
        context = self._contexts[name]
        if now_s < min(watching.next_s, watching.end_s):
            return
        watching.next_s = now_s + WATCH_LOOK_S
        try:
            health = look(plant, context.incident.services)
        except TwinError as error:
            watching.well_looks = 0  # Not seen is not well; one missing scrape is no reason to call a human either.
            if now_s < watching.end_s:
                return
            del self._watching[name]
            self._take(name, Failed(effect_id=watching.effect.id, at_s=now_s, reason=str(error)))
            return
        well = health.well(self._usual_ratio or 0.0) and not self._correlator.active(name)
        watching.well_looks = watching.well_looks + 1 if well else 0
        if watching.well_looks >= WELL_LOOKS:
            del self._watching[name]
            self._say("watched", "well", incident=name)
            self._take(name, WatchedWell(effect_id=watching.effect.id, at_s=now_s))
        elif now_s >= watching.end_s and not well:
            del self._watching[name]
            still = ", ".join(f"{service} {rule}" for service, rule in sorted(self._correlator.active(name))[:3])
            reason = f"{health.text}; still firing: {still or 'nothing'}"
            self._say("watched", f"not over: {reason}", incident=name)
            self._take(name, Relapsed(effect_id=watching.effect.id, at_s=now_s, reason=reason))

    # The core, and its effects

    def _deliver(self) -> None:
        while self._due and self._due[0].at_s <= self._services.plant.clock.now_s():
            due = heapq.heappop(self._due)
            self._take(due.incident, due.event)

    def _take(self, name: str, event: Event) -> None:
        """One step: store first, then act."""
        context, effects = step(self._contexts[name], event)
        if context is not self._contexts[name]:
            if context.phase is not self._contexts[name].phase:
                self._say("phase", context.phase.value, incident=name)
            self._contexts[name] = context
            self._services.room.put(name, "context", to_json(context))
        for effect in effects:
            self._carry_out(name, effect)

    def _carry_out(self, name: str, effect: Effect) -> None:
        try:
            self._do(name, effect)
        except TwinError as error:
            reason = str(error)
        except Exception as error:  # Whatever breaks in a brain or a service must reach a human, not end the agent.
            reason = f"{type(error).__name__}: {error}"
        else:
            return
        self._say("failed", f"{effect.kind}: {reason}", incident=name)
        now_s = self._services.plant.clock.now_s()
        self._later(name, Failed(effect_id=effect.id, at_s=now_s + LOOK_S, reason=reason), LOOK_S)

    def _do(self, name: str, effect: Effect) -> None:
        services, now_s = self._services, self._services.plant.clock.now_s()
        context = self._contexts[name]
        match effect:
            case Gather():
                self._answer(name, Gathered(effect_id=effect.id, at_s=now_s), effect.duration_s)
            case Route():
                databases = frozenset(
                    ServiceId(f"{o['metadata']['namespace']}/{o['metadata']['name']}")
                    for o in services.plant.kube.list_objects("StatefulSet")
                )
                found = route(context.incident, self._correlator.recent, self._graph, databases)
                self._say("routed", f"{found.specialist} {found.confidence:.2f}", incident=name)
                self._answer(
                    name,
                    Routed(effect_id=effect.id, at_s=now_s, specialist=found.specialist, confidence=found.confidence),
                )
            case Recall():
                documents = self._recall(effect.queries)
                told = " · ".join(f'"{d.title}" {d.relevance:.2f}' for d in documents[:3]) or "nothing"
                self._say("recalled", told, incident=name, data={"documents": plain(documents)})
                self._answer(name, Recalled(effect_id=effect.id, at_s=now_s, documents=documents))
            case Diagnose():
                diagnosis = services.brain.diagnose(self._view(context, effect))
                self._tell_diagnosis(name, effect, diagnosis)
                self._answer(
                    name,
                    Diagnosed(
                        effect_id=effect.id, at_s=now_s + services.brain.latency_s, hypotheses=diagnosis.hypotheses,
                        candidates=diagnosis.candidates, thoughts=diagnosis.thoughts, hand_over=diagnosis.hand_over,
                    ),
                    services.brain.latency_s,
                )  # fmt: skip
            case Verify():
                self._verify(name, effect)
            case Promote():
                self._promote(name, effect)
            case Watch():
                self._watching[name] = _Watching(effect, now_s + effect.duration_s, now_s + WATCH_LOOK_S)
            case SendPage():
                services.pager.page(effect.page, now_s=now_s)
                self._pages.append(effect.page)
                self._say("page", effect.page.impact, incident=name, data=plain(effect.page))
                self._answer(name, Paged(effect_id=effect.id, at_s=now_s))
            case Remember():
                services.knowledge.add(
                    Note(id=f"incident/{name}/{effect.id}", title=effect.title, sort="incident", text=effect.text,
                         dated_s=now_s)
                )  # fmt: skip
                self._answer(name, Remembered(effect_id=effect.id, at_s=now_s))
            case Close():
                self._correlator.close(name)
                services.room.close(name, at_s=now_s)
                self._say("closed", effect.outcome, incident=name)
                self._answer(name, Closed(effect_id=effect.id, at_s=now_s))

    def _recall(self, queries: Sequence[str]) -> tuple[Document, ...]:
        """The best of each query, each document once, under the query that it fits best."""
        best: dict[str, Document] = {}
        for query in queries:
            for document in self._services.knowledge.recall(query, RECALL_K):
                if document.id not in best or best[document.id].relevance < document.relevance:
                    best[document.id] = document
        return tuple(sorted(best.values(), key=lambda d: (-d.relevance, d.id)))

    def _view(self, context: Context, effect: Diagnose) -> View:
        plant, verifier = self._services.plant, self._services.verifier
        since_s = context.incident.onset_s - SIGNALS_SHOWN_S
        signals = tuple(s for _, s in plant.telemetry.signals(after=0) if s.at_s >= since_s and not self._is_our_own(s))
        return View(
            plant=plant, incident=context.incident, specialist=context.specialist, signals=signals,
            documents=context.documents, fault_types=tuple(verifier.fault_types()) if verifier else (),
            tried=effect.tried, round=effect.round,
        )  # fmt: skip

    def _is_our_own(self, signal: Signal) -> bool:
        """A roll-out that a promotion of ours began is no suspect."""
        return signal.kind is SignalKind.DEPLOY and any(
            signal.service in targets and start_s <= signal.at_s <= end_s for start_s, end_s, targets in self._written
        )

    def _tell_diagnosis(self, name: str, effect: Diagnose, diagnosis: Diagnosis) -> None:
        hypotheses = [fault_text(fault) for fault in diagnosis.hypotheses]
        candidates = [change_text(change) for change in diagnosis.candidates]
        data = {"hypotheses": hypotheses, "candidates": candidates, "thoughts": diagnosis.thoughts,
                "latency_s": self._services.brain.latency_s}  # fmt: skip
        self._services.room.append(name, "hypotheses", data, entry_id=effect.id)
        self._say("diagnosed", " · ".join(hypotheses) or "no hypothesis", incident=name, data=data)

    def _verify(self, name: str, effect: Verify) -> None:
        verifier, now_s = self._services.verifier, self._services.plant.clock.now_s()
        assert verifier is not None
        request = VerifyRequest(
            incident=self._contexts[name].incident, hypotheses=effect.hypotheses, candidates=effect.candidates
        )
        found = verifier.verify(request)
        self._verifications.append((name, found))
        verdicts = [
            {"change": change_text(j.change), "outcome": j.verdict.outcome.value, "reason": j.verdict.reason}
            for j in found.judged
        ]
        suspects = [
            {"fault": fault_text(s.fault) if s.fault else None, "weight": s.weight, "residual": s.residual}
            for s in found.suspects
        ]
        self._services.room.append(
            name, "tool_outputs", {"tool": "verify", "verdicts": verdicts, "suspects": suspects}, entry_id=effect.id
        )
        told = " · ".join(f"{v['change']}: {v['outcome']}" for v in verdicts) or "no candidate"
        self._say(
            "verified", told, incident=name, at_s=now_s + found.modelled_s,
            data={"verdicts": verdicts, "suspects": suspects, "modelled_s": found.modelled_s},
        )  # fmt: skip
        judged = tuple(
            JudgedChange(
                change=j.change, outcome=j.verdict.outcome, reason=j.verdict.reason, receipt=j.receipt,
                recovery_s=j.verdict.prediction.recovery_s.value if j.verdict.prediction.recovery_s else None,
            )
            for j in found.judged
        )  # fmt: skip
        answer = Verified(effect_id=effect.id, at_s=now_s + found.modelled_s, suspects=found.suspects, judged=judged)
        self._answer(name, answer, found.modelled_s)

    def _promote(self, name: str, effect: Promote) -> None:
        """The promoter's own watching passes on the plant's clock."""
        clock = self._services.plant.clock
        started_s = clock.now_s()
        targets = frozenset(action.target for action in effect.change.actions)
        self._written.append((started_s, math.inf, targets))  # Open-ended, should this worker not see the end.
        self._keep()
        self._say("promoting", change_text(effect.change), incident=name)
        done = self._services.promoter.promote(effect.receipt)
        self._written[-1] = (started_s, clock.now_s(), targets)
        self._keep()
        self._promotions.append((name, done))
        entry = {"change": change_text(effect.change), "outcome": done.outcome.value, "reason": done.reason,
                 "started_s": started_s, "promotion": done.promotion_id}  # fmt: skip
        self._services.room.append(name, "actions", entry, entry_id=effect.id)
        self._say("promoted", f"{change_text(effect.change)}: {done.outcome}, {done.reason}", incident=name, data=entry)
        self._answer(
            name,
            Promoted(
                effect_id=effect.id, at_s=clock.now_s(), outcome=done.outcome, reason=done.reason,
                exit_code=done.exit_code, promotion_id=done.promotion_id, left=done.left,
            ),
        )  # fmt: skip

    def _answer(self, name: str, event: Event, delay_s: float = 0.0) -> None:
        """Answers go through the queue, so that a step never happens within a step."""
        self._later(name, event, delay_s)

    def _later(self, name: str, event: Event, delay_s: float) -> None:
        self._numbers += 1
        heapq.heappush(self._due, _Due(self._services.plant.clock.now_s() + delay_s, self._numbers, name, event))

    # Records

    def _say(
        self, kind: str, text: str, *, incident: str = "", at_s: float | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        moment = Moment(
            at_s=self._services.plant.clock.now_s() if at_s is None else at_s, kind=kind, text=text,
            incident=incident, data=data or {},
        )  # fmt: skip
        self._moments.append(moment)
        if incident:
            entry = {"at_s": moment.at_s, "kind": kind, "text": text}
            self._services.room.append(incident, "logs", entry, entry_id=f"{len(self._moments)}@{moment.at_s}")
        self._services.observe(moment)

    def _keep(self) -> None:
        """What this driver knows beside the contexts: another must know it too."""
        written = [[start_s, end_s if math.isfinite(end_s) else None, sorted(t)] for start_s, end_s, t in self._written]
        self._services.room.put("correlation", "driver", {"usual_ratio": self._usual_ratio, "written": written})

    def _resume(self) -> None:
        """Take over what another worker left in the room."""
        room = self._services.room
        state, cursor = room.get("correlation", "state"), room.get("correlation", "cursor")
        if state is None or cursor is None:
            return
        self._correlator = Correlator.load(state)
        self._cursor = int(cursor["cursor"])
        self._graph = Graph(self._services.plant.telemetry.edges())
        kept_here = room.get("correlation", "driver") or {"usual_ratio": None, "written": []}
        self._usual_ratio = kept_here["usual_ratio"]
        self._written = [
            (start_s, math.inf if end_s is None else end_s, frozenset(targets))
            for start_s, end_s, targets in kept_here["written"]
        ]
        for name in room.incidents(open_only=True):
            kept = room.get(name, "context")
            if kept is not None:
                self._contexts[name] = from_json(Context, json.loads(json.dumps(kept)))

    def _episode(self, started_s: float) -> Episode:
        first = {kind: next((m.at_s for m in self._moments if m.kind == kind), None) for kind in
                 ("incident", "verified", "promoting")}  # fmt: skip
        plant = self._services.plant
        ended_s = plant.clock.now_s()
        # From telemetry, not from our own looks: while a promotion was watched, nobody else looked.
        ticks = [started_s + LOOK_S * i for i in range(1, int((ended_s - started_s) / LOOK_S) + 1)]
        let_down = [(at_s, users_let_down(plant, start_s=at_s - SCRAPES_S, end_s=at_s)) for at_s in ticks]
        return Episode(
            started_s=started_s,
            ended_s=ended_s,
            moments=tuple(sorted(self._moments, key=lambda m: m.at_s)),
            incidents=tuple(self._contexts.values()),
            pages=tuple(self._pages),
            verifications=tuple(self._verifications),
            promotions=tuple(self._promotions),
            let_down=tuple(let_down),
            detected_at_s=first["incident"],
            verdict_at_s=first["verified"],
            first_write_at_s=first["promoting"],
            mitigated_at_s=_mitigated_at_s(
                let_down,
                self._usual_ratio or 0.0,
                first["incident"],
                ended_well=all(context.outcome == "resolved" for context in self._contexts.values()),
            ),
        )


def ungated_change(receipt: Mapping[str, Any]) -> Any:
    """The change that an agent without a gate wants written. Raises ValueError for a real receipt."""
    if receipt.get("kind") != "ungated":
        raise ValueError("this is no ungated change: real receipts go to a promoter")
    return change_from_json(receipt["change"])


def _mitigated_at_s(
    let_down: Sequence[tuple[float, float]], usual_ratio: float, since_s: float | None, *, ended_well: bool
) -> float | None:  # fmt: skip
    """When users were well again, and stayed so for MITIGATED_FOR_S; or to the end, where a watch found them well."""
    if since_s is None or not let_down:
        return None
    well_since: float | None = None
    for at_s, ratio in let_down:
        if at_s < since_s:
            continue
        if math.isfinite(ratio) and ratio <= usual_ratio + MITIGATED_RATIO:
            well_since = at_s if well_since is None else well_since
            continue
        well_since = None
    if well_since is None or (not ended_well and let_down[-1][0] - well_since < MITIGATED_FOR_S):
        return None
    return well_since


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
