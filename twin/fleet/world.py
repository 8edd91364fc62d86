"""A World: a whole production, or its twin, in one process. It owns state and clock, nothing else.

Time moves by SimPy: one event per system and due time, ordered at one instant by the system's rank. No
event carries anything, so a World can be saved, copied or rebuilt between any two of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import numpy as np
import simpy

from twin.fleet.blueprint import Blueprint, lay_out
from twin.fleet.configs import begin_all
from twin.fleet.perturbation import Configure, Timed
from twin.fleet.saving import no_world_in, pack, unpack
from twin.fleet.state import NEVER_NS, ActivePerturbation, Phase, State, first_state
from twin.fleet.systems.autoscaler import AutoscalerSystem
from twin.fleet.systems.base import System
from twin.fleet.systems.gitops import GitOpsSystem
from twin.fleet.systems.kubelet import KubeletSystem
from twin.fleet.systems.nodes import NodeSystem
from twin.fleet.systems.perturbations import PerturbationSystem
from twin.fleet.systems.pools import PoolSystem
from twin.fleet.systems.prober import ProberSystem
from twin.fleet.systems.rollout import RolloutSystem
from twin.fleet.systems.scheduler import SchedulerSystem
from twin.fleet.systems.scrape import ScrapeSystem
from twin.fleet.systems.traffic import Observer, TrafficSystem
from twin.fleet.telemetry.history import History
from twin.fleet.traffic.engine import TrafficEngine
from twin.spec.errors import BadInput
from twin.spec.fleet import Fleet

__all__ = ["EngineName", "World", "drive"]

EngineName = Literal["tick", "simpy"]


class World:
    """Build with `World.build`, copy with `fork`, keep with `save`."""

    def __init__(self, blueprint: Blueprint, state: State, engine: TrafficEngine, history: History) -> None:
        self.blueprint = blueprint
        self.state = state
        self.engine = engine
        self.history = history
        self.observers: list[Observer] = []
        self.watched = True

    @classmethod
    def build(cls, fleet: Fleet, *, seed: int, traffic: EngineName = "tick", replication: int = 0) -> World:
        """A World at time zero, every pod placed and ready. Raises BadInput for a fleet that cannot be."""
        blueprint = lay_out(fleet)
        state = first_state(blueprint, seed=seed, replication=replication)
        RolloutSystem(blueprint).step(state, 0)
        SchedulerSystem(blueprint).step(state, 0)
        begin_all(blueprint, state)
        placed = state.pod_phase == Phase.STARTING
        state.pod_phase[placed] = Phase.RUNNING
        state.pod_ready[placed] = True
        state.pod_due_ns[placed] = NEVER_NS
        state.pools_due_ns = 0
        engine = make_engine(traffic, blueprint, seed=seed, replication=replication)
        return cls(blueprint, state, engine, History.empty(blueprint))

    @property
    def now_ns(self) -> int:
        return self.state.now_ns

    @property
    def fleet(self) -> Fleet:
        return self.blueprint.fleet

    def run(self, until_ns: int) -> None:
        """Let everything happen that is due before `until_ns`, and stop there."""
        if until_ns <= self.state.now_ns:
            return
        drive(self.state, self.systems, until_ns)

    def run_for(self, duration_ns: int) -> None:
        """Run on from now."""
        self.run(self.state.now_ns + duration_ns)

    def systems(self) -> list[System]:
        """All systems, made anew: they hold nothing but the blueprint."""
        blueprint = self.blueprint
        observers = [*self.observers]
        watching: list[System] = []
        if self.watched:
            observers.append(lambda _now_ns, sample: self.history.running.add(sample))
            watching = [ScrapeSystem(blueprint, self.history)]
        return [
            PerturbationSystem(blueprint),
            NodeSystem(blueprint),
            GitOpsSystem(blueprint),
            AutoscalerSystem(blueprint),
            RolloutSystem(blueprint),
            SchedulerSystem(blueprint),
            KubeletSystem(blueprint),
            ProberSystem(blueprint),
            PoolSystem(blueprint),
            TrafficSystem(blueprint, self.engine, observers),
            *watching,
        ]

    def inject(self, perturbations: Iterable[Timed]) -> list[int]:
        """Put perturbations into the state, to begin at their own time (or now). Returns their ids.

        Raises BadInput if one names something that this fleet does not have.
        """
        perturbations = list(perturbations)
        for timed in perturbations:
            _check(self.blueprint, timed)
        first = len(self.state.perturbations)
        for offset, timed in enumerate(perturbations):
            self.state.perturbations.append(ActivePerturbation(id=first + offset, timed=timed))
        return list(range(first, first + len(perturbations)))

    def end(self, ids: Sequence[int]) -> None:
        """Let perturbations end now, whatever they said."""
        for index, active in enumerate(self.state.perturbations):
            if active.id in ids and not active.over:
                timed = Timed(
                    what=active.timed.what,
                    start_ns=active.timed.start_ns,
                    end_ns=max(self.now_ns, active.timed.start_ns),
                )
                self.state.perturbations[index] = ActivePerturbation(
                    id=active.id, timed=timed, begun=active.begun, over=active.over
                )

    def fork(self, *, replication: int | None = None, watched: bool = True) -> World:
        """An independent copy that runs on exactly like this one, or with another replication's noise.

        `watched=False` leaves telemetry and alerts out: a rehearsal looks at the traffic itself.
        """
        state = self.state.copy()
        if replication is not None:
            state.replication = replication
        history = self.history.copy() if watched else History.empty(self.blueprint)
        world = World(self.blueprint, state, self.engine.fork(replication=replication), history)
        world.watched = watched
        return world

    def save(self) -> bytes:
        """The whole World as bytes; the same World gives the same bytes."""
        return pack(self.blueprint.fleet, self.state, self.engine, self.history)

    @classmethod
    def restore(cls, data: bytes) -> World:
        """A World from `save`. Raises BadInput for anything else, another version's file included."""
        fleet, state, engine_name, engine_arrays, scrapes = unpack(data)
        try:
            blueprint = lay_out(fleet)
            engine = make_engine(engine_name, blueprint, seed=state.seed, replication=state.replication)
            engine.load(engine_arrays)
            history = History.empty(blueprint)
            scrapes(history)
        except BadInput:
            raise
        except Exception as error:  # Whatever stands in a file, the answer is a refusal.
            raise no_world_in(error) from error
        return cls(blueprint, state, engine, history)


