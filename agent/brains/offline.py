"""The offline brain: deterministic triage that needs no model and no key.

It looks where a good on-call engineer looks: what changed shortly before; what crashed; who holds a lock;
which machine is dark; whether more people come than usual; and whose own part (not its callees') became slow
or wrong. Each finding becomes a hypothesis with a weight, and brings the changes that would undo it. The
gate, not this brain, decides between them: being complete matters more than being right.

Nothing here knows a fleet, a scenario or a name. Every figure compares a service with itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from agent.brains.brain import Diagnosis, View, change, fault
from agent.brains.cures import Cures
from agent.brains.facts import Deploy, Facts, ServiceState
from agent.core.context import change_key
from twin.spec.change import Change
from twin.spec.fault import Fault, fault_text
from twin.spec.ids import ServiceId
from twin.spec.signal import SymptomKind

__all__ = ["Finding", "OfflineBrain", "find"]

HYPOTHESES_MAX: Final = 6
CANDIDATES_MAX: Final = 5
LATENCY_S: Final = 5.0
WEIGHT_MIN: Final = 0.15
WEIGHT_SHARE_MIN: Final = 0.4  # of the strongest finding's: weaker ones only cost rehearsals
STRONG: Final = 0.7  # Two findings that strong may both be true: their cures are also proposed together.
SECOND_CURE: Final = 0.85  # what a finding's weight is worth for each further cure
SLOWDOWN_MIN: Final = 1.7
OWN_ERRORS_MIN: Final = 0.02
UNANSWERED_MIN: Final = 0.05
TROUBLE_BELOW: Final = 0.3  # A callee in so much trouble excuses its callers.
SPIKE_MIN: Final = 1.3
SETTLE_S: Final = 60.0  # A roll-out that begins after the onset by more than this did not cause it.


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that may be the cause: how strongly it shows (0 to 1), and what would take it away, the best
    cure first."""

    weight: float
    hypothesis: Fault
    why: str
    cures: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class OfflineBrain:
    """Implements Brain. `latency_s` is what it costs on a simulated clock."""

    name: str = "offline"
    latency_s: float = LATENCY_S

    def diagnose(self, view: View) -> Diagnosis:
        facts = Facts(view)
        found = find(facts)
        sayable = {kind.kind for kind in view.fault_types}
        hypotheses: dict[tuple[str, str], Fault] = {}
        for finding in found:
            if not sayable or finding.hypothesis.kind in sayable:
                hypotheses.setdefault((finding.hypothesis.kind, finding.hypothesis.target), finding.hypothesis)
        thoughts = [f"{f.weight:.2f} {fault_text(f.hypothesis)}: {f.why}" for f in found[:HYPOTHESES_MAX]]
        thoughts += [f"blind: {what}" for what in facts.blind]
        return Diagnosis(
            hypotheses=tuple(hypotheses.values())[:HYPOTHESES_MAX],
            candidates=_candidates(found, frozenset(view.tried)),
            thoughts="\n".join(thoughts) or "nothing fits",
        )


def find(facts: Facts) -> list[Finding]:
    """Every finding, the strongest first."""
    cures = Cures(facts)
    ways = (_from_deploys, _from_memory, _from_crashes, _from_sessions, _from_nodes, _from_load, _from_own_trouble)
    found = [finding for way in ways for finding in way(facts, cures)]
    floor = max(WEIGHT_MIN, WEIGHT_SHARE_MIN * max((f.weight for f in found), default=0.0))
    return sorted((f for f in found if f.weight >= floor), key=lambda f: (-f.weight, fault_text(f.hypothesis)))


def _from_deploys(facts: Facts, cures: Cures) -> Iterator[Finding]:
    """What changed shortly before, if the changed service itself is unwell: an innocent roll-out is not."""
    for deploy in facts.deploys:
        state = facts.states[deploy.service]
        sick, signs = _sickness(facts, state)
        heavier = _asks_more(facts, deploy.service)
        if heavier > 1.5:
            sick, signs = max(sick, 0.6), [*signs, f"asks its callees {heavier:.1f} times as much"]
        late_s = deploy.at_s - facts.onset_s
        near = 0.0 if late_s > SETTLE_S else math.exp(-max(-late_s, 0.0) / 300.0)
        weight = 0.2 * near + (0.75 * sick if late_s <= SETTLE_S else 0.2 * sick)
        when = f"{abs(late_s):.0f} s {'after' if late_s > 0 else 'before'} the onset"
        why = f"rolled out {when}; {'; '.join(signs) or 'it seems well itself'}"
        treatments = (cures.undo(deploy.service), cures.restart(deploy.service), *cures.relieve(deploy.service))
        for hypothesis, factor in _deploy_hypotheses(deploy, state, facts):
            yield Finding(min(weight * factor, 0.98), hypothesis, why, treatments)


