"""Stage 6, simulated: the plan applied step by step on a forked World, under its systems' own rules.

It shows that the writes are admitted, that the roll-out converges with the fault in place, and that taking
everything back leaves the objects as they were. A real shadow cluster shows more; a receipt says which.
"""

from __future__ import annotations

from twin.change.apply import Undo, undo_order, undo_step
from twin.change.base import base_of
from twin.change.moves import Watch, make_move, moves_of
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.spec.errors import TwinError
from twin.spec.fields import path_text
from twin.spec.plan import Plan
from twin.spec.verdict import StageName, StageResult, StageVerdict

__all__ = ["rehearse_mechanics"]


def rehearse_mechanics(situation: World, plan: Plan) -> StageResult:
    """Apply, converge, roll back, converge; on a fork of the situation. Never raises."""
    world = situation.fork(replication=0, watched=False)
    plant = plant_of(world, writes=True)
    undos: list[Undo] = []
    try:
        before = base_of(plant.kube, plan.reads)
        for move in moves_of(plan):
            if isinstance(move, Watch):
                continue  # The fleet stage watches; here only the mechanics count.
            undo = make_move(plant, plan, move)
            if undo is not None:
                undos.append(undo)
    except TwinError as error:
        return _result(StageVerdict.FAIL, f"applying it fails: {error}")
    reversible = [undo for undo in undos if undo.possible]
    try:
        for undo in undo_order(reversible):
            left = undo_step(plant, undo)
            if left:
                return _result(StageVerdict.FAIL, f"rollback cannot restore {path_text(left[0])}")
        plant.clock.sleep(60.0)
    except TwinError as error:
        return _result(StageVerdict.FAIL, f"rolling it back fails: {error}")
    kept = {undo.ref for undo in undos if not undo.possible}
    after = base_of(plant.kube, [ref for ref in plan.reads if ref not in kept])
    if after != tuple(one for one in before if one.ref not in kept):
        return _result(StageVerdict.FAIL, "after the rollback the objects are not what they were")
    if len(reversible) < len(undos):
        parts = "part of it cannot be rolled back" if reversible else "it cannot be rolled back"
        return _result(StageVerdict.PASS, f"applied and converged; {parts}")
    return _result(StageVerdict.PASS, "applied, converged, rolled back, the objects as before")


def _result(verdict: StageVerdict, reason: str) -> StageResult:
    return StageResult(stage=StageName.SHADOW, verdict=verdict, reason=f"{reason} (simulated)")
