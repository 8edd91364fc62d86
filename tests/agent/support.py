"""Writers for tests: one that writes as it is told, one that never gets that far."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.driver import ungated_change
from twin.change.apply import apply_step
from twin.change.compile import compile_change
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.services import Promoted, PromotionOutcome
from twin.spec.change import Change
from twin.spec.errors import TwinError

__all__ = ["UngatedWriter"]


class UngatedWriter:
    """A promoter that asks nobody. It takes a World, so that it can never meet a cluster."""

    def __init__(self, world: World) -> None:
        self._plant = plant_of(world, writes=True)
        self.written: list[Change] = []

    def promote(self, receipt: Mapping[str, Any]) -> Promoted:
        change = ungated_change(receipt)
        try:
            plan = compile_change(change, self._plant.kube, at_s=self._plant.clock.now_s())
            for step in plan.steps:
                apply_step(self._plant, step)
        except TwinError as error:
            return Promoted(outcome=PromotionOutcome.REFUSED, reason=str(error), exit_code=error.exit_code)
        self.written.append(change)
        return Promoted(outcome=PromotionOutcome.DONE, reason="written", exit_code=0)
