"""Set or remove one value of a ConfigMap, and let those who read it start anew."""

from __future__ import annotations

from twin.change.actions import restart
from twin.change.catalogue import ActionType, Compiled, namespaced
from twin.change.readers import readers_of
from twin.ports.plant import KubeApi, KubeObject
from twin.spec.change import Action, Reversibility
from twin.spec.errors import BadInput, Forbidden, NotFound
from twin.spec.fault import Parameter
from twin.spec.plan import ObjectRef, PatchStep, PlanStep, ref_of

__all__ = ["ACTION", "compile_action"]

ACTION = ActionType(
    kind="set_config",
    summary="set a value of a ConfigMap, without a value remove it, and restart the workloads that read it",
    target="config map",
    reversibility=Reversibility.REVERSIBLE,
    parameters=(
        Parameter(name="key", help="which of its values"),
        Parameter(name="value", help="the new one"),
        Parameter(name="restart", help="yes, or no: pods then keep the old value until they start anew", default="yes"),
    ),
)


def compile_action(action: Action, kube: KubeApi, at_s: float) -> Compiled:
    """One entry of its data; then a roll-out of each workload that reads it, whose pods would not look again.

    Taken back, the value goes first and the roll-outs after it: each is one again.
    """
    namespace, name = namespaced(action.target, "ConfigMap")
    key, value = str(action.parameters.get("key", "")), action.parameters.get("value")
    if not key:
        raise BadInput(
            f"cannot set_config {action.target}", "no key is named", "add parameters: {key: LEVEL, value: info}"
        )
    if action.parameters["restart"] not in ("yes", "no"):
        raise BadInput(f"cannot set_config {action.target}", "restart is neither yes nor no", "write restart: yes")
    ref = ObjectRef(kind="ConfigMap", name=name, namespace=namespace)
    config_map = _read(kube, ref)
    if config_map.get("immutable"):
        raise BadInput(
            f"cannot set_config {action.target}", "it is immutable, as Kubernetes keeps it",
            "make a ConfigMap of another name at its source, and let the workloads read that one",
        )  # fmt: skip
    told = f"set {key} of {action.target}" if value is not None else f"remove {key} of {action.target}"
    steps: list[PlanStep] = [PatchStep(ref=ref, fields={("data", key): value}, summary=told)]
    reads = [ref]
    if action.parameters["restart"] == "yes":
        for workload in readers_of(kube, "ConfigMap", namespace, name):
            target = f"{namespace}/{workload['metadata']['name']}"
            again = restart.compile_action(Action(kind="restart", target=target), kube, at_s)
            steps += again.steps
            reads.append(ref_of(workload))
    return Compiled(steps=tuple(steps), reads=tuple(reads), reversibility=ACTION.reversibility)


def _read(kube: KubeApi, ref: ObjectRef) -> KubeObject:
    try:
        return kube.get(ref)
    except NotFound:
        if _is_secret(kube, ref):
            raise BadInput(
                f"cannot set_config {ref.namespace}/{ref.name}",
                "it is a Secret: a change is signed, journalled and shown, and no place for one",
                "change it where your secrets are kept",
            ) from None
        raise


def _is_secret(kube: KubeApi, ref: ObjectRef) -> bool:
    """Whether there is such a Secret, which our identities may not look for, or somebody reads one of that name."""
    try:
        kube.get(ObjectRef(kind="Secret", name=ref.name, namespace=ref.namespace))
    except (NotFound, Forbidden):
        return bool(readers_of(kube, "Secret", ref.namespace, ref.name))
    return True
