"""Change what all pods of a namespace may have together."""

from __future__ import annotations

from typing import Final

from twin.change.catalogue import ActionType, Compiled, namespaced
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.plan import ObjectRef, PatchStep
from twin.spec.units import parse_bytes, parse_cores

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="set_quota",
    summary="set what a ResourceQuota lets a namespace's pods have together",
    target="quota",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(
        Parameter(name="pods", help="so many pods", low=0.0, high=1000000.0, whole=True),
        Parameter(name="requests_cpu", help="a quantity, as 20 or 500m"),
        Parameter(name="requests_memory", help="a quantity, as 64Gi"),
        Parameter(name="limits_cpu", help="a quantity, as 40"),
        Parameter(name="limits_memory", help="a quantity, as 128Gi"),
    ),
)
_ALIASES: Final = {"requests.cpu": "cpu", "requests.memory": "memory", "pods": "count/pods"}


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """spec.hard of the quota "namespace/name".

    A bound below what is used is refused: it ends no pod, and none that goes would come back. So is one of something
    that the quota does not bound yet: pods that state no limit would be refused from then on.
    """
    namespace, name = namespaced(action.target, "quota")
    if not action.parameters:
        raise BadInput(f"cannot set_quota {action.target}", "it sets nothing", "add parameters: {pods: 80}")
    ref = ObjectRef(kind="ResourceQuota", name=name, namespace=namespace)
    quota = kube.get(ref)
    hard, used = quota["spec"].get("hard") or {}, quota.get("status", {}).get("used") or {}
    fields: dict[tuple[str, ...], str] = {}
    for parameter in sorted(action.parameters):
        asked = action.parameters[parameter]
        text = f"{round(float(asked))}" if parameter == "pods" else str(asked)
        resource = parameter.replace("_", ".")
        key = resource if resource in hard else _ALIASES.get(resource, "")
        if key not in hard:
            raise BadInput(
                f"cannot set_quota {action.target}", f"it bounds {', '.join(sorted(hard))}, and not {resource}",
                "set what it bounds",
            )  # fmt: skip
        if _amount(resource, text) < _amount(resource, str(used.get(key, 0))):
            raise BadInput(
                f"cannot set_quota {action.target}", f"of {key} {used[key]} are used: no pod that goes would come back",
                "give more than is used, or scale down first",
            )  # fmt: skip
        fields[("spec", "hard", key)] = text
    told = ", ".join(f"{path[2]}={value}" for path, value in fields.items())
    step = PatchStep(ref=ref, fields=fields, summary=f"let the pods of {namespace} have {told}")
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)


def _amount(resource: str, quantity: str) -> float:
    return float(parse_bytes(quantity)) if resource.endswith("memory") else parse_cores(quantity)
