"""Fleets that look like the large ones that have been measured.

What is imitated (Alibaba 2021 and 2022, Meta and Uber, see docs/): in-degree has a heavy tail (exponent about
2.2), a few hubs stand in most request graphs, most operations make few calls, graphs are small beside the
fleet (10 to 40 calls a request, depth four to six in the mean), databases and caches are leaves, traffic is
shared very unevenly.

A service calls only services of a later (tier, layer), so operations form a DAG. Two numbers are bounded from
the leaves upwards: the mean calls below an operation, by scaling its probabilities, and the most calls that
can happen below it, by dropping calls that somebody else makes too. So no request explodes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import accumulate
from typing import Final

from twin.spec.config import ConfigMap, Secret
from twin.spec.draws import Draws
from twin.spec.errors import BadInput
from twin.spec.fleet import (
    Autoscaling,
    Disruption,
    Fleet,
    Journey,
    NodePool,
    Probe,
    Resources,
    Service,
    WorkloadKind,
)
from twin.spec.ids import JourneyName, OpId, ServiceId, op_id
from twin.spec.program import Cached, Call, Hold, Operation, Publish, Retry, Scope, Station, Step, Work, calls_of

__all__ = ["SERVICES_MAX", "combine", "generate", "hubs_of"]

SERVICES_MAX: Final = 100_000
_MEAN_CALLS_MIN: Final = 12.0  # per user request
_MEAN_CALLS_MAX: Final = 34.0
_MEAN_CALLS_BY_TIER: Final = (_MEAN_CALLS_MAX, 12.0, 8.0, 5.0, 1.5)
_MOST_CALLS_BY_TIER: Final = (1_500, 400, 150, 60, 8)
_HUB_TIER: Final = 4
_FAN_OUT_MAX: Final = 40
_UTILISATION: Final = (0.32, 0.58)
_HUB_SHARE: Final = 0.04
_IN_DEGREE_EXPONENT: Final = 0.81  # Zipf's, for a tail exponent of 2.23 of the in-degree: 1 / (2.23 - 1)
_SMALL_NODE: Final = NodePool(name="", zone="", count=0)
_LARGE_NODE: Final = NodePool(name="", zone="", count=0, cpu_cores=96.0, memory_bytes=384 * 2**30)
_SMALL_NODES_MAX: Final = 50  # Safety nets are usual at 100 nodes: a fleet must not begin beyond them.
_NODE_FILL: Final = 0.6  # Room for the loss of one of three zones.
_ZONES: Final = ("a", "b", "c")
_DOMAINS: Final = (
    "orders", "billing", "search", "catalog", "pricing", "stock", "fraud", "loyalty", "ads", "mail", "media", "maps",
    "chat", "reviews", "returns", "routing", "ledger", "quotes", "identity", "reports", "partners", "support",
)  # fmt: skip


class _Role(IntEnum):
    LOGIC = 0
    CACHE = 1
    DATABASE = 2


@dataclass(slots=True, eq=False)
class _Edge:
    target: _Op
    probability: float
    extra: bool = False  # Somebody else calls the target too: it may be dropped.
    publish: bool = False
    hit_ratio: float = 0.0  # Share that a cache answers before this call.

    @property
    def mean(self) -> float:
        return self.probability * (1.0 - self.hit_ratio)


@dataclass(slots=True, eq=False)
class _Op:
    service: _Service
    name: str
    entity: int
    edges: list[_Edge] = field(default_factory=list)
    mean_calls: float = 0.0
    most_calls: int = 0
    rate_rps: float = 0.0
    work_s: float = 0.0
    cv: float = 1.0
    latency_s: float = 0.0  # mean, every call weighed by its probability
    path_s: float = 0.0  # mean of a request that takes the longest of its unlikely calls
    peak_s: float = 0.0  # what the slowest station below adds once in ten million requests

    @property
    def tail_s(self) -> float:
        """How long it takes at the worst when all is well: time-outs must lie above it."""
        return self.peak_s + 2.0 * self.path_s


@dataclass(slots=True, eq=False)
class _Service:
    domain: int
    tier: int
    layer: int
    role: _Role
    name: str
    index: int = 0
    ops: list[_Op] = field(default_factory=list)
    cores: int = 1
    replicas: int = 2
    utilisation: float = 0.0


def generate(
    services: int,
    seed: int,
    *,
    name: str | None = None,
    calls: float = 3.0,
    rate_per_service_rps: float = 4.0,
) -> Fleet:
    """A fleet of that many services; the same arguments always give the same fleet.

    `calls` is the mean number of different calls in an operation's program, `rate_per_service_rps` the user
    requests a second for each service there is. Raises BadInput for figures out of range.
    """
    _check(services, calls, rate_per_service_rps)
    plan = _services(services, seed)
    ops = [op for service in plan for op in service.ops]
    _connect(plan, seed, calls)
    _bound(ops, seed)
    entries = [op for op in ops if op.service.tier == 0 and op.service.layer == 0]
    rates = _journey_rates(entries, seed, services * rate_per_service_rps)
    _load(plan, ops, entries, rates, seed)
    built = tuple(_build_service(service, seed) for service in plan)
    journeys = tuple(_build_journey(op, rate, index, seed) for index, (op, rate) in enumerate(zip(entries, rates)))
    return Fleet(
        name=name or f"generated-{services}-{seed}",
        services=built,
        journeys=journeys,
        node_pools=_node_pools(built),
    )


def combine(a: Fleet, b: Fleet, *, name: str | None = None, redirect: Mapping[OpId, OpId] | None = None) -> Fleet:
    """Both fleets on the machines of both; time starts when `a`'s does.

    `redirect` points calls of `a` elsewhere, as {"shop/mail:send": "hubs/hub-00:get"}: that is how a small
    shop comes to depend on a large fleet's shared services. Raises BadInput if a service, journey or pool
    has the same name in both, or if a redirection starts or ends nowhere.
    """
    for what, ours, theirs in (
        ("service", [s.id for s in a.services], [s.id for s in b.services]),
        ("journey", [j.name for j in a.journeys], [j.name for j in b.journeys]),
        ("node pool", [p.name for p in a.node_pools], [p.name for p in b.node_pools]),
        ("quota", [f"{q.namespace}/{q.name}" for q in a.quotas], [f"{q.namespace}/{q.name}" for q in b.quotas]),
        ("ConfigMap", _names(a.config_maps), _names(b.config_maps)),
        ("source", [s.owner for s in a.gitops], [s.owner for s in b.gitops]),
        (
            "webhook",
            [f"{w.configuration}/{w.name}" for w in a.webhooks],
            [f"{w.configuration}/{w.name}" for w in b.webhooks],
        ),
        ("Secret", _names(a.secrets), _names(b.secrets)),
    ):
        common = sorted(set(ours) & set(theirs))
        if common:
            raise BadInput("cannot combine the fleets", f'both have a {what} "{common[0]}"', "rename it in one of them")
    ways = redirect or {}
    ours_called = {call.target for s in a.services for o in s.operations for call in calls_of(o.steps)}
    known = {op_id(s.id, o.name) for fleet in (a, b) for s in fleet.services for o in s.operations}
    for source, target in ways.items():
        if source not in ours_called:
            raise BadInput("cannot combine the fleets", f'nothing in "{a.name}" calls "{source}"', "redirect another")
        if target not in known:
            raise BadInput("cannot combine the fleets", f'there is no operation "{target}"', "redirect to another")
    services = tuple(_redirected(service, ways) for service in a.services) if ways else a.services
    return Fleet(
        name=name or f"{a.name}+{b.name}",
        services=services + b.services,
        journeys=a.journeys + b.journeys,
        node_pools=a.node_pools + b.node_pools,
        quotas=a.quotas + b.quotas,
        config_maps=a.config_maps + b.config_maps,
        secrets=a.secrets + b.secrets,
        gitops=a.gitops + b.gitops,
        webhooks=a.webhooks + b.webhooks,
        epoch_s=a.epoch_s,
        beliefs={**b.beliefs, **a.beliefs},
    )


def hubs_of(fleet: Fleet, count: int) -> tuple[OpId, ...]:
    """The operations with the most callers, most first."""
    callers: dict[OpId, int] = {}
    for service in fleet.services:
        for operation in service.operations:
            for target in {call.target for call in calls_of(operation.steps)}:
                callers[target] = callers.get(target, 0) + 1
    return tuple(sorted(callers, key=lambda op: (-callers[op], op))[:count])


def _check(services: int, calls: float, rate_per_service_rps: float) -> None:
    if not 1 <= services <= SERVICES_MAX:
        raise BadInput(
            f"cannot generate {services} services", "that is no size for a fleet", f"ask for 1 to {SERVICES_MAX:,}"
        )
    if not 1.0 <= calls <= 20.0:
        raise BadInput(f"cannot generate {calls:g} calls an operation", "1 to 20 can be", "choose another figure")
    if not 0.0 < rate_per_service_rps <= 1_000.0:
        why = "it must be above 0 and at most 1,000"
        raise BadInput(f"cannot generate {rate_per_service_rps:g} requests/s a service", why, "choose another figure")


# --- who there is -----------------------------------------------------------------------------------------


def _services(count: int, seed: int) -> list[_Service]:
    """Domains of uneven size in four tiers, and the shared services behind them, in topological order."""
    hub_count = round(count * _HUB_SHARE) if count >= 20 else 0
    found = _domain_services(_DomainPlan(-1, _HUB_TIER, hub_count), seed) if hub_count else []
    left, domain = count - hub_count, 0
    while left > 0:
        draws = Draws(seed, "domain", domain)
        size = min(left, 60, math.ceil(5.0 * (1.0 - draws.unit(0)) ** -0.7))
        if left - size < 3:  # A rest too small to be a domain joins the last one.
            size = left
        tier = 0 if domain == 0 else (0, 1, 2, 3)[draws.among((0.3, 0.6, 0.85, 1.0), 1)]
        found += _domain_services(_DomainPlan(domain, tier, size), seed)
        left -= size
        domain += 1
    found.sort(key=lambda service: (service.tier, service.layer))  # Stable: the same plan, the same order.
    entity = 0
    for index, service in enumerate(found):
        service.index = index
        draws = Draws(seed, "operations", index)
        for op_name in _op_names(service, draws):
            service.ops.append(_Op(service=service, name=op_name, entity=entity))
            entity += 1
    return found


@dataclass(frozen=True, slots=True)
class _DomainPlan:
    index: int
    tier: int
    size: int


def _domain_services(plan: _DomainPlan, seed: int) -> list[_Service]:
    databases = max(1, round(0.15 * plan.size)) if plan.size >= 2 else 0
    caches = max(1, round(0.08 * plan.size)) if plan.size >= 5 else 0
    if plan.tier == _HUB_TIER:
        databases, caches = plan.size // 4, 0
    found: list[_Service] = []
    for i in range(plan.size - databases - caches):
        draws = Draws(seed, f"layer {plan.index}", i)
        layer = 0 if i == 0 or plan.tier == _HUB_TIER else (1 if draws.chance(0.6) else 2)
        if i == 1 and plan.tier != _HUB_TIER:
            layer = 1  # So that layer 2 always has somebody above it.
        word = "hub" if plan.tier == _HUB_TIER else ("api", "core", "worker")[layer]
        if layer == 0 and plan.tier == 0:
            word = "front"
        found.append(_Service(plan.index, plan.tier, layer, _Role.LOGIC, f"{word}-{i:02d}"))
    found += [_Service(plan.index, plan.tier, 3, _Role.CACHE, f"cache-{i:02d}") for i in range(caches)]
    found += [_Service(plan.index, plan.tier, 3, _Role.DATABASE, f"db-{i:02d}") for i in range(databases)]
    return found


def _op_names(service: _Service, draws: Draws) -> tuple[str, ...]:
    if service.role is _Role.DATABASE:
        return ("read", "write")
    if service.role is _Role.CACHE:
        return ("get",)
    return ("get", "update", "list")[: 1 + draws.among((0.6, 0.9, 1.0))]


# --- who calls whom ---------------------------------------------------------------------------------------


def _connect(plan: list[_Service], seed: int, calls: float) -> None:
    logic = [service for service in plan if service.role is _Role.LOGIC]
    hubs = [service for service in logic if service.tier == _HUB_TIER]
    hub_weights = list(accumulate((rank + 1.0) ** -_IN_DEGREE_EXPONENT for rank in range(len(hubs))))
    by_domain: dict[int, list[_Service]] = {}
    for service in plan:
        by_domain.setdefault(service.domain, []).append(service)
    doors = [[s for s in logic if s.tier == tier and s.layer == 0] for tier in range(_HUB_TIER)]
    logic_by_tier = [[s for s in logic if s.tier == tier] for tier in range(_HUB_TIER)]
    for service in plan:
        for op in service.ops:
            _give_a_caller(op, by_domain, logic_by_tier, seed)
    for service in logic:
        if service.tier == _HUB_TIER:
            continue  # A hub does its own work and asks its database.
        later_doors = [door for tier in doors[service.tier + 1 :] for door in tier]
        below = [s for s in by_domain[service.domain] if s.layer > service.layer]
        for op in service.ops:
            _add_extra_calls(op, hubs, hub_weights, below, later_doors, seed, calls)


def _give_a_caller(
    op: _Op, by_domain: dict[int, list[_Service]], logic_by_tier: list[list[_Service]], seed: int
) -> None:
    """One call that nobody drops, so that every operation is used."""
    service = op.service
    if service.tier == 0 and service.layer == 0:
        return  # Users call it.
    draws = Draws(seed, "caller", op.entity)
    if service.layer == 0:
        tiers = range(min(service.tier, len(logic_by_tier)))
        callers = [other for tier in tiers for other in logic_by_tier[tier]] or logic_by_tier[0]
    else:
        callers = [s for s in by_domain[service.domain] if s.role is _Role.LOGIC and s.layer < service.layer]
    caller = callers[draws.index(len(callers), 0)]
    source = caller.ops[draws.index(len(caller.ops), 1)]
    probability = 1.0 if draws.chance(0.5, 2) else draws.between(0.1, 0.9, 3)
    if service.role is _Role.DATABASE:
        probability = draws.between(0.5, 1.0, 3) if op.name == "read" else draws.between(0.1, 0.5, 3)
    publish = op.name != "read" and service.role is _Role.LOGIC and service.layer == 2 and draws.chance(0.15, 4)
    source.edges.append(_Edge(op, probability, publish=publish))


def _add_extra_calls(
    op: _Op,
    hubs: list[_Service],
    hub_weights: list[float],
    below: list[_Service],
    later_doors: list[_Service],
    seed: int,
    calls: float,
) -> None:
    draws = Draws(seed, "calls", op.entity)
    wanted = min(_FAN_OUT_MAX, round(calls / 2 * (1.0 - draws.unit(0)) ** -0.5))  # Pareto, mean `calls`.
    present = {edge.target.entity for edge in op.edges}
    for attempt in range(1, 3 * wanted, 1):
        if len(op.edges) >= wanted:
            break
        at = attempt * 4
        kind = draws.unit(at)
        if kind < 0.55 and hubs:
            target_service = hubs[draws.among(hub_weights, at + 1)]
        elif kind < 0.85 and below:
            target_service = below[draws.index(len(below), at + 1)]
        elif later_doors:
            target_service = later_doors[draws.index(len(later_doors), at + 1)]
        else:
            continue
        target = target_service.ops[draws.index(len(target_service.ops), at + 2)]
        if target.entity not in present:
            present.add(target.entity)
            probability = 1.0 if draws.chance(0.25, at + 3) else draws.between(0.05, 0.6, at + 3)
            op.edges.append(_Edge(target, probability, extra=True))


def _bound(ops: list[_Op], seed: int) -> None:
    """From the leaves upwards: caches before databases, no explosion, and enough calls for a user's request."""
    doors = [op for op in ops if op.service.layer == 0 and 0 < op.service.tier < _HUB_TIER]
    for op in reversed(ops):
        _put_caches_first(op, seed)
        tier, lower = op.service.tier, op.service.layer > 0
        most = _MOST_CALLS_BY_TIER[tier] // (2 if lower else 1)
        _drop_extras(op, most)
        if tier == 0 and not lower and doors:
            _top_up(op, doors, seed)
        mean = _MEAN_CALLS_BY_TIER[tier] / (2.0 if lower else 1.0)
        total = sum(edge.mean * (1.0 + edge.target.mean_calls) for edge in op.edges)
        scale = min(1.0, mean / total) if total else 1.0
        for edge in op.edges:
            edge.probability = max(0.001, round(edge.probability * scale, 3))
        op.mean_calls = sum(edge.mean * (1.0 + edge.target.mean_calls) for edge in op.edges)
        op.most_calls = sum(1 + edge.target.most_calls for edge in op.edges)


