"""Compile a Fleet into a static Network: arrays that both engines walk, and look-ups from names to rows.

Letters of shapes: (S,) services, (O,) operations, (J,) journeys, (E,) edges, (K,) stations, (V,) visits,
(C,) program codes. A *visit* is one Work or Hold of one program: a place where a request meets a station.

A program becomes a run of codes. Neighbouring calls fold into one code over a run of edges, so that a
program of one Work and eight calls is three codes: WORK, CALLS, END.

Services are ordered callers first. In a cycle some edge points backwards; along such an edge a request
arrives one tick late and the caller reads the callee's figures of the last tick. Calls between two
operations of one service always count as backwards, because both share that service's stations.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Final, TypeGuard, TypeVar

import numpy as np

from twin.fleet.draws import entity_of
from twin.fleet.traffic.engine import F64, I64, Conditions
from twin.spec.errors import BadInput
from twin.spec.fleet import Fleet, Journey, Service
from twin.spec.ids import JourneyName, OpId, ServiceId, op_id
from twin.spec.program import Cached, Call, Hold, Publish, Scope, Station, Step, Work

__all__ = [
    "CACHED",
    "CALLS",
    "END",
    "END_CACHED",
    "END_HOLD",
    "GROUP",
    "HOLD",
    "PUBLISHES",
    "WORK",
    "Network",
    "compile_network",
    "initial_conditions",
]

_Key = TypeVar("_Key")
_Row = TypeVar("_Row")

CPU: Final = "cpu"

# Codes of a compiled program, and what their arguments a, b and x mean.
END: Final = 0  # the request has been answered well
CALLS: Final = 1  # edges a to b, one after the other
GROUP: Final = 2  # edges a to b, all at once
WORK: Final = 3  # visit a
HOLD: Final = 4  # visit a; b is the place of its END_HOLD
END_HOLD: Final = 5  # visit a
CACHED: Final = 6  # b is the place of its END_CACHED; x is the hit ratio
PUBLISHES: Final = 8  # edges a to b, which nobody waits for
END_CACHED: Final = 7  # a is the place of its CACHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The fleet's call graph and programs as arrays. Nothing here changes during a run.

    `edge_probability` is per time that the program reaches the call; `edge_visit_ratio` is per request
    of a healthy caller, with the misses of the caches around it multiplied in. `edge_holds`: the
    stations that the caller holds while it waits, outermost first.
    """

    fleet_name: str
    digest: str  # of everything below that is structure: a saved state fits this network only
    journeys: tuple[JourneyName, ...]
    services: tuple[ServiceId, ...]
    ops: tuple[OpId, ...]
    stations: tuple[tuple[ServiceId, str], ...]

    journey_entity: I64  # (J,) what the arrivals' draws are addressed by
    journey_rate_rps: F64  # (J,)

    service_replicas: F64  # (S,)
    service_order: I64  # (S,) callers first
    service_cpu: I64  # (S,) index of the cpu station
    op_service: I64  # (O,)
    op_start: I64  # (S+1,) operations of a service are neighbours
    edge_start: I64  # (O+1,) edges of an operation are neighbours; the journeys' come before
    edge_caller: I64  # (E,) operation, or -1: a journey
    edge_callee: I64  # (E,)
    edge_probability: F64  # (E,)
    edge_visit_ratio: F64  # (E,)
    edge_timeout_s: F64  # (E,) inf: waits for ever
    edge_retries: I64  # (E,)
    edge_backoff_s: F64  # (E,)
    edge_group: I64  # (E,) -1: alone
    edge_cancel: I64  # (E,) 0 or 1
    edge_required: I64  # (E,) 0 or 1
    edge_publish: I64  # (E,) 0 or 1
    edge_holds: tuple[tuple[int, ...], ...]

    station_service: I64  # (K,)
    station_start: I64  # (S+1,) stations of a service are neighbours
    station_shared: I64  # (K,) 1: one limit for the service; 0: a limit a replica
    station_servers: F64  # (K,)
    station_queue_limit: F64  # (K,) inf: unbounded
    station_order: I64  # (K,) within each service, by the first visit

    visit_start: I64  # (S+1,) visits of a service are neighbours
    visit_op: I64  # (V,)
    visit_station: I64  # (V,)
    visit_code: I64  # (V,) place in the program
    visit_hold: I64  # (V,) 1: Hold, 0: Work
    visit_mean_s: F64  # (V,) of Work; 0 for Hold
    visit_cv2: F64  # (V,) squared coefficient of variation
    visit_timeout_s: F64  # (V,) of Hold: bound of the wait
    station_visit_start: I64  # (K+1,)
    station_visits: I64  # (V,) visits by station

    code_start: I64  # (O+1,)
    code_kind: I64  # (C,)
    code_a: I64  # (C,)
    code_b: I64  # (C,)
    code_x: F64  # (C,)

    op_rows: Mapping[OpId, int] = field(repr=False)
    service_rows: Mapping[ServiceId, int] = field(repr=False)
    journey_rows: Mapping[JourneyName, int] = field(repr=False)
    station_rows: Mapping[tuple[ServiceId, str], int] = field(repr=False)
    edge_rows: Mapping[tuple[str, OpId], tuple[int, ...]] = field(repr=False)

    def op_index(self, op: OpId) -> int:
        """Row of an operation. Raises BadInput."""
        return _row(self.op_rows, op, "operation", self.fleet_name)

    def service_index(self, service: ServiceId) -> int:
        """Row of a service. Raises BadInput."""
        return _row(self.service_rows, service, "service", self.fleet_name)

    def journey_index(self, journey: JourneyName) -> int:
        """Row of a journey, which is the row of its edge too. Raises BadInput."""
        return _row(self.journey_rows, journey, "journey", self.fleet_name)

    def station_index(self, service: ServiceId, station: str) -> int:
        """Row of a station, an implicit cpu included. Raises BadInput."""
        return _row(self.station_rows, (service, station), "station", self.fleet_name)

    def edge_index(self, caller: OpId | JourneyName, callee: OpId, nth: int = 0) -> int:
        """Row of the caller's `nth` call or publish to `callee`, in program order. Raises BadInput."""
        rows = _row(self.edge_rows, (str(caller), callee), "call", self.fleet_name)
        if not 0 <= nth < len(rows):
            raise BadInput(
                f"{caller} has no call number {nth} to {callee}",
                f"it calls {callee} {len(rows)} times",
                f"give a number from 0 to {len(rows) - 1}",
            )
        return rows[nth]


