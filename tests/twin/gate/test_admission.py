"""Stage 5 on an API that a test plays: what it asks, and what it makes of the answers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest

from twin.gate.admission import try_admission
from twin.ports.plant import KubeObject
from twin.spec.change import Action, Change, Reversibility, Strategy
from twin.spec.errors import ApiError, Forbidden, Unprocessable
from twin.spec.plan import ObjectRef, OpsStep, PatchStep, Plan
from twin.spec.verdict import StageVerdict

CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
TEMPLATE = {
    "metadata": {"labels": {"app": "cart"}},
    "spec": {"containers": [{"name": "cart", "image": "cart:v1", "resources": {"requests": {"cpu": "500m"}}}]},
}


class Api:
    """One Deployment, one node, and whatever else a test says. Fails the test if anything is really written."""

    def __init__(
        self, *, quota: Mapping[str, Any] | None = None, node_cpu: str = "8", pod: ApiError | None = None
    ) -> None:
        self.workload: KubeObject = {
            "kind": "Deployment", "metadata": {"name": "cart", "namespace": "shop"},
            "spec": {"replicas": 4, "template": copy.deepcopy(TEMPLATE)},
        }  # fmt: skip
        self.quota, self.node_cpu, self.pod_error = quota, node_cpu, pod
        self.patch_error: ApiError | None = None
        self.pods_asked = 0

    def get(self, ref: ObjectRef) -> KubeObject:
        return copy.deepcopy(self.workload)

    def list_objects(self, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[KubeObject]:
        if kind == "ResourceQuota":
            return [dict(self.quota)] if self.quota else []
        if kind == "Node":
            ready = [{"type": "Ready", "status": "True"}]
            status = {"allocatable": {"cpu": self.node_cpu, "memory": "64Gi"}, "conditions": ready}
            return [{"metadata": {"name": "a"}, "spec": {}, "status": status}]
        return []

    def patch(
        self, ref: ObjectRef, fields: Mapping[tuple[str, ...], Any], *, dry_run: bool = False, **_: Any
    ) -> KubeObject:
        assert dry_run
        if self.patch_error:
            raise self.patch_error
        after = copy.deepcopy(self.workload)
        for path, value in fields.items():
            place = after
            for part in path[:-1]:
                place = place["spec"]["containers"][0] if part == "[0]" else place[part]
            place[path[-1]] = value
        return after

    def create(self, obj: KubeObject, *, dry_run: bool = False) -> KubeObject:
        assert dry_run
        assert obj["kind"] == "Pod"
        self.pods_asked += 1
        if self.pod_error:
            raise self.pod_error
        return obj


def verdict(api: Api, fields: Mapping[tuple[str, ...], Any]) -> tuple[StageVerdict, str]:
    change = Change(actions=(Action(kind="scale", target="shop/cart"),), reason="r", requester="ana")
    plan = Plan(
        change=change, steps=(PatchStep(ref=CART, fields=fields),), reads=(CART,), strategy=Strategy(),
        reversibility=Reversibility.REVERSIBLE,
    )  # fmt: skip
    result = try_admission(api, plan, where="test")  # type: ignore[arg-type]
    return result.verdict, result.reason


SCALE_TO_6 = {("spec", "replicas"): 6}
NEW_TEMPLATE = {("spec", "template", "metadata", "annotations"): {"a": "b"}}


def test_what_makes_no_new_pod_asks_about_none() -> None:
    api = Api()
    assert verdict(api, {("spec", "replicas"): 2})[0] is StageVerdict.PASS
    assert api.pods_asked == 0


@pytest.mark.parametrize("fields", [SCALE_TO_6, NEW_TEMPLATE])
def test_a_pod_that_is_refused_refuses_the_plan(fields: Mapping[tuple[str, ...], Any]) -> None:
    api = Api(pod=Forbidden("cannot create pod", "webhook says no", "x"))
    told, reason = verdict(api, fields)
    assert told is StageVerdict.FAIL
    assert "webhook says no" in reason


def test_a_refused_write_refuses_the_plan_and_a_server_that_fails_says_nothing() -> None:
    api = Api()
    api.patch_error = Unprocessable("cannot patch", "spec.replicas: invalid", "x")
    assert verdict(api, SCALE_TO_6)[0] is StageVerdict.FAIL
    api.patch_error = ApiError("cannot patch", "etcd is away", "x")
    assert verdict(api, SCALE_TO_6)[0] is StageVerdict.INCONCLUSIVE


def test_who_may_not_ask_has_no_answer() -> None:
    why = 'User "gate" cannot create resource "pods" in API group ""'
    assert verdict(Api(pod=Forbidden("no", why, "x")), SCALE_TO_6)[0] is StageVerdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("hard", "used", "ends"),
    [({"pods": "6"}, {"pods": "4"}, StageVerdict.PASS), ({"pods": "5"}, {"pods": "4"}, StageVerdict.FAIL),
     ({"requests.cpu": "3"}, {"requests.cpu": "2"}, StageVerdict.PASS),
     ({"cpu": "2900m"}, {"cpu": "2"}, StageVerdict.FAIL), ({"count/configmaps": "0"}, {}, StageVerdict.PASS)],
)  # fmt: skip
def test_quotas_are_counted_for_all_new_pods_at_once(
    hard: dict[str, str], used: dict[str, str], ends: StageVerdict
) -> None:  # fmt: skip
    quota = {"metadata": {"name": "q"}, "spec": {"hard": hard}, "status": {"hard": hard, "used": used}}
    assert verdict(Api(quota=quota), SCALE_TO_6)[0] is ends


@pytest.mark.parametrize(("cpu", "ends"), [("1", StageVerdict.PASS), ("900m", StageVerdict.FAIL)])
def test_new_pods_need_room(cpu: str, ends: StageVerdict) -> None:
    assert verdict(Api(node_cpu=cpu), SCALE_TO_6)[0] is ends


def test_a_surge_is_counted() -> None:
    """A quarter of four: one pod more, while the roll-out lasts."""
    quota = {"metadata": {"name": "q"}, "spec": {}, "status": {"hard": {"pods": "4"}, "used": {"pods": "4"}}}
    assert verdict(Api(quota=quota), NEW_TEMPLATE)[0] is StageVerdict.FAIL


def test_what_is_beyond_kubernetes_is_nobodys_to_admit() -> None:
    change = Change(actions=(Action(kind="shed_load", target="shop/web"),), reason="r", requester="ana")
    plan = Plan(
        change=change, steps=(OpsStep(operation="shed_load"),), reads=(), strategy=Strategy(),
        reversibility=Reversibility.REVERSIBLE,
    )  # fmt: skip
    assert try_admission(Api(), plan, where="test").verdict is StageVerdict.PASS  # type: ignore[arg-type]
