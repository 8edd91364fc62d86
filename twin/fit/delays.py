"""Time that requests spend on no processor and in no declared queue: on the way between pods, in a kernel, on a disk.

Utilisation shows work, and nothing of this. So the twin is run in calm for a while and asked for the same figures as
production; by how much production's requests took longer is a delay, played at a station that never fills
(an infinite server; Denning and Buzen 1978).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import Metric, Telemetry, TracedEdge
from twin.spec.fleet import Belief, Fleet, Service, Source
from twin.spec.ids import OpId, ServiceId, op_id
from twin.spec.parameters import op_path, station_path
from twin.spec.program import Hold, Operation, Station, Step, Work
from twin.spec.units import ns

__all__ = ["OFF_CPU", "with_delays"]

OFF_CPU: Final = "off-cpu"
SERVERS: Final = 10_000  # More than any replica has requests.
CALM_S: Final = 150.0
LOOK_S: Final = 90.0
# The twin's own error must not pass for a delay: of 300 generated services it is within 0.13 for 98 in a hundred.
LEAST_RATIO: Final = 0.2
SPREAD: Final = 0.2  # of the difference of two measured times


@dataclass(frozen=True, slots=True)
class _Times:
    """Of a request of each operation: its own, and its calls' between leaving here and being served there."""

    rate_rps: Mapping[OpId, float]
    own_s: Mapping[OpId, float]
    way_s: Mapping[OpId, float]

    def took_s(self, op: OpId) -> float:
        return self.own_s[op] + self.way_s[op]


def with_delays(fleet: Fleet, telemetry: Telemetry, *, start_s: float, end_s: float) -> Fleet:
    """The same fleet, with delays in services whose requests took a fifth longer than the twin's, and more."""
    seen = _times(telemetry, start_s=start_s, end_s=end_s)
    world = World.build(fleet, seed=0)
    world.run(ns(CALM_S))
    plant = plant_of(world)
    now_s = plant.clock.now_s()
    told = _times(plant.telemetry, start_s=now_s - LOOK_S, end_s=now_s)
    beliefs = dict(fleet.beliefs)
    services = tuple(_delayed(service, _excess_s(service, seen, told), beliefs) for service in fleet.services)
    return replace(fleet, services=services, beliefs=MappingProxyType(beliefs))


def _excess_s(service: Service, seen: _Times, told: _Times) -> dict[OpId, float]:
    """By how much longer requests took, where the service as a whole is beyond the twin's own error. How its work is
    shared among its operations is rough, so one of them alone says little."""
    ops = [op_id(service.id, operation.name) for operation in service.operations]
    excess_s = {op: seen.took_s(op) - told.took_s(op) for op in ops if op in seen.own_s and op in told.own_s}
    took = sum(seen.rate_rps[op] * seen.took_s(op) for op in excess_s)
    if sum(seen.rate_rps[op] * excess for op, excess in excess_s.items()) <= LEAST_RATIO * took:
        return {}
    return {op: excess for op, excess in excess_s.items() if excess > 0.0}


def _times(telemetry: Telemetry, *, start_s: float, end_s: float) -> _Times:
    stats = {op_id(one.service, one.operation): one for one in telemetry.operations(start_s=start_s, end_s=end_s)}
    edges = [one for one in telemetry.edges() if not one.asynchronous and one.id.caller != "user"]
    ids = [edge.id for edge in edges]
    rates, times = (
        np.nanmean(telemetry.edge_series(metric, ids, start_s=start_s, end_s=end_s).values, axis=0) if ids else []
        for metric in (Metric.REQUESTS_RPS, Metric.LATENCY_MEAN_S)
    )
    calls: dict[OpId, list[tuple[TracedEdge, float, float]]] = {}
    for edge, rate_rps, took_s in zip(edges, rates, times, strict=True):
        caller = op_id(ServiceId(edge.id.caller), edge.id.caller_operation)
        if caller in stats and stats[caller].rate_rps > 0.0 and np.isfinite(took_s) and np.isfinite(rate_rps):
            calls.setdefault(caller, []).append((edge, float(rate_rps) / stats[caller].rate_rps, float(took_s)))

    def together_s(op: OpId, figures: list[float]) -> float:
        """Calls one after the other add up; of a group the longest counts."""
        alone, groups = 0.0, dict[int, float]()
        for (edge, ratio, _), figure in zip(calls.get(op, ()), figures, strict=True):
            if edge.group is None:
                alone += ratio * figure
            else:
                groups[edge.group] = max(groups.get(edge.group, 0.0), ratio * figure)
        return alone + sum(groups.values())

    whole_s = {
        op: one.own_time_s + together_s(op, [took_s for _, _, took_s in calls.get(op, ())]) for op, one in stats.items()
    }

    def way_s(edge: TracedEdge, took_s: float) -> float:
        served_s = whole_s.get(op_id(ServiceId(edge.id.callee), edge.id.callee_operation))
        return 0.0 if served_s is None else max(took_s - served_s, 0.0)

    ways = {op: together_s(op, [way_s(edge, took_s) for edge, _, took_s in calls.get(op, ())]) for op in stats}
    return _Times(
        {op: one.rate_rps for op, one in stats.items()}, {op: one.own_time_s for op, one in stats.items()}, ways
    )


def _delayed(service: Service, delays: Mapping[OpId, float], beliefs: dict[str, Belief]) -> Service:
    operations: list[Operation] = []
    for operation in service.operations:
        op = op_id(service.id, operation.name)
        if op in delays:
            beliefs[op_path(op, "work", 1, "mean_s")] = Belief(source=Source.MEASURED, spread=SPREAD)
            beliefs[op_path(op, "work", 1, "cv")] = Belief(source=Source.PRIOR, spread=SPREAD)
            operation = replace(operation, steps=_with_delay(operation.steps, delays[op]))
        operations.append(operation)
    if tuple(operations) == service.operations:
        return service
    beliefs[station_path(service.id, OFF_CPU)] = Belief(source=Source.MEASURED, spread=SPREAD)
    stations = (*service.stations, Station(name=OFF_CPU, servers=SERVERS))
    return replace(service, operations=tuple(operations), stations=stations)


def _with_delay(steps: tuple[Step, ...], delay_s: float) -> tuple[Step, ...]:
    """After the first work, within whatever is held around it."""
    first, *rest = steps
    match first:
        case Work():
            return (first, Work(mean_s=delay_s, station=OFF_CPU), *rest)
        case Hold(body=body):
            return (replace(first, body=_with_delay(body, delay_s)), *rest)
    return (first, *_with_delay(tuple(rest), delay_s)) if rest else steps
