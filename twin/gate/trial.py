"""Stage 6 on a real cluster: the fault in it, the plan applied step by step, a pod lost on the way, all taken back.

The shadow proves the mechanics: it is admitted, it is scheduled, it rolls out, it comes back. What it says of the
dynamics, on a handful of stand-ins with a part of the load, is heard only where it speaks against the twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from chaos.live import strike
from twin.change.apply import Undo, undo_order, undo_step
from twin.change.base import base_of
from twin.change.moves import (
    Apply,
    Evict,
    Hold,
    Move,
    Patience,
    Resume,
    WaitCanary,
    WaitRollout,
    Watch,
    make_move,
    moves_of,
)
from twin.change.owned import pods_of
from twin.ports.plant import Clock, KubeApi, KubeObject, OpsApi, Plant, Session
from twin.ports.shadow import Shadow
from twin.spec.canonical import digest, plain
from twin.spec.errors import ApiError, ComponentMissing, Inconclusive, TwinError
from twin.spec.fault import Fault, fault_text
from twin.spec.fields import path_text
from twin.spec.fleet import Fleet, WorkloadKind
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef, PatchStep, Plan
from twin.spec.verdict import RECOVERED_RATIO, StageName, StageResult, StageVerdict

__all__ = ["Trial", "shadow_plant", "try_on_shadow"]

WARM_S: Final = 4.0
LOOK_S: Final = 10.0
WATCH_MAX_S: Final = 4.0
PATIENCE: Final = Patience(canary_s=60.0, rollout_s=75.0, poll_s=0.5)
HOPELESS_S: Final = 12.0  # A pod that cannot start for so long will not.
SLACK_RATIO: Final = 0.05  # A look of a few seconds sees a few hundred users.
BUSY_MAX: Final = 0.9  # Beyond it, users wait for the machine and not for what is tried.
NEWS_MAX: Final = 40
HOPELESS: Final = frozenset({
    "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError",
})  # fmt: skip


@dataclass(slots=True)
class Trial:
    """What was seen, for people and for the receipt's digest of it. Times are seconds since the trial began."""

    shadow: str
    fault: str
    enforces: Mapping[str, bool]
    timeline: list[tuple[float, str]] = field(default_factory=list)
    users: dict[str, float] = field(default_factory=dict)  # share let down, by moment
    busy: dict[str, float] = field(default_factory=dict)  # share of the machines' processors, meanwhile
    events: list[str] = field(default_factory=list)


def try_on_shadow(shadow: Shadow, fleet: Fleet, plan: Plan, fault: Fault | None) -> tuple[StageResult, Trial]:
    """Never raises: a shadow that fails is inconclusive, and a plan that fails on it is a failure."""
    trial = Trial(shadow.name, "" if fault is None else fault_text(fault), shadow.enforces)
    start_s = shadow.now_s()

    def note(text: str) -> None:
        trial.timeline.append((round(shadow.now_s() - start_s, 2), text))

    try:
        shadow.reset()
        known = {one["metadata"].get("uid", "") for one in shadow.events()}
        if fault is not None:
            strike(fault, fleet, shadow)
            note(f"struck: {trial.fault}")
    except TwinError as error:
        return _result(StageVerdict.INCONCLUSIVE, f"the shadow cannot be set up: {error}", trial), trial
    outcome = _run(shadow, plan, trial, note)
    try:
        trial.events = _news(shadow.events(), known)
        if outcome[0] is StageVerdict.FAIL and trial.events:
            outcome = (outcome[0], f"{outcome[1]}; Kubernetes says: {trial.events[-1]}")
        shadow.reset()
    except TwinError as error:
        note(f"the shadow is not as it was: {error}")
        if outcome[0] is StageVerdict.PASS:
            outcome = (StageVerdict.INCONCLUSIVE, f"the shadow failed afterwards: {error}")
    return _result(*outcome, trial), trial


