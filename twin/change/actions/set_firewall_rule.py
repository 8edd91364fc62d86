"""Change a firewall rule. It exists so that policy is seen to stop it."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.plan import OpsStep

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="set_firewall_rule",
    summary="set a firewall rule of a subnet (forbidden on the payment subnet)",
    target="subnet",
    reversibility=Reversibility.IRREVERSIBLE,
    parameters=(Parameter(name="rule", help="the rule, as the firewall reads it"),),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """One call of the firewall's operation. Raises BadInput without a rule."""
    if not action.parameters.get("rule"):
        raise BadInput(
            f"cannot set a firewall rule of {action.target}", "no rule is given", "add parameters: {rule: …}"
        )
    step = OpsStep(
        operation="set_firewall_rule",
        arguments={"subnet": action.target, "rule": str(action.parameters["rule"])},
        summary=f"set a firewall rule of subnet {action.target}",
    )
    return Compiled(steps=(step,), reads=(), reversibility=ACTION.reversibility)
