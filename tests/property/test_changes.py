"""Invariants 6 and 7: a plan is what its digest says; undoing restores what was there, and nothing else's work."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chaos.catalogue import compile_fault
from tests.small_shop import small_shop
from twin.change.apply import Undo, undo_from_json, undo_order, undo_step, undo_to_json
from twin.change.base import base_of, find_drift
from twin.change.catalogue import action_types
from twin.change.compile import compile_change
from twin.change.moves import Watch, make_move, moves_of
from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.world import World
from twin.spec.change import Action, Change, change_digest
from twin.spec.errors import BadInput, NotFound
from twin.spec.fault import parse_fault
from twin.spec.plan import ObjectRef, plan_digest, plan_from_json, plan_to_json
from twin.spec.units import NS_PER_S

ACTIONS = (
    Action(kind="scale", target="shop/cart", parameters={"replicas": 5.0}),
    Action(kind="scale", target="shop/catalog", parameters={"replicas": 5.0}),
    Action(kind="set_env", target="shop/cart", parameters={"name": "LOG", "value": "debug"}),
    Action(kind="set_config", target="shop/settings", parameters={"key": "LEVEL", "value": "debug", "restart": "no"}),
    Action(kind="suspend_gitops", target="shop/apps"),
    Action(kind="set_image", target="shop/cart", parameters={"image": "cart:v3"}),
    Action(kind="set_resources", target="shop/web", parameters={"memory_limit": "512Mi"}),
    Action(kind="restart", target="shop/orders"),
    Action(kind="set_route", target="shop/web--cart", parameters={"retries": 0.0, "timeout_s": 0.5}),
    Action(kind="cordon", target="a-0"),
    Action(kind="drain", target="b-0", parameters={"at_once": 2.0}),
    Action(kind="set_hpa", target="shop/catalog", parameters={"max_replicas": 10.0}),
    Action(kind="set_pdb", target="shop/cart", parameters={"min_available": 1.0}),
    Action(kind="set_quota", target="shop/all", parameters={"pods": 20.0}),
    Action(kind="shed_load", target="shop/web", parameters={"ratio": 0.2}),
    Action(kind="rollout_pause", target="shop/catalog"),
    Action(kind="rollout_undo", target="shop/orders"),
)
# For each kind what somebody else may decide after us, about the same thing; None: there is no third way.
AFTERWARDS: dict[str, Action | None] = {
    "scale": Action(kind="scale", target="shop/cart", parameters={"replicas": 7.0}),
    "set_env": Action(kind="set_env", target="shop/cart", parameters={"name": "LOG", "value": "trace"}),
    "set_config": Action(
        kind="set_config", target="shop/settings", parameters={"key": "LEVEL", "value": "trace", "restart": "no"}
    ),
    "set_image": Action(kind="set_image", target="shop/cart", parameters={"image": "cart:v4"}),
    "set_resources": Action(kind="set_resources", target="shop/web", parameters={"memory_limit": "768Mi"}),
    "restart": Action(kind="restart", target="shop/orders"),
    "set_route": Action(kind="set_route", target="shop/web--cart", parameters={"retries": 3.0, "timeout_s": 0.7}),
    "shed_load": Action(kind="shed_load", target="shop/web", parameters={"ratio": 0.6}),
    "rollout_undo": Action(kind="set_env", target="shop/orders", parameters={"name": "BUILD", "value": "3"}),
    "set_hpa": Action(kind="set_hpa", target="shop/catalog", parameters={"max_replicas": 9.0}),
    "set_pdb": Action(kind="set_pdb", target="shop/cart", parameters={"min_available": 0.0}),
    "set_quota": Action(kind="set_quota", target="shop/all", parameters={"pods": 30.0}),
    "suspend_gitops": None,
    "cordon": None,
    "drain": None,
    "rollout_pause": None,
}
FOR_GOOD = {
    "terminate_session": Action(kind="terminate_session", target="shop/db", parameters={"session": "s-1"}),
    "drop_table": Action(kind="drop_table", target="shop/db", parameters={"table": "t"}),
    "set_firewall_rule": Action(kind="set_firewall_rule", target="shop", parameters={"rule": "deny all"}),
}


def plant() -> WorldPlant:
    world = World.build(small_shop(), seed=2)
    fault = parse_fault("held_slots(shop/db, station=row-lock, session=s-1)")
    world.inject(compile_fault(fault, world.fleet, start_ns=NS_PER_S))
    world.run(20 * NS_PER_S)
    target = plant_of(world, writes=True)
    build = Action(kind="set_env", target="shop/orders", parameters={"name": "BUILD", "value": "2"})
    apply(target, change(build))  # A revision to go back from.
    return target


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
    before, calm = base_of(target.kube, plan.reads), shed(target)
    undos = [undo_from_json(json.loads(json.dumps(undo_to_json(undo)))) for undo in apply(target, change(*actions))]
    for undo in undo_order(undos):
        assert undo_step(target, undo) == ()
    assert (base_of(target.kube, plan.reads), shed(target)) == (before, calm)
    assert find_drift(before, target.kube) == ()


def test_undoing_leaves_alone_what_somebody_else_has_changed_since() -> None:
    target = plant()
    cart = ObjectRef(kind="Deployment", name="cart", namespace="shop")
    (undo,) = apply(target, change(ACTIONS[0]))
    target.kube.patch(cart, {("spec", "replicas"): 7})
    assert undo_step(target, undo) == (("spec", "replicas"),)
    assert target.kube.get(cart)["spec"]["replicas"] == 7


def shed(target: WorldPlant) -> float:
    return float(target.ops.call("shed_load", {"service": "shop/web", "ratio": 0.0}, dry_run=True)["ratio"])


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: f"{action.kind} {action.target}")
def test_of_every_kind_what_somebody_decided_after_us_stands(action: Action) -> None:
    target = plant()
    calm = shed(target)
    undos = apply(target, change(action))
    theirs = AFTERWARDS[action.kind]
    if theirs is None or theirs.target != action.target:
        assert [undo_step(target, undo) for undo in reversed(undos)] == [()] * len(undos)
        assert shed(target) == calm
    else:
        target.clock.sleep(5.0)
        apply(target, change(theirs))
        plan = compile_change(change(theirs), target.kube, at_s=target.clock.now_s())
        decided, shed_now = base_of(target.kube, plan.reads), shed(target)
        assert all(undo_step(target, undo) for undo in reversed(undos))
        assert (base_of(target.kube, plan.reads), shed(target)) == (decided, shed_now)
    at_rest = shed(target)
    for undo in reversed(undos):  # Once more, as after a crash: nothing is left to do, and nothing is done.
        undo_step(target, undo)
    assert shed(target) == at_rest


def test_what_is_for_good_has_no_way_back_and_every_kind_is_one_or_the_other() -> None:
    assert AFTERWARDS.keys() | FOR_GOOD.keys() == {kind.kind for kind in action_types()}
    for action in FOR_GOOD.values():
        target = plant()
        (undo,) = apply(target, change(action))
        assert not undo.possible
        assert undo_step(target, undo) == ()


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
        (Action(kind="set_hpa", target="shop/catalog"),),
        (Action(kind="set_hpa", target="shop/cart", parameters={"max_replicas": 9.0}),),
        (Action(kind="set_hpa", target="shop/catalog", parameters={"min_replicas": 9.0}),),
        (Action(kind="set_pdb", target="shop/cart"),),
        (Action(kind="set_quota", target="shop/all"),),
        (Action(kind="set_quota", target="shop/nobody", parameters={"pods": 20.0}),),
        (Action(kind="set_quota", target="shop/all", parameters={"pods": 12.0}),),
        (Action(kind="set_quota", target="shop/all", parameters={"requests_cpu": "90"}),),
        (Action(kind="set_pdb", target="shop/web", parameters={"min_available": 1.0}),),
        (Action(kind="set_pdb", target="shop/cart", parameters={"min_available": 3.0}),),
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
        "restart", "rollout_undo", "rollout_pause", "scale", "set_resources", "set_env", "set_image", "cordon",
        "set_config", "set_quota", "drain",
        "set_hpa", "set_pdb", "set_route", "shed_load", "terminate_session", "drop_table", "set_firewall_rule",
    }  # fmt: skip
    assert all(kind.summary for kind in action_types())
