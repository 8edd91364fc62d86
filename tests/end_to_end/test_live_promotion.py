"""Promotion to a real API server, watched through a real Prometheus, as the identity that deploy/rbac makes."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
from typing import Any

import pytest

from agent.limits.guard import MemoryWriteGuard
from tests.clusters.control_plane import OBSERVER, PROMOTER
from tests.clusters.production import CART, IMAGE, UNDO, WELL, LiveRig, is_rolled_out
from tests.clusters.prometheus import Users
from tests.clusters.shop import await_that
from tests.end_to_end.killed_promoter import promote_and_die
from tests.twin.promote.rehearsed import keys
from twin.change.compile import compile_change
from twin.gate.admission import try_admission
from twin.ports.plant import KubeObject
from twin.ports.services import PromotionOutcome
from twin.promote.journal import Status
from twin.promote.lease import Lease
from twin.spec.change import Action
from twin.spec.errors import BaseDrifted, PolicyDenied, PromoterActive, ReceiptInvalid
from twin.spec.plan import ObjectRef
from twin.spec.receipt import EvidenceLevel
from twin.spec.verdict import StageVerdict

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("control-plane"), pytest.mark.requirement("R13", "R22")]
STEP = int(os.environ.get("TWIN_CRASH_STEP", "5"))  # `make campaigns` tries every one.


def test_the_fix_is_rolled_out_by_canary_and_marked_in_the_cluster(rig: LiveRig) -> None:
    receipt = rig.receipt()
    done = rig.service().promote(receipt)
    assert (done.outcome, done.exit_code) == (PromotionOutcome.DONE, 0), done.reason
    assert rig.image() == "cart:v1"
    await_that("every pod is of the old build", lambda: is_rolled_out(rig.admin, "cart:v1"))
    with pytest.raises(ReceiptInvalid):
        rig.service(home="another-laptop").attempt(receipt)


def test_what_goes_worse_than_predicted_is_put_back_as_it_was(rig: LiveRig, users: Users) -> None:
    before = rig.admin.get(CART)["spec"]
    receipt = rig.receipt(prediction=dataclasses.replace(WELL, nothing_high_rps=(0.0, 0.0), change_high_rps=(0.0, 0.0)))
    service = rig.service()
    service.say = lambda text: users.fare(0.4)
    users.fare(0.4)
    done = service.promote(receipt)
    assert done.outcome is PromotionOutcome.ROLLED_BACK, done.reason
    assert rig.admin.get(CART)["spec"] == before


def test_a_second_promoter_is_refused(rig: LiveRig) -> None:
    receipt = rig.receipt()
    with Lease(rig.plant(PROMOTER)).hold("somebody else"), pytest.raises(PromoterActive):
        rig.service(home="second").attempt(receipt)
    assert rig.image() == "cart:v2"


def test_a_write_in_between_is_drift(rig: LiveRig) -> None:
    receipt = rig.receipt()
    rig.admin.patch(CART, {("spec", "replicas"): 4})
    with pytest.raises(BaseDrifted):
        rig.service().attempt(receipt)


def test_simulated_evidence_is_not_enough_for_a_live_cluster(rig: LiveRig) -> None:
    with pytest.raises(PolicyDenied, match="evidence"):
        rig.service().attempt(rig.receipt(evidence_level=EvidenceLevel.SIMULATED))


def test_a_receipt_for_another_cluster_is_refused(rig: LiveRig) -> None:
    with pytest.raises(BaseDrifted, match="another target"):
        rig.service().attempt(rig.receipt(target="kube:00000000-0000-0000-0000-000000000000"))


def test_the_gates_identity_asks_the_api_server_and_writes_nothing(rig: LiveRig) -> None:
    plant = rig.plant(OBSERVER)
    plan = compile_change(UNDO, plant.kube, at_s=plant.clock.now_s())
    before = rig.admin.get(CART)["spec"]
    result = try_admission(plant.kube, plan, where="production, dry run")
    assert result.verdict is StageVerdict.PASS, result.reason
    assert rig.admin.get(CART)["spec"] == before


@pytest.mark.timeout(900)
def test_killed_at_every_step_it_is_finished_or_undone_and_nothing_else_is_touched(rig: LiveRig) -> None:
    """Before and after each write of the journal: kill -9, run again, and compare every object with what it was."""
    outcomes: list[str] = []
    before = _specs(rig)
    for number in range(0, 60, STEP):
        exit_code, done = _kill_and_recover(rig, number)
        outcomes.append(f"{number}: {exit_code} {done}")
        print(outcomes[-1])
        after = _specs(rig)
        assert rig.image() == ("cart:v1" if done else "cart:v2"), outcomes
        after[str(CART)]["template"]["spec"]["containers"][0]["image"] = "cart:v2"
        assert after == before, outcomes
        if exit_code == 0:
            break
        rig.admin.patch(CART, {IMAGE: "cart:v2"})
        await_that("the bad build is out", lambda: is_rolled_out(rig.admin, "cart:v2"))
    assert outcomes[-1].endswith(": 0 True"), "more journal writes than were tried"
    assert len(outcomes) > 4


@pytest.mark.parametrize("worse", [False, True])
def test_a_stateful_set_is_rolled_out_by_its_partition(rig: LiveRig, users: Users, worse: bool) -> None:
    ref = ObjectRef(kind="StatefulSet", name="db", namespace="shop")
    rig.admin.patch(ref, {("spec", "replicas"): 3})
    await_that("the databases are ready", lambda: rig.admin.get(ref)["status"].get("updatedReplicas") == 3)
    before, seen = rig.admin.get(ref)["spec"], list[int]()
    action = Action(kind="set_env", target="shop/db", parameters={"name": "LOG", "value": "debug"})
    few = dataclasses.replace(WELL, nothing_high_rps=(20.0, 20.0), change_high_rps=(20.0, 20.0))
    receipt = rig.receipt(dataclasses.replace(UNDO, actions=(action,)), prediction=few)
    service = rig.service()

    def look(text: str) -> None:
        if text.startswith("applied") and worse:
            users.fare(0.9)
        seen.append(int(rig.admin.get(ref)["status"].get("updatedReplicas", 0)))

    service.say = look
    done = service.promote(receipt)
    after = rig.admin.get(ref)
    if worse:
        assert done.outcome is PromotionOutcome.ROLLED_BACK, done.reason
        assert after["spec"] == before
        await_that("all are as they were", lambda: rig.admin.get(ref)["status"].get("updatedReplicas") == 3)
    else:
        assert done.outcome is PromotionOutcome.DONE, done.reason
        assert after["status"]["updatedReplicas"] == 3
        assert not after["spec"]["updateStrategy"]["rollingUpdate"].get("partition")
    assert seen[0] == 0, "it was held before it began"


def test_a_node_is_drained_as_budgets_allow_and_takes_pods_again_when_undone(rig: LiveRig) -> None:
    """The budget's controller, the scheduler and the evictions are real; never do fewer carts stay than it keeps."""
    node, fewest = _pods(rig)[0]["spec"]["nodeName"], [99]
    action = Action(kind="drain", target=node, parameters={"at_once": 2.0})
    receipt = rig.receipt(dataclasses.replace(UNDO, actions=(action,)), approvals_needed=0)
    service = rig.service()

    def count(text: str) -> None:
        fewest[0] = min(fewest[0], sum(_is_ready(pod) for pod in _pods(rig)))

    service.say = count
    done = service.promote(receipt)
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert fewest[0] >= 2
    assert rig.admin.get(ObjectRef(kind="Node", name=node))["spec"]["unschedulable"]
    assert node not in {one["spec"].get("nodeName") for one in rig.admin.list_objects("Pod", "shop")}
    await_that("the carts are back", lambda: sum(_is_ready(pod) for pod in _pods(rig)) == 3)
    undone = rig.service().undo(done.promotion_id)
    assert undone.exit_code == 0, undone.reason
    assert not rig.admin.get(ObjectRef(kind="Node", name=node))["spec"].get("unschedulable")


