"""A scenario's file with anything in it: a scenario, or a refusal with its line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scenarios.files import CATALOGUE, read_scenario
from tests.strategies import damage, json_junk
from twin.spec.errors import BadInput
from twin.spec.yaml_reader import single_document

SAMPLES: list[Any] = [single_document(path.read_text(), "s").value for path in sorted(CATALOGUE.glob("*.yaml"))]
JUNK = json_junk(["slow({x})", "{victim}", "{", "slow(shop/cart, factor=nan)", "8ms", "-1s", "../../etc/passwd"])


@st.composite
def damaged(draw: st.DrawFn) -> str:
    data = copy.deepcopy(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 3))):
        damage(draw, data, JUNK)
    return json.dumps(data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=damaged() | st.text())
def test_anything_is_a_scenario_or_a_refusal(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        read_scenario(path)
    except BadInput as error:
        assert error.why  # noqa: PT017 - either outcome is right
