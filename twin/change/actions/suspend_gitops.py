"""Let Flux or Argo CD leave its workloads alone, or look after them again."""

from __future__ import annotations

from twin.change.catalogue import ActionType, Compiled, namespaced
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Reversibility
from twin.spec.errors import NotFound
from twin.spec.fault import Parameter
from twin.spec.gitops import RESUMED, SUSPENDED
from twin.spec.plan import ObjectRef, PatchStep

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="suspend_gitops",
    summary="let a Kustomization or an Application leave its workloads alone, or look after them again",
    target="source",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(Parameter(name="suspended", help="1 suspends, 0 resumes", default=1.0, low=0.0, high=1.0),),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """spec.suspend of the Kustomization "namespace/name"; of an Application, its automated sync.

    Whoever suspends one has to bring the fix to its source, and to resume it: until then nothing of it is kept.
    """
    namespace, name = namespaced(action.target, "source", next_step="write flux-system/shop or argocd/shop")
    ref = _find(kube, namespace, name)
    path, value = SUSPENDED[ref.kind]
    suspends = bool(round(float(action.parameters["suspended"])))
    told = f"suspend {ref}: its workloads are not put back" if suspends else f"resume {ref}"
    step = PatchStep(ref=ref, fields={path: value if suspends else RESUMED[ref.kind]}, summary=told)
    return Compiled(steps=(step,), reads=(ref,), reversibility=ACTION.reversibility)


def _find(kube: KubeApi, namespace: str, name: str) -> ObjectRef:
    for kind in SUSPENDED:
        ref = ObjectRef(kind=kind, name=name, namespace=namespace)
        try:
            kube.get(ref)
        except NotFound:
            continue
        return ref
    raise NotFound(
        f"cannot find source {namespace}/{name}", "there is no such Kustomization or Application",
        "check namespace and name",
    )  # fmt: skip
