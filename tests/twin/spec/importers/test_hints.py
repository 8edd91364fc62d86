"""A hints file: hints for any importer, or a refusal with a line."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import damage, json_junk
from twin.spec.errors import BadInput
from twin.spec.importers import ManifestText, import_kubernetes, read_hints
from twin.spec.yaml_reader import single_document

EXAMPLES = Path(__file__).parents[4] / "examples"
MANIFESTS = [ManifestText(path.name, path.read_text()) for path in sorted((EXAMPLES / "shop").glob("*.yaml"))]
HINTS: dict[str, Any] = single_document((EXAMPLES / "shop.hints.yaml").read_text(), "hints").value

JUNK = json_junk(["shop/cart", "cart", "frontend", "8ms", "-1s", "shop/cart:serve"])


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """The example's hints with anything in the place of something."""
    data = copy.deepcopy(HINTS)
    for _ in range(draw(st.integers(1, 3))):
        damage(draw, data, JUNK)
    return "\n" + json.dumps(data)


@settings(max_examples=120, deadline=None)
@given(damaged() | st.text().map(lambda text: text + "\n"))
def test_anything_is_hints_for_a_sound_fleet_or_a_refusal(text: str) -> None:
    with contextlib.suppress(BadInput):
        import_kubernetes(MANIFESTS, hints=read_hints(text))