def compile_network(fleet: Fleet) -> Network:
    """Raises BadInput for unknown targets, undeclared stations, and figures that mean nothing."""
    builder = _Builder(fleet)
    builder.declare()
    for journey in fleet.journeys:
        builder.add_journey(journey)
    for service in fleet.services:
        builder.add_programs(service)
    return builder.network()


def initial_conditions(network: Network, fleet: Fleet) -> Conditions:
    """As declared: one pool a service, every replica ready at full speed."""
    services = len(network.services)
    return Conditions(
        pool_key=np.arange(services, dtype=np.int64),
        pool_service=np.arange(services, dtype=np.int64),
        pool_start=np.arange(services + 1, dtype=np.int64),
        pool_ready=np.array([float(service.replicas) for service in fleet.services]),
        pool_speed=np.ones(services),
        pool_error_ratio=np.zeros(services),
        station_servers=network.station_servers.copy(),
        edge_timeout_s=network.edge_timeout_s.copy(),
        edge_retries=network.edge_retries.copy(),
        edge_backoff_s=network.edge_backoff_s.copy(),
        edge_delay_s=np.zeros(len(network.edge_callee)),
        op_shed_ratio=np.zeros(len(network.ops)),
        journey_rate_rps=np.array([float(journey.rate_rps) for journey in fleet.journeys]),
    )


