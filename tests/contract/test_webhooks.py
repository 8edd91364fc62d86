"""Webhooks that are away, on a World and on a real API server: what is refused, in which words, and what passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.clusters.control_plane import ADMIN, OBSERVER, PROMOTER, ControlPlane
from tests.clusters.roles import apply_roles
from tests.clusters.shop import await_that, lay_out_shop
from tests.small_shop import small_shop
from twin.change.compile import compile_change
from twin.change.webhooks import refuse_unanswered
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.kube import connect
from twin.ports import KubeApi
from twin.spec.change import Action, Change
from twin.spec.errors import ApiError, PolicyDenied
from twin.spec.fields import FieldPath
from twin.spec.fleet import Fleet
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef
from twin.spec.units import NS_PER_S
from twin.spec.webhooks import Webhook, WebhookRule

CART: Final = ObjectRef(kind="Deployment", name="cart", namespace="shop")
BUDGET: Final = ObjectRef(kind="PodDisruptionBudget", name="cart", namespace="shop")
SETTINGS: Final = ObjectRef(kind="ConfigMap", name="settings", namespace="shop")
QUOTA: Final = ObjectRef(kind="ResourceQuota", name="all", namespace="shop")
CONFIGURATION: Final = ObjectRef(kind="ValidatingWebhookConfiguration", name="guard")


def hook(group: str, plural: str, *, fails_closed: bool = True, **more: Any) -> Webhook:
    return Webhook(
        configuration="guard", name=f"{plural}.guard.twin.test", service=ServiceId("shop/web"),
        rules=(WebhookRule(groups=(group,), resources=(plural,), operations=("CREATE", "UPDATE")),),
        fails_closed=fails_closed, **{"namespaces": ("shop",), **more},
    )  # fmt: skip


HOOKS: Final = (
    hook("apps", "deployments"),
    hook("policy", "poddisruptionbudgets", fails_closed=False),
    hook("", "configmaps", namespaces=("elsewhere",)),
)


def guarded(*webhooks: Webhook, replicas: int = 0) -> Fleet:
    """The shop with webhooks that its web answers, with so many pods."""
    fleet = small_shop()
    services = [dataclasses.replace(s, replicas=replicas) if s.name == "web" else s for s in fleet.services]
    return dataclasses.replace(fleet, services=tuple(services), webhooks=webhooks or HOOKS)


def world_of(fleet: Fleet) -> World:
    world = World.build(fleet, seed=1)
    world.run(30 * NS_PER_S)
    return world


class WebhookContract:
    @pytest.fixture
    def api(self) -> KubeApi:
        raise NotImplementedError

    @pytest.fixture
    def reader(self) -> KubeApi:
        raise NotImplementedError

    @pytest.mark.parametrize("dry_run", [False, True])
    def test_one_that_fails_closed_refuses_what_it_would_be_asked_about(self, api: KubeApi, dry_run: bool) -> None:
        before = api.get(CART)["spec"]
        with pytest.raises(ApiError) as refused:
            api.patch(CART, {("spec", "replicas"): 4}, dry_run=dry_run)
        assert refused.value.status == 500
        words = 'Internal error occurred: failed calling webhook "deployments.guard.twin.test": failed to call webhook'
        assert refused.value.why.startswith(words)
        assert "https://web.shop.svc:443/" in refused.value.why
        assert api.get(CART)["spec"] == before

    def test_one_that_fails_open_one_for_other_namespaces_and_none_let_it_pass(self, api: KubeApi) -> None:
        writes: list[tuple[ObjectRef, FieldPath, object]] = [
            (BUDGET, ("spec", "minAvailable"), 1),
            (SETTINGS, ("data", "LEVEL"), "debug"),
            (QUOTA, ("spec", "hard", "pods"), "50"),
        ]
        for ref, path, value in writes:
            api.patch(ref, {path: value})

    def test_they_are_shown_as_they_were_made(self, reader: KubeApi) -> None:
        shown = reader.get(CONFIGURATION)["webhooks"]
        assert [(one["name"], one["failurePolicy"]) for one in shown] == [
            ("deployments.guard.twin.test", "Fail"),
            ("poddisruptionbudgets.guard.twin.test", "Ignore"),
            ("configmaps.guard.twin.test", "Fail"),
        ]
        assert shown[0]["rules"][0]["resources"] == ["deployments"]
        assert "guard" in {obj["metadata"]["name"] for obj in reader.list_objects(CONFIGURATION.kind)}

    def test_a_fix_whose_own_write_waits_for_who_is_away_is_no_fix(self, reader: KubeApi) -> None:
        """A deadlock: the web is to be rolled out, and answers for Deployments itself."""
        for target in ("shop/web", "shop/cart"):
            action = Action(kind="set_image", target=target, parameters={"image": "web:v0"})
            plan = compile_change(Change(actions=(action,), reason="t", requester="me"), reader, at_s=0.0)
            with pytest.raises(PolicyDenied, match=r"failed calling webhook .*web\.shop\.svc"):
                refuse_unanswered(reader, plan)
        harmless = Action(kind="set_pdb", target="shop/cart", parameters={"min_available": 1.0})
        change = Change(actions=(harmless,), reason="t", requester="me")
        refuse_unanswered(reader, compile_change(change, reader, at_s=0.0))


class TestWorldWebhooks(WebhookContract):
    @pytest.fixture
    def world(self) -> World:
        return world_of(guarded())

    @pytest.fixture
    def api(self, world: World) -> KubeApi:
        return plant_of(world, writes=True).kube

    @pytest.fixture
    def reader(self, world: World) -> KubeApi:
        return plant_of(world).kube


@pytest.mark.real
@pytest.mark.xdist_group("control-plane")
class TestLiveWebhooks(WebhookContract):
    """No Service is called web there: the API server finds nobody to ask."""

    @pytest.fixture
    def plane(self, kubernetes: ControlPlane) -> Iterator[ControlPlane]:
        apply_roles(kubernetes.kubeconfig(ADMIN))
        admin = connect(kubeconfig=kubernetes.kubeconfig(ADMIN))
        lay_out_shop(admin)
        shown = plant_of(world_of(guarded())).kube.get(CONFIGURATION)
        admin.create({**shown, "metadata": {"name": shown["metadata"]["name"]}})

        def is_asked() -> bool:
            try:
                admin.patch(CART, {("spec", "paused"): True}, dry_run=True)
            except ApiError:
                return True
            return False

        try:
            await_that("the webhook is asked", is_asked, patience_s=15.0)
            yield kubernetes
        finally:
            admin.delete(CONFIGURATION)

    @pytest.fixture
    def api(self, plane: ControlPlane) -> KubeApi:
        return connect(kubeconfig=plane.kubeconfig(PROMOTER))

    @pytest.fixture
    def reader(self, plane: ControlPlane) -> KubeApi:
        return connect(kubeconfig=plane.kubeconfig(OBSERVER))
