"""A World in a file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twin.fleet.saving import UNREADABLE
from twin.fleet.world import World
from twin.spec.atomic import replace_file
from twin.spec.errors import BadInput, PromoterActive

__all__ = ["load_world", "only_writer", "store_world"]


def load_world(path: Path) -> World:
    """Raises BadInput if there is none, or if the file is no saved World of this version."""
    if not path.is_file():
        raise BadInput(
            f"cannot read {path}", "there is no such file", "make one: twin world new fleet.yaml -o prod.world"
        )
    try:
        return World.restore(path.read_bytes())
    except BadInput as error:
        why = error.why if error.what == UNREADABLE else str(error)
        raise BadInput(f"cannot read {path}", why, error.next_step) from error


def store_world(path: Path, world: World) -> None:
    """Replace the file, whole."""
    replace_file(path, world.save())


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Keep every other writer of the World's file out, by a lock file beside it. Raises PromoterActive."""
    handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PromoterActive(
                f"cannot write {path}", "another command is writing it", "wait for it, or stop it: twin takeover"
            ) from error
        yield
    finally:
        os.close(handle)
