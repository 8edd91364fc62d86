"""A target of `--prod`: a saved World in a file, or a live cluster.

A command works on the World in memory and puts the file back whole at its end; while it does, a lock file
keeps a second writer out.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twin.spec.errors import BadInput

if TYPE_CHECKING:
    from twin.fleet.world import World
    from twin.ports.plant import OpsApi, Plant
    from twin.spec.change import Change
    from twin.spec.plan import Plan

__all__ = [
    "NO_METRICS",
    "Target",
    "compile_here",
    "guard_target",
    "locked_world",
    "open_world",
    "read_target",
    "refuse_unusable",
    "save_world",
    "target_name",
    "write_target",
]

LIVE: Final = "kube:"
NO_METRICS: Final = "http://127.0.0.1:9"  # for commands that ask a live cluster for its name and its time only

LOOKERS_PATIENCE_S: Final = 1.5  # Somebody waits at the terminal.
WRITERS_PATIENCE_S: Final = 60.0  # What is half written is worse than late: an API server may restart meanwhile.


@dataclass(frozen=True, slots=True)
class Target:
    """What a command writes to. `checkpoint` makes it durable; `where` is its place, for guard and journal."""

    plant: Plant
    checkpoint: Callable[[], None]
    where: str


def read_target(
    target: str, *, prometheus: str | None = None, queries: Path | None = None, ops: Path | None = None
) -> Plant:
    """A production to look at. Raises BadInput, ComponentMissing, ApiError."""
    if target.startswith(LIVE):
        return _live(target, prometheus, queries, ops, writes=False)
    _refuse_databases(target, ops)
    from twin.fleet.plant import plant_of

    return plant_of(open_world(target), name=Path(target).stem)


@contextmanager
def write_target(
    target: str, *, prometheus: str | None = None, queries: Path | None = None, ops: Path | None = None
) -> Iterator[Target]:
    """A production to write to. A World's file is locked and saved at each checkpoint; on a live cluster writes are
    durable by themselves, and its lease keeps others out. Raises as `read_target`, PromoterActive."""
    if target.startswith(LIVE):
        plant = _live(target, prometheus, queries, ops, writes=True)
        yield Target(plant, lambda: None, plant.name)
        return
    _refuse_databases(target, ops)
    from twin.fleet.plant import plant_of

    with locked_world(target) as world:
        yield Target(
            plant_of(world, name=Path(target).stem, writes=True), lambda: save_world(target, world),
            guard_target(target),
        )  # fmt: skip


def target_name(target: str) -> str:
    """What journal and receipts call it. Raises BadInput, ComponentMissing, ApiError."""
    if target.startswith(LIVE):
        return read_target(target, prometheus=NO_METRICS).name
    refuse_unusable(target)
    return Path(target).stem


def _live(target: str, prometheus: str | None, queries: Path | None, ops: Path | None, *, writes: bool) -> Plant:
    from twin.kube.plant import NoOps, live_plant
    from twin.kube.prometheus import read_queries

    if not prometheus:
        raise BadInput(
            f"nothing tells how users of {target} fare", "a live cluster shows its metrics through Prometheus",
            "name it: --prometheus http://HOST:9090, or set PROMETHEUS_URL",
        )  # fmt: skip
    beyond: OpsApi = NoOps()
    if ops is not None:
        from twin.ops import PostgresOps, read_databases

        beyond = PostgresOps(read_databases(ops), beyond=beyond, writes=writes)
    return live_plant(
        target.removeprefix(LIVE) or None, prometheus, beyond, queries=read_queries(queries) if queries else None,
        patience_s=WRITERS_PATIENCE_S if writes else LOOKERS_PATIENCE_S,
    )  # fmt: skip


def _refuse_databases(target: str, ops: Path | None) -> None:
    if ops is not None:
        raise BadInput(f"cannot use --ops with {target}", "a saved World has databases of its own", "leave --ops out")


def open_world(target: str) -> World:
    """The World in a file. Raises BadInput; also for a live cluster, where only a World will do."""
    from twin.fleet.world_file import load_world

    refuse_unusable(target)
    return load_world(Path(target))


def refuse_unusable(target: str) -> None:
    """Raises BadInput if there is no such file, or if it is a live cluster, where only a World will do."""
    if target.startswith(LIVE):
        raise BadInput(f"cannot use {target} here", "this takes a saved World", "give a saved World's file")
    if not Path(target).is_file():
        raise BadInput(
            f"cannot read {target or 'a target without a name'}",
            "there is no such file",
            "make one: twin world new fleet.yaml -o prod.world",
        )


def guard_target(target: str) -> str:
    """The name under which the guard counts for this target: a file's place, since two may bear one name; a cluster's
    own name, since two contexts may lead to one. Raises as `target_name` for a cluster."""
    return target_name(target) if target.startswith(LIVE) else str(Path(target).resolve())


def compile_here(change: Change, plant: Plant) -> Plan:
    """The change against what the target looks like now. Raises BadInput: also for a target that is not there,
    which a person has mistyped."""
    from twin.change.catalogue import action_type
    from twin.change.compile import compile_change
    from twin.spec.errors import NotFound

    try:
        return compile_change(change, plant.kube, at_s=plant.clock.now_s())
    except NotFound as error:
        near: list[str] = []
        for action in change.actions:
            sort = action_type(action.kind).target
            known = names_of(plant, sort)
            if action.target not in known:
                near += difflib.get_close_matches(action.target, known, n=3, cutoff=0.7)
        next_step = f"did you mean {', '.join(dict.fromkeys(near))}?" if near else "see: twin change targets --prod …"
        raise BadInput(error.what, error.why, next_step) from error


def names_of(plant: Plant, sort: str) -> list[str]:
    """What an action on this sort of target may name, in order: namespace/name, nodes by name; nothing of sorts that
    Kubernetes does not know. Raises ApiError."""
    from twin.change.catalogue import TARGET_KINDS
    from twin.spec.errors import NotFound

    found: list[str] = []
    for kind in TARGET_KINDS.get(sort, ()):
        try:
            said = [obj["metadata"] for obj in plant.kube.list_objects(kind)]
        except NotFound:  # A cluster without routes does not know the kind.
            continue
        found += [f"{one['namespace']}/{one['name']}" if one.get("namespace") else one["name"] for one in said]
    return sorted(found)


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
