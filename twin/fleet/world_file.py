"""A World in a file."""

from __future__ import annotations

from pathlib import Path

from twin.fleet.world import World
from twin.spec.atomic import replace_file
from twin.spec.errors import BadInput

__all__ = ["load_world", "store_world"]


def load_world(path: Path) -> World:
    """Raises BadInput if there is none, or if the file is no saved World of this version."""
    if not path.is_file():
        raise BadInput(
            f"cannot read {path}", "there is no such file", "make one: twin world new fleet.yaml -o prod.world"
        )
    return World.restore(path.read_bytes())


def store_world(path: Path, world: World) -> None:
    """Replace the file, whole."""
    replace_file(path, world.save())
