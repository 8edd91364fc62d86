"""Invariants 6 and 7: a plan is what its digest says; undoing restores what was there, and nothing else's work."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.small_shop import small_shop
from twin.change.apply import Undo, undo_from_json, undo_step, undo_to_json
from twin.change.base import base_of, find_drift
from twin.change.catalogue import action_types
from twin.change.compile import compile_change
from twin.change.moves import Watch, make_move, moves_of
from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.world import World
from twin.spec.change import Action, Change, change_digest
from twin.spec.errors import BadInput, NotFound
from twin.spec.plan import ObjectRef, plan_digest, plan_from_json, plan_to_json
from twin.spec.units import NS_PER_S

ACTIONS = (
    Action(kind="scale", target="shop/cart", parameters={"replicas": 5.0}),
    Action(kind="scale", target="shop/catalog", parameters={"replicas": 5.0}),
    Action(kind="set_env", target="shop/cart", parameters={"name": "LOG", "value": "debug"}),
    Action(kind="set_resources", target="shop/web", parameters={"memory_limit": "512Mi"}),
    Action(kind="restart", target="shop/orders"),
    Action(kind="set_route", target="shop/web--cart", parameters={"retries": 0.0, "timeout_s": 0.5}),
    Action(kind="cordon", target="a-0"),
    Action(kind="shed_load", target="shop/web", parameters={"ratio": 0.2}),
    Action(kind="rollout_pause", target="shop/catalog"),
)


def plant() -> WorldPlant:
    world = World.build(small_shop(), seed=2)
    world.run(20 * NS_PER_S)
    return plant_of(world, writes=True)


def change(*actions: Action) -> Change:
    return Change(actions=actions, reason="a test", requester="me")


def apply(target: WorldPlant, what: Change) -> list[Undo]:
    plan = compile_change(what, target.kube, at_s=target.clock.now_s())
    moves = (move for move in moves_of(plan) if not isinstance(move, Watch))
    return [undo for move in moves if (undo := make_move(target, plan, move)) is not None]


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=4, unique_by=lambda a: (a.kind, a.target)))
def test_undoing_in_reverse_restores_every_object(actions: list[Action]) -> None:
    target = plant()
    plan = compile_change(change(*actions), target.kube, at_s=target.clock.now_s())
    before = base_of(target.kube, plan.reads)
    undos = [undo_from_json(json.loads(json.dumps(undo_to_json(undo)))) for undo in apply(target, change(*actions))]
    for undo in reversed(undos):
        assert undo_step(target, undo) == ()
    assert base_of(target.kube, plan.reads) == before
    assert find_drift(before, target.kube) == ()


def test_undoing_leaves_alone_what_somebody_else_has_changed_since() -> None:
    target = plant()
    cart = ObjectRef(kind="Deployment", name="cart", namespace="shop")
    (undo,) = apply(target, change(ACTIONS[0]))
    target.kube.patch(cart, {("spec", "replicas"): 7})
    assert undo_step(target, undo) == (("spec", "replicas"),)
    assert target.kube.get(cart)["spec"]["replicas"] == 7


@settings(max_examples=20, deadline=None)
@given(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=3, unique_by=lambda a: (a.kind, a.target)))
def test_a_plan_reads_back_equal_and_has_one_name(actions: list[Action]) -> None:
    target = plant()
    plan = compile_change(change(*actions), target.kube, at_s=1.0)
    again = plan_from_json(json.loads(json.dumps(plan_to_json(plan))))
    assert plan_digest(again) == plan_digest(plan)
    assert change_digest(again.change) == change_digest(plan.change)


def _scaled(replicas: float) -> Action:
    return Action(kind="scale", target="shop/cart", parameters={"replicas": replicas})


def test_another_figure_is_another_plan() -> None:
    target = plant()
    names = {
        plan_digest(compile_change(change(_scaled(n)), target.kube, at_s=1.0))
        for n in (3.0, 4.0, 5.0)
    }  # fmt: skip
    assert len(names) == 3


@pytest.mark.parametrize(
    "actions",
    [
        (),
        (Action(kind="fly", target="shop/cart"),),
        (Action(kind="scale", target="shop/cart"),),
        (Action(kind="scale", target="shop/cart", parameters={"replicas": float("nan")}),),
        (Action(kind="scale", target="shop/cart", parameters={"replicas": -2.0}),),
        (Action(kind="scale", target="cart", parameters={"replicas": 2.0}),),
        (Action(kind="scale", target="shop/cart", parameters={"speed": 2.0}),),
        (Action(kind="set_route", target="shop/web--cart"),),
        (Action(kind="set_resources", target="shop/cart", parameters={"memory_limit": "lots"}),),
        (Action(kind="rollout_undo", target="shop/cart"),),
        (ACTIONS[0], Action(kind="scale", target="shop/cart", parameters={"replicas": 6.0})),
        tuple(Action(kind="cordon", target=f"a-{i}") for i in range(30)),
    ],
)
def test_a_change_that_means_nothing_is_refused(actions: tuple[Action, ...]) -> None:
    target = plant()
    with pytest.raises((BadInput, NotFound)):
        compile_change(change(*actions), target.kube, at_s=1.0)


def test_every_kind_has_its_file_and_says_what_it_is() -> None:
    kinds = {kind.kind for kind in action_types()}
    assert kinds >= {
        "restart", "rollout_undo", "rollout_pause", "scale", "set_resources", "set_env", "cordon", "set_route",
        "shed_load", "terminate_session", "drop_table", "set_firewall_rule",
    }  # fmt: skip
    assert all(kind.summary for kind in action_types())
