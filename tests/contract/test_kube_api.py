"""What every KubeApi must do, errors included. A subclass supplies only the fixture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.small_shop import small_shop
from twin.change.apply import undo_step
from twin.change.compile import compile_change
from twin.change.evictions import pods_on
from twin.change.moves import Watch, make_move, moves_of
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports import KubeApi, Plant
from twin.ports.plant import KubeObject
from twin.spec.change import Action, Change
from twin.spec.errors import BadInput, Conflict, Forbidden, NotFound, TooManyRequests, Unprocessable
from twin.spec.fields import container_path, get_field
from twin.spec.gitops import is_suspended
from twin.spec.plan import ObjectRef, ref_of
from twin.spec.units import NS_PER_S

CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
SETTINGS = ObjectRef(kind="ConfigMap", name="settings", namespace="shop")
LEVEL = ("data", "LEVEL")
APPS = ObjectRef(kind="Kustomization", name="apps", namespace="shop")
SUSPEND = ("spec", "suspend")
QUOTA = ObjectRef(kind="ResourceQuota", name="all", namespace="shop")
PODS, CPU = ("spec", "hard", "pods"), ("spec", "hard", "requests.cpu")
BUDGET = ObjectRef(kind="PodDisruptionBudget", name="cart", namespace="shop")
REPLICAS = ("spec", "replicas")


class KubeApiContract:
    @pytest.fixture
    def api(self) -> KubeApi:
        raise NotImplementedError

    @pytest.fixture
    def reader(self) -> KubeApi:
        raise NotImplementedError

    def test_an_object_has_kubernetes_shape(self, api: KubeApi) -> None:
        cart = api.get(CART)
        assert (cart["apiVersion"], cart["kind"]) == ("apps/v1", "Deployment")
        assert cart["metadata"]["uid"]
        assert cart["spec"]["template"]["spec"]["containers"][0]["name"] == "cart"
        assert cart["status"]["readyReplicas"] == cart["spec"]["replicas"]

    def test_what_is_not_there_is_not_found(self, api: KubeApi) -> None:
        for ref in (
            ObjectRef(kind="Deployment", name="nobody", namespace="shop"),
            ObjectRef(kind="StatefulSet", name="cart", namespace="shop"),
            ObjectRef(kind="Pod", name="cart-0-99", namespace="shop"),
            ObjectRef(kind="Nonsense", name="cart", namespace="shop"),
        ):
            with pytest.raises(NotFound):
                api.get(ref)

    def test_a_write_bumps_the_version_and_a_stale_one_is_refused(self, api: KubeApi) -> None:
        seen = api.get(CART)["metadata"]["resourceVersion"]
        after = api.patch(CART, {REPLICAS: 4}, resource_version=seen)
        assert after["spec"]["replicas"] == 4
        assert after["metadata"]["resourceVersion"] != seen
        with pytest.raises(Conflict):
            api.patch(CART, {REPLICAS: 5}, resource_version=seen)
        assert api.get(CART)["spec"]["replicas"] == 4

    def test_a_dry_run_answers_and_changes_nothing(self, api: KubeApi) -> None:
        before = api.get(CART)
        told = api.patch(CART, {container_path("cart", "image"): "cart:v9"}, dry_run=True)
        assert get_field(told, container_path("cart", "image")) == "cart:v9"
        assert api.get(CART) == before
        with pytest.raises(Unprocessable):
            api.patch(CART, {REPLICAS: -1}, dry_run=True)

    @pytest.mark.parametrize(
        "fields",
        [
            {REPLICAS: -1},
            {REPLICAS: "many"},
            {("spec", "nonsense"): 1},
            {container_path("cart", "image"): ""},
            {container_path("cart", "resources", "limits", "memory"): "lots"},
            {REPLICAS: 5, ("spec", "nonsense"): 1},
        ],
    )
    def test_what_is_not_valid_is_refused_whole(self, api: KubeApi, fields: dict[tuple[str, ...], object]) -> None:
        before = api.get(CART)
        with pytest.raises(Unprocessable):
            api.patch(CART, fields)
        assert api.get(CART) == before

    def test_a_config_map_is_made_changed_and_refused_for_a_key_that_is_none(self, api: KubeApi) -> None:
        ref = ObjectRef(kind="ConfigMap", name="notes", namespace="twin-system")
        obj = {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ref.name, "namespace": ref.namespace},
            "data": {"one": "1"},
        }  # fmt: skip
        with pytest.raises(Unprocessable):
            api.create({**obj, "data": {"one/two": "1"}})
        api.create(obj)
        try:
            with pytest.raises(Conflict):
                api.create(obj)
            assert api.patch(ref, {("data", "two.three"): "2", ("data", "one"): None})["data"] == {"two.three": "2"}
            with pytest.raises(Unprocessable):
                api.patch(ref, {("data", "a b"): "2"})
        finally:
            api.delete(ref)
        with pytest.raises(NotFound):
            api.get(ref)

    def test_a_config_map_of_the_shop_is_changed_key_by_key(self, api: KubeApi) -> None:
        seen = api.get(SETTINGS)
        assert seen["data"] == {"LEVEL": "info"}
        after = api.patch(SETTINGS, {("data", "POOL"): "8"}, resource_version=seen["metadata"]["resourceVersion"])
        assert after["data"] == {"LEVEL": "info", "POOL": "8"}
        with pytest.raises(Conflict):
            api.patch(SETTINGS, {LEVEL: "debug"}, resource_version=seen["metadata"]["resourceVersion"])
        for wrong in ({("data", "a b"): "1"}, {LEVEL: 7}, {("nonsense",): "1"}):
            with pytest.raises(Unprocessable):
                api.patch(SETTINGS, wrong)
        assert api.patch(SETTINGS, {LEVEL: None})["data"] == {"POOL": "8"}

    def test_an_immutable_config_map_stays_as_it_is(self, api: KubeApi) -> None:
        ref = ObjectRef(kind="ConfigMap", name="frozen", namespace="shop")
        before = api.get(ref)
        assert before["immutable"] is True
        for fields in ({("data", "a"): "2"}, {("data", "b"): "1"}, {("data", "a"): None}, {("immutable",): False}):
            with pytest.raises(Unprocessable, match="immutable"):
                api.patch(ref, fields)
        assert api.get(ref) == before

    def test_a_changed_config_map_starts_nothing_anew(self, api: KubeApi) -> None:
        before = {pod["metadata"]["uid"] for pod in api.list_objects("Pod", "shop", {"app": "cart"})}
        api.patch(SETTINGS, {LEVEL: "debug"})
        api.patch(CART, {REPLICAS: 4})
        self.wait_until(lambda: count(api) == 4)
        assert before <= {pod["metadata"]["uid"] for pod in api.list_objects("Pod", "shop", {"app": "cart"})}

    def test_a_partition_keeps_so_many_pods_as_they_are(self, api: KubeApi) -> None:
        db = ObjectRef(kind="StatefulSet", name="db", namespace="shop")
        partition = ("spec", "updateStrategy", "rollingUpdate", "partition")

        def settled(updated: int) -> bool:
            status = api.get(db)["status"]
            return (status.get("updatedReplicas", 0), status.get("readyReplicas", 0)) == (updated, 3)

        api.patch(db, {REPLICAS: 3})
        self.wait_until(lambda: settled(3))
        for wrong in (-1, "many"):
            with pytest.raises(Unprocessable):
                api.patch(db, {partition: wrong})
        assert get_field(api.patch(db, {partition: 3}), partition) == 3
        api.patch(db, {container_path("db", "env", "[name=LOG]", "value"): "debug"})
        api.patch(db, {partition: 2})
        self.wait_until(lambda: settled(1))
        api.patch(db, {partition: 0})
        self.wait_until(lambda: settled(3))
        assert not get_field(api.get(db), partition)

    def test_a_lease_is_taken_once_at_each_version(self, api: KubeApi) -> None:
        ref = ObjectRef(kind="Lease", name="tried", namespace="twin-system")
        held = {"holderIdentity": "a", "leaseDurationSeconds": 60, "renewTime": "2026-01-02T03:04:05.000006Z"}
        obj = {
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": ref.name, "namespace": ref.namespace}, "spec": held,
        }  # fmt: skip
        with pytest.raises(Unprocessable):
            api.create({**obj, "spec": {**held, "leaseDurationSeconds": 0}})
        seen = api.create(obj)["metadata"]["resourceVersion"]
        with pytest.raises(Conflict):
            api.create(obj)
        after = api.patch(ref, {("spec", "holderIdentity"): "b"}, resource_version=seen)
        assert after["spec"] == {**held, "holderIdentity": "b"}
        with pytest.raises(Conflict):
            api.patch(ref, {("spec", "holderIdentity"): "c"}, resource_version=seen)
        for field, wrong in (("leaseDurationSeconds", -1), ("leaseTransitions", -1), ("nonsense", 1)):
            with pytest.raises(Unprocessable):
                api.patch(ref, {("spec", field): wrong})
        assert api.get(ref) == after  # A promoter has no right to delete one.

    def test_a_reader_may_look_and_dry_run_and_not_write(self, reader: KubeApi) -> None:
        reader.patch(CART, {REPLICAS: 4}, dry_run=True)
        for write in (
            lambda: reader.patch(CART, {REPLICAS: 4}),
            lambda: reader.patch(SETTINGS, {LEVEL: "debug"}),
            lambda: reader.patch(BUDGET, {("spec", "minAvailable"): 1}),
            lambda: reader.delete(ObjectRef(kind="Pod", name="x", namespace="shop")),
            lambda: reader.evict(ObjectRef(kind="Pod", name="x", namespace="shop")),
        ):
            with pytest.raises(Forbidden):
                write()

    def test_a_disruption_budget_says_not_now(self, api: KubeApi) -> None:
        pods = api.list_objects("Pod", "shop", {"app": "cart"})
        first, second = (ObjectRef(kind="Pod", name=p["metadata"]["name"], namespace="shop") for p in pods[:2])
        api.evict(first)  # Three ready, at least two wanted.
        with pytest.raises(TooManyRequests):
            api.evict(second)

    def test_a_budget_that_is_eased_lets_more_go(self, api: KubeApi) -> None:
        seen = api.get(BUDGET)["metadata"]["resourceVersion"]
        for wrong in (-1, "many"):
            with pytest.raises(Unprocessable):
                api.patch(BUDGET, {("spec", "minAvailable"): wrong})
        after = api.patch(BUDGET, {("spec", "minAvailable"): 1}, resource_version=seen)
        assert after["spec"]["minAvailable"] == 1
        with pytest.raises(Conflict):
            api.patch(BUDGET, {("spec", "minAvailable"): 0}, resource_version=seen)
        self.wait_until(lambda: api.get(BUDGET)["status"]["disruptionsAllowed"] == 2)
        pods = api.list_objects("Pod", "shop", {"app": "cart"})
        for pod in pods[:2]:
            api.evict(ObjectRef(kind="Pod", name=pod["metadata"]["name"], namespace="shop"))

    def test_an_autoscalers_range_is_set_and_refused_upside_down(self, api: KubeApi) -> None:
        scaler = ObjectRef(kind="HorizontalPodAutoscaler", name="catalog", namespace="shop")
        assert api.get(scaler)["spec"]["scaleTargetRef"]["name"] == "catalog"
        assert api.patch(scaler, {("spec", "maxReplicas"): 9})["spec"]["maxReplicas"] == 9
        for field, wrong in (("minReplicas", 10), ("maxReplicas", 0), ("nonsense", 1)):
            with pytest.raises(Unprocessable):
                api.patch(scaler, {("spec", field): wrong})
        assert api.get(scaler)["spec"]["minReplicas"] == 3

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Controllers take their time."""
        raise NotImplementedError

    def test_lists_are_in_order_and_filtered(self, api: KubeApi) -> None:
        names = [(o["metadata"]["namespace"], o["metadata"]["name"]) for o in api.list_objects("Deployment")]
        assert names == sorted(names)
        assert api.list_objects("Deployment", "elsewhere") == []
        assert {p["metadata"]["labels"]["app"] for p in api.list_objects("Pod", "shop", {"app": "cart"})} == {"cart"}

    def test_a_watch_tells_what_changed(self, api: KubeApi) -> None:
        version = api.get(CART)["metadata"]["resourceVersion"]
        newest = max(int(o["metadata"]["resourceVersion"]) for o in api.list_objects("Deployment"))
        api.patch(CART, {REPLICAS: 4})
        changed = {o["metadata"]["name"] for _, o in api.watch("Deployment", since_version=str(newest))}
        assert changed == {"cart"}, "once or more: controllers write down what they see"
        assert version


