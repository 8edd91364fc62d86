"""A Plan: a Change compiled into the writes that carry it out. What is rehearsed is what is applied.

Steps name objects and fields, never functions, so a plan can be digested, signed, journalled and shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from twin.spec.canonical import digest, plain
from twin.spec.change import Change, Reversibility, Strategy, change_from_json
from twin.spec.errors import BadInput
from twin.spec.fleet import Service
from twin.spec.ids import Sha256

__all__ = [
    "ObjectRef",
    "OpsStep",
    "PatchStep",
    "Plan",
    "PlanStep",
    "plan_digest",
    "plan_from_json",
    "plan_to_json",
    "ref_of",
    "workload_ref",
]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ObjectRef:
    """A Kubernetes object's address. `namespace` is empty for cluster-wide kinds."""

    kind: str
    name: str
    namespace: str = ""

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind.lower()}/{where}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchStep:
    """Set fields of one object. `fields` maps paths to values, as ("spec", "replicas") → 6.

    `rolls_out`: the write starts a roll-out whose first pods can be watched as a canary.
    `evicts_at_once`: the object is a node whose pods are evicted after the write, so many before users are watched;
    0: none are. `action`: which of the change's actions it belongs to; one may take several steps.
    """

    ref: ObjectRef
    fields: Mapping[tuple[str, ...], Any]
    terminates_pods: int = 0
    rolls_out: bool = False
    evicts_at_once: int = 0
    action: int = 0
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsStep:
    """Call an operation beyond Kubernetes: terminate a database session, shed load."""

    operation: str
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    action: int = 0
    summary: str = ""


PlanStep = PatchStep | OpsStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`reads`: the objects that the compilation looked at; the base digest is taken over them."""

    change: Change
    steps: tuple[PlanStep, ...]
    reads: tuple[ObjectRef, ...]
    reversibility: Reversibility
    strategy: Strategy


def plan_digest(plan: Plan) -> Sha256:
    """The plan's name: the subject of its receipt."""
    return digest(plan_to_json(plan))


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON; `plan_from_json` reads it back equal."""
    return {
        "change": plain(plan.change),
        "steps": [_step_to_json(step) for step in plan.steps],
        "reads": [plain(ref) for ref in sorted(plan.reads)],
        "reversibility": plan.reversibility.value,
        "strategy": plain(plan.strategy),
    }


def plan_from_json(data: Mapping[str, Any]) -> Plan:
    """Raises BadInput for what no plan looks like."""
    try:
        return Plan(
            change=change_from_json(data["change"]),
            steps=tuple(_step_from_json(step) for step in data["steps"]),
            reads=tuple(ObjectRef(**ref) for ref in data["reads"]),
            reversibility=Reversibility(data["reversibility"]),
            strategy=Strategy(**data["strategy"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput("cannot read the plan", f"{type(error).__name__}: {error}", "verify the change again") from error


def _step_to_json(step: PlanStep) -> dict[str, Any]:
    if isinstance(step, OpsStep):
        return {
            "operation": step.operation, "arguments": plain(step.arguments), "action": step.action,
            "summary": step.summary,
        }  # fmt: skip
    return {
        "ref": plain(step.ref),
        "fields": [[list(path), step.fields[path]] for path in sorted(step.fields)],
        "terminates_pods": step.terminates_pods,
        "rolls_out": step.rolls_out,
        "evicts_at_once": step.evicts_at_once,
        "action": step.action,
        "summary": step.summary,
    }


def _step_from_json(data: Mapping[str, Any]) -> PlanStep:
    if "operation" in data:
        return OpsStep(
            operation=data["operation"], arguments=MappingProxyType(dict(data["arguments"])), action=data["action"],
            summary=data["summary"],
        )  # fmt: skip
    return PatchStep(
        ref=ObjectRef(**data["ref"]),
        fields=MappingProxyType({tuple(path): value for path, value in data["fields"]}),
        terminates_pods=data["terminates_pods"],
        rolls_out=data["rolls_out"],
        evicts_at_once=data["evicts_at_once"],
        action=data["action"],
        summary=data["summary"],
    )


def ref_of(obj: Mapping[str, Any]) -> ObjectRef:
    """The address of an object in wire shape."""
    return ObjectRef(kind=obj["kind"], name=obj["metadata"]["name"], namespace=obj["metadata"].get("namespace", ""))


def workload_ref(service: Service) -> ObjectRef:
    """The service's workload, as Kubernetes names it."""
    return ObjectRef(kind=service.kind.value, name=service.name, namespace=service.namespace)
