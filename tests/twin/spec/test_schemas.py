"""JSON Schema is published for every kind of file, says what the readers do, and accepts what ships."""

from __future__ import annotations

import copy
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from scenarios.files import CATALOGUE, read_scenario
from tests.small_shop import small_shop
from twin.spec.change_file import read_change
from twin.spec.errors import BadInput
from twin.spec.files import read_fleet, write_fleet_json
from twin.spec.importers import read_hints
from twin.spec.yaml_reader import single_document

ROOT = Path(__file__).parents[3]
CHANGE = {
    "apiVersion": "twin/v1alpha1", "kind": "Change", "reason": "r", "requester": "ana",
    "actions": [{"kind": "scale", "target": "shop/cart", "parameters": {"replicas": 4, "note": "x"}}],
    "strategy": {"canary": 0.5, "watch": "30s"},
}  # fmt: skip
SAMPLES: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "fleet": (read_fleet, [write_fleet_json(small_shop())]),
    "change": (read_change, [json.dumps(CHANGE)]),
    "scenario": (read_scenario, [path.read_text() for path in sorted(CATALOGUE.glob("*.yaml"))]),
    "hints": (read_hints, [(ROOT / "examples/shop.hints.yaml").read_text()]),
}


def published(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / f"docs/schema/{kind}.json").read_text())
    return found


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_schemas", ROOT / "docs/make_schemas.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_published_is_what_the_readers_know() -> None:
    documents = maker().documents()
    assert {name.removesuffix(".json") for name in documents} == set(SAMPLES)
    for name, text in documents.items():
        assert (ROOT / "docs/schema" / name).read_text() == text, "run: python docs/make_schemas.py"


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_schema_accepts_what_ships_and_refuses_what_the_reader_refuses(kind: str, tmp_path: Path) -> None:
    read, texts = SAMPLES[kind]
    schema = published(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert texts
    for text in texts:
        data = single_document(text, kind).value
        jsonschema.validate(data, schema)
        for damage in ({"x": 1}, {"kind": "Banana"}, {"apiVersion": "twin/v9"}):
            wrong = {**copy.deepcopy(data), **damage}
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(wrong, schema)
            file = tmp_path / "wrong.json"
            file.write_text(json.dumps(wrong))
            with pytest.raises(BadInput):
                read(file)
