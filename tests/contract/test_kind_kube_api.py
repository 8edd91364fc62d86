"""The same contract on a kind cluster: pods that run, a kubelet that probes them, a network between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clusters.control_plane import OBSERVER, PROMOTER
from tests.clusters.roles import apply_roles
from tests.clusters.shadow import NAME, kubeconfig_of
from tests.clusters.shop import await_that
from tests.contract.test_kube_api import CART, REPLICAS, KubeApiContract
from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.kube import connect
from twin.kube.pool import ShadowPool
from twin.kube.shadow import KubeShadow
from twin.kube.snapshot import take_snapshot
from twin.ports import KubeApi
from twin.ports.shadow import Conduct
from twin.spec.errors import Forbidden
from twin.spec.fields import container_path

_CRASHES = Conduct(env=("CRASH", "1"), crash_after_s=1.0)
pytestmark = [pytest.mark.real, pytest.mark.kind]


@pytest.fixture(scope="module")
def shop(shadows: ShadowPool) -> Iterator[KubeShadow]:
    """The small shop on the cluster, played by stand-ins, and deploy/rbac applied."""
    apply_roles(shadows.records()[0].kubeconfig)
    with shadows.borrow(NAME) as shadow:
        snapshot = take_snapshot(plant_of(World.build(small_shop(), seed=1)).kube, ["shop"], source="a World")
        shadow.load_snapshot(snapshot, small_shop())
        yield shadow


@pytest.mark.requirement("R13")
class TestKindKubeApi(KubeApiContract):
    """As the identities that deploy/rbac makes, by certificates that the cluster signed."""

    @pytest.fixture
    def api(self, shop: KubeShadow, shadows: ShadowPool, tmp_path: Path) -> KubeApi:
        shop.reset()
        return connect(kubeconfig=kubeconfig_of(PROMOTER, admin=shadows.records()[0].kubeconfig, folder=tmp_path))

    @pytest.fixture
    def reader(self, shop: KubeShadow, shadows: ShadowPool, tmp_path: Path) -> KubeApi:
        shop.reset()
        reader = connect(kubeconfig=kubeconfig_of(OBSERVER, admin=shadows.records()[0].kubeconfig, folder=tmp_path))

        def is_refused() -> bool:
            try:
                reader.patch(CART, {REPLICAS: 3})
            except Forbidden:
                return True
            return False

        await_that("the admission policy bites", is_refused)
        return reader

    def wait_until(self, holds: Callable[[], bool]) -> None:
        await_that("the controllers have seen it", holds)

    def test_a_pod_that_crashes_is_started_again_and_says_why(self, api: KubeApi, shop: KubeShadow) -> None:
        api.patch(CART, {container_path("cart", "env", "[name=CRASH]", "value"): "1"})
        shop.conduct(small_shop().services[1].id, [_CRASHES])

        def has_crashed() -> bool:
            pods = api.list_objects("Pod", "shop", {"app": "cart"})
            statuses = [one for pod in pods for one in pod["status"].get("containerStatuses", ())]
            return any(one["lastState"].get("terminated", {}).get("exitCode") == 3 for one in statuses)

        await_that("a container has ended by itself", has_crashed)
