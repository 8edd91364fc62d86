"""Replace every pod of a workload by a fresh one, as `kubectl rollout restart` does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from twin.change.catalogue import ActionType, Compiled, find_workload
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.fleet import WorkloadKind
from twin.spec.plan import PatchStep

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="restart",
    summary="replace every pod by a fresh one, a few at a time",
    target="workload",
    reversibility=Reversibility.COMPENSABLE,
)
_RESTARTED_AT: Final = "kubectl.kubernetes.io/restartedAt"


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """One annotation in the pod template. What a stateful pod holds in memory is gone for good."""
    ref, workload = find_workload(kube, action.target)
    stateful = ref.kind == WorkloadKind.STATEFUL_SET
    step = PatchStep(
        ref=ref,
        fields={
            ("spec", "template", "metadata", "annotations", _RESTARTED_AT): datetime.fromtimestamp(
                int(at_s), UTC
            ).strftime("%Y-%m-%dT%H:%M:%SZ")
        },
        terminates_pods=int(workload["spec"].get("replicas", 1)),
        rolls_out=True,
        summary=f"restart {action.target}",
    )
    kind = Reversibility.IRREVERSIBLE if stateful else ACTION.reversibility
    return Compiled(steps=(step,), reads=(ref,), reversibility=kind)