def make_engine(name: str, blueprint: Blueprint, *, seed: int, replication: int) -> TrafficEngine:
    """The traffic engine of that name. Imported when wanted: each brings its own weight. Raises BadInput."""
    if name == "tick":
        from twin.fleet.traffic.tick import TickEngine

        return TickEngine(blueprint.network, seed=seed, replication=replication)
    if name == "simpy":
        from twin.fleet.traffic.interpreter import InterpreterEngine

        return InterpreterEngine(blueprint.network, seed=seed, replication=replication)
    raise BadInput(f'there is no traffic engine "{name}"', "known: tick, simpy", "choose one of them")


def drive(
    state: State, make_systems: Callable[[], list[System]], until_ns: int, *, rebuild_each_time: bool = False
) -> None:
    """SimPy carries the moments: each system has at most one wake that counts; a stale one does nothing.

    `rebuild_each_time` makes all systems anew after every event: slow, and the same run to the byte, because
    systems hold nothing. A test does it.
    """
    systems: dict[int, System] = {int(system.rank): system for system in make_systems()}
    env = simpy.Environment(initial_time=state.now_ns)
    armed: dict[int, int] = dict.fromkeys(systems, NEVER_NS)
    interested = {
        rank: [other for other, system in systems.items() if other == rank or system.wakes_on & writer.writes]
        for rank, writer in systems.items()
    }

    def arm(rank: int) -> None:
        due = max(systems[rank].next_due(state), env.now)
        if due < armed[rank] and due < until_ns:
            armed[rank] = due
            wake = simpy.Event(env)
            wake._ok, wake._value = True, None
            wake.callbacks.append(lambda _event: on_wake(rank, due))
            env.schedule(wake, priority=rank, delay=due - env.now)

    def on_wake(rank: int, due_ns: int) -> None:
        if armed[rank] != due_ns:
            return  # An earlier wake came in between.
        armed[rank] = NEVER_NS
        state.now_ns = due_ns
        systems[rank].step(state, due_ns)
        if rebuild_each_time:
            systems.update((int(system.rank), system) for system in make_systems())
        for other in interested[rank]:
            arm(other)

    for rank in systems:
        arm(rank)
    while env.peek() < until_ns:
        env.step()
    state.now_ns = until_ns


def _check(blueprint: Blueprint, timed: Timed) -> None:
    what = timed.what
    for name in ("service", "caller", "callee"):
        service = getattr(what, name, None)
        if service is not None and service not in blueprint.service_index:
            raise BadInput(
                f"cannot inject {type(what).__name__}", f'there is no service "{service}"', "name one of the fleet's"
            )
    if isinstance(what, Configure):
        place = (blueprint.namespaces[blueprint.service_index[what.service]], what.config_map)
        if place not in blueprint.config_index:
            why = f'there is no ConfigMap "{what.config_map}"'
            raise BadInput("cannot inject Configure", why, "name one of the fleet's")
    node = getattr(what, "node", None)
    if node is not None and node not in blueprint.node_index:
        raise BadInput(f"cannot inject {type(what).__name__}", f'there is no node "{node}"', "name one of the fleet's")
    journey = getattr(what, "journey", None)
    if journey is not None and all(journey != j.name for j in blueprint.fleet.journeys):
        raise BadInput(f"cannot inject {type(what).__name__}", f'no journey "{journey}"', "name one of the fleet's")
    station = getattr(what, "station", None)
    if station is not None:
        blueprint.network.station_index(getattr(what, "service"), station)  # noqa: B009 - raises BadInput
    for name in ("speed", "factor", "error_ratio", "leak_bytes_per_s", "delay_s", "crash_after_s", "slots"):
        value = getattr(what, name, None)
        if value is not None and not (np.isfinite(value) and value >= 0.0):
            raise BadInput(f"cannot inject {type(what).__name__}", f"{name} is {value}", "use a figure of 0 or more")
