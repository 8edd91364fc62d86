"""A node's drain as a promotion: batches with a watch between them, counted, killed, stopped and taken back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from agent.limits import MemoryWriteGuard
from tests.twin.promote.rehearsed import UNDO, Rig, receipt_for
from tests.twin.promote.test_crash import killed_everywhere, statuses
from twin.change.evictions import pods_on
from twin.fleet.plant import plant_of
from twin.ports.services import PromotionOutcome
from twin.promote.journal import Kind, Status
from twin.promote.promoter import PromotionService
from twin.spec.change import Action, Strategy
from twin.spec.plan import ObjectRef

NODE = ObjectRef(kind="Node", name="b-0")
DRAIN = dataclasses.replace(
    UNDO, actions=(Action(kind="drain", target="b-0", parameters={"at_once": 2.0}),),
    strategy=Strategy(watch_s=60.0, settle_s=30.0),
)  # fmt: skip


def promoted(service: PromotionService) -> Any:
    return service.promote(receipt_for(DRAIN))


def look_at(rig: Rig) -> tuple[int, bool]:
    """Pods on the node, and whether it is cordoned."""
    kube = plant_of(rig.world()).kube
    return len(pods_on(kube, NODE)), kube.get(NODE)["spec"]["unschedulable"]


@pytest.mark.requirement("R10", "R22")
def test_a_drain_is_promoted_within_the_rate_and_taken_back(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "rig")
    assert look_at(rig)[0] > 2
    rig.guard = MemoryWriteGuard(terminations_max=2)
    done = rig.run(promoted)
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert look_at(rig) == (0, True)
    assert rig.run(lambda service: service.undo(done.promotion_id)).exit_code == 0
    assert look_at(rig) == (0, False)


@pytest.mark.requirement("R10")
def test_pods_that_came_since_the_plan_are_asked_for_too(tmp_path: Path) -> None:
    """Two of the node's pods were counted for each batch; by now there are more, and they are too many for a minute."""
    rig = Rig(tmp_path / "rig")
    receipt = receipt_for(DRAIN)
    world = rig.world()
    plant = plant_of(world, writes=True)
    for name in ("a-0", "a-1", "b-1"):
        plant.kube.patch(ObjectRef(kind="Node", name=name), {("spec", "unschedulable"): True})
    plant.kube.patch(ObjectRef(kind="Deployment", name="web", namespace="shop"), {("spec", "replicas"): 9})
    plant.clock.sleep(20.0)
    rig.file.write_bytes(world.save())
    assert look_at(rig)[0] >= 8
    rig.guard = MemoryWriteGuard(terminations_max=5)
    done = rig.run(lambda service: service.promote(receipt))
    assert done.outcome is PromotionOutcome.ROLLED_BACK
    assert "at most 5" in done.reason
    assert look_at(rig)[0] >= 8, "it evicted what nobody had allowed"
    assert not look_at(rig)[1]


@pytest.mark.requirement("R8", "R22")
def test_a_drain_that_is_killed_anywhere_is_finished_and_ends_no_pod_twice(tmp_path: Path) -> None:
    ended: set[int] = set()

    def check(rig: Rig, told: str) -> None:
        assert statuses(rig)[-1] is Status.DONE, told
        assert look_at(rig) == (0, True), told
        ended.add(rig.world().state.pods_terminated)

    moments = killed_everywhere(tmp_path, lambda rig: None, promoted, promoted, check)
    assert moments > 20
    assert len(ended) == 1, "how many pods a drain ends depends on where it was killed"


def test_an_abort_on_the_way_lets_the_node_take_pods_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "rig")

    def abort(name: str) -> None:
        if name == f"after {Kind.OBSERVED}":
            journal = rig.journal()
            [promotion] = journal.promotions()
            journal.append(promotion.id, 0.0, Kind.ABORT_ASKED, {})
            journal.close()

    done = rig.run(promoted, step=abort)
    assert done.outcome is PromotionOutcome.ROLLED_BACK
    pods, cordoned = look_at(rig)
    assert pods >= 1
    assert not cordoned
