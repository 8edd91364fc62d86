"""Chaos Toolkit actions on a saved World. Name them in an experiment as provider module `chaos.toolkit.actions`."""

from __future__ import annotations

from pathlib import Path

from chaos.catalogue import compile_fault
from twin.fleet.world_file import load_world, store_world
from twin.spec.fault import parse_fault
from twin.spec.units import ns, parse_duration_s

__all__ = ["inject", "mend", "run_for"]


def inject(world: str, fault: str, duration: str | None = None) -> list[int]:
    """Let a fault strike now; with `duration` it ends by itself. Returns the perturbations' ids."""
    target = load_world(Path(world))
    end_ns = None if duration is None else target.now_ns + ns(parse_duration_s(duration))
    ids = target.inject(compile_fault(parse_fault(fault), target.fleet, start_ns=target.now_ns, end_ns=end_ns))
    store_world(Path(world), target)
    return ids


def mend(world: str) -> int:
    """End every perturbation that still holds: the rollback of an experiment. Returns how many there were."""
    target = load_world(Path(world))
    ids = [active.id for active in target.state.perturbations if not active.over]
    target.end(ids)
    store_world(Path(world), target)
    return len(ids)


def run_for(world: str, duration: str) -> float:
    """Let the World run on. Returns its time in seconds."""
    target = load_world(Path(world))
    target.run_for(ns(parse_duration_s(duration)))
    store_world(Path(world), target)
    return target.now_ns / 1e9