def _deploy_hypotheses(deploy: Deploy, state: ServiceState, facts: Facts) -> Iterator[tuple[Fault, float]]:
    """What a roll-out may have brought, by what differs in its template and how its pods fare."""
    crashing = state.crashes > 0 or (state.restarts > 0 and state.ooms == 0)
    swelling = state.ooms > 0 or facts.symptom(state.service, SymptomKind.MEMORY)
    ended_s = facts.first_end_s(state.service, since_s=deploy.at_s)
    lived_s = None if ended_s is None else max(ended_s - deploy.at_s, 1.0)
    for name, value in deploy.env[:2]:
        known = {} if lived_s is None else {"after_s": round(lived_s, 1)}
        yield fault("crash_loop", deploy.service, name=name, value=value, **known), 1.0 if crashing else 0.7
    image = deploy.image or str(facts.container(deploy.service).get("image", ""))
    if not image or (deploy.env and not deploy.image):
        return
    if swelling or state.memory_rise_bytes_per_s > 0.0:
        yield (
            fault("memory_leak", deploy.service, image=image, minutes=_minutes_to_full(facts, state, lived_s)),
            1.0 if swelling else 0.6,
        )
    ratio = min(max(state.own_errors, 0.0 if state.slowdown > SLOWDOWN_MIN else 0.05), 1.0)
    factor = min(max(state.slowdown, 1.0), 100.0) if state.slowdown > SLOWDOWN_MIN else 1.0
    yield (
        fault("bad_rollout", deploy.service, image=image, ratio=round(ratio, 3), factor=round(factor, 2)),
        0.6 if swelling else 1.0,
    )


def _from_memory(facts: Facts, cures: Cures) -> Iterator[Finding]:
    """Memory that fills up where nothing was rolled out."""
    changed = {deploy.service for deploy in facts.deploys}
    for service, state in facts.states.items():
        if service in changed or not (state.ooms or facts.symptom(service, SymptomKind.MEMORY)):
            continue
        image = str(facts.container(service).get("image", ""))
        hypothesis = fault("memory_leak", service, image=image, minutes=_minutes_to_full(facts, state))
        treatments = (*cures.more_memory(service), cures.restart(service), *cures.relieve(service))
        yield Finding(0.75, hypothesis, f"{state.ooms} containers ran out of memory", treatments)


def _from_crashes(facts: Facts, cures: Cures) -> Iterator[Finding]:
    """Containers that crash where nothing was rolled out, and not for want of memory."""
    changed = {deploy.service for deploy in facts.deploys}
    for service, state in facts.states.items():
        if service in changed or state.ooms or not (state.crashes or state.restarts):
            continue
        ratio = round(min(max(state.own_errors, state.missing / max(state.wanted_now, 1.0), 0.05), 1.0), 3)
        treatments = (cures.restart(service), *cures.undo_if_possible(service), *cures.scale(service, 1.5))
        yield Finding(
            0.45, fault("errors", service, ratio=ratio), f"{state.restarts} restarts, nothing rolled out", treatments
        )


def _from_sessions(facts: Facts, cures: Cures) -> Iterator[Finding]:
    """Who holds a lock or most of the connections, where waiting is seen."""
    for session in facts.sessions:
        state = facts.states[session.service]
        waited_for = state.pool_now > 0.9 or state.slowdown > SLOWDOWN_MIN or _trouble(state) > 0.0
        timely = facts.onset_s - 900.0 <= session.since_s <= facts.onset_s + SETTLE_S
        servers = cures.station_servers(session.service, session.station)
        share = min(session.held_slots / servers, 1.0) if servers else 1.0
        weight = 0.2 + (0.4 if waited_for else 0.0) + (0.25 if timely else 0.0) + 0.1 * share
        hypothesis = fault(
            "held_slots", session.service, station=session.station, session=session.id, share=round(share, 3)
        )
        held = f"holds {session.held_slots} of {session.station}"
        why = f"{session.text or 'a session'} {held}, {facts.onset_s - session.since_s:.0f} s before the onset"
        yield Finding(weight, hypothesis, why, cures.for_session(session))


