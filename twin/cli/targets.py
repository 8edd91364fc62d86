"""A target of `--prod`: a saved World in a file, or a live cluster.

A command works on the World in memory and puts the file back whole at its end; while it does, a lock file
keeps a second writer out.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from twin.spec.errors import BadInput, ComponentMissing

if TYPE_CHECKING:
    from twin.fleet.world import World
    from twin.ports.plant import Plant
    from twin.spec.change import Change
    from twin.spec.plan import Plan

__all__ = ["compile_here", "guard_target", "locked_world", "open_world", "refuse_unusable", "save_world"]


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


def compile_here(change: Change, plant: Plant) -> Plan:
    """The change against what the target looks like now. Raises BadInput: also for a target that is not there,
    which a person has mistyped."""
    from twin.change.compile import compile_change
    from twin.spec.errors import NotFound

    try:
        return compile_change(change, plant.kube, at_s=plant.clock.now_s())
    except NotFound as error:
        known = _targets(plant)
        near = [
            name
            for action in change.actions
            if action.target not in known
            for name in difflib.get_close_matches(action.target, known, n=3, cutoff=0.7)
        ]
        next_step = f"did you mean {', '.join(dict.fromkeys(near))}?" if near else error.next_step
        raise BadInput(error.what, error.why, next_step) from error


def _targets(plant: Plant) -> list[str]:
    """What an action may name: workloads and routes as namespace/name, nodes by name."""
    kinds = ("Deployment", "StatefulSet", "DaemonSet", "HTTPRoute", "Node")
    found = [obj["metadata"] for kind in kinds for obj in plant.kube.list_objects(kind)]
    return [f"{said['namespace']}/{said['name']}" if said.get("namespace") else said["name"] for said in found]


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
