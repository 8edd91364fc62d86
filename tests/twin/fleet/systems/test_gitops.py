"""What others write to a workload that a source keeps is put back at its interval, unless the source is suspended."""

from __future__ import annotations

import dataclasses

import pytest

from chaos.catalogue import compile_fault
from tests.small_shop import small_shop
from twin.change.apply import apply_step, prepare_undo, undo_order, undo_step
from twin.change.compile import compile_change
from twin.change.owners import refuse_reverted
from twin.fit.observe import observe
from twin.fit.since import amendments_since
from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.world import World
from twin.gate.receipts import approvals_needed
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Change, Reversibility
from twin.spec.errors import BadInput, NotFound, PolicyDenied
from twin.spec.fault import parse_fault
from twin.spec.fields import container_path
from twin.spec.gitops import GitOps, GitOpsKind, is_suspended, source_of
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef
from twin.spec.units import NS_PER_S

CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
IMAGE = container_path("cart", "image")
REPLICAS = ("spec", "replicas")
SOURCES = {
    "flux:flux-system/shop": ObjectRef(kind="Kustomization", name="shop", namespace="flux-system"),
    "argocd:shop": ObjectRef(kind="Application", name="shop", namespace="argocd"),
}
BOTH_KINDS = pytest.mark.parametrize("owner", SOURCES)


def kept(owner: str, *, declared: tuple[GitOps, ...] = ()) -> tuple[World, KubeApi]:
    """The shop, with a cart that is somebody's."""
    fleet = small_shop()
    services = [dataclasses.replace(s, owner=owner) if s.name == "cart" else s for s in fleet.services]
    world = World.build(dataclasses.replace(fleet, services=tuple(services), gitops=declared), seed=1)
    world.run(30 * NS_PER_S)
    return world, plant_of(world, writes=True).kube


def cart(kube: KubeApi) -> tuple[str, int]:
    spec = kube.get(CART)["spec"]
    return spec["template"]["spec"]["containers"][0]["image"], spec["replicas"]


def change(*actions: Action) -> Change:
    return Change(actions=actions, reason="a test", requester="me")


def suspension(owner: str) -> Action:
    ref = SOURCES[owner]
    return Action(kind="suspend_gitops", target=f"{ref.namespace}/{ref.name}")


FIX = Action(kind="set_image", target="shop/cart", parameters={"image": "cart:v2"})


@BOTH_KINDS
def test_a_write_is_put_back_within_three_minutes(owner: str) -> None:
    world, kube = kept(owner)
    kube.patch(CART, {IMAGE: "cart:v2", REPLICAS: 5})
    world.run(180 * NS_PER_S)
    assert cart(kube) == ("cart:v2", 5)
    world.run_for(NS_PER_S)
    assert cart(kube) == ("cart:v1", 3)
    assert any(owner in signal.text for _, signal in world.state.signals)


@BOTH_KINDS
def test_one_that_is_suspended_leaves_it_and_puts_it_back_when_it_is_resumed(owner: str) -> None:
    world, kube = kept(owner)
    plant = plant_of(world, writes=True)
    (step,) = compile_change(change(suspension(owner)), kube, at_s=0.0).steps
    undo, _ = prepare_undo(plant, step)
    apply_step(plant, step)
    assert is_suspended(kube.get(SOURCES[owner]))
    kube.patch(CART, {IMAGE: "cart:v2"})
    world.run_for(600 * NS_PER_S)
    assert cart(kube) == ("cart:v2", 3)
    assert undo_step(plant, undo) == ()
    assert not is_suspended(kube.get(SOURCES[owner]))
    world.run_for(NS_PER_S)
    assert cart(kube) == ("cart:v1", 3)


@BOTH_KINDS
def test_a_fix_is_refused_alone_and_taken_after_the_suspension(owner: str) -> None:
    world, kube = kept(owner)
    with pytest.raises(PolicyDenied, match="would put it back") as refused:
        refuse_reverted(kube, compile_change(change(FIX), kube, at_s=0.0))
    assert f"suspend_gitops {suspension(owner).target}" in refused.value.next_step
    with pytest.raises(PolicyDenied):  # Too late: it may be put back in between.
        refuse_reverted(kube, compile_change(change(FIX, suspension(owner)), kube, at_s=0.0))
    refuse_reverted(kube, compile_change(change(suspension(owner), FIX), kube, at_s=0.0))
    resumed = dataclasses.replace(suspension(owner), parameters={"suspended": 0.0})
    for step in compile_change(change(suspension(owner)), kube, at_s=0.0).steps:
        apply_step(plant_of(world, writes=True), step)
    refuse_reverted(kube, compile_change(change(FIX), kube, at_s=0.0))
    with pytest.raises(PolicyDenied):
        refuse_reverted(kube, compile_change(change(resumed, FIX), kube, at_s=0.0))


