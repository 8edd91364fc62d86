"""A Scenario as a file: `apiVersion: twin/v1alpha1`, `kind: Scenario`. One file a scenario, found by looking.

    timeline:
      - {fault: "load_spike(buy, factor=3)", for: 90s}
    fixes:
      - name: stop retrying
        actions:
          - {kind: set_route, target: tickets/web--booking, parameters: {retries: 0}}

Unknown keys, unknown kinds of fault or action and roles that nobody declared are errors, with their line: a
misspelt trap would be a trap that nobody can step into. Paths are relative to the scenario's own file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from chaos.catalogue import complete
from scenarios.model import (
    Answer,
    Budgets,
    FleetSource,
    Observed,
    Oracle,
    Pick,
    Remedy,
    Role,
    Scenario,
    Strike,
)
from twin.change.catalogue import action_type
from twin.spec.change import Action
from twin.spec.edge import (
    Count,
    Duration,
    FileModel,
    Name,
    PositiveCount,
    PositiveDuration,
    Rate,
    Share,
    first_problem,
    schema_of,
    validated,
)
from twin.spec.errors import BadInput
from twin.spec.fault import parse_fault
from twin.spec.yaml_reader import KeyPath, Problem, read_file_text, single_document

__all__ = [
    "CATALOGUE",
    "HELD_OUT",
    "PLACEHOLDER",
    "UNSEEN",
    "find_scenarios",
    "in_suite",
    "read_scenario",
    "scenario_schema",
]

CATALOGUE: Final = Path(__file__).parent / "catalogue"
UNSEEN: Final = Path(__file__).parent / "unseen"
HELD_OUT: Final = "unseen"  # A suite that is in no other, "all" included: it is run only when asked for by name.
PLACEHOLDER: Final = re.compile(r"\{([a-z_]+)\}")

_Factor = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]


class _RoleFile(FileModel):
    pick: Literal["vital_service", "busiest_database", "bystander", "busiest_caller", "hot_route", "busiest_journey"]
    among: PositiveCount = 1
    of: str = ""
    replicas_min: PositiveCount = 1
    replicas_max: PositiveCount = 1_000_000


class _FleetFile(FileModel):
    manifests: str | None = None
    hints: str | None = None
    file: str | None = None
    services: Annotated[int, Field(ge=10, le=100_000)] | None = None
    seed: Count = 0
    rate_per_service_rps: _Factor = 4.0
    around: Count = 0
    rates_rps: dict[str, Rate] = Field(default={})


class _StrikeFile(FileModel):
    fault: str
    at: Duration = 0.0
    lasting: PositiveDuration | None = Field(default=None, alias="for")
    innocent: bool = False

    def to_strike(self) -> Strike:
        return Strike(fault=self.fault, at_s=self.at, for_s=self.lasting, innocent=self.innocent)


class _ObservedFile(FileModel):
    noise: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 0.0
    missing_edges: Share = 0.0
    staleness: Duration = 0.0


class _ActionFile(FileModel):
    kind: str
    target: str
    parameters: dict[str, float | str] = Field(default={})


class _RemedyFile(FileModel):
    name: Name
    refused: bool = False
    actions: Annotated[list[_ActionFile], Field(min_length=1)]

    def to_remedy(self) -> Remedy:
        return Remedy(
            name=self.name,
            refused=self.refused,
            actions=tuple(
                Action(
                    kind=action.kind,
                    target=action.target,
                    # A plain dict: scenarios travel to other processes, and a proxy cannot.
                    parameters={k: v if isinstance(v, str) else float(v) for k, v in action.parameters.items()},
                )
                for action in self.actions
            ),
        )


class _OracleFile(FileModel):
    window: PositiveDuration = 300.0
    let_down_max: Share = 0.02
    users_min: Share = 0.5
    sessions_lost_max: Count = 0
    stateful_replaced_max: Count = 0


class _BudgetsFile(FileModel):
    episode: PositiveDuration = 900.0
    act_after: PositiveDuration = 180.0
    wall: PositiveDuration = 60.0


class _ScenarioFile(FileModel):
    api_version: Literal["twin/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["Scenario"]
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    title: Name
    suites: list[Name] = Field(default=[])
    fleet: _FleetFile
    engine: Literal["tick", "simpy"] = "tick"
    calm: PositiveDuration = 600.0
    roles: dict[Annotated[str, Field(pattern=r"^[a-z_]+$")], _RoleFile] = Field(default={})
    timeline: Annotated[list[_StrikeFile], Field(min_length=1)]
    replay: list[_StrikeFile] = Field(default=[])
    observed: _ObservedFile = _ObservedFile()
    answer: Literal["fix", "hand_over"] = "fix"
    fixes: list[_RemedyFile] = Field(default=[])
    traps: Annotated[list[_RemedyFile], Field(min_length=1)]
    oracle: _OracleFile = _OracleFile()
    budgets: _BudgetsFile = _BudgetsFile()

    def to_scenario(self, folder: Path) -> Scenario:
        def path(text: str | None) -> Path | None:
            return None if text is None else (folder / text).resolve()

        fleet = self.fleet
        return Scenario(
            name=self.name,
            title=self.title,
            suites=tuple(self.suites),
            fleet=FleetSource(
                manifests=path(fleet.manifests), hints=path(fleet.hints), file=path(fleet.file),
                services=fleet.services or 0, seed=fleet.seed, rate_per_service_rps=fleet.rate_per_service_rps,
                around=fleet.around, rates_rps=tuple(sorted(fleet.rates_rps.items())),
            ),
            engine=self.engine,
            calm_s=self.calm,
            roles=tuple(
                Role(
                    name=name, pick=Pick(role.pick), among=role.among, of=role.of, replicas_min=role.replicas_min,
                    replicas_max=role.replicas_max,
                )
                for name, role in self.roles.items()
            ),
            timeline=tuple(strike.to_strike() for strike in self.timeline),
            replay=tuple(strike.to_strike() for strike in self.replay),
            observed=Observed(
                noise_ratio=self.observed.noise, missing_edges_ratio=self.observed.missing_edges,
                staleness_s=self.observed.staleness,
            ),
            answer=Answer(self.answer),
            fixes=tuple(remedy.to_remedy() for remedy in self.fixes),
            traps=tuple(remedy.to_remedy() for remedy in self.traps),
            oracle=Oracle(
                window_s=self.oracle.window, let_down_max_ratio=self.oracle.let_down_max,
                users_min_ratio=self.oracle.users_min, sessions_lost_max=self.oracle.sessions_lost_max,
                stateful_replaced_max=self.oracle.stateful_replaced_max,
            ),
            budgets=Budgets(
                episode_s=self.budgets.episode, act_after_s=self.budgets.act_after, wall_s=self.budgets.wall
            ),
        )  # fmt: skip


def read_scenario(path: Path) -> Scenario:
    """The Scenario in a file. Raises BadInput, with the line, for whatever is wrong with it."""
    document = single_document(read_file_text(path), str(path))
    file = validated(_ScenarioFile, document, str(path))
    problems = [
        Problem(document.line(place), message, next_step) for place, message, next_step in _flaws(file, path.parent)
    ]
    if problems:
        raise first_problem(str(path), problems)
    return file.to_scenario(path.parent)


def scenario_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a Scenario file."""
    return schema_of(_ScenarioFile, "Scenario")


