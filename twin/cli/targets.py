"""A target of `--prod`: a saved World in a file, or a live cluster.

A command works on the World in memory and puts the file back whole at its end; while it does, a lock file
keeps a second writer out.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from twin.spec.errors import BadInput, ComponentMissing

if TYPE_CHECKING:
    from twin.fleet.world import World

__all__ = ["guard_target", "locked_world", "open_world", "refuse_unusable", "save_world"]


def open_world(target: str) -> World:
    """The World in a file. Raises BadInput; ComponentMissing for a live cluster, which needs an adapter."""
    from twin.fleet.world_file import load_world

    refuse_unusable(target)
    return load_world(Path(target))


def refuse_unusable(target: str) -> None:
    """Raises BadInput if there is no such file; ComponentMissing for a live cluster, which needs an adapter."""
    if target.startswith("kube:"):
        raise ComponentMissing(
            f"cannot reach {target}", "this version has no adapter for live clusters", "give a saved World's file"
        )
    if not Path(target).is_file():
        raise BadInput(
            f"cannot read {target or 'a target without a name'}",
            "there is no such file",
            "make one: twin world new fleet.yaml -o prod.world",
        )


def guard_target(target: str) -> str:
    """The name under which the guard counts for this target: a file's place, since two may bear one name."""
    return target if target.startswith("kube:") else str(Path(target).resolve())


def save_world(target: str, world: World) -> None:
    """Replace the World's file, whole."""
    from twin.fleet.world_file import store_world

    store_world(Path(target), world)


@contextmanager
def locked_world(target: str) -> Iterator[World]:
    """The World, with no other writer beside us. Nothing is saved here. Raises PromoterActive."""
    refuse_unusable(target)  # First: a mistyped name must not leave a lock file behind.
    from twin.fleet.world_file import only_writer

    with only_writer(Path(target)):
        yield open_world(target)