def _put_caches_first(op: _Op, seed: int) -> None:
    caches = [edge for edge in op.edges if edge.target.service.role is _Role.CACHE]
    if caches:
        draws = Draws(seed, "cache", op.entity)
        for edge in op.edges:
            if edge.target.service.role is _Role.DATABASE and edge.target.name == "read":
                edge.hit_ratio = round(draws.between(0.6, 0.97), 2)
        caches[0].probability = 1.0


def _drop_extras(op: _Op, most: int) -> None:
    total = sum(1 + edge.target.most_calls for edge in op.edges)
    while total > most:
        extras = [edge for edge in op.edges if edge.extra]
        if not extras:
            return
        largest = max(extras, key=lambda edge: edge.target.most_calls)
        op.edges.remove(largest)
        total -= 1 + largest.target.most_calls


def _top_up(op: _Op, doors: list[_Op], seed: int) -> None:
    draws = Draws(seed, "top up", op.entity)
    present = {edge.target.entity for edge in op.edges}
    total = sum(edge.mean * (1.0 + edge.target.mean_calls) for edge in op.edges)
    most = sum(1 + edge.target.most_calls for edge in op.edges)
    for attempt in range(80):
        if total >= _MEAN_CALLS_MIN or len(op.edges) >= _FAN_OUT_MAX:
            return
        target = doors[draws.index(len(doors), attempt)]
        if target.entity not in present and most + 1 + target.most_calls <= _MOST_CALLS_BY_TIER[0]:
            present.add(target.entity)
            op.edges.append(_Edge(target, 1.0, extra=True))
            total += 1.0 + target.mean_calls
            most += 1 + target.most_calls