class NodeContract(KubeApiContract):
    """What a KubeApi whose nodes a test may have for itself must do besides."""

    @pytest.fixture
    def plant(self, api: KubeApi) -> Plant:
        """The API and a clock."""
        raise NotImplementedError

    def test_a_template_says_what_it_reads_and_a_variable_has_one_source(self, api: KubeApi) -> None:
        [container] = api.get(CART)["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"] == [{"configMapRef": {"name": "settings"}}]
        reference = {"name": "limits", "key": "pool", "optional": True}
        assert container["env"] == [{"name": "POOL", "valueFrom": {"configMapKeyRef": reference}}]
        with pytest.raises(Unprocessable):
            api.patch(CART, {container_path("cart", "env", "[name=POOL]", "value"): "8"})
        api.patch(CART, {container_path("cart", "env", "[name=LEVEL]", "value"): "debug"})

    def test_a_source_is_suspended_and_resumed(self, api: KubeApi) -> None:
        seen = api.get(APPS)
        assert seen["spec"] == {"interval": "3m", "suspend": False}
        after = api.patch(APPS, {SUSPEND: True}, resource_version=seen["metadata"]["resourceVersion"])
        assert after["spec"]["suspend"] is True
        assert [is_suspended(one) for one in api.list_objects("Kustomization", "shop")] == [True]
        with pytest.raises(Conflict):
            api.patch(APPS, {SUSPEND: False}, resource_version=seen["metadata"]["resourceVersion"])
        with pytest.raises(Unprocessable):
            api.patch(APPS, {SUSPEND: "perhaps"})
        assert api.patch(APPS, {SUSPEND: False})["spec"]["suspend"] is False

    def test_a_drain_empties_a_node_and_keeps_what_a_budget_keeps(self, api: KubeApi, plant: Plant) -> None:
        name = api.list_objects("Pod", "shop", {"app": "cart"})[0]["spec"]["nodeName"]
        node = ObjectRef(kind="Node", name=name)
        plan = compile_change(drain_of(name), api, at_s=plant.clock.now_s())
        ready: list[int] = []

        def look() -> None:
            ready.append(sum(is_ready(pod) for pod in api.list_objects("Pod", "shop", {"app": "cart"})))

        undos = []
        try:
            for move in moves_of(plan):
                if not isinstance(move, Watch):
                    undos.append(make_move(plant, plan, move, while_waiting=look))
            assert pods_on(api, node) == []
            assert min(ready) >= 2
            self.wait_until(lambda: all_ready(api))
            assert pods_on(api, node) == [], "a cordoned node was given a pod"
        finally:
            for undo in undos:
                if undo is not None:
                    assert undo_step(plant, undo) == ()
        assert not api.get(node)["spec"].get("unschedulable")

    def test_a_drain_that_a_budget_never_allows_is_no_plan(self, api: KubeApi, plant: Plant) -> None:
        name = api.list_objects("Pod", "shop", {"app": "cart"})[0]["spec"]["nodeName"]
        api.patch(BUDGET, {("spec", "minAvailable"): 3})
        with pytest.raises(BadInput, match="can never let one go"):
            compile_change(drain_of(name), api, at_s=plant.clock.now_s())

    def test_a_pod_without_a_node_is_no_business_of_a_budget(self, api: KubeApi, plant: Plant) -> None:
        nodes = [ObjectRef(kind="Node", name=node["metadata"]["name"]) for node in api.list_objects("Node")]
        api.patch(BUDGET, {("spec", "minAvailable"): 4})
        self.wait_until(lambda: api.get(BUDGET)["status"]["disruptionsAllowed"] == 0)
        try:
            for node in nodes:
                api.patch(node, {("spec", "unschedulable"): True})
            api.patch(CART, {REPLICAS: 4})

            def pending() -> list[KubeObject]:
                return [p for p in api.list_objects("Pod", "shop", {"app": "cart"}) if not p["spec"].get("nodeName")]

            self.wait_until(lambda: bool(pending()))
            [waiting] = pending()
            with pytest.raises(TooManyRequests):
                api.evict(next(ref_of(p) for p in api.list_objects("Pod", "shop", {"app": "cart"}) if is_ready(p)))
            api.evict(ref_of(waiting))
        finally:
            for node in nodes:
                api.patch(node, {("spec", "unschedulable"): False})

    def test_a_quota_tells_what_is_used_and_takes_amounts_only(self, api: KubeApi) -> None:
        seen = api.get(QUOTA)["metadata"]["resourceVersion"]
        self.wait_until(lambda: api.get(QUOTA)["status"]["used"] == {"pods": "13"})
        for wrong in (-1, "many", "1.5"):
            with pytest.raises(Unprocessable):
                api.patch(QUOTA, {PODS: wrong})
        after = api.patch(QUOTA, {PODS: 14, CPU: "6500m"})
        assert after["spec"]["hard"] == {"pods": "14", "requests.cpu": "6500m"}
        self.wait_until(lambda: api.get(QUOTA)["status"]["used"] == {"pods": "13", "requests.cpu": "6500m"})
        with pytest.raises(Conflict):
            api.patch(QUOTA, {PODS: 15}, resource_version=seen)
        assert api.patch(QUOTA, {CPU: None})["spec"]["hard"] == {"pods": "14"}

    def test_a_quota_lets_so_many_pods_be_made_and_the_rest_when_there_is_room(self, api: KubeApi) -> None:
        api.patch(QUOTA, {PODS: "15"})
        self.wait_until(lambda: api.get(QUOTA)["status"].get("hard") == {"pods": "15"})
        api.patch(CART, {REPLICAS: 6})
        self.wait_until(lambda: count(api) == 5 and "exceeded quota: all" in refusal(api))
        assert "requested: pods=1, used: pods=15, limited: pods=15" in refusal(api)
        api.patch(QUOTA, {PODS: "16"})
        self.wait_until(lambda: count(api) == 6 and not refusal(api))

    def test_a_quota_below_what_is_used_ends_nothing_and_lets_nothing_come_back(self, api: KubeApi) -> None:
        api.patch(QUOTA, {PODS: "10"})
        self.wait_until(lambda: api.get(QUOTA)["status"].get("hard") == {"pods": "10"})
        assert count(api) == 3
        api.evict(ref_of(api.list_objects("Pod", "shop", {"app": "cart"})[0]))
        self.wait_until(lambda: count(api) == 2 and "exceeded quota: all" in refusal(api))

    def test_a_roll_out_without_room_for_its_surge_stands_still(self, api: KubeApi) -> None:
        api.patch(QUOTA, {PODS: "13"})
        self.wait_until(lambda: api.get(QUOTA)["status"].get("hard") == {"pods": "13"})
        api.patch(CART, {container_path("cart", "image"): "cart:v2"})
        self.wait_until(lambda: "exceeded quota: all" in refusal(api))
        images = {pod["spec"]["containers"][0]["image"] for pod in api.list_objects("Pod", "shop", {"app": "cart"})}
        assert (images, count(api)) == ({"cart:v1"}, 3)

    def test_a_quota_of_limits_lets_no_pod_be_made_that_states_none(self, api: KubeApi) -> None:
        api.patch(QUOTA, {("spec", "hard", "limits.cpu"): "40"})
        self.wait_until(lambda: "limits.cpu" in api.get(QUOTA)["status"].get("hard", {}))
        api.patch(CART, {REPLICAS: 4})
        self.wait_until(lambda: "failed quota: all: must specify limits.cpu" in refusal(api))
        assert count(api) == 3
        api.patch(CART, {container_path("cart", "resources", "limits", "cpu"): "1"})
        self.wait_until(lambda: count(api) == 4 and not refusal(api))


