"""Every fault of the catalogue says the same to a shadow as to a World, or says that it cannot."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.catalogue import fault_types
from chaos.live import strike
from tests.small_shop import small_shop
from twin.ports.shadow import Conduct
from twin.spec.errors import Inconclusive
from twin.spec.fault import parse_fault


class Told:
    """A shadow that writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.kube = self

    def __getattr__(self, name: str) -> Any:
        return lambda *args: self.calls.append((name, *args))

    def get(self, ref: Any) -> dict[str, Any]:
        return {"spec": {"template": {"spec": {"containers": [{"name": "server"}]}}}}


BAD = Conduct(image="app:v2-bad", error_ratio=0.4)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("slow(shop/cart, factor=4)", [("conduct", "shop/cart", [Conduct(speed=0.25)])]),
        ("errors(shop/cart, ratio=0.3)", [("conduct", "shop/cart", [Conduct(error_ratio=0.3)])]),
        ("load_spike(browse, factor=3)", [("load", "browse", 3.0)]),
        ("held_slots(shop/db)", [("hold", "shop/db", "row-lock", 1)]),
    ],
)
def test_a_fault_is_said_to_stand_ins(fault: str, expected: list[tuple[Any, ...]]) -> None:
    told = Told()
    strike(parse_fault(fault), small_shop(), told)  # type: ignore[arg-type]
    assert told.calls == expected


def test_a_bad_roll_out_is_rolled_out_in_the_container_that_is_there() -> None:
    told = Told()
    strike(parse_fault("bad_rollout(shop/cart)"), small_shop(), told)  # type: ignore[arg-type]
    (conduct, patch) = told.calls
    assert conduct == ("conduct", "shop/cart", [BAD])
    ((path, image),) = patch[2].items()
    assert (path[-2:], image) == (("[name=server]", "image"), "app:v2-bad")


def test_a_lost_node_cannot_be_played() -> None:
    with pytest.raises(Inconclusive, match="cannot play"):
        strike(parse_fault("node_loss(a-0)"), small_shop(), Told())  # type: ignore[arg-type]


def test_every_kind_is_played_or_says_that_it_is_not() -> None:
    targets = {"service": "shop/cart", "journey": "browse", "node": "a-0"}
    special = {"held_slots": "shop/db"}
    for kind in fault_types():
        fault = parse_fault(f"{kind.kind}({special.get(kind.kind, targets[kind.target])})")
        told = Told()
        try:
            strike(fault, small_shop(), told)  # type: ignore[arg-type]
        except Inconclusive:
            continue
        assert told.calls, f"{kind.kind} says nothing"
