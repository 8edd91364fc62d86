"""Stop a roll-out where it is, or let it go on."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled, find_workload
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput
from twin.spec.fault import Parameter
from twin.spec.fleet import WorkloadKind
from twin.spec.plan import PatchStep

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="rollout_pause",
    summary="pause a roll-out, or resume it",
    target="workload",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(Parameter(name="paused", help="1 pauses, 0 resumes", default=1.0, low=0.0, high=1.0, whole=True),),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """spec.paused of a Deployment. Raises BadInput for other kinds, which cannot pause."""
    ref, _ = find_workload(kube, action.target)
    if ref.kind != WorkloadKind.DEPLOYMENT:
        raise BadInput(f"cannot pause {action.target}", f"a {ref.kind} cannot pause", "pause Deployments only")
    paused = bool(round(float(action.parameters["paused"])))
    step = PatchStep(
        ref=ref,
        fields={("spec", "paused"): paused},
        summary=f"{'pause' if paused else 'resume'} the roll-out of {action.target}",
    )
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)