def _run(shadow: Shadow, plan: Plan, trial: Trial, note: Callable[[str], None]) -> tuple[StageVerdict, str]:
    plant = shadow_plant(shadow)
    fitted = shadow.fit(plan)
    undos: list[Undo] = []
    done = 0
    try:
        before = base_of(shadow.kube, plan.reads)
        trial.users["before"], trial.busy["before"] = _look(shadow)
        note(f"users let down: {trial.users['before']:.1%}")
        lost = False
        for move in moves_of(fitted):
            if isinstance(move, Watch):
                shadow.sleep(min(move.duration_s, WATCH_MAX_S))
                continue
            hopeless = _Hopeless(shadow, move.ref) if isinstance(move, WaitRollout | WaitCanary) else None
            undo = make_move(
                plant, fitted, move, manager="twin-shadow", before_write=undos.append, patience=PATIENCE,
                while_waiting=hopeless.look if hopeless else lambda: None,
            )  # fmt: skip
            note(_told(fitted, move))
            done += 1
            if undo is not None and isinstance(move, Apply) and not lost:
                lost = _lose_a_pod(shadow, fitted, move, note)
        for ref in _workloads(fitted):  # What does not roll out, as more replicas, has to get ready all the same.
            wait = WaitRollout(ref=ref)
            make_move(plant, fitted, wait, patience=PATIENCE, while_waiting=_Hopeless(shadow, ref).look)
        trial.users["after"], trial.busy["after"] = _look(shadow)
        note(f"users let down: {trial.users['after']:.1%}")
    except ComponentMissing as error:
        return StageVerdict.INCONCLUSIVE, f"the shadow cannot do this: {error}"
    except ApiError as error:
        if error.status >= 500:
            return StageVerdict.INCONCLUSIVE, f"the shadow failed: {error}"
        return StageVerdict.FAIL, f"refused at step {done + 1}: {error.why}"
    except Inconclusive as error:
        return StageVerdict.FAIL, f"it does not roll out: {error.why}"
    except TwinError as error:
        return StageVerdict.FAIL, f"it cannot be applied: {error}"
    reversible = [undo for undo in undos if undo.possible]
    try:
        for undo in undo_order(reversible):
            left = undo_step(plant, undo, manager="twin-shadow")
            if left:
                return StageVerdict.FAIL, f"rollback cannot restore {path_text(left[0])}"
        for ref in _workloads(fitted):
            make_move(plant, fitted, WaitRollout(ref=ref), patience=PATIENCE)
        note("taken back")
        kept = {undo.ref for undo in undos if not undo.possible}
        after = base_of(shadow.kube, [ref for ref in plan.reads if ref not in kept])
    except TwinError as error:
        return StageVerdict.FAIL, f"rolling it back fails: {error}"
    if after != tuple(one for one in before if one.ref not in kept):
        return StageVerdict.FAIL, "after the rollback the objects are not what they were"
    calm, then = trial.users["before"], trial.users["after"]
    busiest = max(trial.busy.values())
    if busiest > BUSY_MAX and then > RECOVERED_RATIO + SLACK_RATIO:
        return StageVerdict.INCONCLUSIVE, f"the machine is {busiest:.0%} busy: how users fare says nothing here"
    if then > max(calm, RECOVERED_RATIO) + SLACK_RATIO:
        return StageVerdict.FAIL, f"users fare worse with it: {calm:.0%} let down before, {then:.0%} after"
    told = (
        "users were well all along"
        if calm <= RECOVERED_RATIO
        else f"users let down: {calm:.0%} before, {then:.0%} after"
    )
    back = "taken back" if len(reversible) == len(undos) else "taken back in part: the rest cannot be"
    if calm > RECOVERED_RATIO + SLACK_RATIO and then > max(calm / 2.0, RECOVERED_RATIO + SLACK_RATIO):
        return StageVerdict.INCONCLUSIVE, f"it rolls out, but does not help on the shadow: {told}"
    return StageVerdict.PASS, f"applied, rolled out with a pod lost, {back}, the objects as before; {told}"


def _workloads(plan: Plan) -> list[ObjectRef]:
    refs = [step.ref for step in plan.steps if isinstance(step, PatchStep)]
    return [ref for ref in dict.fromkeys(refs) if ref.kind in (WorkloadKind.DEPLOYMENT, WorkloadKind.STATEFUL_SET)]


def shadow_plant(shadow: Shadow) -> Plant:
    """A shadow as something that moves are made on; it shows no metrics."""
    return _ShadowPlant(shadow)


class _ShadowPlant:
    """As much of a Plant as making moves takes."""

    def __init__(self, shadow: Shadow) -> None:
        self.name = shadow.name
        self.live = False
        self.kube: KubeApi = shadow.kube
        self.ops: OpsApi = _ShadowOps(shadow)
        self.clock: Clock = _ShadowClock(shadow)

    @property
    def telemetry(self) -> Any:
        raise ComponentMissing("a shadow shows no metrics here", "its users are counted instead", "see Shadow.users")


class _ShadowOps:
    """Beyond Kubernetes a stand-in knows one operation: the session that holds its servers can be ended."""

    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow

    def sessions(self, service: ServiceId) -> Sequence[Session]:
        return ()

    def call(self, operation: str, arguments: Mapping[str, Any], *, dry_run: bool = False) -> Mapping[str, Any]:
        if operation != "terminate_session":
            raise ComponentMissing(
                f"no stand-in can {operation}", "nobody plays what it acts on", "leave the shadow out"
            )
        if not dry_run:
            self._shadow.let_go(ServiceId(str(arguments["service"])))
        return {}


