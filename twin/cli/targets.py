"""A target of `--prod`: a saved World in a file, or a live cluster.

A command works on the World in memory and puts the file back whole at its end; while it does, a lock file
keeps a second writer out.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from twin.spec.errors import ComponentMissing, PromoterActive

if TYPE_CHECKING:
    from twin.fleet.world import World

__all__ = ["locked_world", "open_world", "save_world"]


def open_world(target: str) -> World:
    """The World in a file. Raises BadInput; ComponentMissing for a live cluster, which needs an adapter."""
    from twin.fleet.world_file import load_world

    if target.startswith("kube:"):
        raise ComponentMissing(
            f"cannot reach {target}", "this version has no adapter for live clusters", "give a saved World's file"
        )
    return load_world(Path(target))


def save_world(target: str, world: World) -> None:
    """Replace the World's file, whole."""
    from twin.fleet.world_file import store_world

    store_world(Path(target), world)


@contextmanager
def locked_world(target: str) -> Iterator[World]:
    """The World, with no other writer beside us. Nothing is saved here. Raises PromoterActive."""
    lock = Path(f"{target}.lock")
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PromoterActive(
                f"cannot write {target}", "another promoter holds it", "wait for it, or stop it: twin takeover"
            ) from error
        yield open_world(target)
    finally:
        os.close(handle)
