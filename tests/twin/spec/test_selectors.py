"""Which labels a selector selects."""

from __future__ import annotations

from typing import Any

import pytest

from twin.spec.selectors import selects

LABELS = {"app": "cart", "tier": "back"}


def where(key: str, operator: str, *values: str) -> dict[str, Any]:
    expression = (
        {"key": key, "operator": operator, "values": list(values)} if values else {"key": key, "operator": operator}
    )
    return {"matchExpressions": [expression]}


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, False),
        ({}, True),
        ({"matchLabels": None}, True),
        ({"matchLabels": {"app": "cart"}}, True),
        ({"matchLabels": {"app": "cart", "tier": "front"}}, False),
        (where("app", "In", "cart", "web"), True),
        (where("app", "In", "web"), False),
        (where("zone", "In", "a"), False),
        (where("app", "NotIn", "cart"), False),
        (where("zone", "NotIn", "a"), True),
        (where("app", "Exists"), True),
        (where("zone", "Exists"), False),
        (where("app", "DoesNotExist"), False),
        (where("zone", "DoesNotExist"), True),
        ({"matchLabels": {"app": "cart"}, **where("tier", "In", "front")}, False),
        (where("app", "Near", "cart"), True),
    ],
)
def test_a_selector_selects_as_kubernetes_says(selector: dict[str, Any] | None, expected: bool) -> None:
    assert selects(selector, LABELS) is expected
