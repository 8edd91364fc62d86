"""The demo's stage: a production that nobody but this module sees through, its twin, and everybody who acts.

The agent gets a read-only Plant, the gate and the promoter as services, and nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import policies
from agent.brains.offline import OfflineBrain
from agent.core.context import Settings as AgentSettings
from agent.driver import Driver, Episode, Services
from agent.knowledge import Knowledge, load_folder
from agent.limits.guard import SqliteWriteGuard
from agent.pager import FileSink, Pager
from agent.room import SqliteRoom
from agent.telemetry.trace import IncidentTracer, JsonlExporter
from chaos.catalogue import compile_fault
from twin.cli.home import stop_command
from twin.cli.output import StageProgress
from twin.fit.calibration import Calibration, calibrate
from twin.fit.observe import observe
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.gate import Gate, Settings
from twin.gate.receipts import receipt_issuer
from twin.ports.services import Verification, VerifyRequest
from twin.promote.journal import Journal
from twin.promote.promoter import PromotionService
from twin.promote.standin import ApprovingPromoter
from twin.receipt import KeyRole, load_signer, load_trusted_keys, new_key, trust_key
from twin.spec.canonical import digest, plain
from twin.spec.change import Action, Change
from twin.spec.fault import Fault, FaultType
from twin.spec.fleet import Fleet
from twin.spec.generators import combine, generate
from twin.spec.importers import import_kubernetes, read_hints, read_sources
from twin.spec.units import NS_PER_S

__all__ = ["Stage", "example_shop", "set_stage", "written_state"]

CALM_S: Final = 600
APPROVER_LATENCY_S: Final = 20.0


FORBIDDEN: Final = Change(
    actions=(Action(kind="drop_table", target="shop/orders-db", parameters={"table": "orders_tmp"}),),
    reason="a table that nobody seems to need holds the lock", requester="a colleague in a hurry",
)  # fmt: skip


_FIRSTS: Final = ("incident", "verified", "promoting")


@dataclass(slots=True)
class _SuggestingGate:
    """A Verifier that is asked about one more change, which the agent did not think of."""

    gate: Gate
    suggestion: Change | None

    def fault_types(self) -> Sequence[FaultType]:
        return self.gate.fault_types()

    def verify(self, request: VerifyRequest) -> Verification:
        more = () if self.suggestion is None else (self.suggestion,)
        return self.gate.verify(dataclasses.replace(request, candidates=(*request.candidates, *more)))


@dataclass(slots=True)
class Stage:
    """Production (a World), its twin, and the files of one run."""

    world: World
    twin: Fleet
    calibration: Calibration
    policy: policies.Policy
    out: Path
    seed: int
    _agent: tuple[Driver, _SuggestingGate] | None = None
    _so_far: Episode | None = None

    def strike(self, fault: Fault) -> None:
        """Let a fault strike production now. The agent is not told."""
        self.world.inject(compile_fault(fault, self.world.fleet, start_ns=self.world.now_ns))

    def mend(self) -> None:
        """End what still holds, as somebody outside the story would."""
        self.world.end([active.id for active in self.world.state.perturbations])

    def run_agent(self, *, limit_s: float, jobs: int, bar: StageProgress) -> Episode:
        """Let the agent, always the same one, work until its incident is closed. Returns what it did of it."""
        if self._agent is None:
            self._agent = self._hire(jobs, bar)
        driver, gate = self._agent
        plant = plant_of(self.world, name="production")
        signals = plant.telemetry.signals(after=0)
        before = self._so_far
        episode = driver.run(until_s=plant.clock.now_s() + limit_s, after=signals[-1][0] if signals else 0)
        self._so_far = episode
        gate.suggestion = None
        return episode if before is None else _since(episode, before)

    def _hire(self, jobs: int, bar: StageProgress) -> tuple[Driver, _SuggestingGate]:
        home = self.out / "home"
        signer = load_signer(home / "gate.key")
        plant = plant_of(self.world, name="production")
        gate = Gate(
            self.twin, plant, self.policy, settings=Settings(jobs=jobs), progress=bar,
            issue=receipt_issuer(
                plant, self.twin, signer, policy_revision=self.policy.revision,
                median_error_ratio=self.calibration.median_error_ratio,
            ),
        )  # fmt: skip
        service = PromotionService(
            plant=plant_of(self.world, name="production", writes=True),
            journal=Journal(home / "journal.sqlite"),
            policy=self.policy,
            trusted=load_trusted_keys(home / "trusted"),
            guard=SqliteWriteGuard(
                home / "guard.sqlite",
                target="production",
                terminations_max=self.policy.pod_terminations_per_minute_max,
            ),
            holder="demo",
        )
        approver = ("demo-approver", load_signer(home / "approver.key"))
        tracer = IncidentTracer([JsonlExporter(self.out / "traces.jsonl")], fleet="production")
        verifier = _SuggestingGate(gate, FORBIDDEN)
        services = Services(
            plant=plant,
            brain=OfflineBrain(),
            promoter=ApprovingPromoter(service, [approver], latency_s=APPROVER_LATENCY_S),
            pager=Pager(home / "outbox.sqlite", [FileSink(self.out / "pages.txt")]),
            verifier=verifier,
            knowledge=_knowledge(),
            room=SqliteRoom(home / "room.sqlite"),
            observe=tracer.observe,
        )
        settings = AgentSettings(gated=True, stop_command=stop_command(home))
        return Driver(services, settings=settings), verifier


def _since(episode: Episode, before: Episode) -> Episode:
    """What is new in an episode that contains an earlier one."""
    moments = tuple(m for m in episode.moments if m.at_s >= episode.started_s)
    known = {context.incident.id for context in before.incidents}
    first = {kind: next((m.at_s for m in moments if m.kind == kind), None) for kind in _FIRSTS}
    return dataclasses.replace(
        episode,
        moments=moments,
        incidents=tuple(c for c in episode.incidents if c.incident.id not in known),
        pages=episode.pages[len(before.pages) :],
        verifications=episode.verifications[len(before.verifications) :],
        promotions=episode.promotions[len(before.promotions) :],
        detected_at_s=first["incident"],
        verdict_at_s=first["verified"],
        first_write_at_s=first["promoting"],
    )


def set_stage(*, services: int, seed: int, out: Path, bar: StageProgress) -> Stage:
    """Generate and import production, let it run calmly for ten minutes, and build the twin from what it shows."""
    shop = example_shop()
    fleet = combine(generate(max(services - len(shop.services), 20), seed=seed), shop, name="production")
    world = World.build(fleet, seed=seed)
    bar.stage("production runs calmly", CALM_S // 60)
    for minute in range(1, CALM_S // 60 + 1):
        world.run(minute * 60 * NS_PER_S)
        bar.advance()
    bar.stage("building the twin from telemetry", 2)
    plant = plant_of(world, name="production")
    twin = observe(plant)
    bar.advance()
    calibration = calibrate(plant)
    bar.advance()
    _make_keys(out / "home")
    return Stage(world=world, twin=twin, calibration=calibration, policy=policies.load(), out=out, seed=seed)


# Whatever a change could be written to. Pods and ReplicaSets follow from these.
_WRITABLE: Final = (
    "Deployment", "StatefulSet", "DaemonSet", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "HTTPRoute",
    "Node", "ConfigMap",
)  # fmt: skip


def written_state(world: World) -> dict[str, str]:
    """Digests of all in production that a change could write, by kind: equal before and after, nothing was written.

    What an autoscaler owns is left out, for it moves by itself; what holds still is everything else.
    """
    kube = plant_of(world, name="production").kube
    found = {kind: kube.list_objects(kind) for kind in _WRITABLE}
    scaled = {
        (obj["spec"]["scaleTargetRef"]["kind"], obj["metadata"]["namespace"], obj["spec"]["scaleTargetRef"]["name"])
        for obj in found["HorizontalPodAutoscaler"]
    }
    digests: dict[str, str] = {}
    for kind, objects in found.items():
        said = []
        for obj in objects:
            name = (kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
            spec = {k: v for k, v in obj.get("spec", {}).items() if k != "replicas" or name not in scaled}
            said.append([*name, spec, obj.get("data", {})])
        # Objects are plain JSON as they come, tens of thousands of them: no canonical form is needed to compare two.
        text = json.dumps(sorted(said, key=lambda row: row[:3]), sort_keys=True)
        digests[kind] = hashlib.sha256(text.encode()).hexdigest()
    state = world.state
    digests["sessions"] = digest([plain(state.sessions), int(state.sessions_terminated)])
    digests["tables dropped"] = digest(sorted(state.dropped_tables))
    digests["firewall rules"] = digest(sorted(state.firewall_rules))
    return digests


def example_shop() -> Fleet:
    """The shop of examples/, from its Kubernetes manifests; from the packaged copy where there is no checkout."""
    folder = _examples()
    result = import_kubernetes(
        read_sources([folder / "shop"])[0], name="shop", hints=read_hints(folder / "shop.hints.yaml")
    )
    return result.fleet


def _examples() -> Path:
    here = Path(__file__).resolve()
    for parent in here.parents:
        if (parent / "examples" / "shop").is_dir():
            return parent / "examples"
    return Path("examples")


def _knowledge() -> Knowledge:
    folder = _examples() / "knowledge"
    return Knowledge(load_folder(folder)) if folder.is_dir() else Knowledge()


def _make_keys(home: Path) -> None:
    """Keys of this run only: a gate's and a stand-in approver's."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name, role in (("gate", KeyRole.GATE), ("approver", KeyRole.APPROVER)):
        if not (home / f"{name}.key").exists():
            public = new_key(home / f"{name}.key", f"demo-{name}" if role is KeyRole.APPROVER else "demo-gate")
            trust_key(public, home / "trusted", role)
