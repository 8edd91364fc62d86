"""A fix of what Flux keeps: refused as long as it would be put back, promoted once its source is suspended."""

from __future__ import annotations

import dataclasses

import pytest

from tests.clusters.control_plane import OBSERVER
from tests.clusters.gitops import kept_by_flux
from tests.clusters.production import CART, IMAGE, UNDO, LiveRig, is_rolled_out
from tests.clusters.shop import await_that
from tests.contract.test_kube_api import APPS
from tests.twin.promote.rehearsed import keys
from twin.change.compile import compile_change
from twin.change.owners import refuse_reverted
from twin.ports.services import PromotionOutcome
from twin.receipt import approve, check
from twin.spec.change import Action
from twin.spec.errors import ApprovalMissing, PolicyDenied
from twin.spec.gitops import is_suspended

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("control-plane"), pytest.mark.requirement("R13", "R22")]

SUSPEND = Action(kind="suspend_gitops", target="shop/apps")
BOTH = dataclasses.replace(UNDO, actions=(SUSPEND, *UNDO.actions))


def test_what_flux_keeps_is_refused_and_is_indeed_put_back(rig: LiveRig) -> None:
    with kept_by_flux(rig.admin, APPS, CART, IMAGE) as overwritten:
        kube = rig.plant(OBSERVER).kube
        with pytest.raises(PolicyDenied, match=r"flux:shop/apps.*would put it back") as refused:
            refuse_reverted(kube, compile_change(UNDO, kube, at_s=0.0))
        assert "suspend_gitops shop/apps" in refused.value.next_step
        rig.admin.patch(CART, {IMAGE: "cart:v1"})
        await_that("it is put back", lambda: overwritten == ["cart:v1"])
        assert rig.image() == "cart:v2"


def test_a_suspension_and_the_fix_are_promoted_together_and_stay(rig: LiveRig) -> None:
    with kept_by_flux(rig.admin, APPS, CART, IMAGE) as overwritten:
        kube = rig.plant(OBSERVER).kube
        refuse_reverted(kube, compile_change(BOTH, kube, at_s=0.0))
        receipt = rig.receipt(BOTH)
        with pytest.raises(ApprovalMissing):
            rig.service().attempt(receipt)
        now_s = int(rig.plant(OBSERVER).clock.now_s())
        rig.approvals = (approve(check(receipt, keys().trusted, now_s), "ana", keys().ana, now_s),)
        done = rig.service().promote(receipt)
        assert done.outcome is PromotionOutcome.DONE, done.reason
        assert is_suspended(rig.admin.get(APPS))
        await_that("every pod is of the old build", lambda: is_rolled_out(rig.admin, "cart:v1"))
        assert overwritten == []
        refuse_reverted(kube, compile_change(UNDO, kube, at_s=0.0))  # Another fix may follow it.
