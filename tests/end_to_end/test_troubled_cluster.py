"""An API server in trouble in the middle of a verify or a promote: waited for, or told; never half, never twice."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.clusters.control_plane import OBSERVER, PROMOTER
from tests.clusters.gateway import Gateway, Trouble, gateway
from tests.clusters.production import CART, UNDO, WELL, LiveRig, is_rolled_out, webhooks_away
from tests.clusters.prometheus import Users
from tests.clusters.shop import await_that, lay_out_nodes
from twin.change.compile import compile_change
from twin.gate.admission import try_admission
from twin.kube import LiveKubeApi, connect
from twin.ports.services import PromotionOutcome
from twin.promote.journal import Status
from twin.promote.lease import Lease
from twin.promote.target import MARKS
from twin.spec.errors import ApiError, NotFound
from twin.spec.fields import FieldPath, container_path
from twin.spec.plan import ObjectRef
from twin.spec.verdict import StageVerdict

CART_PATH: Final = "/apis/apps/v1/namespaces/shop/deployments/cart"

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("control-plane"), pytest.mark.requirement("R13", "R22")]


@pytest.fixture
def between(rig: LiveRig, root_seed: int) -> Iterator[Gateway]:
    """A gateway that the promoter speaks through."""
    with gateway(rig.plane) as here:
        here.seed = root_seed
        rig.kubeconfig = here.kubeconfig(rig.plane, PROMOTER, rig.folder)
        yield here


@pytest.mark.parametrize("trouble", list(Trouble))
def test_a_third_of_all_requests_in_trouble_and_the_fix_is_made_once(
    rig: LiveRig, between: Gateway, trouble: Trouble
) -> None:  # fmt: skip
    before, receipt = rig.admin.get(CART), rig.receipt()
    between.trouble, between.ratio = trouble, 0.34
    for _ in range(5):  # A lease that nobody heard was given is none; nor is anything written then.
        done = rig.service().promote(receipt)
        if done.outcome is not PromotionOutcome.REFUSED:
            break
        assert rig.image() == "cart:v2", done.reason
    between.trouble = None
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert sum(between.met.values()) > 5
    assert between.met["PATCH"] > 0
    assert between.made[CART_PATH] == 3  # applied, held, let go on: each once
    await_that("every pod is of the old build", lambda: is_rolled_out(rig.admin, "cart:v1"))
    after = rig.admin.get(CART)
    after["spec"]["template"]["spec"]["containers"][0]["image"] = "cart:v2"
    assert after["spec"] == before["spec"]
    service = rig.service()
    assert [p.status for p in service.journal.promotions()].count(Status.DONE) == 1
    assert Lease(service.plant).holder() == ""


def test_what_a_human_took_back_before_its_answer_came_is_not_written_again(rig: LiveRig, between: Gateway) -> None:
    """The write was made and its answer lost; the object is again as it was before. Whoever sends it anew overrules."""
    receipt, before = rig.receipt(), rig.admin.get(CART)["spec"]
    taken_back: list[str] = []

    def take_back(method: str, path: str) -> bool:
        if path != CART_PATH or method != "PATCH" or taken_back or rig.image() != "cart:v1":
            return False
        taken_back.append(rig.image())
        rig.admin.patch(CART, {container_path("cart", "image"): "cart:v2"})
        return True

    between.loses = take_back
    done = rig.service().promote(receipt)
    assert taken_back == ["cart:v1"]
    assert done.outcome is PromotionOutcome.ROLLED_BACK, done.reason
    assert "neither as before nor as wanted" in done.reason
    assert between.made[CART_PATH] == 1
    assert rig.admin.get(CART)["spec"] == before


def test_a_receipt_whose_mark_nobody_heard_of_is_promoted_all_the_same(rig: LiveRig, between: Gateway) -> None:
    receipt, lost = rig.receipt(), []

    def lose(method: str, path: str) -> bool:
        first = method == "POST" and not lost and _is_there(rig, MARKS)
        lost.extend([path] * first)
        return first

    between.loses = lose
    done = rig.service().promote(receipt)
    assert lost
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert [p.status for p in rig.service().journal.promotions()] == [Status.DONE]


def test_a_server_killed_in_the_canary_is_waited_for(rig: LiveRig) -> None:
    service, restarts = rig.service(), []

    def restart(text: str) -> None:
        if text.startswith("applied") and not restarts:
            rig.plane.kill_server()
            restarts.append(threading.Timer(3.0, rig.plane.start_server))
            restarts[0].start()

    service.say = restart
    try:
        done = service.promote(rig.receipt())
    finally:
        restarts[0].join()
    assert done.outcome is PromotionOutcome.DONE, done.reason
    await_that("every pod is of the old build", lambda: is_rolled_out(rig.admin, "cart:v1"))


@pytest.mark.timeout(300)
def test_a_node_lost_in_the_canary_delays_the_roll_out_and_no_more(rig: LiveRig, users: Users) -> None:
    """Its pods are gone with it, the canary among them; they come back elsewhere, of the build that was decided."""
    service, lost = rig.service(), list[str]()

    def lose(text: str) -> None:
        if text.startswith("applied") and not lost:
            await_that("the canary has a node", lambda: bool(_nodes_of(rig.admin, "cart:v1")))
            lost.append(_nodes_of(rig.admin, "cart:v1")[0])
            rig.admin.delete(ObjectRef(kind="Node", name=lost[0]))

    service.say = lose
    done = service.promote(rig.receipt())
    lay_out_nodes(rig.admin)
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert lost
    await_that("every pod is of the old build", lambda: is_rolled_out(rig.admin, "cart:v1"))


def test_a_node_lost_in_the_canary_takes_it_back_where_users_suffer(rig: LiveRig, users: Users) -> None:
    """Nobody can tell a lost node's harm from the change's own: what is worse is taken back."""
    before, service, lost = rig.admin.get(CART)["spec"], rig.service(), list[str]()
    receipt = rig.receipt(
        prediction=dataclasses.replace(WELL, nothing_high_rps=(20.0, 20.0), change_high_rps=(20.0, 20.0))
    )

    def lose(text: str) -> None:
        if text.startswith("applied") and not lost:
            await_that("the canary has a node", lambda: bool(_nodes_of(rig.admin, "cart:v1")))
            lost.append(_nodes_of(rig.admin, "cart:v1")[0])
            rig.admin.delete(ObjectRef(kind="Node", name=lost[0]))
            users.fare(0.9)

    service.say = lose
    done = service.promote(receipt)
    lay_out_nodes(rig.admin)
    assert done.outcome is PromotionOutcome.ROLLED_BACK, done.reason
    assert rig.admin.get(CART)["spec"] == before


def test_what_a_server_that_is_gone_left_open_is_taken_up_by_the_next_run(rig: LiveRig) -> None:
    """Nobody waits for ever: what could not be finished, nor be taken back, is told, and is not forgotten."""
    service, receipt, gone = rig.service(), rig.receipt(), []
    service.plant.kube = connect(kubeconfig=rig.plane.kubeconfig(PROMOTER), patience_s=1.0)

    def kill(text: str) -> None:
        if text.startswith("applied") and not gone:
            rig.plane.kill_server()
            gone.append(text)

    service.say = kill
    try:
        cut_short = service.promote(receipt)
    finally:
        rig.plane.start_server()
    assert cut_short.outcome is PromotionOutcome.HELD
    assert cut_short.exit_code == 4
    assert [p.status for p in service.journal.promotions()] == [Status.OPEN]
    ended = rig.service().promote(receipt)
    assert ended.outcome is PromotionOutcome.ROLLED_BACK, ended.reason
    assert rig.image() == "cart:v2"
    assert not rig.admin.get(CART)["spec"].get("paused", False)


@pytest.mark.parametrize("trouble", [Trouble.UNAVAILABLE, Trouble.CUT, Trouble.BUSY])
def test_a_gate_that_cannot_ask_does_not_guess(rig: LiveRig, between: Gateway, trouble: Trouble) -> None:
    plant = rig.plant(OBSERVER)
    plan = compile_change(UNDO, plant.kube, at_s=plant.clock.now_s())
    kube = connect(kubeconfig=between.kubeconfig(rig.plane, OBSERVER, rig.folder))
    assert try_admission(kube, plan, where="production").verdict is StageVerdict.PASS
    between.trouble, between.ratio = trouble, 1.0
    result = try_admission(kube, plan, where="production")
    assert result.verdict is StageVerdict.INCONCLUSIVE, result.reason


@pytest.mark.parametrize("resource", ["apps/deployments", "/pods"])
def test_a_webhook_that_is_away_and_fails_closed_refuses_the_plan(rig: LiveRig, resource: str) -> None:
    """Of a workload, or, as many are, of the pods that follow: the Deployment alone would be admitted."""
    plant = rig.plant(OBSERVER)
    plan = compile_change(UNDO, plant.kube, at_s=plant.clock.now_s())

    def refused() -> bool:  # The API server takes a moment to see a new webhook.
        result = try_admission(plant.kube, plan, where="production")
        return result.verdict is StageVerdict.FAIL and "away.twin.test" in result.reason

    with webhooks_away(rig.admin, {resource: "Fail"}):
        await_that("the plan is refused for the webhook", refused, patience_s=15.0)


def test_a_webhook_that_is_away_and_fails_closed_stops_a_promotion_before_it_writes(rig: LiveRig) -> None:
    before, receipt, service = rig.admin.get(CART)["spec"], rig.receipt(), rig.service()
    with webhooks_away(rig.admin, {"apps/deployments": "Fail"}):
        await_that("the webhook is asked", lambda: not _admits(rig, CART, ("spec", "paused"), True), patience_s=15.0)
        done = service.promote(receipt)
    assert done.outcome is PromotionOutcome.ROLLED_BACK, done.reason
    assert "away.twin.test" in done.reason
    assert rig.admin.get(CART)["spec"] == before
    assert Lease(service.plant).holder() == ""


def test_a_webhook_that_is_away_and_fails_open_is_in_nobodys_way(rig: LiveRig) -> None:
    plant = rig.plant(OBSERVER)
    plan = compile_change(UNDO, plant.kube, at_s=plant.clock.now_s())
    budget = ObjectRef(kind="PodDisruptionBudget", name="cart", namespace="shop")
    with webhooks_away(rig.admin, {"apps/deployments": "Ignore", "policy/poddisruptionbudgets": "Fail"}):
        await_that(  # The one that fails closed tells when both are asked.
            "the webhooks are asked", lambda: not _admits(rig, budget, ("spec", "minAvailable"), 1), patience_s=15.0
        )
        result = try_admission(plant.kube, plan, where="production")
    assert result.verdict is StageVerdict.PASS, result.reason


def _nodes_of(admin: LiveKubeApi, image: str) -> list[str]:
    """Where the cart's pods of a build are, in order."""
    pods = admin.list_objects("Pod", "shop", {"app": "cart"})
    return sorted(
        pod["spec"]["nodeName"]
        for pod in pods
        if pod["spec"]["containers"][0]["image"] == image and pod["spec"].get("nodeName")
    )


def _is_there(rig: LiveRig, ref: ObjectRef) -> bool:
    try:
        rig.admin.get(ref)
    except NotFound:
        return False
    return True


def _admits(rig: LiveRig, ref: ObjectRef, path: FieldPath, value: Any) -> bool:
    try:
        rig.admin.patch(ref, {path: value}, dry_run=True)
    except ApiError:
        return False
    return True
