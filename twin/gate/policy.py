"""Stage 2: every action of a plan is put to policy, with the end state of the whole plan."""

from __future__ import annotations

from policies import ActionKind, Call, Decision, EndState, Facts, Identity, Policy, Purpose, Target
from twin.gate.facts import end_state, subnet_of, terminations_a_minute
from twin.ports.plant import Plant
from twin.spec.change import Action
from twin.spec.plan import Plan

__all__ = ["ask_policy", "target_of"]

_TARGET_KINDS = {
    "cordon": "Node",
    "set_route": "HTTPRoute",
    "terminate_session": "Database",
    "drop_table": "Database",
    "set_firewall_rule": "Subnet",
}


def ask_policy(
    policy: Policy,
    plant: Plant,
    plan: Plan,
    *,
    identity: Identity,
    purpose: Purpose,
    verdict: str | None = None,
    evidence_level: str | None = None,
    live: bool = False,
    terminations_last_minute: int = 0,
) -> tuple[bool, str]:
    """(allowed, reason): the first refusal, or "allowed". Never raises for what policy thinks."""
    state = end_state(plant, plan)
    for action in plan.change.actions:
        decision: Decision = policy.ask(
            Call(
                tool="change",
                kind=ActionKind(action.kind),
                target=target_of(action),
                identity=identity,
                purpose=purpose,
                params=dict(action.parameters),
            ),
            Facts(
                now_s=int(plant.clock.now_s()),
                predicted_end_state=EndState(
                    nodes=state.nodes, max_replicas_nodes=state.nodes_needed, replicas=state.replicas
                ),
                pod_terminations_predicted=terminations_a_minute(plan),
                pod_terminations_last_minute=terminations_last_minute,
                subnet=subnet_of(action),
                labels={},
                verdict=verdict,
                evidence_level=evidence_level,
                target_is_live=live,
            ),
        )
        if not decision.allow:
            return False, decision.reason
    return True, "allowed"


def target_of(action: Action) -> Target:
    """The action's target as policy names it."""
    namespace, slash, name = action.target.partition("/")
    return Target(
        kind=_TARGET_KINDS.get(action.kind, "Workload"),
        name=name if slash else action.target,
        namespace=namespace if slash else "",
    )
