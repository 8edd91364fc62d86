"""What no trace of a calm day shows, as the owning teams declare it in annotations of a cluster's objects."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from twin.fleet.traffic.network import Network
from twin.ports.plant import TracedEdge
from twin.spec.fleet import Service
from twin.spec.program import Call, Hold, Publish, Step, calls_of

__all__ = ["CANCELS_ANNOTATION", "LIMITS_ANNOTATION", "OPTIONAL_ANNOTATION", "declared_calls", "declared_limits"]

LIMITS_ANNOTATION: Final = "twin.dev/limits"
OPTIONAL_ANNOTATION: Final = "twin.dev/optional"  # calls that their callers can do without
CANCELS_ANNOTATION: Final = "twin.dev/cancels"  # calls whose work stops when the caller gives up


def declared_calls(network: Network, traced: tuple[TracedEdge, ...], edges: Iterable[int]) -> dict[str, str]:
    """Of a route's edges (rows), those that are special: "operation>called, …", by annotation."""
    inside = [edge for edge in edges if network.edge_caller[edge] >= 0]
    declared = {
        OPTIONAL_ANNOTATION: [edge for edge in inside if not network.edge_required[edge]],
        CANCELS_ANNOTATION: [edge for edge in inside if network.edge_cancel[edge]],
    }
    return {
        name: ", ".join(sorted({f"{traced[e].id.caller_operation}>{traced[e].id.callee_operation}" for e in rows}))
        for name, rows in declared.items()
        if rows
    }


def declared_limits(service: Service) -> str:
    """Stations other than cpu, as JSON: servers, scope, queue and what is done while one is held ("*": the whole
    request; otherwise the operations called, or "work"). Empty without any."""
    limits: dict[str, Any] = {}
    for station in service.stations:
        holds: dict[str, list[str]] = {}
        for operation in service.operations:
            for hold, whole in _holds(operation.steps, station.name):
                called = [str(call.target) for call in calls_of(hold.body) if isinstance(call, Call | Publish)]
                holds[operation.name] = ["*"] if whole else called or ["work"]
        entry: dict[str, Any] = {"servers": station.servers, "scope": station.scope.value}
        if station.queue_limit is not None:
            entry["queue"] = station.queue_limit
        if holds:
            entry["holds"] = holds
        limits[station.name] = entry
    return json.dumps(limits, sort_keys=True) if limits else ""


def _holds(steps: tuple[Step, ...], station: str) -> list[tuple[Hold, bool]]:
    """Every Hold of a station in a program, and whether it spans all of it."""
    found: list[tuple[Hold, bool]] = []
    for step in steps:
        if isinstance(step, Hold):
            if step.station == station:
                found.append((step, len(steps) == 1))
            found += [(hold, whole and len(steps) == 1) for hold, whole in _holds(step.body, station)]
        elif hasattr(step, "miss"):
            found += [(hold, False) for hold, _ in _holds(step.miss, station)]
    return found
