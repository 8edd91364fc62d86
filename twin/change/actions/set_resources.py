"""Change what a container asks for and may use."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled, find_workload, main_container
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.fields import container_path
from twin.spec.plan import PatchStep
from twin.spec.units import parse_bytes, parse_cores

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="set_resources",
    summary="set requests and limits of cpu and memory",
    target="workload",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(
        Parameter(name="cpu_request", help="a quantity, as 250m"),
        Parameter(name="cpu_limit", help="a quantity, as 2"),
        Parameter(name="memory_request", help="a quantity, as 256Mi"),
        Parameter(name="memory_limit", help="a quantity, as 1Gi"),
    ),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """The container's resources; a roll-out follows, as with any change of the template."""
    ref, workload = find_workload(kube, action.target)
    fields = {}
    for name in sorted(action.parameters):
        resource, group = name.rsplit("_", 1)
        text = str(action.parameters[name])
        if (parse_cores(text) if resource == "cpu" else parse_bytes(text)) <= 0:
            raise BadInput(f"cannot set {name} of {action.target}", f"{text} is no amount", "give more than 0")
        fields[container_path(main_container(workload), "resources", f"{group}s", resource)] = text
    if not fields:
        raise BadInput(
            f"cannot set resources of {action.target}", "no figure is given", "add parameters: {memory_limit: 1Gi}"
        )
    step = PatchStep(
        ref=ref,
        fields=fields,
        terminates_pods=int(workload["spec"].get("replicas", 1)),
        rolls_out=True,
        summary=f"set resources of {action.target}",
    )
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)
