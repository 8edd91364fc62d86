"""What policy has to know about a plan: where it leads, and how many pods it ends on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

from twin.ports.plant import Plant
from twin.spec.change import Action
from twin.spec.plan import PatchStep, Plan
from twin.spec.units import parse_cores

__all__ = ["EndStateFacts", "end_state", "subnet_of", "terminations_a_minute"]

_BATCH_S = 20.0  # A roll-out replaces a quarter of the pods about this often.


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
        workload = next(ref for ref in plan.reads if ref.kind in ("Deployment", "StatefulSet", "DaemonSet")
                        and (ref.namespace, ref.name) == (step.ref.namespace, step.ref.name))  # fmt: skip
        obj = plant.kube.get(workload)
        request = obj["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        extra_cores += max(int(wanted) - int(obj["spec"].get("replicas", 1)), 0) * parse_cores(request)
        replicas += int(wanted)
    pending = math.ceil(extra_cores / node_cores) if extra_cores > _free_cores(plant, len(nodes), node_cores) else 0
    return EndStateFacts(nodes=len(nodes), nodes_needed=len(nodes) + pending, replicas=replicas)


def _free_cores(plant: Plant, nodes: int, node_cores: float) -> float:
    """A tenth of the machines: the rest is taken as used. Exact bin-packing is the control plane's to witness."""
    return 0.1 * nodes * node_cores


def terminations_a_minute(plan: Plan) -> int:
    """The most pods that the plan ends within one minute: a roll-out goes by quarters."""
    most = 0
    for step in plan.steps:
        if isinstance(step, PatchStep) and step.terminates_pods:
            batch = math.ceil(step.terminates_pods / 4) if step.rolls_out else step.terminates_pods
            most += min(step.terminates_pods, batch * math.ceil(60.0 / _BATCH_S)) if step.rolls_out else batch
    return most


def subnet_of(action: Action) -> str:
    """The subnet that an action touches: named for a firewall rule, else the workload's namespace."""
    return action.target if action.kind == "set_firewall_rule" else action.target.split("/", 1)[0]
