"""Chaos Toolkit actions on a saved World. Name them in an experiment as provider module `chaos.toolkit.actions`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.catalogue import compile_fault
from twin.fleet.world import World
from twin.fleet.world_file import load_world, only_writer, store_world
from twin.spec.fault import parse_fault
from twin.spec.units import ns, parse_duration_s

__all__ = ["inject", "mend", "run_for"]


def inject(world: str, fault: str, duration: str | None = None) -> list[int]:
    """Let a fault strike now; with `duration` it ends by itself. Returns the perturbations' ids."""
    with _opened(world) as target:
        end_ns = None if duration is None else target.now_ns + ns(parse_duration_s(duration))
        return target.inject(compile_fault(parse_fault(fault), target.fleet, start_ns=target.now_ns, end_ns=end_ns))


def mend(world: str) -> int:
    """End every perturbation that still holds: the rollback of an experiment. Returns how many there were."""
    with _opened(world) as target:
        ids = [active.id for active in target.state.perturbations if not active.over]
        target.end(ids)
        return len(ids)


def run_for(world: str, duration: str) -> float:
    """Let the World run on. Returns its time in seconds."""
    with _opened(world) as target:
        target.run_for(ns(parse_duration_s(duration)))
        return target.now_ns / 1e9


@contextmanager
def _opened(world: str) -> Iterator[World]:
    """The World in a file, put back whole if nothing goes wrong."""
    path = Path(world)
    load_world(path)  # A mistyped name must not leave a lock file behind.
    with only_writer(path):
        target = load_world(path)
        yield target
        store_world(path, target)
