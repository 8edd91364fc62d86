"""Before a rehearsal, whether the plan's own writes wait for somebody who is away: perhaps for what is to be mended."""

from __future__ import annotations

from typing import Final

from twin.ports.plant import KubeApi
from twin.spec.errors import ApiError, PolicyDenied
from twin.spec.plan import PatchStep, Plan

__all__ = ["refuse_unanswered"]

_AWAY: Final = "failed calling webhook"
_KINDS: Final = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")


def refuse_unanswered(kube: KubeApi, plan: Plan) -> None:
    """Ask the API server about each write, by a dry run, where there are webhooks at all.

    Raises PolicyDenied for a write that a webhook refuses because nobody answers it. What else is wrong with a write,
    and what cannot be asked, is for later stages to tell.
    """
    if not _are_any(kube):
        return
    for step in plan.steps:
        if not isinstance(step, PatchStep):
            continue
        try:
            kube.patch(step.ref, step.fields, dry_run=True)
        except ApiError as error:
            if _AWAY in error.why:
                raise PolicyDenied(
                    f"{step.ref} cannot be written", error.why,
                    "bring back who answers that webhook by other means, or let its owners take it away",
                ) from error  # fmt: skip


def _are_any(kube: KubeApi) -> bool:
    try:
        return any(kube.list_objects(kind) for kind in _KINDS)
    except ApiError:
        return True  # Nobody said that there are none.
