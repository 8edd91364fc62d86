"""A World's file: whole, of this version, or refused; whatever its bytes are, nothing but a refusal comes of them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.small_shop import small_shop
from tests.strategies import damage
from twin.fleet.saving import FORMAT_VERSION, MAGIC
from twin.fleet.world import World
from twin.fleet.world_file import load_world, store_world
from twin.spec.errors import BadInput
from twin.spec.units import NS_PER_S


@functools.cache
def saved() -> bytes:
    world = World.build(small_shop(), seed=1)
    world.run(31 * NS_PER_S)
    return world.save()


def packed(payload: bytes) -> bytes:
    """A file with that payload and the digest that belongs to it."""
    return MAGIC + FORMAT_VERSION.to_bytes(4, "big") + hashlib.sha256(payload).digest() + zlib.compress(payload, 1)


def edited(edit: Callable[[dict[str, Any]], Any]) -> bytes:
    """The saved World with another header, as somebody would write it who knows the format."""
    payload = zlib.decompress(saved()[44:])
    size = int.from_bytes(payload[:8], "big")
    header = json.loads(payload[8 : 8 + size])
    edit(header)
    head = json.dumps(header).encode()
    return packed(len(head).to_bytes(8, "big") + head + payload[8 + size :])


LAYOUTS = {
    2: "1929911d2cb1d2f1",
    3: "d1ef0aa89bc60dc3",
    4: "440b02c54180313e",
    5: "9e80da690c45b5b3",
    6: "332e9598d7f5e2be",
}


def layout() -> str:
    """A name for which fields and arrays a saved World holds, whatever their values."""
    payload = zlib.decompress(saved()[44:])
    header = json.loads(payload[8 : 8 + int.from_bytes(payload[:8], "big")])
    held = [sorted(header), sorted(header["state"]), sorted(array[:2] for array in header["arrays"])]
    return hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16]


def test_another_layout_is_another_version() -> None:
    """Else a file of yesterday is refused as damaged, and nobody learns that the program is another."""
    assert LAYOUTS.get(FORMAT_VERSION) == layout(), "raise FORMAT_VERSION, and write the new layout down here"


@pytest.mark.parametrize("engine", ["tick", "simpy"])
def test_a_world_is_what_it_was_after_its_file(engine: Any, tmp_path: Path) -> None:
    world = World.build(small_shop(rate_rps=5.0), seed=1, traffic=engine)
    world.run(3 * NS_PER_S)
    store_world(tmp_path / "prod.world", world)
    again = load_world(tmp_path / "prod.world")
    world.run(5 * NS_PER_S)
    again.run(5 * NS_PER_S)
    assert again.save() == world.save()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (lambda: b"", "not a saved World"),
        (lambda: b"apiVersion: twin/v1alpha1", "not a saved World"),
        (lambda: saved()[:8] + b"\0\0\0\x63" + saved()[12:], "format 99"),
        (lambda: saved()[:-7], "truncated"),
        (lambda: saved()[:44], "truncated"),
        (lambda: saved()[:10], "format"),
        (lambda: saved()[:20] + b"x" + saved()[21:], "digest"),
        (lambda: saved() + b"more", "after its end"),
        (lambda: edited(lambda header: header["state"].pop("seed")), "TypeError"),
        (lambda: edited(lambda header: header.update(engine="steam")), "engine"),
        (lambda: edited(lambda header: header.update(fleet=7)), "holds no World"),
    ],
)
def test_what_is_no_whole_world_of_this_version_is_refused(data: Callable[[], bytes], why: str, tmp_path: Path) -> None:
    (tmp_path / "bad.world").write_bytes(data())
    with pytest.raises(BadInput) as caught:
        load_world(tmp_path / "bad.world")
    assert why in caught.value.why
    assert "bad.world" in caught.value.what


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_before_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twin.fleet.saving.SIZE_MAX", 10_000_000)
    with pytest.raises(BadInput, match="too large"):
        World.restore(packed(b"\0" * 50_000_000))


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=200).map(lambda data: MAGIC + FORMAT_VERSION.to_bytes(4, "big") + data)
    | st.binary(max_size=200).map(packed)
)
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadInput):
        World.restore(data)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=5)
    | st.sampled_from([{"#": "tuple", "=": []}, {"#": "map", "=": [["a", 1]]}, {"#": "Service"}, {"#": "os.system"}]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["#", "=", "a"]), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Anything in the place of anything in the header, with a digest that is right."""

    def edit(header: dict[str, Any]) -> None:
        damage(draw, header, JUNK, depth=6)

    return edited(edit)


@settings(max_examples=150, deadline=None)
@given(damaged())
def test_a_header_with_anything_in_it_is_a_world_or_a_refusal(data: bytes) -> None:
    with contextlib.suppress(BadInput):
        World.restore(data)
