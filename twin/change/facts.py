"""What policy has to know about a plan: where it leads, and how many pods it ends on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from twin.change.moves import Apply, Evict, Resume, WaitCanary, Watch, moves_of
from twin.change.owned import scaled_by
from twin.ports.plant import Plant
from twin.spec.change import Action
from twin.spec.plan import PatchStep, Plan
from twin.spec.units import parse_cores

__all__ = ["EndStateFacts", "end_state", "subnet_of", "terminations_a_minute", "terminations_by_move"]

_BATCH_RATIO: Final = 0.25  # A roll-out replaces so many of the pods at a time.
_MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndStateFacts:
    """`nodes_needed`: machines for all requests once every autoscaler that the plan touches is at its maximum."""

    nodes: int
    nodes_needed: int
    replicas: int


def end_state(plant: Plant, plan: Plan) -> EndStateFacts:
    """Predict the cluster's size after the plan, autoscalers taken at their maximum."""
    nodes = plant.kube.list_objects("Node")
    node_cores = max((parse_cores(node["status"]["allocatable"]["cpu"]) for node in nodes), default=1.0)
    extra_cores, replicas = 0.0, 0
    for step in plan.steps:
        if not isinstance(step, PatchStep):
            continue
        wanted = step.fields.get(("spec", "maxReplicas"), step.fields.get(("spec", "replicas")))
        if wanted is None:
            continue
        obj = plant.kube.get(step.ref)
        if step.ref.kind == "HorizontalPodAutoscaler":
            obj = plant.kube.get(scaled_by(obj))
        request = obj["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        extra_cores += max(int(wanted) - int(obj["spec"].get("replicas", 1)), 0) * parse_cores(request)
        replicas += int(wanted)
    pending = math.ceil(extra_cores / node_cores) if extra_cores > _free_cores(plant, len(nodes), node_cores) else 0
    return EndStateFacts(nodes=len(nodes), nodes_needed=len(nodes) + pending, replicas=replicas)


def _free_cores(plant: Plant, nodes: int, node_cores: float) -> float:
    """A tenth of the machines: the rest is taken as used. Exact bin-packing is the control plane's to witness."""
    return 0.1 * nodes * node_cores


def terminations_by_move(plan: Plan) -> tuple[int, ...]:
    """How many pods each of the plan's moves ends: what the guard is asked for, move by move.

    A roll-out is counted whole when it is begun, though it goes by batches: Kubernetes sets their pace, not we.
    One with a canary is spread by what we do decide, the watch in its middle: its first pods (at least its
    first batch, or exactly those that a StatefulSet's partition lets go) count when it is begun, the rest when it is
    let go on.
    """
    moves = moves_of(plan)
    ended = [0] * len(moves)
    for number, move in enumerate(moves):
        if isinstance(move, Apply):
            step = plan.steps[move.step]
            if isinstance(step, PatchStep) and not step.evicts_at_once:  # A drain's are counted batch by batch.
                ended[number] = step.terminates_pods
        elif isinstance(move, Evict):
            ended[number] = move.pods
        elif isinstance(move, WaitCanary):
            begun = max(index for index in range(number) if isinstance(moves[index], Apply))
            resumed = next(index for index in range(number, len(moves)) if isinstance(moves[index], Resume))
            replicas, released = ended[begun], number - 1
            ended[begun] = 0
            first = max(move.pods, math.ceil(replicas * _BATCH_RATIO)) if released == begun else move.pods
            ended[released] = min(first, replicas)
            ended[resumed] = replicas - ended[released]
    return tuple(ended)


def terminations_a_minute(plan: Plan) -> int:
    """The most pods that the plan ends within any one minute. Only watches take a time that is known before."""
    most, at_s, ended = 0, 0.0, list[tuple[float, int]]()
    for move, pods in zip(moves_of(plan), terminations_by_move(plan), strict=True):
        at_s += move.duration_s if isinstance(move, Watch) else 0.0
        ended.append((at_s, pods))
        most = max(most, sum(count for then_s, count in ended if at_s - then_s < _MINUTE_S))
    return most


def subnet_of(action: Action) -> str:
    """The subnet that an action touches: named for a firewall rule, else the workload's namespace."""
    return action.target if action.kind == "set_firewall_rule" else action.target.split("/", 1)[0]
