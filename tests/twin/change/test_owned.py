"""Autoscalers and budgets are found by what they are about, whatever they are called."""

from __future__ import annotations

from typing import Any

import pytest

from twin.change.catalogue import compile_action
from twin.change.owned import autoscaler_of, budgets_of, kept_by, scaled_by
from twin.ports.plant import KubeObject
from twin.spec.change import Action
from twin.spec.errors import BadInput, NotFound
from twin.spec.plan import ObjectRef, PatchStep

CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")


def obj(kind: str, name: str, spec: dict[str, Any], namespace: str = "shop") -> KubeObject:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "annotations": {}}, "spec": spec}


def scaler(name: str, target: str, namespace: str = "shop") -> KubeObject:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": target}, "maxReplicas": 8}
    return obj("HorizontalPodAutoscaler", name, spec, namespace)


def budget(name: str, labels: dict[str, str], **spec: Any) -> KubeObject:
    return obj("PodDisruptionBudget", name, {"selector": {"matchLabels": labels}, **spec})


def workload(name: str, labels: dict[str, str], kind: str = "Deployment") -> KubeObject:
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": name, "image": f"{name}:v1"}]}}
    return obj(kind, name, {"replicas": 3, "template": template})


class Objects:
    """As much of a KubeApi as reading takes."""

    def __init__(self, *objects: KubeObject) -> None:
        self.all = [workload("cart", {"app": "cart", "tier": "back"}), *objects]

    def get(self, ref: ObjectRef) -> KubeObject:
        for one in self.all:
            if (one["kind"], one["metadata"]["name"], one["metadata"]["namespace"]) == (
                ref.kind, ref.name, ref.namespace,
            ):  # fmt: skip
                return one
        raise NotFound(f"cannot find {ref}", "it is not there", "look")

    def list_objects(self, kind: str, namespace: str = "", labels: Any = None) -> list[KubeObject]:
        return [one for one in self.all if one["kind"] == kind and one["metadata"]["namespace"] == namespace]


def compiled(objects: Objects, kind: str, **parameters: float) -> PatchStep:
    action = Action(kind=kind, target="shop/cart", parameters=parameters)
    [step] = compile_action(action, objects, at_s=0.0).steps  # type: ignore[arg-type]
    assert isinstance(step, PatchStep)
    return step


def test_an_autoscaler_of_another_name_is_found_and_a_namesake_of_another_workload_is_none() -> None:
    objects = Objects(scaler("cart", "web"), scaler("hpa-7", "cart"), scaler("hpa-8", "cart", "elsewhere"))
    found = autoscaler_of(objects, CART)  # type: ignore[arg-type]
    assert found is not None
    assert found["metadata"]["name"] == "hpa-7"
    assert scaled_by(found) == CART
    assert compiled(objects, "scale", replicas=5.0).ref.name == "hpa-7"
    assert compiled(objects, "set_hpa", max_replicas=12.0).fields == {("spec", "maxReplicas"): 12}
    assert autoscaler_of(Objects(scaler("cart", "web")), CART) is None  # type: ignore[arg-type]


def test_a_range_that_is_too_small_for_the_pods_there_ends_some() -> None:
    step = compiled(Objects(scaler("cart", "cart")), "set_hpa", max_replicas=1.0)
    assert step.terminates_pods == 2


def test_a_budget_is_about_pods_that_its_selector_selects() -> None:
    mine, everything = budget("pdb", {"app": "cart"}, minAvailable=2), budget("all", {})
    back = obj("PodDisruptionBudget", "back", {
        "selector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["back"]}]}
    })  # fmt: skip
    others = [budget("web", {"app": "web"}), budget("both", {"app": "cart", "tier": "front"})]
    objects = Objects(mine, everything, back, *others)
    assert budgets_of(objects, objects.get(CART)) == [mine, everything, back]  # type: ignore[arg-type]
    assert compiled(Objects(mine, *others), "set_pdb", min_available=1.0).ref.name == "pdb"


def test_a_budget_that_is_about_others_too_is_left_to_them() -> None:
    shared = budget("pdb", {"tier": "back"}, minAvailable=2)
    objects = Objects(shared, workload("orders", {"tier": "back"}, "StatefulSet"), workload("web", {"tier": "front"}))
    assert [ref.name for ref in kept_by(objects, shared)] == ["cart", "orders"]  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="also about statefulset/shop/orders"):
        compiled(objects, "set_pdb", min_available=1.0)


def test_a_budget_that_says_the_other_figure_is_left_as_it_is() -> None:
    with pytest.raises(BadInput, match="maxUnavailable"):
        compiled(Objects(budget("pdb", {"app": "cart"}, maxUnavailable="30%")), "set_pdb", min_available=1.0)


def test_a_budget_has_to_let_something_go_even_when_the_autoscaler_has_taken_its_part() -> None:
    mine = budget("pdb", {"app": "cart"}, minAvailable=1)
    with pytest.raises(BadInput, match="of its 3 pods none"):
        compiled(Objects(mine), "set_pdb", min_available=3.0)
    smaller = scaler("hpa", "cart")
    smaller["spec"]["minReplicas"] = 2
    with pytest.raises(BadInput, match="of its 2 pods none"):
        compiled(Objects(mine, smaller), "set_pdb", min_available=2.0)
    assert compiled(Objects(mine, smaller), "set_pdb", min_available=1.0).fields == {("spec", "minAvailable"): 1}


def test_a_daemon_sets_pods_are_not_for_a_budget_to_keep() -> None:
    objects = Objects(budget("pdb", {"app": "agent"}, minAvailable=1))
    objects.all[0] = workload("cart", {"app": "agent"}, "DaemonSet")
    with pytest.raises(BadInput, match="DaemonSet"):
        compiled(objects, "set_pdb", min_available=1.0)


@pytest.mark.parametrize("budgets", [[], [budget("a", {"app": "cart"}), budget("b", {"tier": "back"})]])
def test_one_budget_is_set_not_none_and_not_two(budgets: list[KubeObject]) -> None:
    with pytest.raises(BadInput, match="its budgets"):
        compiled(Objects(*budgets), "set_pdb", min_available=1.0)