# --- how much ---------------------------------------------------------------------------------------------


def _journey_rates(entries: list[_Op], seed: int, total_rps: float) -> list[float]:
    """Requests a second, in whole tenths: a few journeys carry most of the traffic."""
    weights = [Draws(seed, "journey", op.entity).lognormal(1.0, 0.9) for op in entries]
    return [max(0.1, round(total_rps * weight / sum(weights), 1)) for weight in weights]


def _load(plan: list[_Service], ops: list[_Op], entries: list[_Op], rates: list[float], seed: int) -> None:
    for op, rate in zip(entries, rates):
        op.rate_rps += rate
    for op in ops:  # Topological order: callers first.
        for edge in op.edges:
            edge.target.rate_rps += op.rate_rps * edge.mean
    for service in plan:
        _size(service, seed)
    for op in reversed(ops):
        _set_latency(op)


def _set_latency(op: _Op) -> None:
    """Mean, unlikely path and tail, from the callees' (M/M/1 at one replica: the tail decays with 1 - rho)."""
    idle = 1.0 - op.service.utilisation
    own_s = op.work_s * (1.0 + 0.5 * op.service.utilisation / idle)
    lock = 1.0 / (1.0 - _LOCK_UTILISATION_MAX) if op.name == "write" else 1.0
    slowest_s = max(other.work_s * max(1.0, other.cv**2) for other in op.service.ops)  # They share one queue.
    decay_s = slowest_s * lock * max(1.0, 1.0 / (op.service.cores * idle))
    waited = [edge for edge in op.edges if not edge.publish]
    op.latency_s = own_s + sum(edge.mean * edge.target.latency_s for edge in waited)
    rare = max(((1.0 - edge.mean) * edge.target.path_s for edge in waited), default=0.0)
    op.path_s = own_s + sum(edge.mean * edge.target.path_s for edge in waited) + rare
    op.peak_s = max([_TAIL * decay_s, *(edge.target.peak_s for edge in waited)])