def _from_nodes(facts: Facts, cures: Cures) -> Iterator[Finding]:
    """Machines that are not ready."""
    for node in facts.dark_nodes:
        missing = [s for s, state in facts.states.items() if state.missing > 0]
        weight = 0.55 + (0.35 if missing else 0.0)
        yield Finding(
            weight, fault("node_loss", node), f"it is not ready; pods missing in {len(missing)} services",
            cures.replace_node(facts.dark_nodes, missing),
        )  # fmt: skip


def _from_load(facts: Facts, cures: Cures) -> Iterator[Finding]:
    """More people than usual; or as many people, and many more attempts: a storm of retries."""
    users = [edge for edge in facts.edge_states if edge.id.caller == "user" and edge.rate_before > 0.1]
    for edge in users:
        factor = edge.rate_now / edge.rate_before
        peak = max(facts.peak_ratio(edge.id), factor)
        if peak < SPIKE_MIN:
            continue
        now = factor >= SPIKE_MIN
        weight = min(0.9, 0.45 + 0.3 * math.log2(peak)) * (1.0 if now else 0.7)
        why = f"{factor:.1f} times its usual traffic" if now else f"{peak:.1f} times its usual traffic a while ago"
        hypothesis = fault("load_spike", edge.id.caller_operation, factor=round(min(max(peak, 1.0), 100.0), 2))
        yield Finding(weight, hypothesis, why, cures.for_load(ServiceId(edge.id.callee), peak))


def _from_own_trouble(facts: Facts, cures: Cures) -> Iterator[Finding]:
    """Services whose own part became slow or wrong; the deepest first, since causes lie below effects."""
    changed = {deploy.service for deploy in facts.deploys}
    crowded = any(e.id.caller == "user" and e.rate_now > SPIKE_MIN * e.rate_before > 0.1 for e in facts.edge_states)
    trouble = {service: _trouble(state) for service, state in facts.states.items()}
    for service, state in facts.states.items():
        below = max((trouble.get(c, 0.0) for c in facts.graph.callees.get(service, ())), default=0.0)
        blame = (0.3 if below >= TROUBLE_BELOW else 0.0) + (0.1 if service in changed else 0.0)
        blame += 0.15 if crowded else 0.0
        slow, wrong = max(_slow_score(state), _silent_score(state)), _wrong_score(state)
        if slow > 0.0:
            took = f"{1e3 * state.own_time_now:.0f} ms instead of {1e3 * state.own_time_before:.0f} ms"
            factor = max(state.slowdown, 8.0 if _silent_score(state) > 0.0 else 1.0)
            hypothesis = fault("slow", service, factor=round(min(factor, 100.0), 2))
            why = f"its own part takes {took}; {state.unanswered:.0%} of its callers gave up"
            yield Finding(0.3 + 0.45 * slow - blame, hypothesis, why, cures.for_slow(service))
        if wrong > 0.0:
            hypothesis = fault("errors", service, ratio=round(min(state.own_errors, 1.0), 3))
            why = f"{state.own_errors:.0%} of its requests fail without a callee's failing"
            blame += 0.1 if slow > 0.5 else 0.0  # Who is overrun also turns away.
            yield Finding(0.3 + 0.45 * wrong - blame, hypothesis, why, cures.for_errors(service))


