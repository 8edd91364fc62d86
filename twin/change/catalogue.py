"""The catalogue of actions: one file a kind in twin/change/actions/, found by looking there.

A kind's module has ACTION (what it is called, its target, its parameters, whether it can be undone) and
`compile_action`, which turns one action into the writes that carry it out.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, ModuleType
from typing import Final

from twin.change import actions
from twin.ports.plant import KubeApi, KubeObject
from twin.spec.change import Action, Reversibility, action_text
from twin.spec.errors import BadInput, NotFound
from twin.spec.fault import Parameter, Value, value_text
from twin.spec.fleet import WorkloadKind
from twin.spec.plan import ObjectRef, PlanStep

__all__ = [
    "TARGET_KINDS", "ActionType", "Compiled", "action_type", "action_types", "compile_action", "find_workload",
    "main_container", "namespaced",
]  # fmt: skip

# What each sort of target is called in Kubernetes.
TARGET_KINDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({
    "workload": tuple(kind.value for kind in WorkloadKind),
    "node": ("Node",),
    "route": ("HTTPRoute",),
    "quota": ("ResourceQuota",),
    "config map": ("ConfigMap",),
    "source": ("Kustomization", "Application"),
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionType:
    """`target` is a key of TARGET_KINDS, or what lies beyond Kubernetes: "service", "database", "subnet"."""

    kind: str
    summary: str
    target: str
    reversibility: Reversibility
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """The writes of one action and the objects that they were worked out from."""

    steps: tuple[PlanStep, ...]
    reads: tuple[ObjectRef, ...]
    reversibility: Reversibility


@cache
def _modules() -> Mapping[str, ModuleType]:
    names = sorted(info.name for info in pkgutil.iter_modules(actions.__path__))
    modules = [importlib.import_module(f"twin.change.actions.{name}") for name in names]
    return MappingProxyType({module.ACTION.kind: module for module in modules})


def action_types() -> tuple[ActionType, ...]:
    """Every kind, in name order."""
    return tuple(module.ACTION for module in _modules().values())


def action_type(kind: str) -> ActionType:
    """Raises BadInput, naming the known kinds."""
    if kind not in _modules():
        raise BadInput(f'there is no action "{kind}"', f"known: {', '.join(_modules())}", "correct the change's kind")
    found: ActionType = _modules()[kind].ACTION
    return found


def compile_action(action: Action, kube: KubeApi, *, at_s: float) -> Compiled:
    """The action's writes, from what the target looks like now. Raises BadInput, NotFound."""
    checked = _check(action)
    compiled: Compiled = _modules()[action.kind].compile_action(checked, kube, at_s)
    return compiled


def namespaced(target: str, sort: str, *, next_step: str = "see: twin change targets") -> tuple[str, str]:
    """Namespace and name of a target of this sort. Raises BadInput."""
    namespace, slash, name = target.partition("/")
    if not slash or not name:
        raise BadInput(f'"{target}" names no {sort}', f"a {sort} is namespace/name", next_step)
    return namespace, name


def find_workload(kube: KubeApi, service: str) -> tuple[ObjectRef, KubeObject]:
    """The workload "namespace/name", of whichever kind it is. Raises BadInput, NotFound."""
    namespace, name = namespaced(service, "workload")
    for kind in WorkloadKind:
        ref = ObjectRef(kind=kind.value, name=name, namespace=namespace)
        try:
            return ref, kube.get(ref)
        except NotFound:
            continue
    raise NotFound(f"cannot find workload {service}", "there is no such object", "check namespace and name")


def main_container(workload: KubeObject) -> str:
    """The container that does the workload's own work: the one of its name, or else the first, as kubectl takes it."""
    names = [str(container["name"]) for container in workload["spec"]["template"]["spec"]["containers"]]
    own = str(workload["metadata"]["name"])
    return own if own in names else names[0]


def _check(action: Action) -> Action:
    kind = action_type(action.kind)
    known = {parameter.name: parameter for parameter in kind.parameters}
    text = action_text(action)
    for name in action.parameters:
        if name not in known:
            raise BadInput(
                f'cannot use "{text}"', f'there is no parameter "{name}"', f"known: {', '.join(known) or 'none'}"
            )
    values: dict[str, Value] = {}
    for name, parameter in known.items():
        value = action.parameters.get(name, parameter.default)
        if value is None:
            continue  # Optional; the action says if it needs one of several.
        if parameter.low is not None and parameter.high is not None:
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise BadInput(f'cannot use "{text}"', f"{name}={value} is not a figure", parameter.help)
            if not parameter.low <= value <= parameter.high:
                raise BadInput(
                    f'cannot use "{text}"',
                    f"{name}={value:g} lies outside {parameter.low:g} to {parameter.high:g}",
                    parameter.help,
                )
            if parameter.whole and value != math.floor(value):
                raise BadInput(f'cannot use "{text}"', f"{name}={value:g} is no whole number", parameter.help)
        else:
            value = value_text(value)  # A session may be called 4711, and is not a figure for that.
        values[name] = value
    return Action(kind=action.kind, target=action.target, parameters=MappingProxyType(values))
