"""Every figure of a Fleet by its path: what a belief is about, and what a measurement replaces.

Paths have an owner and a figure, with a blank between them:

    shop/cart start_s | memory_base_bytes | station[workers].servers | station[workers].queue_limit
    shop/cart:add work[0].mean_s | work[0].cv | call[1].probability | call[1].timeout_s | call[1].retries
                  call[1].backoff_s | publish[0].probability | hold[0].timeout_s | cached[0].hit_ratio
    journey:browse rate_rps | timeout_s | retries | backoff_s

Steps are counted by kind, depth first, in program order: the second call of a program is call[1] wherever
it stands. "No time-out" and "no limit" are infinity here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from twin.spec.errors import BadInput
from twin.spec.fleet import Fleet, Journey, Service
from twin.spec.ids import op_id
from twin.spec.program import Cached, Call, Hold, Operation, Publish, Retry, Station, Step, Work

__all__ = ["journey_path", "op_path", "parameters_of", "service_path", "station_path", "with_parameters"]


def service_path(service: str, figure: str) -> str:
    """The path of a service's own figure, as "shop/cart start_s"."""
    return f"{service} {figure}"


def station_path(service: str, station: str, figure: str = "servers") -> str:
    """The path of a station's figure, as "shop/cart station[workers].servers"."""
    return f"{service} station[{station}].{figure}"


def op_path(op: str, kind: str, index: int, figure: str) -> str:
    """The path of a step's figure, as "shop/cart:add work[0].mean_s"."""
    return f"{op} {kind}[{index}].{figure}"


def journey_path(journey: str, figure: str) -> str:
    """The path of a journey's figure, as "journey:browse rate_rps"."""
    return f"journey:{journey} {figure}"


def parameters_of(fleet: Fleet) -> Iterator[tuple[str, float]]:
    """Each figure's path and value (in the unit that the path names), in the fleet's order."""
    reader = _Reader()
    _visit_fleet(fleet, reader)
    yield from reader.found


def with_parameters(fleet: Fleet, values: Mapping[str, float]) -> Fleet:
    """The same fleet with these figures; counts are rounded to whole numbers.

    Raises BadInput for a path that names nothing.
    """
    if not values:
        return fleet
    writer = _Writer(values=values)
    result = _visit_fleet(fleet, writer)
    unknown = sorted(set(values) - writer.used)
    if unknown:
        raise BadInput(
            f'"{unknown[0]}" is no parameter', f"fleet {fleet.name!r} has none of that name", "check the path"
        )
    return result


# --- one walk, used for reading and for writing -----------------------------------------------------------

T = TypeVar("T", Service, Station, Work, Call, Publish, Hold, Cached, Journey, Retry)


class _Visitor(Protocol):
    def figures(self, prefix: str, value: T, names: tuple[str, ...]) -> T: ...


@dataclass(slots=True)
class _Reader:
    found: list[tuple[str, float]] = field(default_factory=list)

    def figures(self, prefix: str, value: T, names: tuple[str, ...]) -> T:
        for name in names:
            figure = getattr(value, name)
            self.found.append((prefix + name, math.inf if figure is None else float(figure)))
        return value


@dataclass(slots=True)
class _Writer:
    values: Mapping[str, float]
    used: set[str] = field(default_factory=set)

    def figures(self, prefix: str, value: T, names: tuple[str, ...]) -> T:
        changes: dict[str, Any] = {}
        for name in names:
            path = prefix + name
            if path in self.values:
                self.used.add(path)
                changes[name] = _as_field(name, self.values[path])
        return replace(value, **changes) if changes else value


_COUNTS = frozenset({"servers", "queue_limit", "retries", "memory_base_bytes"})
_OPTIONAL = frozenset({"timeout_s", "queue_limit"})


def _as_field(name: str, value: float) -> float | int | None:
    if math.isinf(value) and name in _OPTIONAL:
        return None
    return round(value) if name in _COUNTS else value


def _visit_fleet(fleet: Fleet, visitor: _Visitor) -> Fleet:
    services = tuple(_visit_service(service, visitor) for service in fleet.services)
    journeys = tuple(_visit_journey(journey, visitor) for journey in fleet.journeys)
    return replace(fleet, services=services, journeys=journeys)


def _visit_service(service: Service, visitor: _Visitor) -> Service:
    seen = visitor.figures(f"{service.id} ", service, ("start_s", "memory_base_bytes"))
    stations = tuple(
        visitor.figures(station_path(service.id, station.name, ""), station, ("servers", "queue_limit"))
        for station in service.stations
    )
    operations = tuple(
        Operation(
            name=operation.name, steps=_visit_steps(operation.steps, op_id(service.id, operation.name), {}, visitor)
        )
        for operation in service.operations
    )
    return replace(seen, stations=stations, operations=operations)


def _visit_journey(journey: Journey, visitor: _Visitor) -> Journey:
    prefix = journey_path(journey.name, "")
    seen = visitor.figures(prefix, journey, ("rate_rps", "timeout_s"))
    return replace(seen, retry=visitor.figures(prefix, seen.retry, ("retries", "backoff_s")))


def _visit_steps(steps: tuple[Step, ...], op: str, counts: dict[str, int], visitor: _Visitor) -> tuple[Step, ...]:
    return tuple(_visit_step(step, op, counts, visitor) for step in steps)


def _visit_step(step: Step, op: str, counts: dict[str, int], visitor: _Visitor) -> Step:
    def prefix(kind: str) -> str:
        index = counts.get(kind, 0)
        counts[kind] = index + 1
        return op_path(op, kind, index, "")

    match step:
        case Work():
            return visitor.figures(prefix("work"), step, ("mean_s", "cv"))
        case Call():
            where = prefix("call")
            seen = visitor.figures(where, step, ("probability", "timeout_s"))
            return replace(seen, retry=visitor.figures(where, seen.retry, ("retries", "backoff_s")))
        case Publish():
            return visitor.figures(prefix("publish"), step, ("probability",))
        case Hold():
            held = visitor.figures(prefix("hold"), step, ("timeout_s",))
            return replace(held, body=_visit_steps(step.body, op, counts, visitor))
        case Cached():
            cached = visitor.figures(prefix("cached"), step, ("hit_ratio",))
            return replace(cached, miss=_visit_steps(step.miss, op, counts, visitor))
