"""The writer of baselines without a gate: it carries out what it is told, and asks the WriteGuard alone.

It is the one way around receipts, so it takes the Plant of a simulated World and nothing else: not a cluster's,
not a wrapper that might have one inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from agent.driver import ungated_change
from twin.change.apply import apply_step
from twin.change.compile import compile_change
from twin.change.moves import Evict, make_move
from twin.fleet.plant import WorldPlant
from twin.ports.services import Promoted, PromotionOutcome, WriteGuard
from twin.spec.errors import Forbidden, TwinError
from twin.spec.plan import PatchStep

__all__ = ["UngatedWriter"]


class UngatedWriter:
    """Implements Promoter. `before_write` is told before the first write of each change; `writes` counts steps."""

    def __init__(
        self, plant: WorldPlant, guard: WriteGuard, *, before_write: Callable[[], None] = lambda: None
    ) -> None:
        """Raises Forbidden for anything but a World's own Plant."""
        if type(plant) is not WorldPlant:
            raise Forbidden(
                "cannot write without a gate", f"{type(plant).__name__} is no simulated World's Plant",
                "promote a receipt: twin promote",
            )  # fmt: skip
        self._plant, self._guard, self._before_write = plant, guard, before_write
        self.writes = 0

    def promote(self, receipt: Mapping[str, Any]) -> Promoted:
        """Apply every step at once, with no canary and no watch. The first step that is refused ends it."""
        clock = self._plant.clock
        written = 0
        try:
            change = ungated_change(receipt)
            plan = compile_change(change, self._plant.kube, at_s=clock.now_s())
            for step in plan.steps:
                action = change.actions[step.action]
                pods = step.terminates_pods if isinstance(step, PatchStep) else 0
                self._guard.admit(kind=action.kind, scope=action.target, pod_terminations=pods, now_s=clock.now_s())
                if not written:
                    self._before_write()
                try:
                    apply_step(self._plant, step)
                    if isinstance(step, PatchStep) and step.evicts_at_once:
                        make_move(self._plant, plan, Evict(ref=step.ref, pods=step.terminates_pods, leave=0))
                except TwinError:
                    self._guard.record(kind=action.kind, scope=action.target, ok=False, now_s=clock.now_s())
                    raise
                self._guard.record(kind=action.kind, scope=action.target, ok=True, now_s=clock.now_s())
                written += 1
                self.writes += 1
        except TwinError as error:
            return Promoted(outcome=PromotionOutcome.REFUSED, reason=str(error), exit_code=error.exit_code)
        except (KeyError, TypeError, ValueError) as error:
            return Promoted(outcome=PromotionOutcome.REFUSED, reason=f"this is no ungated change: {error}", exit_code=2)
        return Promoted(outcome=PromotionOutcome.DONE, reason=f"{written} writes, ungated", exit_code=0)
