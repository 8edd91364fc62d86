"""A scenario's production: built from its fleet, run calmly, struck by its timeline.

Everything follows from scenario and seed: the fleet, where the faults strike, the moment within a scrape at which
they do, and the World's own chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from chaos.catalogue import compile_fault
from scenarios.model import FleetSource, Remedy, Scenario, Strike
from scenarios.oracle import Envelope, Finding, Outcome, both, envelope_now, look_at_envelope, look_at_users
from scenarios.roles import filled, find_roles
from scenarios.users import UserLog, Users, watch_users
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.spec.change import Action, Change
from twin.spec.draws import Draws
from twin.spec.errors import BadInput
from twin.spec.fault import parse_fault
from twin.spec.files import read_fleet
from twin.spec.fleet import Fleet
from twin.spec.generators import combine, generate
from twin.spec.importers import import_kubernetes, read_hints, read_sources
from twin.spec.units import NS_PER_S, ns, seconds

__all__ = ["SCRAPE_S", "Production", "build", "change_of", "fleet_of", "judge_calm", "judge_end", "run_out"]

WARM_UP_S: Final = 60.0  # A World starts with empty queues.
SCRAPE_S: Final = 15.0  # A strike may fall anywhere between two scrapes.


@dataclass(slots=True)
class Production:
    """A scenario's World at the moment of the strike, with what nobody in production knows: `roles`."""

    scenario: Scenario
    seed: int
    world: World
    users: UserLog
    envelope: Envelope  # as before the strike
    calm: Users
    roles: Mapping[str, str]
    strike_s: float  # of the World's time

    def fork(self) -> Production:
        """An independent copy that runs on like this one, the users' log with it."""
        world = self.world.fork()
        return dataclasses.replace(self, world=world, users=watch_users(world, before=self.users))

    def strike(self) -> None:
        """Let the timeline begin now."""
        self.inject(self.scenario.timeline)

    def inject(self, strikes: Sequence[Strike]) -> None:
        """Let these faults strike, counted from now. Raises BadInput if the fleet cannot hold one."""
        for strike in strikes:
            start_ns = self.world.now_ns + ns(strike.at_s)
            end_ns = None if strike.for_s is None else start_ns + ns(strike.for_s)
            fault = parse_fault(filled(strike.fault, self.roles))
            self.world.inject(compile_fault(fault, self.world.fleet, start_ns=start_ns, end_ns=end_ns))

    def run_to(self, at_s: float) -> None:
        """Let production run until a moment of its own time."""
        self.world.run(ns(at_s))

    @property
    def now_s(self) -> float:
        return seconds(self.world.now_ns)


def build(scenario: Scenario, seed: int) -> Production:
    """Production at the end of its calm, nothing wrong yet. Raises BadInput for a fleet that cannot be."""
    fleet = fleet_of(scenario.fleet, seed)
    world = World.build(fleet, seed=seed, traffic=scenario.engine)
    strike_s = scenario.calm_s + round(Draws(seed, "strike").between(0.0, SCRAPE_S), 1)
    users = watch_users(world)
    world.run(round(strike_s * NS_PER_S))
    return Production(
        scenario=scenario, seed=seed, world=world, users=users, envelope=envelope_now(world),
        calm=users.users().between(WARM_UP_S, strike_s), roles=find_roles(scenario.roles, fleet, seed),
        strike_s=strike_s,
    )  # fmt: skip


def run_out(production: Production) -> None:
    """Let the episode end, and the oracle's window after it."""
    scenario = production.scenario
    end_s = max(production.strike_s + scenario.budgets.episode_s, production.now_s)
    production.run_to(end_s + scenario.oracle.window_s)


def judge_calm(production: Production) -> Finding:
    """Whether users fared well before the strike: else nothing that follows says anything."""
    return look_at_users(_journeys(production), production.calm, production.calm, production.scenario.oracle)


def judge_end(production: Production) -> Finding:
    """The oracle's finding about the window that has just passed. An oracle that breaks has not looked."""
    limits, now_s = production.scenario.oracle, production.now_s
    try:
        window = production.users.users().between(now_s - limits.window_s, now_s)
        return both(
            look_at_users(_journeys(production), window, production.calm, limits),
            look_at_envelope(production.envelope, production.world, plant_of(production.world).kube, limits),
        )
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        return Finding(Outcome.ERROR, (f"the oracle broke: {type(error).__name__}: {error}",))


def _journeys(production: Production) -> tuple[str, ...]:
    return tuple(str(journey.name) for journey in production.world.fleet.journeys)


def change_of(remedy: Remedy, roles: Mapping[str, str], *, requester: str = "bench") -> Change:
    """A fix or a trap as a change, its roles filled in."""
    return Change(
        actions=tuple(
            Action(
                kind=action.kind,
                target=filled(action.target, roles),
                parameters={k: filled(v, roles) if isinstance(v, str) else v for k, v in action.parameters.items()},
            )
            for action in remedy.actions
        ),
        reason=remedy.name,
        requester=requester,
    )


def fleet_of(source: FleetSource, seed: int) -> Fleet:
    """The fleet of one episode. Raises BadInput, also for files that cannot be read."""
    if source.services:
        return generate(source.services, source.seed + seed, rate_per_service_rps=source.rate_per_service_rps)
    fleet = _rated(_declared(source), dict(source.rates_rps))
    if source.around:
        around = generate(source.around, source.seed + seed, rate_per_service_rps=source.rate_per_service_rps)
        fleet = combine(around, fleet, name=fleet.name)
    return fleet


@lru_cache(maxsize=16)
def _declared(source: FleetSource) -> Fleet:
    if source.file is not None:
        return read_fleet(source.file)
    assert source.manifests is not None
    texts, unreadable = read_sources([source.manifests])
    assert not unreadable
    hints = read_hints(source.hints) if source.hints is not None else None
    return import_kubernetes(texts, name=source.manifests.name, hints=hints).fleet


def _rated(fleet: Fleet, rates_rps: Mapping[str, float]) -> Fleet:
    unknown = sorted(set(rates_rps) - {str(journey.name) for journey in fleet.journeys})
    if unknown:
        raise BadInput(
            f'cannot set the rate of "{unknown[0]}"', f'fleet "{fleet.name}" has no such journey', "check the spelling"
        )
    journeys = tuple(
        dataclasses.replace(journey, rate_rps=rates_rps.get(str(journey.name), journey.rate_rps))
        for journey in fleet.journeys
    )
    return dataclasses.replace(fleet, journeys=journeys)
