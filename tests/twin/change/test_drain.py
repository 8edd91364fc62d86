"""A drain empties a node by batches and never takes a pod that a disruption budget keeps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from tests.small_shop import small_shop
from twin.change.apply import undo_step
from twin.change.base import base_of
from twin.change.compile import compile_change
from twin.change.evictions import evict_down_to, evictions_due, pods_on
from twin.change.facts import terminations_a_minute
from twin.change.moves import Evict, Watch, make_move, moves_of
from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.plant.kube import WorldKubeApi
from twin.fleet.world import World
from twin.gate.shadow import rehearse_mechanics
from twin.ports.plant import KubeObject
from twin.spec.change import Action, Change, Reversibility, Strategy
from twin.spec.errors import BadInput, Inconclusive
from twin.spec.fleet import Fleet, WorkloadKind
from twin.spec.plan import ObjectRef, Plan, ref_of
from twin.spec.units import NS_PER_S
from twin.spec.verdict import StageVerdict

BUDGET = ObjectRef(kind="PodDisruptionBudget", name="cart", namespace="shop")
DATABASE_NODE, OTHER_NODE = "a-0", "b-1"  # cart has a pod on both


def node(name: str) -> ObjectRef:
    return ObjectRef(kind="Node", name=name)


def shop_world(fleet: Fleet | None = None) -> World:
    world = World.build(fleet or small_shop(), seed=1)
    world.run(30 * NS_PER_S)
    return world


def plant() -> WorldPlant:
    return plant_of(shop_world(), writes=True)


def drain(target: Any, name: str = OTHER_NODE, *, watch_s: float = 60.0, **parameters: float) -> Plan:
    change = Change(
        actions=(Action(kind="drain", target=name, parameters=parameters),), reason="r", requester="ana",
        strategy=Strategy(watch_s=watch_s),
    )  # fmt: skip
    return compile_change(change, target.kube, at_s=target.clock.now_s())


def carry_out(target: WorldPlant, plan: Plan) -> list[Any]:
    undos = [make_move(target, plan, move) for move in moves_of(plan) if not isinstance(move, Watch)]
    return [undo for undo in undos if undo is not None]


def ready(target: WorldPlant, name: str) -> int:
    status = target.kube.get(ObjectRef(kind="Deployment", name=name, namespace="shop"))["status"]
    return int(status["readyReplicas"])


def watched(target: WorldPlant, least: list[int]) -> Callable[[], None]:
    return lambda: least.append(ready(target, "cart"))


def test_a_node_is_emptied_by_batches_and_takes_pods_again_when_it_is_undone() -> None:
    target = plant()
    plan = drain(target, at_once=2.0)
    assert plan.reversibility is Reversibility.COMPENSABLE
    assert [(move.pods, move.leave) for move in moves_of(plan) if isinstance(move, Evict)] == [(2, 1), (1, 0)]
    before = base_of(target.kube, plan.reads)
    [undo] = carry_out(target, plan)
    assert pods_on(target.kube, node(OTHER_NODE)) == []
    target.clock.sleep(60.0)
    assert [ready(target, name) for name in ("web", "cart", "catalog", "orders")] == [3, 3, 3, 3]
    assert undo_step(target, undo) == ()
    assert base_of(target.kube, plan.reads) == before


def test_a_batch_waits_for_what_a_budget_keeps() -> None:
    """Two carts on one node, two of three to be kept: the second goes when the first has been replaced."""
    target = plant()
    target.kube.patch(node("a-1"), {("spec", "unschedulable"): True})
    for name in ("b-0", "b-1"):
        target.kube.patch(node(name), {("spec", "unschedulable"): True})
    moved = next(pod for pod in pods_on(target.kube, node("b-1")) if pod["metadata"]["labels"]["app"] == "cart")
    target.kube.evict(ObjectRef(kind="Pod", name=moved["metadata"]["name"], namespace="shop"))
    target.clock.sleep(30.0)  # Its follower is on a-0 now, beside another.
    for name in ("a-1", "b-0", "b-1"):
        target.kube.patch(node(name), {("spec", "unschedulable"): False})
    carts = [pod for pod in pods_on(target.kube, node("a-0")) if pod["metadata"]["labels"]["app"] == "cart"]
    assert len(carts) == 2
    least: list[int] = []
    target.kube.patch(node("a-0"), {("spec", "unschedulable"): True})
    evict_down_to(target, node("a-0"), 0, patience_s=300.0, poll_s=1.0, look=watched(target, least))
    assert pods_on(target.kube, node("a-0")) == []
    assert min(least) == 2


def test_a_batch_that_is_begun_again_takes_no_more() -> None:
    world = shop_world()
    target = plant_of(world, writes=True)
    [move, *_] = [move for move in moves_of(drain(target, at_once=2.0)) if isinstance(move, Evict)]
    target.kube.patch(move.ref, {("spec", "unschedulable"): True})
    assert evictions_due(target.kube, move.ref, move.leave) == 2
    target.kube.evict(ref_of(pods_on(target.kube, move.ref)[-1]))  # By us, before a crash.
    assert evictions_due(target.kube, move.ref, move.leave) == 1
    for _ in range(2):
        make_move(target, drain(target), move)
        assert evictions_due(target.kube, move.ref, move.leave) == 0
        assert len(pods_on(target.kube, move.ref)) == 1
    assert world.state.pods_terminated == 2


def test_a_budget_that_lets_nothing_go_any_more_ends_the_wait() -> None:
    target = plant()
    plan = drain(target)
    target.kube.patch(BUDGET, {("spec", "minAvailable"): 3})  # After the plan was made.
    with pytest.raises(Inconclusive, match="needs 3 ready pods"):
        evict_down_to(target, plan.steps[0].ref, 0, patience_s=60.0, poll_s=5.0, look=lambda: None)  # type: ignore[union-attr]
    assert ready(target, "cart") == 3


@pytest.mark.requirement("R13")
def test_a_budget_that_can_never_let_a_pod_go_is_refused_by_name() -> None:
    target = plant()
    target.kube.patch(BUDGET, {("spec", "minAvailable"): 3})
    with pytest.raises(BadInput, match="poddisruptionbudget/shop/cart keeps 3 of 3 pods"):
        drain(target)
    drain(target, "b-0")  # No cart there.
    target.kube.patch(ObjectRef(kind="Deployment", name="cart", namespace="shop"), {("spec", "replicas"): 4})
    drain(target)


def test_a_pod_of_two_budgets_is_refused_since_kubernetes_never_evicts_it() -> None:
    class Twice(WorldKubeApi):
        def list_objects(self, kind: str, *args: Any, **kwargs: Any) -> list[KubeObject]:
            found = super().list_objects(kind, *args, **kwargs)
            return found * 2 if kind == "PodDisruptionBudget" else found

    target = plant()
    with pytest.raises(BadInput, match="are both about shop/cart"):
        compile_change(drain(target).change, Twice(shop_world(), writes=False), at_s=0.0)


def test_daemon_sets_stay_stateful_pods_want_an_approval_and_bare_ones_are_refused() -> None:
    shop = small_shop()
    on_each = dataclasses.replace(shop.services[3], kind=WorkloadKind.DAEMON_SET)
    world = shop_world(dataclasses.replace(shop, services=(*shop.services[:3], on_each, shop.services[4])))
    target = plant_of(world, writes=True)
    assert drain(target, DATABASE_NODE).reversibility is Reversibility.IRREVERSIBLE
    assert any(pod["metadata"]["labels"]["app"] == "orders" for pod in target.kube.list_objects("Pod"))
    for name in ("a-0", "a-1", "b-0", "b-1"):
        assert all(pod["metadata"]["labels"]["app"] != "orders" for pod in pods_on(target.kube, node(name)))
    with pytest.raises(BadInput, match=r"nothing would make shop/.* again"):
        compile_change(drain(target).change, _Bare(world), at_s=0.0)


def test_policy_counts_what_a_drain_ends_within_a_minute() -> None:
    target = plant()
    assert terminations_a_minute(drain(target, DATABASE_NODE, at_once=3.0)) == 3  # Four pods, a minute between.
    assert terminations_a_minute(drain(target, DATABASE_NODE, at_once=4.0)) == 4
    assert terminations_a_minute(drain(target, DATABASE_NODE, at_once=1.0, watch_s=30.0)) == 2
    assert terminations_a_minute(drain(target, DATABASE_NODE, at_once=1.0, watch_s=0.0)) == 4


def test_a_drain_is_rehearsed_with_its_mechanics() -> None:
    world = shop_world()
    target = plant_of(world)
    result = rehearse_mechanics(world, drain(target))
    assert result.verdict is StageVerdict.PASS, result.reason
    assert "as before" in result.reason
    assert pods_on(target.kube, node(OTHER_NODE)), "a rehearsal drained the target"


class _Bare(WorldKubeApi):
    """A World whose pods belong to nobody."""

    def __init__(self, world: World) -> None:
        super().__init__(world, writes=False)

    def list_objects(self, kind: str, *args: Any, **kwargs: Any) -> list[KubeObject]:
        found = super().list_objects(kind, *args, **kwargs)
        return [{**one, "metadata": {**one["metadata"], "ownerReferences": []}} for one in found]
