"""The text of a fault, which people type and agents write: read as meant, or refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.catalogue import compile_fault, complete, fault_types
from tests.small_shop import small_shop
from twin.spec.errors import BadInput
from twin.spec.fault import Fault, fault_text, parse_fault

PIECES = st.sampled_from(
    ["slow", "held_slots", "(", ")", ",", "=", "shop/cart", "shop/db", "factor", "session", "8", "nan", "1e999", "-1",
     "1_0", "٣", '"4711"', "service=", " ", "\n", "\x00", "load_spike", "browse", "ratio=2", "\ud800"]
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("slow(shop/cart, factor=8)", {"factor": 8.0}),
        (" slow ( service = shop/cart , factor=.5e1 ) ", {"factor": 5.0}),
        ("slow(factor=8, target=shop/cart)", {"factor": 8.0}),
        ("slow(shop/cart, image=\"1.10\", name='x')", {"image": "1.10", "name": "x"}),
        ("slow(shop/cart, factor=1_0, other=nan)", {"factor": "1_0", "other": "nan"}),
    ],
)
def test_a_fault_reads_as_it_is_written(text: str, parameters: dict[str, object]) -> None:
    assert parse_fault(text) == Fault(kind="slow", target="shop/cart", parameters=parameters)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("slow(shop/cart, shop/orders)", "two targets"),
        ("slow(shop/cart, service=shop/orders)", "two targets"),
        ("slow(shop/cart, factor=8, factor=2)", "twice"),
        ("slow(shop/cart, factor=)", "not name=value"),
        ("slow(shop/cart, =3)", "not name=value"),
        ("slow(service=)", "empty"),
        ("slow(factor=3)", "strikes something"),
        ("slow" * 1000, "not kind"),
    ],
)
def test_what_could_be_meant_in_two_ways_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_fault(text)
    assert why in caught.value.why
    assert len(caught.value.what) < 100


def test_a_name_that_looks_like_a_figure_stays_a_name() -> None:
    assert complete(parse_fault("held_slots(shop/db, session=4711)")).parameters["session"] == "4711"
    assert complete(parse_fault("bad_rollout(shop/db, image=12345678)")).parameters["image"] == "12345678"


@pytest.mark.parametrize("kind", fault_types(), ids=lambda kind: kind.kind)
def test_every_kind_can_be_said_and_read_with_its_defaults(kind: object) -> None:
    whole = complete(Fault(kind=kind.kind, target="shop/cart"))  # type: ignore[attr-defined]
    assert complete(parse_fault(fault_text(whole))) == whole


@settings(max_examples=300, deadline=None)
@given(st.text() | st.lists(PIECES, max_size=12).map("".join))
def test_any_text_is_a_fault_that_a_world_can_take_or_a_refusal(text: str) -> None:
    try:
        perturbations = compile_fault(parse_fault(text), small_shop(), start_ns=0)
    except BadInput:
        return
    for timed in perturbations:
        figures = [
            getattr(timed.what, name) for name in ("speed", "factor", "error_ratio") if hasattr(timed.what, name)
        ]
        assert all(figure is None or math.isfinite(figure) for figure in figures)