_TAIL: Final = math.log(1e7)
_LOCK_UTILISATION_MAX: Final = 0.3
_TIMEOUTS_S: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
_CVS: Final = (0.5, 0.8, 1.0, 1.2)


def _timeout_above(tail_s: float, least_s: float = 0.0) -> float:
    """A round figure above the callee's tail: people set time-outs well above what they usually see."""
    return next((t for t in _TIMEOUTS_S if t >= max(tail_s, least_s)), _TIMEOUTS_S[-1])


def _enough(mean_in_use: float) -> float:
    """Servers that a calm day does not exhaust: four times the mean, and six sigma of what is Poisson."""
    return 4.0 * mean_in_use + 6.0 * math.sqrt(mean_in_use)


_WORK_MAX_S: Final = {_Role.LOGIC: 0.05, _Role.CACHE: 0.001, _Role.DATABASE: 0.02}  # when stretched
_WORK_S: Final = {_Role.LOGIC: 0.004, _Role.CACHE: 0.0003, _Role.DATABASE: 0.0015}


def _size(service: _Service, seed: int) -> None:
    """Service times, then cores and replicas for the load; little load is met by longer work, up to a point."""
    draws = Draws(seed, "size", service.index)
    median_s = _WORK_S[service.role] * (0.4 if service.layer == 0 else 1.0)
    work = [
        draws.lognormal(median_s * (2.0 if op.name == "write" else 1.0), 0.5, 10 + i)
        for i, op in enumerate(service.ops)
    ]
    utilisation = draws.between(*_UTILISATION, 0)
    demand_cores = sum(op.rate_rps * w for op, w in zip(service.ops, work))
    needed_cores = demand_cores / utilisation
    service.cores = next(cores for cores, most in ((1, 8), (2, 40), (4, 200), (8, math.inf)) if needed_cores <= most)
    least = 1 if draws.chance(0.5 if needed_cores <= 0.5 else 0.1, 1) else 2
    service.replicas = max(least, math.ceil(needed_cores / service.cores))
    stretch = max(1.0, utilisation * service.replicas * service.cores / max(demand_cores, 1e-9))
    stretch = min(stretch, max(1.0, _WORK_MAX_S[service.role] / max(work)))
    for op, w in zip(service.ops, work):
        op.work_s = _nice(w * stretch)
        op.cv = _CVS[Draws(seed, "program", op.entity).index(len(_CVS), 0)]
    demand_cores = sum(op.rate_rps * op.work_s for op in service.ops)
    service.utilisation = min(0.9, demand_cores / (service.replicas * service.cores))