def _pods(rig: LiveRig) -> list[KubeObject]:
    return rig.admin.list_objects("Pod", "shop", {"app": "cart"})


def _is_ready(pod: KubeObject) -> bool:
    conditions = pod["status"].get("conditions", ())
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def _specs(rig: LiveRig) -> dict[str, Any]:
    """What every object of the shop is meant to be, by its name."""
    kinds = ("Deployment", "StatefulSet", "PodDisruptionBudget", "HorizontalPodAutoscaler", "Service")
    found = [obj for kind in kinds for obj in rig.admin.list_objects(kind, "shop")]
    return {f"{obj['kind'].lower()}/shop/{obj['metadata']['name']}": obj["spec"] for obj in found}


def _kill_and_recover(rig: LiveRig, number: int) -> tuple[int | None, bool]:
    """How the killed run ended, and whether its change is in force once another run has looked at what it left."""
    receipt, home = rig.receipt(), f"killed-{number}"
    promoter = multiprocessing.get_context("spawn").Process(
        target=promote_and_die,
        args=(rig.plane.kubeconfig(PROMOTER), rig.url, rig.folder / f"{home}.sqlite", keys().trusted, receipt, number),
    )  # fmt: skip
    promoter.start()
    promoter.join(120.0)
    assert promoter.exitcode in (0, -signal.SIGKILL), promoter.exitcode
    rig.guard = MemoryWriteGuard(terminations_max=100)  # Nobody waits a minute between two trials.
    service = rig.service(home=home)
    left_open = [one.id for one in service.journal.promotions() if one.status is Status.OPEN]
    assert [one.promotion_id for one in service.recover()] == left_open
    statuses = [one.status for one in service.journal.promotions()]
    assert Status.OPEN not in statuses
    return promoter.exitcode, Status.DONE in statuses
