"""A StatefulSet's roll-out is held by its partition: one pod first, watched, then the rest, or back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chaos.catalogue import compile_fault
from tests.small_shop import small_shop
from tests.twin.promote.rehearsed import AS_BAD_AS_NOTHING, TOO_GOOD, UNDO, Rig, receipt_for
from tests.twin.promote.test_crash import killed_everywhere, statuses
from tests.twin.promote.test_watch import told
from twin.change.compile import compile_change
from twin.change.facts import terminations_by_move
from twin.change.moves import Apply, Hold, Resume, WaitCanary, WaitRollout, Watch, moves_of
from twin.fleet.plant import plant_of
from twin.fleet.state import Phase
from twin.fleet.world import World
from twin.ports.services import PromotionOutcome
from twin.promote.journal import Kind, Status
from twin.spec.change import Action
from twin.spec.errors import BadInput
from twin.spec.fault import parse_fault
from twin.spec.plan import ObjectRef
from twin.spec.units import NS_PER_S

DB = ObjectRef(kind="StatefulSet", name="db", namespace="shop")
PARTITION = ("spec", "updateStrategy", "rollingUpdate", "partition")
IMAGE = ("spec", "template", "spec", "containers", "[name=db]", "image")
CHANGE = dataclasses.replace(
    UNDO, actions=(Action(kind="set_env", target="shop/db", parameters={"name": "LOG", "value": "debug"}),)
)
ROW = 4


def saved() -> bytes:
    fleet = small_shop()
    services = [dataclasses.replace(s, replicas=3) if s.name == "db" else s for s in fleet.services]
    world = World.build(dataclasses.replace(fleet, services=tuple(services)), seed=3)
    world.run(120 * NS_PER_S)
    fault = parse_fault("errors(shop/web, ratio=0.4)")  # Users suffer, so that too good a prediction shows.
    world.inject(compile_fault(fault, world.fleet, start_ns=world.now_ns))
    world.run(180 * NS_PER_S)
    assert world.fleet.services[ROW].name == "db"
    return world.save()


@pytest.fixture(scope="module")
def three() -> bytes:
    return saved()


@pytest.fixture
def rig(three: bytes, tmp_path: Path) -> Rig:
    rig = Rig(tmp_path / "rig")
    rig.file.write_bytes(three)
    return rig


def updated(world: World) -> tuple[int, int]:
    """Pods of the newest template, and pods in all, without those that are going."""
    state = world.state
    mine = (state.pod_service == ROW) & (state.pod_phase != Phase.TERMINATING) & (state.pod_phase != Phase.FREE)
    return int((state.pod_template[mine] == state.template[ROW]).sum()), int(mine.sum())


def test_its_moves_hold_it_before_it_begins(rig: Rig) -> None:
    plan = rig.plan(CHANGE)
    moves = moves_of(plan)
    assert [type(move) for move in moves] == [Hold, Apply, Hold, WaitCanary, Watch, Resume, WaitRollout, Watch]
    assert moves[2] == Hold(ref=DB, release=2)  # 0.34 of three, rounded up
    assert terminations_by_move(plan) == (0, 0, 2, 0, 0, 1, 0, 0)


@pytest.mark.requirement("R22")
def test_the_canary_is_watched_before_the_rest_is_touched(rig: Rig, three: bytes) -> None:
    seen: list[tuple[int, int]] = []
    worlds: list[World] = []

    def look(name: str) -> None:
        if name == "before observed":
            seen.append(updated(worlds[-1]))

    rig.through = lambda plant: (worlds.append(plant.kube._world), plant)[1]  # type: ignore[attr-defined, func-returns-value]
    done = rig.run(lambda service: service.promote(receipt_for(CHANGE, world=three)), step=look)
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert seen == [(2, 3), (3, 3)]
    assert rig.world().state.partition[ROW] == 0


@pytest.mark.requirement("R22")
def test_what_is_worse_is_taken_back_and_let_go_on(rig: Rig, three: bytes) -> None:
    before = plant_of(rig.world()).kube.get(DB)["spec"]
    done = rig.run(lambda service: service.promote(receipt_for(CHANGE, world=three, prediction=TOO_GOOD)))
    assert done.outcome is PromotionOutcome.ROLLED_BACK, done.reason
    assert (Kind.INTENT, "Resume") not in told(rig)
    assert plant_of(rig.world()).kube.get(DB)["spec"] == before


def test_killed_anywhere_it_is_finished_and_nothing_stays_held(tmp_path: Path, three: bytes) -> None:
    receipt = receipt_for(CHANGE, world=three, prediction=AS_BAD_AS_NOTHING)
    promote: Callable[[Any], Any] = lambda service: service.promote(receipt)  # noqa: E731

    def check(rig: Rig, at: str) -> None:
        assert rig.world().state.partition[ROW] == 0, at
        assert statuses(rig)[-1] in (Status.DONE, Status.ROLLED_BACK, Status.REFUSED), at

    assert killed_everywhere(tmp_path, lambda rig: rig.file.write_bytes(three), promote, promote, check) > 20


@pytest.mark.parametrize(
    ("strategy", "why"),
    [({"rollingUpdate": {"partition": 2}}, "keeps 2 pods"), ({"type": "OnDelete"}, "as somebody deletes them")],
)
def test_a_roll_out_that_somebody_holds_is_left_to_him(three: bytes, strategy: dict[str, Any], why: str) -> None:
    plant = plant_of(World.restore(three), writes=True)

    class Held:
        def __getattr__(self, name: str) -> Any:
            return getattr(plant.kube, name)

        def get(self, ref: ObjectRef) -> Any:
            found = plant.kube.get(ref)
            return {**found, "spec": {**found["spec"], "updateStrategy": strategy}} if ref == DB else found

    with pytest.raises(BadInput, match=why):
        compile_change(CHANGE, Held(), at_s=0.0)  # type: ignore[arg-type]


def test_a_kept_pod_that_is_lost_comes_back_as_it_was(three: bytes) -> None:
    world = World.restore(three)
    kube = plant_of(world, writes=True).kube
    kube.patch(DB, {PARTITION: 2})
    kube.patch(DB, {IMAGE: "db:v2"})
    world.run_for(120 * NS_PER_S)
    assert updated(world) == (1, 3)
    state = world.state
    old = np.flatnonzero((state.pod_service == ROW) & (state.pod_template != state.template[ROW]))[0]
    [pod] = [p for p in kube.list_objects("Pod", "shop") if p["metadata"]["name"].endswith(f"-{state.pod_number[old]}")
             and p["metadata"]["labels"]["app"] == "db"]  # fmt: skip
    kube.delete(ObjectRef(kind="Pod", name=pod["metadata"]["name"], namespace="shop"))
    world.run_for(120 * NS_PER_S)
    assert updated(world) == (1, 3)
    kube.patch(DB, {PARTITION: None})
    world.run_for(180 * NS_PER_S)
    assert updated(world) == (3, 3)