def find_scenarios(folders: Sequence[Path] = ()) -> tuple[Scenario, ...]:
    """Every scenario of the catalogue, of the held-out ones and of the folders, in name order.

    Raises BadInput if a file cannot be read, or if two scenarios have one name.
    """
    found: dict[str, tuple[Scenario, Path]] = {}
    for folder in (CATALOGUE, UNSEEN, *folders):
        if not folder.is_dir():
            raise BadInput(f"cannot look for scenarios in {folder}", "it is no folder", "name a folder of *.yaml files")
        for path in sorted(folder.glob("*.yaml")):
            scenario = read_scenario(path)
            if scenario.name in found:
                raise BadInput(
                    f"cannot use {path}", f'{found[scenario.name][1]} is called "{scenario.name}" too', "rename one"
                )
            found[scenario.name] = (scenario, path)
    return tuple(found[name][0] for name in sorted(found))


def in_suite(scenarios: Sequence[Scenario], suite: str) -> tuple[Scenario, ...]:
    """The scenarios of a suite, or the one of that name; "all" is every one that is not held out.

    Raises BadInput if there is none.
    """
    if suite == HELD_OUT:
        chosen = tuple(s for s in scenarios if HELD_OUT in s.suites)
    else:
        common = tuple(s for s in scenarios if HELD_OUT not in s.suites and (suite == "all" or suite in s.suites))
        chosen = common or tuple(s for s in scenarios if s.name == suite)
    if not chosen:
        known = sorted({"all", *(name for scenario in scenarios for name in (*scenario.suites, scenario.name))})
        raise BadInput(f'there is no suite or scenario "{suite}"', f"known: {', '.join(known)}", "see: twin bench list")
    return chosen


