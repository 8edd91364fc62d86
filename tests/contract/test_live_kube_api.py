"""The same contract on a real API server, with real controllers, scheduler and admission; pods by KWOK."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from tests.clusters.control_plane import ADMIN, OBSERVER, PROMOTER, ControlPlane
from tests.clusters.roles import apply_roles
from tests.clusters.shop import await_that, lay_out_shop
from tests.contract.test_kube_api import CART, REPLICAS, NodeContract
from twin.kube import LiveKubeApi, connect
from twin.ports import KubeApi, Plant
from twin.spec.errors import Forbidden, Unprocessable
from twin.spec.fields import container_path, get_field
from twin.spec.plan import ObjectRef


@pytest.fixture(scope="session")
def roles(kubernetes: ControlPlane) -> ControlPlane:
    """The cluster with deploy/rbac applied, and its admission policy at work."""
    apply_roles(kubernetes.kubeconfig(ADMIN))
    return kubernetes


@pytest.fixture
def admin(roles: ControlPlane) -> LiveKubeApi:
    api = connect(kubeconfig=roles.kubeconfig(ADMIN))
    lay_out_shop(api)
    return api


@pytest.mark.real
@pytest.mark.xdist_group("control-plane")
@pytest.mark.requirement("R13")
class TestLiveKubeApi(NodeContract):
    """As the identities that deploy/rbac makes, not as an administrator."""

    @pytest.fixture
    def api(self, admin: LiveKubeApi, roles: ControlPlane) -> KubeApi:
        return connect(kubeconfig=roles.kubeconfig(PROMOTER))

    @pytest.fixture
    def reader(self, admin: LiveKubeApi, roles: ControlPlane) -> KubeApi:
        reader = connect(kubeconfig=roles.kubeconfig(OBSERVER))

        def is_refused() -> bool:
            try:
                reader.patch(CART, {REPLICAS: 3})
            except Forbidden:
                return True
            return False

        await_that("the admission policy bites", is_refused)
        return reader

    @pytest.fixture
    def plant(self, api: KubeApi) -> Plant:
        clock = SimpleNamespace(now_s=time.monotonic, sleep=time.sleep)
        return cast(Plant, SimpleNamespace(kube=api, clock=clock))

    def wait_until(self, holds: Callable[[], bool]) -> None:
        await_that("the controllers have seen it", holds)

    def test_an_environment_variable_is_set_and_taken_away_beside_the_others(self, api: KubeApi) -> None:
        one, other = (container_path("cart", "env", f"[name={name}]", "value") for name in ("ONE", "OTHER"))
        api.patch(CART, {one: "1", other: "2"})
        after = api.patch(CART, {one: None})
        assert get_field(after, other) == "2"
        env = after["spec"]["template"]["spec"]["containers"][0]["env"]
        assert [one for one in env if "value" in one] == [{"name": "OTHER", "value": "2"}]

    def test_a_container_that_is_not_there_is_not_made(self, api: KubeApi) -> None:
        with pytest.raises(Unprocessable):
            api.patch(CART, {container_path("nobody", "image"): "x:1"})

    def test_a_roll_out_comes_to_its_end(self, api: KubeApi) -> None:
        api.patch(CART, {container_path("cart", "image"): "cart:v2"})

        def is_through() -> bool:
            pods = api.list_objects("Pod", "shop", {"app": "cart"})
            return {p["spec"]["containers"][0]["image"] for p in pods} == {"cart:v2"} and len(pods) == 3

        await_that("every pod is of the new build", is_through)

    def test_the_promoter_may_not_do_what_no_change_does(self, api: KubeApi) -> None:
        for write in (
            lambda: api.delete(CART),
            lambda: api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}),
            lambda: api.delete(ObjectRef(kind="Node", name="fake-0")),
        ):
            with pytest.raises(Forbidden):
                write()
