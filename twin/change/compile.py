"""From a Change to the Plan that carries it out."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import Final

from twin.change.catalogue import compile_action
from twin.ports.plant import KubeApi
from twin.spec.change import Change, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fields import FieldPath, path_text
from twin.spec.fleet import WorkloadKind
from twin.spec.plan import ObjectRef, PatchStep, Plan, PlanStep

__all__ = ["ACTIONS_MAX", "compile_change"]

ACTIONS_MAX = 20  # A change that needs more is a migration, and wants a human's plan.

_PAUSED: Final[FieldPath] = ("spec", "paused")
_WORST = (Reversibility.REVERSIBLE, Reversibility.COMPENSABLE, Reversibility.IRREVERSIBLE)


def compile_change(change: Change, kube: KubeApi, *, at_s: float) -> Plan:
    """Compile every action against what the target looks like now.

    Raises BadInput (nothing to do, unknown action, bad figure, two actions writing one field), NotFound.
    """
    if not change.actions:
        raise BadInput("the change is empty", "it has no actions", "add at least one action")
    if len(change.actions) > ACTIONS_MAX:
        raise BadInput("the change is too large", f"{len(change.actions)} actions, at most {ACTIONS_MAX}", "split it")
    strategy = change.strategy
    for name, value, top in (
        ("canary_ratio", strategy.canary_ratio, 1.0),
        ("watch_s", strategy.watch_s, 86400.0),
        ("settle_s", strategy.settle_s, 86400.0),
    ):
        if not math.isfinite(value) or not 0.0 <= value <= top:
            raise BadInput("the change's strategy is wrong", f"{name} is {value}", f"use 0 to {top:g}")
    steps: list[PlanStep] = []
    reads: dict[ObjectRef, None] = {}
    worst = Reversibility.REVERSIBLE
    written: dict[tuple[ObjectRef, FieldPath], str] = {}
    resumed: set[ObjectRef] = set()
    for number, action in enumerate(change.actions):
        compiled = compile_action(action, kube, at_s=at_s)
        _refuse_held(compiled.steps, kube, resumed=resumed)
        mine = [dataclasses.replace(step, action=number) for step in compiled.steps]
        patches = [step for step in mine if isinstance(step, PatchStep)]
        resumed |= {patch.ref for patch in patches if patch.fields.get(_PAUSED) is False}
        for step in mine:
            for path in step.fields if isinstance(step, PatchStep) else ():
                assert isinstance(step, PatchStep)
                if (step.ref, path) in written:
                    raise BadInput(
                        "two actions write one field",
                        f"{step.ref} {path_text(path)}: by {written[(step.ref, path)]} and {action.kind}",
                        "leave one of them out",
                    )
                written[(step.ref, path)] = action.kind
        steps += mine
        reads |= dict.fromkeys(compiled.reads)
        worst = max(worst, compiled.reversibility, key=_WORST.index)
    return Plan(change=change, steps=tuple(steps), reads=tuple(sorted(reads)), reversibility=worst, strategy=strategy)


def _refuse_held(steps: Sequence[PlanStep], kube: KubeApi, *, resumed: Collection[ObjectRef]) -> None:
    """A roll-out that somebody holds does not begin, and is not ours to let go on, unless the change itself resumes it
    before. Raises BadInput."""
    for step in steps:
        if not isinstance(step, PatchStep) or not step.rolls_out or step.ref in resumed:
            continue
        spec = kube.get(step.ref)["spec"]
        if step.ref.kind == WorkloadKind.DEPLOYMENT and spec.get("paused"):
            raise BadInput(
                f"cannot roll {step.ref} out", "somebody paused its roll-outs: nothing would come of it",
                "let them go on first, as the change's first action: rollout_pause with paused: 0",
            )  # fmt: skip
        if step.ref.kind != WorkloadKind.STATEFUL_SET:
            continue
        strategy = spec.get("updateStrategy", {})
        kept = strategy.get("rollingUpdate", {}).get("partition", 0)
        if strategy.get("type") == "OnDelete" or kept:
            why = f"its partition keeps {kept} pods" if kept else "its pods are only updated as somebody deletes them"
            raise BadInput(f"cannot roll {step.ref} out", why, "let its roll-outs go on first: see updateStrategy")