# --- what pydantic cannot see -----------------------------------------------------------------------------

_Flaw = tuple[KeyPath, str, str]


def _flaws(file: _ScenarioFile, folder: Path) -> Iterator[_Flaw]:
    yield from _fleet_flaws(file.fleet, folder)
    yield from _role_flaws(file.roles)
    for group, strikes in (("timeline", file.timeline), ("replay", file.replay)):
        for index, strike in enumerate(strikes):
            yield from _placeholder_flaws((group, index, "fault"), strike.fault, file.roles)
            try:
                complete(parse_fault(strike.fault))
            except BadInput as error:
                yield (group, index, "fault"), str(error), error.next_step
    for group, remedies in (("fixes", file.fixes), ("traps", file.traps)):
        for index, remedy in enumerate(remedies):
            for number, action in enumerate(remedy.actions):
                place = (group, index, "actions", number)
                texts = [action.target, *(v for v in action.parameters.values() if isinstance(v, str))]
                for text in texts:
                    yield from _placeholder_flaws(place, text, file.roles)
                try:
                    known = {parameter.name for parameter in action_type(action.kind).parameters}
                except BadInput as error:
                    yield (*place, "kind"), str(error), error.next_step
                    continue
                for name in action.parameters:
                    if name not in known:
                        yield (
                            (*place, "parameters", name),
                            f'"{action.kind}" has no parameter "{name}"',
                            f"known: {', '.join(sorted(known)) or 'none'}",
                        )
    for index, fix in enumerate(file.fixes):
        if fix.refused:
            yield ("fixes", index, "refused"), "a fix that is refused mends nothing", "remove it, or call it a trap"
    if file.answer == "fix" and not file.fixes:
        yield ("answer",), "a scenario that can be fixed names no fix", "add fixes, or write answer: hand_over"
    if file.answer == "hand_over" and file.fixes:
        yield ("fixes",), "a scenario that has to be handed over names a fix", "remove it, or write answer: fix"
    if file.answer == "fix" and not file.replay and not any(strike.lasting for strike in file.timeline):
        yield ("timeline",), "nothing can be replayed after a fix", "add replay: what a mended system has to bear"


def _fleet_flaws(fleet: _FleetFile, folder: Path) -> Iterator[_Flaw]:
    given = [name for name in ("manifests", "file", "services") if getattr(fleet, name) is not None]
    if len(given) != 1:
        yield ("fleet",), f"{' and '.join(given) or 'no source'} given", "give one of manifests, file or services"
    if fleet.around and fleet.services is not None:
        yield ("fleet", "around"), "a generated fleet has nothing to be put around", "raise services instead"
    if fleet.rates_rps and fleet.services is not None:
        yield ("fleet", "rates_rps"), "a generated fleet names its journeys itself", "use rate_per_service_rps"
    for name in ("manifests", "hints", "file"):
        text = getattr(fleet, name)
        if text is not None and not (folder / text).exists():
            yield ("fleet", name), f"there is no {text} beside this file", "paths are relative to the scenario's file"


def _role_flaws(roles: Mapping[str, _RoleFile]) -> Iterator[_Flaw]:
    before: set[str] = set()
    for name, role in roles.items():
        needs_of = role.pick in ("bystander", "busiest_caller", "hot_route")
        if needs_of and role.of not in before:
            yield ("roles", name), f'"{role.pick}" is of another role', "name one that is declared above, as of: db"
        before.add(name)


def _placeholder_flaws(place: KeyPath, text: str, roles: Mapping[str, _RoleFile]) -> Iterator[_Flaw]:
    for name in PLACEHOLDER.findall(text):
        if name not in roles:
            yield place, f'there is no role "{name}"', f"declared: {', '.join(roles) or 'none'}"