def _row(rows: Mapping[_Key, _Row], key: _Key, kind: str, fleet_name: str) -> _Row:
    try:
        return rows[key]
    except KeyError:
        raise BadInput(
            f"unknown {kind} {key!r}",
            f"fleet {fleet_name!r} has no such {kind}",
            "look the name up in the fleet file",
        ) from None


@dataclass(slots=True, kw_only=True)
class _Edge:
    caller: int
    callee: int
    probability: float
    visit_ratio: float
    timeout_s: float
    retries: int
    backoff_s: float
    group: int
    cancel: bool
    required: bool
    publish: bool
    holds: tuple[int, ...]


@dataclass(slots=True, kw_only=True)
class _Visit:
    op: int
    station: int
    code: int
    hold: bool
    mean_s: float
    cv2: float
    timeout_s: float


class _Builder:
    """Fills lists in the fleet's order; `network` turns them into arrays."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.op_rows: dict[OpId, int] = {}
        self.op_service: list[int] = []
        self.op_start = [0]
        self.station_rows: dict[tuple[ServiceId, str], int] = {}
        self.stations: list[tuple[int, Station]] = []
        self.station_start = [0]
        self.edges: list[_Edge] = []
        self.edge_start: list[int] = []
        self.visits: list[_Visit] = []
        self.visit_start = [0]
        self.code_start = [0]
        self.code: list[tuple[int, int, int, float]] = []
        self._path = ""

    def declare(self) -> None:
        """Names first, so that programs may call forwards."""
        services: dict[ServiceId, int] = {}
        for service in self.fleet.services:
            if service.id in services:
                raise _duplicate("service", service.id)
            services[service.id] = len(services)
            _check(f"{service.id} replicas", service.replicas)
            for operation in service.operations:
                op = op_id(service.id, operation.name)
                if op in self.op_rows:
                    raise _duplicate("operation", op)
                self.op_rows[op] = len(self.op_rows)
                self.op_service.append(services[service.id])
            self.op_start.append(len(self.op_rows))
            for station in _stations_of(service):
                if (service.id, station.name) in self.station_rows:
                    raise _duplicate("station", f"{service.id} {station.name}")
                _check(f"{service.id} station {station.name} servers", station.servers)
                if station.queue_limit is not None:
                    _check(f"{service.id} station {station.name} queue_limit", station.queue_limit)
                self.station_rows[service.id, station.name] = len(self.stations)
                self.stations.append((services[service.id], station))
            self.station_start.append(len(self.stations))
        self.services = services

    def add_journey(self, journey: Journey) -> None:
        self._path = f"journey {journey.name}"
        _check(f"{self._path} rate_rps", journey.rate_rps)
        call = Call(target=journey.target, timeout_s=journey.timeout_s, retry=journey.retry)
        self._add_edge(call, caller=-1, reach=1.0, holds=())

    def add_programs(self, service: Service) -> None:
        for operation in service.operations:
            op = op_id(service.id, operation.name)
            self._path = op
            self._service = service
            self._op = self.op_rows[op]
            self.edge_start.append(len(self.edges))
            self._add_steps(operation.steps, reach=1.0, holds=())
            self._emit(END)
            self.code_start.append(len(self.code))
        self.visit_start.append(len(self.visits))

    def _add_steps(self, steps: tuple[Step, ...], *, reach: float, holds: tuple[int, ...]) -> None:
        at = 0
        while at < len(steps):
            step = steps[at]
            at += 1
            match step:
                case Work():
                    _check(f"{self._path} Work at {step.station} mean_s", step.mean_s)
                    _check(f"{self._path} Work at {step.station} cv", step.cv)
                    cv2 = step.cv * step.cv
                    self._add_visit(step.station, hold=False, mean_s=step.mean_s, cv2=cv2, timeout_s=math.inf)
                case Hold():
                    timeout_s = self._timeout(f"Hold of {step.station}", step.timeout_s)
                    begin = len(self.code)
                    visit = self._add_visit(step.station, hold=True, mean_s=0.0, cv2=0.0, timeout_s=timeout_s)
                    inner = (*holds, self.visits[visit].station)
                    self._add_steps(step.body, reach=reach, holds=inner)
                    self.code[begin] = (HOLD, visit, len(self.code), 0.0)
                    self._emit(END_HOLD, visit)
                case Cached():
                    _check(f"{self._path} cache {step.cache} hit_ratio", step.hit_ratio, most=1.0)
                    begin = len(self.code)
                    self._emit(CACHED)
                    self._add_steps(step.miss, reach=reach * (1.0 - step.hit_ratio), holds=holds)
                    self.code[begin] = (CACHED, 0, len(self.code), step.hit_ratio)
                    self._emit(END_CACHED, begin)
                case Call(group=int()):
                    first = len(self.edges)
                    self._add_edge(step, caller=self._op, reach=reach, holds=holds)
                    while at < len(steps) and _joins(other := steps[at], step):
                        self._add_edge(other, caller=self._op, reach=reach, holds=holds)
                        at += 1
                    parallel = len(self.edges) - first > 1
                    self._add_calls(GROUP if parallel else CALLS, first)
                case Call() | Publish():
                    first = len(self.edges)
                    self._add_edge(step, caller=self._op, reach=reach, holds=holds)
                    self._add_calls(CALLS if isinstance(step, Call) else PUBLISHES, first)

    def _add_calls(self, kind: int, first: int) -> None:
        """A run of edges; neighbouring CALLS fold into one code, and neighbouring PUBLISHES."""
        last = self.code[-1] if len(self.code) > self.code_start[-1] else None
        if kind != GROUP and last is not None and last[0] == kind and last[2] == first:
            self.code[-1] = (kind, last[1], len(self.edges), 0.0)
        else:
            self._emit(kind, first, len(self.edges))

    def _add_visit(self, station: str, *, hold: bool, mean_s: float, cv2: float, timeout_s: float) -> int:
        row = self.station_rows.get((self._service.id, station))
        if row is None:
            raise BadInput(
                f"{self._path} uses station {station!r}, which {self._service.id} does not declare",
                "only 'cpu' exists without a declaration",
                f"add Station(name={station!r}, servers=…) to the service's stations",
            )
        self._emit(HOLD if hold else WORK, len(self.visits))
        self.visits.append(
            _Visit(
                op=self._op,
                station=row,
                code=len(self.code) - 1,
                hold=hold,
                mean_s=mean_s,
                cv2=cv2,
                timeout_s=timeout_s,
            )
        )
        return len(self.visits) - 1

    def _add_edge(self, step: Call | Publish, *, caller: int, reach: float, holds: tuple[int, ...]) -> None:
        name = f"{self._path} call to {step.target}"
        callee = self.op_rows.get(step.target)
        if callee is None:
            raise BadInput(
                f"{self._path} calls {step.target!r}, which nobody offers",
                f"fleet {self.fleet.name!r} has no such operation",
                "name it namespace/service:operation, or add the operation",
            )
        _check(f"{name} probability", step.probability, most=1.0)
        call = step if isinstance(step, Call) else Call(target=step.target, required=False)
        _check(f"{name} retries", call.retry.retries)
        _check(f"{name} backoff_s", call.retry.backoff_s)
        self.edges.append(
            _Edge(
                caller=caller,
                callee=callee,
                probability=step.probability,
                visit_ratio=reach * step.probability,
                timeout_s=self._timeout(name, call.timeout_s),
                retries=call.retry.retries,
                backoff_s=call.retry.backoff_s,
                group=-1 if call.group is None else call.group,
                cancel=call.cancel,
                required=call.required,
                publish=isinstance(step, Publish),
                holds=holds,
            )
        )

    def _timeout(self, name: str, timeout_s: float | None) -> float:
        if timeout_s is None:
            return math.inf
        _check(f"{name} timeout_s", timeout_s)
        return float(timeout_s)

    def _emit(self, kind: int, a: int = 0, b: int = 0, x: float = 0.0) -> None:
        self.code.append((kind, a, b, x))

    def network(self) -> Network:
        fleet, edges, visits = self.fleet, self.edges, self.visits
        order = self._service_order()
        by_station: list[list[int]] = [[] for _ in self.stations]
        for index, visit in enumerate(visits):
            by_station[visit.station].append(index)
        station_order = _by_first_visit(self.station_start, by_station)
        edge_rows: dict[tuple[str, OpId], tuple[int, ...]] = {}
        ops = tuple(self.op_rows)
        for index, edge in enumerate(edges):
            caller = fleet.journeys[index].name if edge.caller < 0 else ops[edge.caller]
            key = (str(caller), ops[edge.callee])
            edge_rows[key] = (*edge_rows.get(key, ()), index)
        services = tuple(self.services)
        journey_names = tuple(journey.name for journey in fleet.journeys)
        if len(set(journey_names)) < len(journey_names):
            raise _duplicate("journey", ", ".join(sorted(journey_names)))
        network = Network(
            fleet_name=fleet.name,
            digest=self._digest(),
            journeys=journey_names,
            services=services,
            ops=ops,
            stations=tuple((services[s], station.name) for s, station in self.stations),
            journey_entity=_ints(entity_of(f"journey {name}") for name in journey_names),
            journey_rate_rps=_floats(journey.rate_rps for journey in fleet.journeys),
            service_replicas=_floats(service.replicas for service in fleet.services),
            service_order=_ints(order),
            service_cpu=_ints(self.station_rows[service, CPU] for service in services),
            op_service=_ints(self.op_service),
            op_start=_ints(self.op_start),
            edge_start=_ints([*self.edge_start, len(edges)]),
            edge_caller=_ints(edge.caller for edge in edges),
            edge_callee=_ints(edge.callee for edge in edges),
            edge_probability=_floats(edge.probability for edge in edges),
            edge_visit_ratio=_floats(edge.visit_ratio for edge in edges),
            edge_timeout_s=_floats(edge.timeout_s for edge in edges),
            edge_retries=_ints(edge.retries for edge in edges),
            edge_backoff_s=_floats(edge.backoff_s for edge in edges),
            edge_group=_ints(edge.group for edge in edges),
            edge_cancel=_ints(edge.cancel for edge in edges),
            edge_required=_ints(edge.required for edge in edges),
            edge_publish=_ints(edge.publish for edge in edges),
            edge_holds=tuple(edge.holds for edge in edges),
            station_service=_ints(s for s, _ in self.stations),
            station_start=_ints(self.station_start),
            station_shared=_ints(station.scope is Scope.SERVICE for _, station in self.stations),
            station_servers=_floats(station.servers for _, station in self.stations),
            station_queue_limit=_floats(
                math.inf if station.queue_limit is None else float(station.queue_limit) for _, station in self.stations
            ),
            station_order=_ints(station_order),
            visit_start=_ints(self.visit_start),
            visit_op=_ints(visit.op for visit in visits),
            visit_station=_ints(visit.station for visit in visits),
            visit_code=_ints(visit.code for visit in visits),
            visit_hold=_ints(visit.hold for visit in visits),
            visit_mean_s=_floats(visit.mean_s for visit in visits),
            visit_cv2=_floats(visit.cv2 for visit in visits),
            visit_timeout_s=_floats(visit.timeout_s for visit in visits),
            station_visit_start=_ints(np.cumsum([0, *(len(rows) for rows in by_station)])),
            station_visits=_ints(index for rows in by_station for index in rows),
            code_start=_ints(self.code_start),
            code_kind=_ints(kind for kind, _, _, _ in self.code),
            code_a=_ints(a for _, a, _, _ in self.code),
            code_b=_ints(b for _, _, b, _ in self.code),
            code_x=_floats(x for _, _, _, x in self.code),
            op_rows=MappingProxyType(self.op_rows),
            service_rows=MappingProxyType(self.services),
            journey_rows=MappingProxyType({name: index for index, name in enumerate(journey_names)}),
            station_rows=MappingProxyType(self.station_rows),
            edge_rows=MappingProxyType(edge_rows),
        )
        for array in (getattr(network, name) for name in Network.__dataclass_fields__):
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
        return network

    def _service_order(self) -> list[int]:
        """Callers first, and otherwise the fleet's order, so that a sweep passes over memory in order.

        A depth-first walk finds the edges that close a cycle; without them the graph is sorted.
        """
        callees: list[list[int]] = [[] for _ in self.services]
        for edge in self.edges:
            if edge.caller >= 0 and self.op_service[edge.caller] != self.op_service[edge.callee]:
                callees[self.op_service[edge.caller]].append(self.op_service[edge.callee])
        entry = [self.op_service[edge.callee] for edge in self.edges if edge.caller < 0]
        # Journeys' targets go first, so that a cycle is cut where traffic enters it.
        rank = {service: place for place, service in enumerate(_depth_first(callees, entry))}
        waits_for = [0] * len(callees)
        for caller, targets in enumerate(callees):
            targets[:] = [target for target in targets if rank[caller] < rank[target]]
            for target in targets:
                waits_for[target] += 1
        free = [service for service, count in enumerate(waits_for) if count == 0]
        order: list[int] = []
        while free:
            service = heapq.heappop(free)
            order.append(service)
            for target in callees[service]:
                waits_for[target] -= 1
                if waits_for[target] == 0:
                    heapq.heappush(free, target)
        return order

    def _digest(self) -> str:
        text = repr((list(self.op_rows), self.stations, self.edges, self.visits, self.code))
        text += repr([(journey.name, journey.target) for journey in self.fleet.journeys])
        return hashlib.sha256(text.encode()).hexdigest()


def _depth_first(callees: list[list[int]], entry: list[int]) -> list[int]:
    """Reversed post-order: callers first, but for the edges that close a cycle."""
    seen = [False] * len(callees)
    done: list[int] = []
    for root in [*entry, *range(len(callees))]:
        if seen[root]:
            continue
        seen[root] = True
        stack = [(root, 0)]
        while stack:
            service, at = stack.pop()
            while at < len(callees[service]) and seen[callees[service][at]]:
                at += 1
            if at == len(callees[service]):
                done.append(service)
            else:
                stack.append((service, at + 1))
                seen[callees[service][at]] = True
                stack.append((callees[service][at], 0))
    return done[::-1]


def _joins(step: Step, first: Call) -> TypeGuard[Call]:
    """Whether a step belongs to the parallel group that `first` opened."""
    return isinstance(step, Call) and step.group == first.group


def _stations_of(service: Service) -> tuple[Station, ...]:
    """The declared stations, and the cpu that every container has."""
    if any(station.name == CPU for station in service.stations):
        return service.stations
    cores = max(1, round(service.resources.cpu_limit_cores or 1))
    return (*service.stations, Station(name=CPU, servers=cores))


def _by_first_visit(station_start: list[int], by_station: list[list[int]]) -> list[int]:
    order: list[int] = []
    for first, last in pairwise(station_start):
        order += sorted(range(first, last), key=lambda row: (not by_station[row], by_station[row][:1], row))
    return order


def _check(name: str, figure: float, *, most: float = math.inf) -> None:
    if not 0.0 <= figure <= most or math.isinf(figure):
        bounds = "0 or more, and finite" if math.isinf(most) else f"between 0 and {most:g}"
        raise BadInput(f"{name} is {figure}", f"it has to be {bounds}", "mend the figure in the fleet file")


def _duplicate(kind: str, name: str) -> BadInput:
    return BadInput(f"{kind} {name} is declared twice", "names are unique in a fleet", "rename one of them")


def _ints(values: Iterable[int] | I64) -> I64:
    return np.array([int(value) for value in values], dtype=np.int64)


def _floats(values: Iterable[float]) -> F64:
    return np.array([float(value) for value in values], dtype=np.float64)
