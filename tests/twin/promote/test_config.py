"""A value of a ConfigMap is promoted with its readers' roll-out, as one change of several steps, and taken back."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from agent.limits.guard import MemoryWriteGuard
from tests.twin.promote.rehearsed import TOO_GOOD, Rig, receipt_for
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.services import PromotionOutcome
from twin.spec.change import Action, Change, Strategy
from twin.spec.plan import ObjectRef
from twin.spec.units import NS_PER_S

SET = Change(
    actions=(Action(kind="set_config", target="shop/settings", parameters={"key": "LEVEL", "value": "debug"}),),
    reason="LEVEL is wrong", requester="agent", strategy=Strategy(canary_ratio=0.34, watch_s=20.0, settle_s=30.0),
)  # fmt: skip


def values(world: World) -> list[dict[str, str]]:
    """What each pod of the cart found as it started."""
    world.run_for(120 * NS_PER_S)
    state = world.state
    return [dict(state.templates[variant].settings) for variant in state.pod_variant[state.pods_of(1)]]


@pytest.mark.requirement("R22")
def test_the_value_and_then_the_roll_out_by_canary(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "rig")
    done = rig.run(lambda service: service.promote(receipt_for(SET)))
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert values(rig.world()) == [{"LEVEL": "debug"}] * 3
    (promotion,) = rig.journal().promotions()
    rig.run(lambda service: service.undo(promotion.id))
    assert values(rig.world()) == [{"LEVEL": "info"}] * 3


class Told(MemoryWriteGuard):
    """A guard that remembers for which actions it was asked, in order."""

    def __init__(self) -> None:
        super().__init__(terminations_max=20)
        self.kinds: list[str] = []

    def admit(self, *, kind: str, **asked: Any) -> None:
        self.kinds.append(kind)
        super().admit(kind=kind, **asked)


def test_each_write_is_admitted_for_its_own_action(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "rig", guard=(guard := Told()))
    both = dataclasses.replace(SET, actions=(*SET.actions, Action(kind="suspend_gitops", target="shop/apps")))
    receipt = receipt_for(both, approvals_needed=0)
    done = rig.run(lambda service: service.promote(receipt))
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert list(dict.fromkeys(guard.kinds)) == ["set_config", "suspend_gitops"]
    assert guard.kinds.count("suspend_gitops") < guard.kinds.count("set_config"), "the restart is set_config's"


@pytest.mark.requirement("R22")
def test_what_goes_worse_than_predicted_goes_back_to_the_old_value(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "rig")
    done = rig.run(lambda service: service.promote(receipt_for(SET, prediction=TOO_GOOD)))
    assert done.outcome is PromotionOutcome.ROLLED_BACK, done.reason
    world = rig.world()
    settings = ObjectRef(kind="ConfigMap", name="settings", namespace="shop")
    assert plant_of(world).kube.get(settings)["data"] == {"LEVEL": "info"}
    assert values(world) == [{"LEVEL": "info"}] * 3
