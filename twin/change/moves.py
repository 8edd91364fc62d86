"""A Plan as a sequence of moves: apply, wait for the canary, hold, watch, go on, settle.

Rehearsal and promotion make the same moves through the same code, so what was rehearsed is what is applied.
Moves are data: a journal can name the one at which a crash came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from twin.change.apply import Undo, apply_step, prepare_undo
from twin.change.evictions import evict_down_to
from twin.ports.plant import KubeObject, Plant
from twin.spec.errors import Inconclusive
from twin.spec.fields import FieldPath, get_field
from twin.spec.fleet import WorkloadKind
from twin.spec.plan import ObjectRef, PatchStep, Plan, PlanStep
from twin.spec.pod_counts import share_up

__all__ = [
    "HELD_BY",
    "Apply",
    "Evict",
    "Hold",
    "Move",
    "Patience",
    "Resume",
    "WaitCanary",
    "WaitRollout",
    "Watch",
    "lift_hold",
    "make_move",
    "moves_of",
]


HELD_BY: Final[Mapping[str, FieldPath]] = {  # what holds a roll-out, by kind
    WorkloadKind.DEPLOYMENT: ("spec", "paused"),
    WorkloadKind.STATEFUL_SET: ("spec", "updateStrategy", "rollingUpdate", "partition"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a wait may take, and how often it looks. Evictions take as long as a roll-out: they wait for one."""

    canary_s: float = 180.0
    rollout_s: float = 900.0
    poll_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Write step number `step` of the plan."""

    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitCanary:
    """Until at least `pods` pods of the new template are there."""

    ref: ObjectRef
    pods: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Stop the roll-out where it is; of a StatefulSet, after `release` pods, which may be said before it begins."""

    ref: ObjectRef
    release: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """Let the roll-out go on."""

    ref: ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitRollout:
    """Until every pod is of the new template and ready."""

    ref: ObjectRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Evict:
    """Take pods off a node until `leave` are left: `pods`, by what was there when the plan was made."""

    ref: ObjectRef
    pods: int
    leave: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Look for `duration_s` whether it goes as predicted."""

    duration_s: float
    canary: bool = False


Move = Apply | WaitCanary | Hold | Resume | WaitRollout | Evict | Watch


def moves_of(plan: Plan) -> tuple[Move, ...]:
    """The plan's moves. A roll-out is held after its first pods: a Deployment's by a pause once they are there, a
    StatefulSet's by a partition from its beginning. A node is drained by batches with a watch between them; everything
    else is one write. Between one object and the next there is a watch: a zone's workload, or its nodes, can be named
    first, and is the canary of the others."""
    moves: list[Move] = []
    strategy = plan.strategy
    for index, step in enumerate(plan.steps):
        if index and _shows(plan.steps[index - 1]) and _target(step) != _target(plan.steps[index - 1]):
            moves.append(Watch(duration_s=strategy.watch_s, canary=True))
        if not isinstance(step, PatchStep) or not step.rolls_out:
            moves.append(Apply(step=index))
            if isinstance(step, PatchStep) and step.evicts_at_once:
                moves += _batches(step, strategy.watch_s)
            continue
        replicas = step.terminates_pods
        canary = share_up(strategy.canary_ratio, replicas)
        held = 0 < canary < replicas
        if held and step.ref.kind == WorkloadKind.STATEFUL_SET:
            moves += [Hold(ref=step.ref), Apply(step=index), Hold(ref=step.ref, release=canary)]
            moves.append(WaitCanary(ref=step.ref, pods=canary))
        else:
            moves.append(Apply(step=index))
        if held and step.ref.kind == WorkloadKind.DEPLOYMENT:
            moves += [WaitCanary(ref=step.ref, pods=canary), Hold(ref=step.ref)]
        if held and step.ref.kind != WorkloadKind.DAEMON_SET:
            moves += [Watch(duration_s=strategy.watch_s, canary=True), Resume(ref=step.ref)]
        moves.append(WaitRollout(ref=step.ref))
    moves.append(Watch(duration_s=strategy.settle_s))
    return tuple(moves)


def _shows(step: PlanStep) -> bool:
    """Whether there is anything to see after a step: pods read a ConfigMap only as they start."""
    return not isinstance(step, PatchStep) or step.ref.kind != "ConfigMap"


def _target(step: PlanStep) -> ObjectRef | None:
    """What a step writes to; None beyond Kubernetes, where one operation follows another at once."""
    return step.ref if isinstance(step, PatchStep) else None


def _batches(step: PatchStep, watch_s: float) -> list[Move]:
    """Once at least: a twin may have pods where production had none."""
    moves: list[Move] = []
    left = step.terminates_pods
    while left > step.evicts_at_once:
        left -= step.evicts_at_once
        moves += [
            Evict(ref=step.ref, pods=step.evicts_at_once, leave=left),
            Watch(duration_s=watch_s, canary=True),
        ]
    return [*moves, Evict(ref=step.ref, pods=left, leave=0)]


def make_move(
    plant: Plant,
    plan: Plan,
    move: Move,
    *,
    manager: str = "twin",
    before_write: Callable[[Undo], None] = lambda _: None,
    while_waiting: Callable[[], None] = lambda: None,
    patience: Patience = Patience(),
) -> Undo | None:
    """Make one move, waiting on the plant's clock where it says so. Returns what undoing a write needs;
    `before_write` is told of it first, so that a journal has it before anything happens. `while_waiting` is
    called at each look of a wait: what it raises ends the wait.

    Raises ApiError, BadInput; Inconclusive if a wait was in vain. `Watch` only lets the time pass: judging
    is the caller's.
    """
    match move:
        case Apply(step=index):
            step: PlanStep = plan.steps[index]
            undo, seen = prepare_undo(plant, step)
            before_write(undo)
            apply_step(plant, step, seen=seen, manager=manager)
            return undo
        case Hold(ref=ref, release=release):
            held: Any = True
            if ref.kind == WorkloadKind.STATEFUL_SET:
                held = max(int(plant.kube.get(ref)["spec"].get("replicas", 1)) - release, 0)
            plant.kube.patch(ref, {HELD_BY[ref.kind]: held}, field_manager=manager)
        case Resume(ref=ref):
            lift_hold(plant, ref, manager=manager)
        case WaitCanary(ref=ref, pods=pods):
            _wait(
                plant, ref, patience.canary_s, patience.poll_s, while_waiting,
                lambda obj: _is_current(obj) and obj["status"].get("updatedReplicas", 0) >= pods,
            )  # fmt: skip
        case WaitRollout(ref=ref):
            _wait(plant, ref, patience.rollout_s, patience.poll_s, while_waiting, _rolled_out)
        case Evict(ref=ref, leave=leave):
            evict_down_to(plant, ref, leave, patience_s=patience.rollout_s, poll_s=patience.poll_s, look=while_waiting)
        case Watch(duration_s=duration_s):
            plant.clock.sleep(duration_s)
    return None


def lift_hold(plant: Plant, ref: ObjectRef, *, manager: str = "twin") -> None:
    """Let a roll-out go on, if it is held. Raises ApiError."""
    path = HELD_BY[ref.kind]
    if now := get_field(plant.kube.get(ref), path):
        plant.kube.patch(ref, {path: type(now)()}, field_manager=manager)  # False, or 0


def _is_current(obj: KubeObject) -> bool:
    """A status that was written before the spec says nothing of it. A World's is of now, and has no generation."""
    return bool(obj["status"].get("observedGeneration", 0) >= obj["metadata"].get("generation", 0))


def _rolled_out(obj: KubeObject) -> bool:
    wanted, status = obj["spec"].get("replicas", 1), obj["status"]
    return bool(
        _is_current(obj)
        and status.get("updatedReplicas", 0) >= wanted
        and status.get("readyReplicas", 0) >= wanted
        and status.get("replicas", 0) <= wanted
    )


def _wait(
    plant: Plant,
    ref: ObjectRef,
    patience_s: float,
    poll_s: float,
    look: Callable[[], None],
    done: Callable[[KubeObject], bool],
) -> None:
    waited_s = 0.0
    look()
    while not done(plant.kube.get(ref)):
        if waited_s >= patience_s:
            raise Inconclusive(
                f"{ref} does not get there", f"after {patience_s:g} s its roll-out is not done", "look at its pods"
            )
        plant.clock.sleep(poll_s)
        waited_s += poll_s
        look()
