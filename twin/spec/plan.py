"""A Plan: a Change compiled into the writes that carry it out. What is rehearsed is what is applied.

Steps name objects and fields, never functions, so a plan can be digested, signed, journalled and shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from twin.spec.canonical import digest
from twin.spec.change import Change, Reversibility, Strategy
from twin.spec.ids import Sha256

__all__ = ["ObjectRef", "OpsStep", "PatchStep", "Plan", "PlanStep", "plan_digest"]


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
    """

    ref: ObjectRef
    fields: Mapping[tuple[str, ...], Any]
    terminates_pods: int = 0
    rolls_out: bool = False
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsStep:
    """Call an operation beyond Kubernetes: terminate a database session, shed load."""

    operation: str
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
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
    return digest(
        {
            "change": plan.change,
            "steps": [
                {
                    "patch": step.ref,
                    "fields": [[list(path), step.fields[path]] for path in sorted(step.fields)],
                }
                if isinstance(step, PatchStep)
                else {"ops": step.operation, "arguments": step.arguments}
                for step in plan.steps
            ],
            "reads": sorted(plan.reads),
            "strategy": plan.strategy,
        }
    )
