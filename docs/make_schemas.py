"""Write docs/schema/: JSON Schema of every kind of file, from the models that read them. A test compares."""

from __future__ import annotations

import json
from pathlib import Path

from scenarios.files import scenario_schema
from twin.spec.change_file import change_schema
from twin.spec.files import fleet_schema
from twin.spec.importers import hints_schema

FOLDER = Path(__file__).parent / "schema"


def documents() -> dict[str, str]:
    """The text of each schema's file, by its name."""
    schemas = (fleet_schema(), change_schema(), scenario_schema(), hints_schema())
    return {f"{s['title'].lower()}.json": json.dumps(s, indent=1, sort_keys=True) + "\n" for s in schemas}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in documents().items():
        (FOLDER / name).write_text(text)