class _ShadowClock:
    def __init__(self, shadow: Shadow) -> None:
        self._shadow = shadow

    def now_s(self) -> float:
        return self._shadow.now_s()

    def sleep(self, duration_s: float) -> None:
        self._shadow.sleep(duration_s)


class _Hopeless:
    """Ends a wait early once a pod has been unable to start for HOPELESS_S."""

    def __init__(self, shadow: Shadow, ref: ObjectRef) -> None:
        self._shadow, self._ref = shadow, ref
        self._since_s: float | None = None

    def look(self) -> None:
        reason = _stuck(self._shadow.kube, self._ref)
        now_s = self._shadow.now_s()
        if not reason:
            self._since_s = None
            return
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s >= HOPELESS_S:
            raise Inconclusive(f"{self._ref} does not get there", reason, "look at its pods")


def _stuck(kube: KubeApi, ref: ObjectRef) -> str:
    """What keeps the newest pods from starting, if Kubernetes says so; empty otherwise."""
    workload = kube.get(ref)
    for one in workload.get("status", {}).get("conditions", ()):
        if one["type"] == "ReplicaFailure" and one["status"] == "True":
            return str(one.get("message", "its pods are not made"))
    for pod in pods_of(kube, workload):
        status = pod.get("status", {})
        for condition in status.get("conditions", ()):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return str(condition.get("message", "it cannot be scheduled"))
        for container in status.get("containerStatuses", ()):
            waiting = container["state"].get("waiting") or {}
            if waiting.get("reason") in HOPELESS:
                return f"{waiting['reason']}: {waiting.get('message', '')}".strip(": ")
    return ""


def _lose_a_pod(shadow: Shadow, plan: Plan, move: Apply, note: Callable[[str], None]) -> bool:
    """Chaos on the way: a pod of the workload under change goes. Not the only one: that would test nothing."""
    step = plan.steps[move.step]
    if not isinstance(step, PatchStep) or not step.rolls_out:
        return False
    pods = pods_of(shadow.kube, shadow.kube.get(step.ref))
    if len(pods) < 2:
        return False
    name = pods[0]["metadata"]["name"]
    try:
        shadow.kube.delete(ObjectRef(kind="Pod", name=name, namespace=step.ref.namespace))
    except ApiError:
        return False  # It went by itself.
    note(f"pod {name} lost")
    return True


def _look(shadow: Shadow) -> tuple[float, float]:
    """Share of users let down over a few seconds, of the worst journey; and of the processors that were busy meanwhile.
    Raises ComponentMissing if nobody came."""
    shadow.sleep(WARM_S)
    first, (busy_s, all_s) = shadow.users(), shadow.processor_s()
    shadow.sleep(LOOK_S)
    busy_then_s, all_then_s = shadow.processor_s()
    busy = (busy_then_s - busy_s) / max(all_then_s - all_s, 1e-9)
    counts = [count.since(first.get(name)) for name, count in sorted(shadow.users().items())]
    known = [count.let_down / count.came for count in counts if count.came > 0]
    if not known:
        raise ComponentMissing("the shadow has no users", f"nobody came in {LOOK_S:g} s", "see: twin shadow status")
    return max(known), busy


def _told(plan: Plan, move: Move) -> str:
    match move:
        case Apply(step=step):
            return f"applied: {plan.steps[step].summary}"
        case WaitCanary(ref=ref):
            return f"canary of {ref} is there"
        case Hold(ref=ref, release=release):
            return f"{release} pods of {ref} let go on" if release else f"{ref} held"
        case Resume(ref=ref):
            return f"{ref} goes on"
        case WaitRollout(ref=ref):
            return f"{ref} rolled out"
        case Evict(ref=ref, leave=leave):
            return f"evicted pods of {ref}, {leave} are left"
    return "watched"


def _news(events: Sequence[KubeObject], known: set[str]) -> list[str]:
    """Warnings that are new, each text once, oldest first."""
    lines = [
        f"{one.get('reason', '')} {one.get('involvedObject', {}).get('kind', '').lower()}/"
        f"{one.get('involvedObject', {}).get('name', '')}: {one.get('message', '')}"
        for one in events
        if one.get("type") == "Warning" and one["metadata"].get("uid", "") not in known
    ]
    return list(dict.fromkeys(lines))[-NEWS_MAX:]


def _result(verdict: StageVerdict, reason: str, trial: Trial) -> StageResult:
    return StageResult(
        stage=StageName.SHADOW,
        verdict=verdict,
        reason=f"{reason} (shadow {trial.shadow})",
        evidence=digest(plain(trial)),
    )
