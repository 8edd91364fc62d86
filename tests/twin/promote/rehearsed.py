"""A production in trouble, and a signed receipt for its cure, without the cost of a rehearsal."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import policies
from agent.limits.guard import MemoryWriteGuard
from chaos.catalogue import compile_fault
from tests.small_shop import small_shop
from tests.twin.receipt.samples import RECEIPT, Keys, new_keys
from twin.change.base import base_of
from twin.change.compile import compile_change
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.receipts import approvals_needed
from twin.ports.plant import Plant
from twin.promote.journal import Journal, Promotion
from twin.promote.promoter import PromotionService
from twin.receipt import issue
from twin.spec.canonical import plain
from twin.spec.change import Action, Change, Strategy
from twin.spec.fault import parse_fault
from twin.spec.ids import ServiceId
from twin.spec.plan import Plan, plan_digest, plan_to_json
from twin.spec.receipt import EnvelopeCurve, EnvelopePoint, EvidenceLevel, base_digest
from twin.spec.units import NS_PER_S
from twin.spec.verdict import Prediction

__all__ = ["AS_BAD_AS_NOTHING", "BAD_IMAGE", "GOOD_IMAGE", "TARGET", "UNDO", "Rig", "image_of", "receipt_for"]

TARGET = "prod"
GOOD_IMAGE, BAD_IMAGE = "cart:v1", "cart:v2"
UNDO = Change(
    actions=(Action(kind="rollout_undo", target="shop/cart"),), reason="the new build fails", requester="agent",
    strategy=Strategy(canary_ratio=0.34, watch_s=15.0, settle_s=30.0),
)  # fmt: skip
AS_BAD_AS_NOTHING = Prediction(
    times_s=(0.0, 900.0), nothing_rps=(50.0, 50.0), nothing_low_rps=(0.0, 0.0), nothing_high_rps=(500.0, 500.0),
    change_rps=(0.0, 0.0), change_low_rps=(0.0, 0.0), change_high_rps=(500.0, 500.0),
)  # fmt: skip
TOO_GOOD = dataclasses.replace(AS_BAD_AS_NOTHING, nothing_high_rps=(0.0, 0.0), change_high_rps=(0.0, 0.0))

ANY_COURSE = (
    EnvelopeCurve(
        service=ServiceId("users"), metric="let_down_rps",
        points=(EnvelopePoint(t_s=0.0, low=0.0, high=1e6), EnvelopePoint(t_s=900.0, low=0.0, high=1e6)),
    ),
)  # fmt: skip


@functools.cache
def keys() -> Keys:
    return new_keys()


@functools.cache
def policy() -> policies.Policy:
    return policies.load()


@functools.cache
def wounded() -> bytes:
    """A saved World in which a bad build of shop/cart was rolled out."""
    world = World.build(small_shop(), seed=3)
    world.run(120 * NS_PER_S)
    fault = parse_fault(f"bad_rollout(shop/cart, image={BAD_IMAGE}, ratio=0.5)")
    world.inject(compile_fault(fault, world.fleet, start_ns=world.now_ns))
    world.run(210 * NS_PER_S)
    return world.save()


def receipt_for(
    change: Change = UNDO, *, prediction: Prediction = AS_BAD_AS_NOTHING, world: bytes | None = None, **fields: Any
) -> Mapping[str, Any]:
    """A receipt that the gate could have signed for this change on the wounded World."""
    plant = plant_of(World.restore(world or wounded()), name=TARGET)
    plan = compile_change(change, plant.kube, at_s=plant.clock.now_s())
    base, now_s = base_of(plant.kube, plan.reads), int(plant.clock.now_s())
    receipt = dataclasses.replace(
        RECEIPT,
        plan_digest=plan_digest(plan), change=plain(change), plan=plan_to_json(plan), base=base,
        base_digest=base_digest(base), target=TARGET, requester=change.requester, risk=change.risk,
        reversibility=plan.reversibility, approvals_needed=approvals_needed(change, plan.reversibility),
        symptom_envelope=ANY_COURSE, prediction=prediction, evidence_level=EvidenceLevel.SIMULATED,
        issued_s=now_s, expires_s=now_s + 900,
    )  # fmt: skip
    return issue(dataclasses.replace(receipt, **fields), keys().gate)


def image_of(world: World) -> str:
    """What the pods of shop/cart are meant to run."""
    return world.state.templates[int(world.state.template[1])].image


@dataclass
class Rig:
    """One World's file, one journal, and a promoter made anew for every command, as the CLI does."""

    folder: Path
    approvals: tuple[Mapping[str, Any], ...] = ()
    said: list[str] = field(default_factory=list)
    guard: MemoryWriteGuard = field(default_factory=lambda: MemoryWriteGuard(terminations_max=20))
    through: Callable[[Plant], Plant] = lambda plant: plant

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(wounded())

    @property
    def file(self) -> Path:
        return self.folder / "prod.world"

    def journal(self) -> Journal:
        return Journal(self.folder / "journal.sqlite")

    def world(self) -> World:
        return World.restore(self.file.read_bytes())

    def run(
        self, command: Callable[[PromotionService], Any], *, step: Callable[[str], None] = lambda _: None,
        where: str | None = None,
    ) -> Any:  # fmt: skip
        """A command in a process of its own. `step` is told before and after all that is durable."""
        world = self.world()

        def checkpoint() -> None:
            step("before checkpoint")
            self.file.write_bytes(world.save())
            step("after checkpoint")

        journal = _Journal(self.folder / "journal.sqlite", step)
        service = PromotionService(
            plant=self.through(plant_of(world, name=TARGET, writes=True)), journal=journal, policy=policy(),
            trusted=keys().trusted, guard=self.guard, checkpoint=checkpoint, approvals=self.approvals,
            say=self.said.append, where=str(self.file) if where is None else where,
        )  # fmt: skip
        try:
            done = command(service)
            service.checkpoint()
            return done
        finally:
            journal.close()

    def plan(self, change: Change = UNDO) -> Plan:
        plant = plant_of(self.world(), name=TARGET)
        return compile_change(change, plant.kube, at_s=plant.clock.now_s())


class _Journal(Journal):
    def __init__(self, path: Path, step: Callable[[str], None]) -> None:
        super().__init__(path)
        self._step = step

    def begin(self, *args: Any, **kwargs: Any) -> Promotion:
        self._step("before begin")
        promotion = super().begin(*args, **kwargs)
        self._step("after begin")
        return promotion

    def append(self, promotion: str, at_s: float, kind: Any, *args: Any, **kwargs: Any) -> None:
        self._step(f"before {kind}")
        super().append(promotion, at_s, kind, *args, **kwargs)
        self._step(f"after {kind}")