def count(api: KubeApi) -> int:
    """Pods of the cart that are there to stay."""
    pods = api.list_objects("Pod", "shop", {"app": "cart"})
    return sum(not pod["metadata"].get("deletionTimestamp") for pod in pods)


def refusal(api: KubeApi) -> str:
    """Why no more pods of the cart are made, as its Deployment says it."""
    conditions = api.get(CART)["status"].get("conditions", ())
    return next((one["message"] for one in conditions if one["type"] == "ReplicaFailure"), "")


def drain_of(node: str) -> Change:
    action = Action(kind="drain", target=node, parameters={"at_once": 2.0})
    return Change(actions=(action,), reason="a test", requester="me")


def is_ready(pod: KubeObject) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    gone = bool(pod["metadata"].get("deletionTimestamp"))
    return not gone and any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def all_ready(api: KubeApi) -> bool:
    found = [obj for kind in ("Deployment", "StatefulSet") for obj in api.list_objects(kind, "shop")]
    return all(obj["status"].get("readyReplicas", 0) == obj["spec"]["replicas"] for obj in found)


class TestWorldKubeApi(NodeContract):
    @pytest.fixture
    def world(self) -> World:
        world = World.build(small_shop(), seed=1)
        world.run(30 * NS_PER_S)
        return world

    @pytest.fixture
    def api(self, world: World) -> KubeApi:
        return plant_of(world, writes=True).kube

    @pytest.fixture
    def reader(self, world: World) -> KubeApi:
        return plant_of(world).kube

    @pytest.fixture
    def plant(self, world: World) -> Plant:
        return plant_of(world, writes=True)

    @pytest.mark.parametrize(("least", "may_go"), [(2, True), (3, False)])
    def test_a_pod_that_is_not_ready_goes_if_its_budget_has_enough_without_it(
        self, api: KubeApi, world: World, least: int, may_go: bool
    ) -> None:
        """unhealthyPodEvictionPolicy, by default IfHealthyBudget."""
        api.patch(BUDGET, {("spec", "minAvailable"): least})
        world.state.pod_ready[int(np.flatnonzero(world.state.pod_service == 1)[0])] = False
        unready = next(p for p in api.list_objects("Pod", "shop", {"app": "cart"}) if not is_ready(p))
        if may_go:
            api.evict(ref_of(unready))
            api.evict(ref_of(unready))  # It is going already: nothing more to ask.
        else:
            with pytest.raises(TooManyRequests):
                api.evict(ref_of(unready))

    @pytest.fixture(autouse=True)
    def _clock(self, world: World) -> None:
        self._world = world

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Its controllers are there at once, and take the time that theirs take."""
        end_ns = self._world.now_ns + 60 * NS_PER_S
        while not holds():
            assert self._world.now_ns < end_ns
            self._world.run_for(NS_PER_S)
