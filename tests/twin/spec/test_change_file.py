"""A Change's file: read as it is written, or refused with its line; then compiled, or refused."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.small_shop import small_shop
from twin.change.catalogue import action_types
from twin.change.compile import compile_change
from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.world import World
from twin.spec.change_file import read_change
from twin.spec.errors import ApiError, BadInput
from twin.spec.plan import plan_digest

CHANGE: dict[str, Any] = {
    "apiVersion": "twin/v1alpha1", "kind": "Change", "reason": "r", "requester": "ana", "risk": "low",
    "actions": [{"kind": "scale", "target": "shop/cart", "parameters": {"replicas": 4}}],
    "strategy": {"canary": 0.5, "watch": "30s", "settle": "1m"},
}  # fmt: skip


@pytest.fixture(scope="module")
def plant() -> WorldPlant:
    return plant_of(World.build(small_shop(), seed=1), writes=True)


def written(folder: Path, text: str) -> Path:
    path = folder / "change.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("requester: ''\n", "requester"),
        ("reason: [a]\n", "reason"),
        ("actions: []\n", "actions"),
        ("actions: [{kind: scale, target: shop/cart, parameters: {replicas: .nan}}]\n", "replicas"),
        ("actions: [{kind: scale, target: shop/cart, parameters: {replicas: .inf}}]\n", "replicas"),
        ("actions: [{kind: scale, target: shop/cart, parameters: {replicas: true}}]\n", "replicas"),
        ("actions: [{kind: scale, target: shop/cart, parametres: {}}]\n", "parametres"),
        ("actions: [{kind: scale, target: ''}]\n", "target"),
        ("strategy: {canary: -1}\n", "canary"),
        ("strategy: {canary: .nan}\n", "canary"),
        ("strategy: {watch: -5s}\n", "-5s"),
        ("approved_by: me\n", "approved_by"),
        ("kind: Fleet\n", "kind"),
        ("apiVersion: twin/v2\n", "apiVersion"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    key = text.partition(":")[0]
    rest = {name: value for name, value in CHANGE.items() if name != key}
    lines = "".join(f"{name}: {json.dumps(value)}\n" for name, value in rest.items())
    with pytest.raises(BadInput) as caught:
        read_change(written(tmp_path, lines + text))
    assert f"line {len(rest) + 1}: " in caught.value.why
    assert message in caught.value.why


def test_a_text_that_looks_like_a_figure_is_written_whole(tmp_path: Path, plant: WorldPlant) -> None:
    for given_value, wanted in ((12345678, "12345678"), (8080, "8080"), (0.1, "0.1"), ("007", "007")):
        parameters = {"name": "PORT", "value": given_value}
        data = {**CHANGE, "actions": [{"kind": "set_env", "target": "shop/cart", "parameters": parameters}]}
        plan = compile_change(read_change(written(tmp_path, json.dumps(data))), plant.kube, at_s=1.0)
        assert list(plan.steps[0].fields.values()) == [wanted]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ({"replicas": 6}, "write parameters: {replicas: 6}"),
        ({"paramters": {}}, 'did you mean "parameters"?'),
        ({"body": []}, "remove it"),
        ({"strategy": {}}, "remove it"),  # A key of the change, not of an action.
    ],
)
def test_an_unknown_key_is_compared_with_what_may_stand_there(
    wrong: dict[str, object], advice: str, tmp_path: Path
) -> None:
    data = {**CHANGE, "actions": [{"kind": "scale", "target": "shop/cart", **wrong}]}
    with pytest.raises(BadInput) as refusal:
        read_change(written(tmp_path, json.dumps(data)))
    assert refusal.value.next_step == advice


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([*(k.kind for k in action_types()), "shop/cart", "shop/db", "a-0", "shop/web--cart"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
NAMES = sorted({parameter.name for kind in action_types() for parameter in kind.parameters})


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A change in which anything may stand anywhere."""
    data = copy.deepcopy(CHANGE)
    for _ in range(draw(st.integers(0, 2))):
        data[draw(st.sampled_from([*data, "x"]))] = draw(JUNK)
    if draw(st.booleans()):
        figures = st.floats() | st.integers() | st.text(max_size=6) | st.sampled_from(["1", "-1", "512Mi", "nan"])
        data["actions"] = draw(
            st.lists(
                st.fixed_dictionaries({
                    "kind": st.sampled_from([k.kind for k in action_types()]),
                    "target": st.sampled_from(["shop/cart", "shop/db", "a-0", "shop/web--cart", "x", "/", "shop/"]),
                    "parameters": st.dictionaries(st.sampled_from(NAMES), figures, max_size=3),
                }), max_size=3,
            )
        )  # fmt: skip
    return json.dumps(data)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=damaged() | st.text())
def test_anything_is_a_plan_or_a_refusal(tmp_path: Path, plant: WorldPlant, text: str) -> None:
    with contextlib.suppress(BadInput, ApiError):
        plan_digest(compile_change(read_change(written(tmp_path, text)), plant.kube, at_s=1.0))