def _nice(value: float, digits: int = 2) -> float:
    """A few digits: figures that people read, and that no platform's last bit can change."""
    return float(f"{value:.{digits}g}")


# --- into a Fleet -----------------------------------------------------------------------------------------


def _service_id(service: _Service) -> ServiceId:
    if service.domain < 0:
        return ServiceId(f"hubs/{service.name}")
    word = _DOMAINS[service.domain % len(_DOMAINS)]
    return ServiceId(f"{word}-{service.domain:03d}/{service.name}")


def _op_id(op: _Op) -> OpId:
    return op_id(_service_id(op.service), op.name)


def _build_service(service: _Service, seed: int) -> Service:
    draws = Draws(seed, "service", service.index)
    stations = [Station(name="cpu", servers=service.cores)]
    held_s = sum(op.rate_rps * op.latency_s for op in service.ops) / service.replicas
    has_workers = service.role is _Role.LOGIC and draws.chance(0.35, 0)
    if has_workers:
        servers = _power_of_two(max(8.0, _enough(held_s)))
        limit = servers * 4 if draws.chance(0.5, 1) else None
        stations.append(Station(name="workers", servers=servers, queue_limit=limit))
    database_edges = [
        (op, edge) for op in service.ops for edge in op.edges if edge.target.service.role is _Role.DATABASE
    ]
    has_pool = bool(database_edges) and draws.chance(0.6, 2)
    if has_pool:
        busy = sum(op.rate_rps * edge.mean * edge.target.latency_s for op, edge in database_edges) / service.replicas
        stations.append(Station(name="db-pool", servers=max(5, math.ceil(_enough(busy)))))
    is_database = service.role is _Role.DATABASE
    has_lock = False
    if is_database:
        connections = 100 * math.ceil(max(1.0, _enough(held_s * service.replicas)) / 100)
        stations.append(Station(name="connections", servers=connections, scope=Scope.SERVICE))
        has_lock = draws.chance(0.1, 3) and _write_load(service) < _LOCK_UTILISATION_MAX
        if has_lock:
            stations.append(Station(name="row-lock", servers=1, scope=Scope.SERVICE))
    builder = _ProgramBuilder(seed, has_workers=has_workers, has_pool=has_pool, has_lock=has_lock)
    memory = 2**20 * (2048 if is_database else 256 * (1 + draws.index(4, 4)))
    replicas = service.replicas
    scales = service.role is _Role.LOGIC and replicas >= 2 and draws.chance(0.4, 5)
    return Service(
        id=_service_id(service),
        operations=tuple(Operation(name=op.name, steps=builder.steps(op)) for op in service.ops),
        stations=tuple(stations),
        kind=WorkloadKind.STATEFUL_SET if is_database else WorkloadKind.DEPLOYMENT,
        replicas=replicas,
        image=f"registry.example/{_IMAGES[service.role]}:v{1 + draws.index(40, 6)}",
        labels={"tier": str(service.tier), "role": service.role.name.lower()},
        resources=Resources(
            cpu_request_cores=float(service.cores),
            memory_request_bytes=memory,
            cpu_limit_cores=float(service.cores),
            memory_limit_bytes=memory * 2,
        ),
        memory_base_bytes=memory // 2,
        start_s=float(2 + draws.index(20, 7)),
        readiness=Probe(period_s=5.0),
        liveness=Probe(period_s=10.0, initial_delay_s=15.0) if draws.chance(0.7, 8) else None,
        autoscaling=Autoscaling(min_replicas=replicas, max_replicas=replicas * 3) if scales else None,
        disruption=Disruption(min_available=replicas - 1) if replicas >= 2 and draws.chance(0.5, 9) else None,
        stateful=is_database,
        owner=_service_id(service).split("/", 1)[0],
    )


