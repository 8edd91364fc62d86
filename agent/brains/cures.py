"""What would take a cause away: changes for each, by general principles, with figures from the plant."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Final

from agent.brains.brain import action, change
from agent.brains.facts import Facts
from twin.ports.plant import Session
from twin.spec.change import Action, Change, Risk
from twin.spec.errors import BadInput
from twin.spec.ids import ServiceId
from twin.spec.units import parse_bytes

__all__ = ["Cures"]

REPLICAS_GROWTH_MAX: Final = 4.0
REPLICAS_MAX: Final = 200
SCALE_TO_RATIO: Final = 0.6  # utilisation that is aimed at
HOT_RATIO: Final = 0.8
SHED_MAX: Final = 0.8
NODE_SHARE_MAX: Final = 0.5  # of a node's memory, for one container
ROUTES_MAX: Final = 8
RESTARTED_MAX: Final = 3
BACKLOG_S: Final = 2.0
SCALED_MAX: Final = 5
MIB: Final = 2**20
_LIMITS: Final = "twin.dev/limits"
_REVISION: Final = "deployment.kubernetes.io/revision"


class Cures:
    """All changes are proposals; whether they help, or harm, is the gate's to say."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    # Single cures

    def undo(self, service: ServiceId) -> Change:
        return change(f"{service} was rolled out shortly before", action("rollout_undo", service))

    def undo_if_possible(self, service: ServiceId) -> tuple[Change, ...]:
        annotations = self._facts.workloads.get(service, {}).get("metadata", {}).get("annotations", {})
        return (self.undo(service),) if int(annotations.get(_REVISION, "1")) > 1 else ()

    def restart(self, service: ServiceId) -> Change:
        risk = Risk.HIGH if self._facts.is_stateful(service) else Risk.LOW
        return change(f"fresh containers for {service}", action("restart", service), risk=risk)

    def end_sessions(self, session: Session) -> Change:
        return change(
            f"session {session.id} holds {session.station}",
            action("terminate_session", session.service, session=session.id),
        )

    def more_memory(self, service: ServiceId) -> tuple[Change, ...]:
        """Twice the limit, as far as a node has it. Nothing without a limit."""
        limit = self.memory_limit_bytes(service)
        if limit is None:
            return ()
        sizes = [self._node_memory(node) for node in self._facts.nodes]
        most = NODE_SHARE_MAX * max(sizes) if any(sizes) else 2.0 * limit
        wanted = int(min(2.0 * limit, most)) // MIB * MIB
        if wanted <= limit:
            return ()
        text = f"{wanted // MIB}Mi"
        return (change(f"{service} runs out of memory", action("set_resources", service, memory_limit=text)),)

    def scale(self, service: ServiceId, growth: float) -> tuple[Change, ...]:
        """More replicas; not for stateful services, whose replicas do not share work."""
        wanted = self._scale_action(service, growth)
        return (change(f"{service} needs room", wanted),) if wanted else ()

    def no_retries(self, services: Sequence[ServiceId]) -> tuple[Change, ...]:
        """No retries on the way to these services: a storm feeds on them."""
        routes = [r for r in self._facts.routes if r.callee in set(services) and r.attempts > 0]
        routes = sorted(routes, key=lambda r: (-r.attempts, r.target))[:ROUTES_MAX]
        if not routes:
            return ()
        return (change("retries keep it down", *(action("set_route", r.target, retries=0.0) for r in routes)),)

    def shed(self, service: ServiceId, ratio: float) -> tuple[Change, ...]:
        ratio = round(min(max(ratio, 0.1), SHED_MAX), 2)
        return (change(f"serve some well, not all badly: {service}", action("shed_load", service, ratio=ratio)),)

    # Cures by cause

    def relieve(self, service: ServiceId) -> tuple[Change, ...]:
        """For a service that cannot keep up: fewer attempts at it."""
        return self.no_retries([service])

    def break_loop(self) -> tuple[Action, ...]:
        """What lets an overload outlive its cause is retries and the backlog that nobody waits for any more:
        no retries on edges that fail, and fresh containers where a backlog is."""
        failing = {(e.id.caller, e.id.callee) for e in self._facts.edge_states if e.errors_now > e.errors_before + 0.05}
        routes = [
            route
            for route in self._facts.routes
            if route.attempts > 0 and (route.caller.split(":")[0], route.callee) in failing
        ]
        routes = sorted(routes, key=lambda r: (r.caller.startswith("user:"), r.target))[:ROUTES_MAX]
        calm = [action("set_route", route.target, retries=0.0) for route in routes]
        return (*calm, *(action("restart", service) for service in self._backlogged()[:RESTARTED_MAX]))

    def with_loop_broken(self, cure: Change) -> tuple[Change, ...]:
        """A cure together with `break_loop`, where there is a loop to break."""
        taken = {(a.kind, a.target) for a in cure.actions} | {("restart", a.target) for a in cure.actions}
        more = [a for a in self.break_loop() if (a.kind, a.target) not in taken]
        return (change(f"{cure.reason}; and what keeps it down", *cure.actions, *more),) if more else ()

    def loop_alone(self) -> tuple[Change, ...]:
        actions = self.break_loop()
        return (change("retries and a backlog keep it down", *actions),) if actions else ()

    def for_session(self, session: Session) -> tuple[Change, ...]:
        end = self.end_sessions(session)
        return (end, *self.with_loop_broken(end), *self.loop_alone(), self.restart(session.service))

    def for_slow(self, service: ServiceId) -> tuple[Change, ...]:
        """Add room, take attempts away, both, start anew, fail sooner, turn some away."""
        room = self.scale(service, self._growth(service))
        return (
            *room,
            *self.no_retries([service]),
            *(both for cure in room for both in self.with_loop_broken(cure)),
            *(() if room else self.loop_alone()),
            self.restart(service),
            *self._fail_sooner(service),
            *self.shed(self._entry(service), 0.4),
        )

    def for_errors(self, service: ServiceId) -> tuple[Change, ...]:
        return (
            self.restart(service),
            *self.undo_if_possible(service),
            *self.no_retries([service]),
            *self.scale(service, self._growth(service)),
        )

    def for_load(self, entry: ServiceId, factor: float) -> tuple[Change, ...]:
        """Room where it is hot, fewer attempts where they fail, and a door that closes."""
        hot = self._hot()
        scaled = [a for s in hot[:SCALED_MAX] if (a := self._scale_action(s, max(factor, self._growth(s))))]
        room = (change("room where it is hot", *scaled),) if scaled else ()
        return (
            *room,
            *(both for cure in room for both in self.with_loop_broken(cure)),
            *self.loop_alone(),
            *self.shed(entry, 1.0 - 1.0 / max(factor, 1.3)),
        )

    def replace_node(self, nodes: Sequence[str], missing: Sequence[ServiceId]) -> tuple[Change, ...]:
        """Keep new pods off dark machines, and start elsewhere what they took along."""
        cordons = [action("cordon", node, cordoned=1.0) for node in nodes[:5]]
        scaled = []
        for service in missing[:SCALED_MAX]:
            state = self._facts.states[service]
            wanted = self._facts.replicas(service) + math.ceil(state.missing)
            if not self._facts.is_stateful(service) and wanted <= REPLICAS_MAX:
                scaled.append(action("scale", service, replicas=float(wanted)))
        found = [change("a machine is dark", *cordons)]
        if scaled:
            both = change("a machine is dark: start its pods elsewhere", *cordons, *scaled)
            found = [both, *found, change("start the missing pods elsewhere", *scaled)]
        return tuple(found)

    # Figures

    def memory_limit_bytes(self, service: ServiceId) -> int | None:
        text = self._facts.container(service).get("resources", {}).get("limits", {}).get("memory")
        try:
            return None if text is None else int(parse_bytes(str(text)))
        except BadInput:
            return None

    def station_servers(self, service: ServiceId, station: str) -> int | None:
        """As the owning team declares it, if it does."""
        annotations = self._facts.workloads.get(service, {}).get("metadata", {}).get("annotations", {})
        try:
            servers = int(json.loads(annotations.get(_LIMITS, "{}")).get(station, {}).get("servers", 0))
        except (ValueError, AttributeError):
            return None
        return servers or None

    def _scale_action(self, service: ServiceId, growth: float) -> Action | None:
        if self._facts.is_stateful(service):
            return None
        now = max(self._facts.replicas(service), 1)
        wanted = min(math.ceil(now * min(max(growth, 1.3), REPLICAS_GROWTH_MAX)), REPLICAS_MAX)
        return action("scale", service, replicas=float(wanted)) if wanted > now else None

    def _growth(self, service: ServiceId) -> float:
        state = self._facts.states.get(service)
        busy = max(state.cpu_now, state.pool_now) if state else 0.0
        return max(busy / SCALE_TO_RATIO, 1.5)

    def _backlogged(self) -> list[ServiceId]:
        """Stateless services whose requests wait so long that nobody can still want the answers."""
        return sorted(
            service
            for service, state in self._facts.states.items()
            if state.own_time_now > BACKLOG_S
            and state.slowdown > 20.0
            and max(state.cpu_now, state.pool_now) > 0.9
            and not self._facts.is_stateful(service)
        )

    def _hot(self) -> list[ServiceId]:
        """Services near a limit, the hottest first."""
        busy = {s: max(state.cpu_now, state.pool_now) for s, state in self._facts.states.items()}
        return sorted((s for s, ratio in busy.items() if ratio > HOT_RATIO), key=lambda s: (-busy[s], s))

    def _callers(self, service: ServiceId) -> set[ServiceId]:
        return self._facts.graph.callers.get(service, set())

    def _entry(self, service: ServiceId) -> ServiceId:
        """Where users come in above a service; itself if nobody is above."""
        seen, layer = {service}, [service]
        entries = {ServiceId(e.id.callee) for e in self._facts.edge_states if e.id.caller == "user"}
        while layer:
            found = sorted(s for s in layer if s in entries)
            if found:
                return found[0]
            layer = [c for s in layer for c in sorted(self._callers(s)) if c not in seen]
            seen |= set(layer)
        return service

    def _fail_sooner(self, service: ServiceId) -> tuple[Change, ...]:
        routes = [r for r in self._facts.routes if r.callee == service and r.timeout_s and r.timeout_s > 0.2]
        state = self._facts.states.get(service)
        usual_s = 5.0 * state.own_time_before if state else 0.1
        actions = [
            action("set_route", r.target, timeout_s=round(max(min(0.3 * (r.timeout_s or 1.0), 1.0), usual_s, 0.1), 3),
                   retries=0.0)
            for r in routes[:ROUTES_MAX]
        ]  # fmt: skip
        return (change("fail sooner, and hold no workers", *actions),) if actions else ()

    @staticmethod
    def _node_memory(node: object) -> float:
        assert isinstance(node, dict)
        try:
            return float(parse_bytes(str(node["status"]["allocatable"]["memory"])))
        except (BadInput, KeyError):
            return 0.0
