"""Change time-out and retries on the way from one service to another."""

from __future__ import annotations

from typing import Any

from twin.change.catalogue import ActionType, Compiled
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.fields import FieldPath
from twin.spec.plan import ObjectRef, PatchStep
from twin.spec.units import duration_text

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="set_route",
    summary='set time-out and retries of a route; the target is the HTTPRoute "namespace/name"',
    target="route",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(
        Parameter(name="timeout_s", help="seconds an attempt may take", low=0.001, high=3600.0),
        Parameter(name="retries", help="further attempts after the first", low=0.0, high=100.0, whole=True),
        Parameter(name="backoff_s", help="seconds before each further attempt", low=0.0, high=3600.0),
    ),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """The route's rule; it holds for new requests at once."""
    namespace, slash, name = action.target.partition("/")
    if not slash or not action.parameters:
        raise BadInput(
            f"cannot set route {action.target}",
            "it needs namespace/name and at least one figure",
            'write target: shop/web--cart, and "retries: 0"',
        )
    ref = ObjectRef(kind="HTTPRoute", name=name, namespace=namespace)
    kube.get(ref)
    fields: dict[FieldPath, Any] = {}
    rule: FieldPath = ("spec", "rules", "[0]")
    if "timeout_s" in action.parameters:
        fields[(*rule, "timeouts", "request")] = duration_text(float(action.parameters["timeout_s"]))
    if "retries" in action.parameters:
        fields[(*rule, "retry", "attempts")] = round(float(action.parameters["retries"]))
    if "backoff_s" in action.parameters:
        fields[(*rule, "retry", "backoff")] = duration_text(float(action.parameters["backoff_s"]))
    step = PatchStep(ref=ref, fields=fields, summary=f"set route {action.target}")
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)