_IMAGES: Final = {_Role.LOGIC: "app", _Role.CACHE: "redis", _Role.DATABASE: "postgres"}


def _write_load(service: _Service) -> float:
    return sum(op.rate_rps * op.work_s for op in service.ops if op.name == "write")


def _power_of_two(least: float) -> int:
    return int(2 ** math.ceil(math.log2(least)))


@dataclass(frozen=True, slots=True)
class _ProgramBuilder:
    seed: int
    has_workers: bool
    has_pool: bool
    has_lock: bool

    def steps(self, op: _Op) -> tuple[Step, ...]:
        draws = Draws(self.seed, "program", op.entity)
        work: Step = Work(mean_s=op.work_s, cv=op.cv)
        if op.service.role is _Role.DATABASE:
            inner = (Hold(station="row-lock", body=(work,)),) if self.has_lock and op.name == "write" else (work,)
            return (Hold(station="connections", body=inner),)
        group = 1 if draws.chance(0.3, 1) else None
        body: list[Step] = [work]
        published: list[Step] = []
        for ordinal, edge in enumerate(sorted(op.edges, key=lambda e: e.target.service.role is _Role.DATABASE)):
            if edge.publish:
                published.append(Publish(target=_op_id(edge.target), probability=edge.probability))
            else:
                body.append(self._call(edge, draws, 10 + 8 * ordinal, group))
        body += published
        return (Hold(station="workers", body=tuple(body)),) if self.has_workers else tuple(body)

    def _call(self, edge: _Edge, draws: Draws, at: int, group: int | None) -> Step:
        target = edge.target
        role = target.service.role
        has_timeout = draws.chance(0.85, at)
        generous = draws.between(1.0, 3.0, at + 1)
        timeout_s = _timeout_above(generous * target.tail_s) if has_timeout else None
        retries = 0
        if has_timeout and draws.chance(0.45, at + 2):
            retries = 1 + draws.among((0.7, 0.95, 1.0), at + 3)
        backoff_s = (0.01, 0.025, 0.05, 0.1)[draws.index(4, at + 4)] if retries else 0.0
        optional = role is _Role.CACHE or (edge.extra and draws.chance(0.2, at + 5))
        call = Call(
            target=_op_id(target),
            probability=edge.probability,
            timeout_s=timeout_s,
            retry=Retry(retries=retries, backoff_s=backoff_s),
            group=group if role is _Role.LOGIC else None,
            cancel=draws.chance(0.2, at + 6),
            required=not optional,
        )
        if role is not _Role.DATABASE:
            return call
        step: Step = Hold(station="db-pool", body=(call,), timeout_s=1.0) if self.has_pool else call
        if edge.hit_ratio:
            return Cached(cache=_service_id(target.service), hit_ratio=edge.hit_ratio, miss=(step,))
        return step