def _sickness(facts: Facts, state: ServiceState) -> tuple[float, list[str]]:
    """How unwell a service is by itself, 0 to 1, and the signs."""
    signs: list[tuple[float, str]] = []
    if state.own_errors > OWN_ERRORS_MIN:
        signs.append((0.5 + 0.5 * _wrong_score(state), f"{state.own_errors:.0%} own errors"))
    if state.slowdown > SLOWDOWN_MIN:
        signs.append((0.4 + 0.5 * _slow_score(state), f"{state.slowdown:.1f} times as slow"))
    if state.ooms:
        signs.append((1.0, f"out of memory {state.ooms} times"))
    elif state.crashes or state.restarts:
        signs.append((0.95, f"{max(state.crashes, state.restarts)} crashes"))
    if facts.symptom(state.service, SymptomKind.MEMORY):
        signs.append((0.9, "memory near its limit"))
    if state.unanswered > UNANSWERED_MIN:
        signs.append((0.4 + 0.5 * _silent_score(state), f"{state.unanswered:.0%} of its callers gave up"))
    if state.missing >= 0.5 and not facts.dark_nodes:
        signs.append((0.7, f"{state.missing:.0f} pods missing"))
    return max((score for score, _ in signs), default=0.0), [text for _, text in signs]


def _asks_more(facts: Facts, service: ServiceId) -> float:
    """How many times as often it asks its callees per request, where they answer well (else it is retries)."""
    state = facts.states[service]
    growth = state.rate_now / state.rate_before if state.rate_before > 0.0 else 1.0
    ratios = [
        edge.rate_now / edge.rate_before / max(growth, 0.1)
        for edge in facts.edge_states
        if edge.id.caller == service and edge.rate_before > 0.1 and edge.errors_now < 0.05
    ]
    return max(ratios, default=1.0)


def _slow_score(state: ServiceState) -> float:
    if state.slowdown < SLOWDOWN_MIN:
        return 0.0
    return min(math.log(state.slowdown) / math.log(10.0), 1.0)


def _wrong_score(state: ServiceState) -> float:
    return min(state.own_errors / 0.3, 1.0) if state.own_errors > OWN_ERRORS_MIN else 0.0


def _silent_score(state: ServiceState) -> float:
    return min(state.unanswered / 0.3, 1.0) if state.unanswered > UNANSWERED_MIN else 0.0


def _trouble(state: ServiceState) -> float:
    return max(_slow_score(state), _wrong_score(state), _silent_score(state))


def _minutes_to_full(facts: Facts, state: ServiceState, lived_s: float | None = None) -> float:
    """From start to out of memory: how long the first container lived (`lived_s`), if one ran out of it; otherwise by
    how fast it rises; a default where that cannot be seen."""
    if lived_s is not None and state.ooms:
        return round(min(max(lived_s / 60.0, 0.2), 600.0), 2)
    limit = Cures(facts).memory_limit_bytes(state.service)
    if limit is None or state.memory_rise_bytes_per_s <= 0.0:
        return 3.0
    room = max(limit - (state.memory_before or 0.4 * limit), 0.1 * limit)
    return round(min(max(room / state.memory_rise_bytes_per_s / 60.0, 0.2), 600.0), 2)


def _candidates(found: Sequence[Finding], tried: frozenset[str]) -> tuple[Change, ...]:
    """Cures of all findings by their weight, each further cure of one finding a little later; strong findings
    together too."""
    chosen: dict[str, Change] = {}

    def take(wanted: Change) -> None:
        key = change_key(wanted)
        if key not in tried and len(chosen) < CANDIDATES_MAX:
            chosen.setdefault(key, wanted)

    strong = [f for f in found if f.weight >= STRONG and f.cures]
    ranked = [
        (finding.weight * SECOND_CURE**depth, rank, depth, cure)
        for rank, finding in enumerate(found)
        for depth, cure in enumerate(finding.cures)
    ]
    ranked += [(strong[0].weight * SECOND_CURE, len(found), 0, pair) for pair in _together(strong)]
    for *_, cure in sorted(ranked, key=lambda row: (-row[0], row[1], row[2])):
        take(cure)
    return tuple(chosen.values())


def _together(strong: Sequence[Finding]) -> Iterator[Change]:
    """The first cures of two strong findings with different cures: both may be true at once."""
    if not strong:
        return
    first = strong[0].cures[0]
    for other in strong[1:]:
        second = other.cures[0]
        same = {(a.kind, a.target) for a in first.actions} & {(a.kind, a.target) for a in second.actions}
        if not same and other.hypothesis.target != strong[0].hypothesis.target:
            yield change(f"both: {first.reason}; {second.reason}", *first.actions, *second.actions)
            return
