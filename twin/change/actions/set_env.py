"""Set or remove one environment variable of a workload."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled, find_workload, main_container
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.fields import container_path
from twin.spec.plan import PatchStep

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="set_env",
    summary="set an environment variable; without a value it is removed",
    target="workload",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(
        Parameter(name="name", help="the variable"),
        Parameter(name="value", help="its new value"),
    ),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """One entry of the container's env; a roll-out follows."""
    if not action.parameters.get("name"):
        raise BadInput(
            f"cannot set env of {action.target}", "no variable is named", "add parameters: {name: LEVEL, value: debug}"
        )
    ref, workload = find_workload(kube, action.target)
    name, value = str(action.parameters["name"]), action.parameters.get("value")
    step = PatchStep(
        ref=ref,
        fields={container_path(main_container(workload), "env", f"[name={name}]", "value"): value},
        terminates_pods=int(workload["spec"].get("replicas", 1)),
        rolls_out=True,
        summary=f"set {name} of {action.target}",
    )
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)