def _build_journey(op: _Op, rate_rps: float, index: int, seed: int) -> Journey:
    draws = Draws(seed, "user", index)
    return Journey(
        name=JourneyName(f"{_service_id(op.service).split('/', 1)[0]}-{op.name}"),
        target=_op_id(op),
        rate_rps=rate_rps,
        retry=Retry(retries=1, backoff_s=1.0) if draws.chance(0.4, 0) else Retry(),
        weight=(1.0, 1.0, 2.0, 5.0)[draws.index(4, 1)],
        timeout_s=_timeout_above(op.tail_s, least_s=10.0),
        latency_slo_s=max(0.1, _nice(3.0 * op.path_s + op.peak_s / 2.0)),
    )


def _node_pools(services: tuple[Service, ...]) -> tuple[NodePool, ...]:
    """Three zones, databases on machines of their own; large machines where small ones would be too many."""
    total_cores = sum(service.replicas * service.resources.cpu_request_cores for service in services)
    large = total_cores / _NODE_FILL / _SMALL_NODE.cpu_cores > _SMALL_NODES_MAX
    shape = _LARGE_NODE if large else _SMALL_NODE
    pools: list[NodePool] = []
    for name, stateful in (("general", False), ("data", True)):
        members = [service for service in services if service.stateful == stateful]
        cores = sum(service.replicas * service.resources.cpu_request_cores for service in members)
        memory = sum(service.replicas * service.resources.memory_request_bytes for service in members)
        if not members:
            continue
        wanted = max(cores / shape.cpu_cores, memory / shape.memory_bytes) / _NODE_FILL
        count = max(2, math.ceil(wanted / len(_ZONES)))
        pools += [replace(shape, name=f"{name}-{zone}", zone=zone, count=count) for zone in _ZONES]
    return tuple(pools)


def _redirected(service: Service, ways: Mapping[OpId, OpId]) -> Service:
    operations = tuple(replace(o, steps=_redirected_steps(o.steps, ways)) for o in service.operations)
    return replace(service, operations=operations)


def _redirected_steps(steps: tuple[Step, ...], ways: Mapping[OpId, OpId]) -> tuple[Step, ...]:
    found: list[Step] = []
    for step in steps:
        match step:
            case Call(target=target) | Publish(target=target):
                found.append(replace(step, target=ways.get(target, target)))
            case Hold(body=body):
                found.append(replace(step, body=_redirected_steps(body, ways)))
            case Cached(miss=miss):
                found.append(replace(step, miss=_redirected_steps(miss, ways)))
            case Work():
                found.append(step)
    return tuple(found)


def _names(objects: Sequence[ConfigMap | Secret]) -> list[str]:
    return [f"{one.namespace}/{one.name}" for one in objects]
