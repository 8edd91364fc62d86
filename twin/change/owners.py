"""Before a write, who owns the target: what a controller would put back is no fix, and belongs at its source."""

from __future__ import annotations

from twin.ports.plant import KubeApi
from twin.spec.errors import PolicyDenied
from twin.spec.owners import owner_of
from twin.spec.plan import PatchStep, Plan

__all__ = ["refuse_reverted"]


def refuse_reverted(kube: KubeApi, plan: Plan) -> None:
    """Raises PolicyDenied if an owner of a target reverts what others write; NotFound, ApiError."""
    for ref in dict.fromkeys(step.ref for step in plan.steps if isinstance(step, PatchStep)):
        owner = owner_of(kube.get(ref))
        if owner is not None and owner.reverts:
            raise PolicyDenied(
                f"{ref} is not ours to write", f"{owner} keeps it as its source says, and would put it back",
                "make the change at its source, or pause that owner first",
            )  # fmt: skip
