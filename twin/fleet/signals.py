"""What a World pushes at whoever watches it. The list is bounded; cursors go on counting."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from twin.fleet.blueprint import Blueprint
from twin.fleet.state import State
from twin.spec.signal import Signal, SignalKind, Symptom
from twin.spec.units import seconds

__all__ = ["push", "stamp", "unix_s"]

SIGNALS_KEPT: Final = 4096


def unix_s(blueprint: Blueprint, now_ns: int) -> float:
    """The target's Unix time."""
    return blueprint.fleet.epoch_s + seconds(now_ns)


def stamp(blueprint: Blueprint, now_ns: int) -> str:
    """The same as Kubernetes writes it, in whole seconds."""
    return _stamp_of(int(unix_s(blueprint, now_ns)))


@lru_cache(maxsize=4096)
def _stamp_of(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def push(
    blueprint: Blueprint,
    state: State,
    *,
    kind: SignalKind,
    service: int | None,
    reason: str,
    text: str,
    now_ns: int,
    symptom: Symptom | None = None,
) -> None:
    """Append one signal. Its id is its cursor: the same run gives the same ids."""
    state.signal_cursor += 1
    signal = Signal(
        id=f"{blueprint.fleet.name}-{state.signal_cursor}",
        kind=kind,
        at_s=unix_s(blueprint, now_ns),
        service=None if service is None else blueprint.fleet.services[service].id,
        reason=reason,
        text=text,
        symptom=symptom,
    )
    state.signals.append((state.signal_cursor, signal))
    if len(state.signals) > 2 * SIGNALS_KEPT:
        del state.signals[:-SIGNALS_KEPT]
