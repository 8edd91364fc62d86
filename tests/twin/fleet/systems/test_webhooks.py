"""Webhooks of a World: who answers, and what becomes of pods and promotions while nobody does."""

from __future__ import annotations

import dataclasses

import pytest

import policies
from tests.contract.test_webhooks import CART, guarded, hook, world_of
from twin.fit.observe import observe
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.gate import Gate, Settings
from twin.ports.plant import KubeApi
from twin.ports.services import VerifyRequest
from twin.spec.change import Action, Change
from twin.spec.errors import ApiError
from twin.spec.fields import container_path
from twin.spec.ids import ServiceId
from twin.spec.incident import Incident
from twin.spec.plan import ObjectRef, ref_of
from twin.spec.units import NS_PER_S
from twin.spec.verdict import Outcome
from twin.spec.webhooks import WebhookRule

WEB = ObjectRef(kind="Deployment", name="web", namespace="shop")
REPLICAS = ("spec", "replicas")
PODS = hook("", "pods")


def pods(kube: KubeApi, name: str) -> int:
    return len(kube.list_objects("Pod", "shop", {"app": name}))


def refusal(kube: KubeApi, ref: ObjectRef) -> str:
    return "".join(one["message"] for one in kube.get(ref)["status"].get("conditions", ()))


def test_one_that_is_answered_and_one_that_is_answered_outside_let_everything_pass() -> None:
    for fleet in (guarded(replicas=2), guarded(hook("apps", "deployments"), replicas=2)):
        plant_of(world_of(fleet), writes=True).kube.patch(CART, {REPLICAS: 4})
    outside = dataclasses.replace(hook("apps", "deployments"), service=ServiceId(""))
    plant_of(world_of(guarded(outside)), writes=True).kube.patch(CART, {REPLICAS: 4})


def test_no_pod_is_made_while_nobody_answers_for_pods_and_all_are_afterwards() -> None:
    world = world_of(guarded(PODS, replicas=1))
    kube = plant_of(world, writes=True).kube
    kube.patch(WEB, {REPLICAS: 0})
    world.run_for(10 * NS_PER_S)
    kube.patch(CART, {REPLICAS: 5})
    world.run_for(20 * NS_PER_S)
    assert pods(kube, "cart") == 3
    assert 'failed calling webhook "pods.guard.twin.test"' in refusal(kube, CART)
    assert any(s.reason == "FailedCreate" and "pods.guard" in s.text for _, s in world.state.signals)
    kube.patch(WEB, {REPLICAS: 1})
    world.run_for(600 * NS_PER_S)
    assert pods(kube, "cart") == 3, "a deadlock: the pod that would answer has to be asked about"
    assert pods(kube, "web") == 0


def test_a_namespace_that_nobody_asks_about_has_its_pods() -> None:
    world = world_of(guarded(dataclasses.replace(PODS, namespaces=("elsewhere",)), replicas=0))
    kube = plant_of(world, writes=True).kube
    kube.patch(CART, {REPLICAS: 5})
    world.run_for(20 * NS_PER_S)
    assert pods(kube, "cart") == 5


def test_an_eviction_and_a_deletion_are_asked_about_under_their_own_names() -> None:
    rules = {"pods/eviction": "CREATE", "pods": "DELETE"}
    for resource, operation in rules.items():
        rule = WebhookRule(groups=("",), resources=(resource,), operations=(operation,))
        kube = plant_of(world_of(guarded(dataclasses.replace(PODS, rules=(rule,)))), writes=True).kube
        pod = ref_of(kube.list_objects("Pod", "shop", {"app": "cart"})[0])
        refused, passes = (kube.evict, kube.delete) if operation == "CREATE" else (kube.delete, kube.evict)
        with pytest.raises(ApiError, match="failed calling webhook"):
            refused(pod)
        passes(pod)


@pytest.mark.parametrize(
    ("groups", "resources", "operations", "asked"),
    [
        (["apps"], ["deployments"], ["UPDATE"], True),
        (["*"], ["*"], ["*"], True),
        (["apps"], ["deployments/scale"], ["*"], False),
        (["apps"], ["statefulsets"], ["*"], False),
        ([""], ["deployments"], ["*"], False),
        (["apps"], ["deployments"], ["CREATE", "DELETE"], False),
        (["apps"], ["*/*"], ["UPDATE"], True),
    ],
)
def test_rules_match_as_kubernetes_matches(
    groups: list[str], resources: list[str], operations: list[str], asked: bool
) -> None:
    rule = WebhookRule(groups=tuple(groups), resources=tuple(resources), operations=tuple(operations))
    assert rule.matches("apps", "deployments", "UPDATE") is asked


def test_the_gate_says_at_its_first_stage_that_a_fix_waits_for_what_is_broken() -> None:
    world = world_of(guarded())
    plant = plant_of(world)
    fix = Change(
        actions=(Action(kind="set_image", target="shop/web", parameters={"image": "web:v0"}),),
        reason="r",
        requester="a",
    )
    gate = Gate(world.fleet, plant, policies.load(), settings=Settings(fleet=False))
    incident = Incident(id="1", title="t", onset_s=0.0, symptoms=())
    (judged,) = gate.verify(VerifyRequest(incident=incident, hypotheses=(), candidates=(fix,))).judged
    assert judged.verdict.outcome is Outcome.REJECTED
    assert 'failed calling webhook "deployments.guard.twin.test"' in judged.verdict.reason


def test_a_twin_has_the_webhooks_and_who_answers_them() -> None:
    world = world_of(guarded(replicas=2))
    world.run(400 * NS_PER_S)
    twin = observe(plant_of(world))
    shown = [dataclasses.replace(one, namespaces=None) for one in twin.webhooks]
    assert shown == [dataclasses.replace(one, namespaces=None) for one in world.fleet.webhooks]
    assert [one.namespaces for one in twin.webhooks] == [("shop",), ("shop",), ()]  # of the twin's own
    kube = plant_of(World.build(twin, seed=1), writes=True).kube
    kube.patch(CART, {container_path("cart", "image"): "cart:v2"})
