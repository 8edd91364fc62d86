"""Roll out another image of a container."""

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
    kind="set_image",
    summary="roll out another image",
    target="workload",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(Parameter(name="image", help="the image, as cart:v3"),),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """The container's image; a roll-out follows. Raises BadInput without one."""
    ref, workload = find_workload(kube, action.target)
    image = str(action.parameters.get("image", ""))
    if not image:
        raise BadInput(f"cannot set the image of {action.target}", "none is given", "add parameters: {image: cart:v3}")
    step = PatchStep(
        ref=ref,
        fields={container_path(main_container(workload), "image"): image},
        terminates_pods=int(workload["spec"].get("replicas", 1)),
        rolls_out=True,
        summary=f"set the image of {action.target} to {image}",
    )
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)
