"""Each action does what it is called, through a Plant that may write, and through no other."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest

from chaos.catalogue import compile_fault
from scenarios.lens import ComposedPlant
from tests.small_shop import small_shop
from twin.change.apply import apply_step, is_applied, prepare_undo, undo_step
from twin.change.catalogue import action_types
from twin.change.compile import compile_change
from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.world import World
from twin.spec.change import Action, Change, Reversibility
from twin.spec.errors import BadInput, Conflict, Forbidden, Overtaken
from twin.spec.fault import parse_fault
from twin.spec.fields import FieldPath, get_field, path_text
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef, OpsStep, PatchStep
from twin.spec.units import NS_PER_S

R, C, I = Reversibility.REVERSIBLE, Reversibility.COMPENSABLE, Reversibility.IRREVERSIBLE  # noqa: E741
CART = ObjectRef(kind="Deployment", namespace="shop", name="cart")

# kind, target, parameters, the writes (by path, or by argument), what becomes of it, pods that it ends
DOES: list[tuple[str, str, dict[str, Any], Mapping[str, Any], Reversibility, int]] = [
    ("restart", "shop/cart", {}, {"kubectl.kubernetes.io/restartedAt": "2026-"}, C, 3),
    ("restart", "shop/db", {}, {"kubectl.kubernetes.io/restartedAt": "2026-"}, I, 1),
    ("rollout_undo", "shop/cart", {}, {"image": "cart:v1"}, R, 3),
    ("rollout_pause", "shop/cart", {}, {"spec.paused": True}, R, 0),
    ("rollout_pause", "shop/cart", {"paused": 0.0}, {"spec.paused": False}, R, 0),
    ("scale", "shop/cart", {"replicas": 5.0}, {"spec.replicas": 5}, R, 0),
    ("scale", "shop/cart", {"replicas": 1.0}, {"spec.replicas": 1}, R, 2),
    ("scale", "shop/catalog", {"replicas": 5.0}, {"spec.minReplicas": 5}, R, 0),
    ("scale", "shop/catalog", {"replicas": 9.0}, {"spec.minReplicas": 9, "spec.maxReplicas": 9}, R, 0),
    ("set_resources", "shop/cart", {"cpu_limit": 2.0}, {"resources.limits.cpu": "2"}, R, 3),
    ("set_resources", "shop/cart", {"memory_request": "64Mi"}, {"resources.requests.memory": "64Mi"}, R, 3),
    ("set_image", "shop/cart", {"image": "cart:v3"}, {"image": "cart:v3"}, R, 3),
    ("set_env", "shop/cart", {"name": "LOG", "value": "debug"}, {"[name=LOG].value": "debug"}, R, 3),
    ("set_env", "shop/cart", {"name": "LOG"}, {"[name=LOG].value": None}, R, 3),
    ("set_config", "shop/settings", {"key": "LEVEL", "value": "debug", "restart": "no"}, {"data.LEVEL": "debug"}, R, 0),
    ("set_config", "shop/settings", {"key": "LEVEL", "restart": "no"}, {"data.LEVEL": None}, R, 0),
    ("suspend_gitops", "shop/apps", {}, {"spec.suspend": True}, R, 0),
    ("suspend_gitops", "shop/apps", {"suspended": 0.0}, {"spec.suspend": False}, R, 0),
    ("set_hpa", "shop/catalog", {"max_replicas": 12.0}, {"spec.maxReplicas": 12}, R, 0),
    ("set_hpa", "shop/catalog", {"min_replicas": 1.0, "max_replicas": 2.0},
     {"spec.minReplicas": 1, "spec.maxReplicas": 2}, R, 1),
    ("set_pdb", "shop/cart", {"min_available": 1.0}, {"spec.minAvailable": 1}, R, 0),
    ("cordon", "a-0", {}, {"spec.unschedulable": True}, R, 0),
    ("cordon", "a-0", {"cordoned": 0.0}, {"spec.unschedulable": False}, R, 0),
    ("drain", "b-1", {}, {"spec.unschedulable": True}, C, 3),
    ("drain", "a-0", {"at_once": 1.0}, {"spec.unschedulable": True}, I, 3),
    ("set_quota", "shop/all", {"pods": 20.0}, {"spec.hard.pods": "20"}, R, 0),
    ("set_route", "shop/web--cart", {"retries": 4.0}, {"retry.attempts": 4}, R, 0),
    ("set_route", "shop/web--cart", {"timeout_s": 0.5}, {"timeouts.request": "500ms"}, R, 0),
    ("set_route", "shop/web--cart", {"backoff_s": 2.0}, {"retry.backoff": "2s"}, R, 0),
    ("shed_load", "shop/web", {"ratio": 0.25}, {"service": "shop/web", "ratio": 0.25}, R, 0),
    ("terminate_session", "shop/db", {"session": "s-1"}, {"service": "shop/db", "session": "s-1"}, I, 0),
    ("drop_table", "shop/db", {"table": "orders"}, {"service": "shop/db", "table": "orders"}, I, 0),
    ("set_firewall_rule", "payment", {"rule": "allow all"}, {"subnet": "payment", "rule": "allow all"}, I, 0),
]  # fmt: skip


@pytest.fixture
def world() -> World:
    """A shop with a second revision of cart, and a session that holds the lock."""
    world = World.build(small_shop(), seed=2)
    plant_of(world, writes=True).kube.patch(
        CART, {("spec", "template", "spec", "containers", "[name=cart]", "image"): "cart:v2"}
    )
    fault = parse_fault("held_slots(shop/db, session=s-1)")
    world.inject(compile_fault(fault, world.fleet, start_ns=0))
    world.run(60 * NS_PER_S)
    return world


def compiled(plant: WorldPlant, kind: str, target: str, parameters: Mapping[str, Any]) -> Any:
    change = Change(actions=(Action(kind=kind, target=target, parameters=parameters),), reason="r", requester="ana")
    return compile_change(change, plant.kube, at_s=plant.clock.now_s())


def test_every_kind_of_action_is_tried_here() -> None:
    assert {kind for kind, *_ in DOES} == {action.kind for action in action_types()}


@pytest.mark.parametrize(("kind", "target", "parameters", "writes", "after", "ends"), DOES)
def test_an_action_writes_what_it_is_called_and_nothing_else(
    kind: str, target: str, parameters: dict[str, Any], writes: Mapping[str, Any], after: Reversibility, ends: int,
    world: World,
) -> None:  # fmt: skip
    plan = compiled(plant_of(world), kind, target, parameters)
    assert plan.reversibility is after
    (step,) = plan.steps
    if isinstance(step, OpsStep):
        assert (step.operation, dict(step.arguments)) == (kind, dict(writes))
        return
    assert isinstance(step, PatchStep)
    assert step.terminates_pods == ends
    assert len(step.fields) == len(writes)
    for (path, value), (end, wanted) in zip(sorted(step.fields.items()), sorted(writes.items()), strict=True):
        if end.endswith("restartedAt"):
            assert path[-1] == end
            assert value.startswith(wanted)
        else:
            assert path_text(path).endswith(end)
            assert value == wanted
    assert plan.reads, "nothing is read, so no drift would be seen"


@pytest.mark.parametrize(
    ("kind", "target", "parameters"),
    [
        ("scale", "shop/cart", {"replicas": 2.5}),
        ("set_hpa", "shop/catalog", {"max_replicas": 2.5}),
        ("set_pdb", "shop/cart", {"min_available": 0.5}),
        ("set_quota", "shop/all", {"pods": 60.5}),
        ("drain", "a-0", {"at_once": 1.5}),
        ("set_route", "shop/web--cart", {"retries": 1.5}),
        ("rollout_pause", "shop/cart", {"paused": 0.5}),
    ],
)
def test_half_of_what_is_counted_is_refused(kind: str, target: str, parameters: dict[str, Any], world: World) -> None:
    with pytest.raises(BadInput, match="no whole number"):
        compiled(plant_of(world), kind, target, parameters)


@pytest.mark.parametrize(("kind", "target", "parameters"), [case[:3] for case in DOES])
def test_it_is_applied_through_a_plant_that_may_write_and_taken_back(
    kind: str, target: str, parameters: dict[str, Any], world: World
) -> None:
    reader, writer = plant_of(world), plant_of(world, writes=True)
    (step,) = compiled(reader, kind, target, parameters).steps
    before = world.save()
    with pytest.raises(Forbidden):
        apply_step(reader, step)
    undo, _ = prepare_undo(writer, step)
    assert world.save() == before, "a dry run wrote"
    apply_step(writer, step)
    if isinstance(step, PatchStep):
        held = writer.kube.get(step.ref)
        for path, (ours, _) in undo.fields.items():
            assert get_field(held, path) == ours
        assert undo_step(writer, undo) == ()
        for path, (_, old) in undo.fields.items():
            assert get_field(writer.kube.get(step.ref), path) == old
    else:
        assert world.save() != before
        assert undo.possible == (kind == "shed_load")
        undo_step(writer, undo)
        if undo.possible:
            assert world.state.op_shed_asked.max() == 0.0


@pytest.mark.parametrize(
    ("name", "wish", "decided"),
    [
        ("cart", {("spec", "replicas"): 4}, True),  # Nothing of ours, but what we decided upon is another.
        ("catalog", {("spec", "replicas"): 4}, False),  # That is its autoscaler's to say.
        ("catalog", {("spec", "paused"): True}, True),
    ],
)
def test_a_status_that_moved_is_no_conflict_and_another_wish_is_one(
    name: str, wish: dict[FieldPath, Any], decided: bool, world: World
) -> None:
    writer = plant_of(world, writes=True)
    (step,) = compiled(writer, "set_env", f"shop/{name}", {"name": "LOG", "value": "debug"}).steps
    assert isinstance(step, PatchStep)
    _, seen = prepare_undo(writer, step)
    row = world.blueprint.service_index[ServiceId(f"shop/{name}")]
    world.state.service_version[row] = world.state.new_version()  # As a controller does that writes a status.
    writer.kube.patch(step.ref, wish)
    with pytest.raises(Conflict) if decided else nullcontext():
        apply_step(writer, step, seen=seen)
    assert is_applied(writer, step) is not decided


def test_what_somebody_took_back_while_nobody_answered_is_not_written_again(world: World) -> None:
    """The object is as it was seen: only who sent the write knows that it may have been made."""
    writer = plant_of(world, writes=True)
    (step,) = compiled(writer, "set_env", "shop/cart", {"name": "LOG", "value": "debug"}).steps
    _, seen = prepare_undo(writer, step)
    kube = Mock(wraps=writer.kube)
    kube.patch.side_effect = Overtaken("cannot patch", "it was not answered", "look")
    plant = ComposedPlant(
        name="prod", kube=kube, ops=writer.ops, telemetry=writer.telemetry, clock=writer.clock, live=False
    )
    with pytest.raises(Overtaken):
        apply_step(plant, step, seen=seen)
    assert kube.patch.call_count == 1


def test_a_session_that_is_not_there_and_a_share_of_all_are_refused_by_the_plant(world: World) -> None:
    writer = plant_of(world, writes=True)
    (step,) = compiled(writer, "terminate_session", "shop/db", {"session": "s-2"}).steps
    with pytest.raises(Exception, match="no such session"):
        prepare_undo(writer, step)
    for ratio in (1.0, float("nan"), -0.1):
        with pytest.raises(BadInput):
            writer.ops.call("shed_load", {"service": "shop/web", "ratio": ratio})
    with pytest.raises(BadInput):
        writer.ops.call("rm -rf", {})