def test_a_suspension_with_the_fix_is_undone_whole() -> None:
    owner = "flux:flux-system/shop"
    world, kube = kept(owner)
    plant = plant_of(world, writes=True)
    undos = []
    for step in compile_change(change(suspension(owner), FIX), kube, at_s=0.0).steps:
        undo, _ = prepare_undo(plant, step)
        undos.append(undo)
        apply_step(plant, step)
    world.run_for(300 * NS_PER_S)
    assert cart(kube) == ("cart:v2", 3)
    for undo in undo_order(undos):
        assert undo_step(plant, undo) == ()
    assert (cart(kube), is_suspended(kube.get(SOURCES[owner]))) == (("cart:v1", 3), False)


def test_what_the_source_does_not_say_is_left_alone() -> None:
    world, kube = kept("flux:flux-system/shop")
    extra = container_path("cart", "env", "[name=EXTRA]", "value")
    again = ("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")
    kube.patch(CART, {extra: "1", again: "now", ("spec", "paused"): True})
    before = kube.get(CART)["spec"]
    world.run_for(400 * NS_PER_S)
    assert kube.get(CART)["spec"] == before


def test_what_owners_roll_out_they_write_at_the_source() -> None:
    world, kube = kept("flux:flux-system/shop")
    fault = parse_fault("bad_rollout(shop/cart, image=cart:v9, ratio=0.5)")
    world.inject(compile_fault(fault, world.fleet, start_ns=world.now_ns))
    world.run_for(400 * NS_PER_S)
    assert cart(kube) == ("cart:v9", 3)
    kube.patch(CART, {IMAGE: "cart:v1"})
    world.run_for(200 * NS_PER_S)
    assert cart(kube) == ("cart:v9", 3)


def test_its_interval_and_whether_it_is_suspended_are_declared() -> None:
    source = GitOps(kind=GitOpsKind.FLUX, namespace="flux-system", name="shop", interval_s=60.0)
    world, kube = kept(source.owner, declared=(source,))
    kube.patch(CART, {REPLICAS: 5})
    world.run(61 * NS_PER_S)
    assert cart(kube) == ("cart:v1", 3)
    world, kube = kept(source.owner, declared=(dataclasses.replace(source, suspended=True),))
    refuse_reverted(kube, compile_change(change(FIX), kube, at_s=0.0))
    kube.patch(CART, {REPLICAS: 5})
    world.run(400 * NS_PER_S)
    assert cart(kube) == ("cart:v1", 5)


@BOTH_KINDS
def test_a_twin_has_the_owner_its_source_and_its_suspension(owner: str) -> None:
    world, kube = kept(owner)
    world.run(400 * NS_PER_S)
    plant: WorldPlant = plant_of(world)
    twin = observe(plant)
    assert twin.service(ServiceId("shop/cart")).owner == owner
    assert twin.gitops == (source_of(owner),)
    for step in compile_change(change(suspension(owner)), kube, at_s=0.0).steps:
        apply_step(plant_of(world, writes=True), step)
    (amendment,) = amendments_since(twin, plant, float(twin.epoch_s))
    played = plant_of(World.build(twin, seed=1), writes=True).kube
    played.patch(amendment.ref, amendment.fields)
    assert is_suspended(played.get(SOURCES[owner]))
    assert observe(plant).gitops[0].suspended


def test_it_is_saved_and_goes_on() -> None:
    world, kube = kept("argocd:shop")
    kube.patch(CART, {IMAGE: "cart:v2"})
    other = World.restore(world.save())
    for one in (world, other):
        one.run(200 * NS_PER_S)
    assert other.save() == world.save()


def test_a_suspension_wants_an_approval() -> None:
    assert approvals_needed(change(FIX), Reversibility.REVERSIBLE) == 0
    assert approvals_needed(change(suspension("argocd:shop"), FIX), Reversibility.REVERSIBLE) == 1


def test_what_is_no_plan() -> None:
    _, kube = kept("argocd:shop")
    with pytest.raises(BadInput, match="namespace/name"):
        compile_change(change(Action(kind="suspend_gitops", target="shop")), kube, at_s=0.0)
    with pytest.raises(NotFound, match="no such Kustomization or Application"):
        compile_change(change(Action(kind="suspend_gitops", target="shop/nobody")), kube, at_s=0.0)
