"""What policy is asked about a plan: one question an action, with the end state of the whole plan, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twin.change.catalogue import action_types
from twin.change.facts import end_state, subnet_of, terminations_a_minute
from twin.ports.plant import Plant
from twin.spec.change import Action
from twin.spec.plan import Plan

__all__ = ["policy_questions"]

_POLICY_KINDS: Final = {  # by sort of target, as policies/README.md calls them
    "node": "Node", "config map": "ConfigMap", "source": "Source", "quota": "ResourceQuota", "route": "HTTPRoute",
    "database": "Database", "subnet": "Subnet",
}  # fmt: skip


def policy_questions(
    plant: Plant,
    plan: Plan,
    *,
    identity: str,
    purpose: str,
    verdict: str | None = None,
    evidence_level: str | None = None,
    live: bool | None,
    terminations_last_minute: int,
) -> list[Mapping[str, Any]]:
    """One question an action, in the form of policies/README.md. What is unknown is left out, and denies.

    `live`: of the target that is written to, which for a rehearsal is the twin and not the `plant`;
    `terminations_last_minute`: the guard's count.
    """
    state = end_state(plant, plan)
    facts: dict[str, Any] = {
        "now_s": int(plant.clock.now_s()),
        "predicted_end_state": {
            "nodes": state.nodes,
            "replicas": state.replicas,
            "max_replicas_nodes": state.nodes_needed,
        },
        "pod_terminations_predicted": terminations_a_minute(plan),
        "pod_terminations_last_minute": terminations_last_minute,
        "labels": {},
    }
    if live is not None:
        facts["target_is_live"] = live
    if verdict is not None:
        facts["verdict"] = verdict
    if evidence_level is not None:
        facts["evidence_level"] = evidence_level
    return [
        {
            "call": {
                "tool": "change",
                "kind": action.kind,
                "target": _target(action),
                "params": dict(action.parameters),
                "identity": identity,
                "purpose": purpose,
            },
            "facts": {**facts, "subnet": subnet_of(action)},
        }
        for action in plan.change.actions
    ]


def _target(action: Action) -> Mapping[str, str]:
    namespace, slash, name = action.target.partition("/")
    sort = next((known.target for known in action_types() if known.kind == action.kind), "workload")
    return {
        "kind": _POLICY_KINDS.get(sort, "Workload"),
        "name": name if slash else action.target,
        "namespace": namespace if slash else "",
    }
