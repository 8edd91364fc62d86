"""Autoscalers and budgets are found by what they are about, whatever they are called."""

from __future__ import annotations

from typing import Any

import pytest

from twin.change.catalogue import compile_action
from twin.change.owned import autoscaler_of, budgets_of, scaled_by
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


class Objects:
    """As much of a KubeApi as reading takes."""

    def __init__(self, *objects: KubeObject) -> None:
        labels = {"app": "cart", "tier": "back"}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "cart", "image": "cart:v1"}]}}
        self.all = [obj("Deployment", "cart", {"replicas": 3, "template": template}), *objects]

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


def test_a_budget_is_about_pods_that_bear_all_its_labels() -> None:
    mine = budget("pdb", {"app": "cart"}, minAvailable=2)
    others = [budget("web", {"app": "web"}), budget("all", {}), budget("both", {"app": "cart", "tier": "front"})]
    objects = Objects(mine, *others)
    assert budgets_of(objects, objects.get(CART)) == [mine]  # type: ignore[arg-type]
    assert compiled(objects, "set_pdb", min_available=1.0).ref.name == "pdb"


def test_the_two_ways_of_saying_a_budget_exclude_each_other() -> None:
    step = compiled(Objects(budget("pdb", {"app": "cart"}, maxUnavailable="30%")), "set_pdb", min_available=1.0)
    assert step.fields == {("spec", "minAvailable"): 1, ("spec", "maxUnavailable"): None}


@pytest.mark.parametrize("budgets", [[], [budget("a", {"app": "cart"}), budget("b", {"tier": "back"})]])
def test_one_budget_is_set_not_none_and_not_two(budgets: list[KubeObject]) -> None:
    with pytest.raises(BadInput, match="its budgets"):
        compiled(Objects(*budgets), "set_pdb", min_available=1.0)
