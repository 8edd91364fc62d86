"""A roll-out that somebody paused: nothing would come of another one, unless the change resumes it first."""

from __future__ import annotations

import pytest

from tests.small_shop import small_shop
from twin.change.compile import compile_change
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import KubeApi
from twin.spec.change import Action, Change
from twin.spec.errors import BadInput
from twin.spec.plan import ObjectRef

CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
IMAGE = Action(kind="set_image", target="shop/cart", parameters={"image": "cart:v3"})
RESUME = Action(kind="rollout_pause", target="shop/cart", parameters={"paused": 0.0})


@pytest.fixture
def kube() -> KubeApi:
    kube = plant_of(World.build(small_shop(), seed=1), writes=True).kube
    kube.patch(CART, {("spec", "paused"): True})
    return kube


def kinds(kube: KubeApi, *actions: Action) -> list[str]:
    return [
        step.summary
        for step in compile_change(Change(actions=actions, reason="r", requester="ana"), kube, at_s=0.0).steps
    ]


@pytest.mark.parametrize("kind", ["set_image", "restart"])
def test_no_roll_out_begins_while_one_is_paused(kube: KubeApi, kind: str) -> None:
    action = IMAGE if kind == "set_image" else Action(kind="restart", target="shop/cart")
    with pytest.raises(BadInput, match="paused"):
        kinds(kube, action)
    with pytest.raises(BadInput, match="paused"):
        kinds(kube, action, RESUME)  # Too late.


def test_it_may_be_resumed_first_scaled_or_left(kube: KubeApi) -> None:
    assert len(kinds(kube, RESUME, IMAGE)) == 2
    assert kinds(kube, Action(kind="scale", target="shop/cart", parameters={"replicas": 5.0}))
    assert kinds(kube, Action(kind="set_image", target="shop/web", parameters={"image": "web:v3"}))
