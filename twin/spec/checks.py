"""What must hold between the parts of a Fleet: names are unique, and everything named exists.

The figures' own ranges are the file format's business; here is what no single field can show.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from twin.spec.fleet import Fleet, Service
from twin.spec.ids import OpId, op_id
from twin.spec.parameters import parameters_of
from twin.spec.program import Cached, Call, Hold, Publish, Step, Work

__all__ = ["IMPLICIT_STATION", "Flaw", "flaws_of"]

IMPLICIT_STATION = "cpu"  # Every service has it, declared or not.

_Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Flaw:
    """`path` is the place in the file format, as ("services", 0, "operations", "add", 1)."""

    path: _Path
    message: str
    next_step: str


def flaws_of(fleet: Fleet) -> Iterator[Flaw]:
    """Every contradiction in `fleet`, in its order. None: it can be built."""
    ops = {op_id(service.id, operation.name) for service in fleet.services for operation in service.operations}
    twice = [
        *_twice("services", (service.id for service in fleet.services), "id"),
        *_twice("journeys", (journey.name for journey in fleet.journeys), "name"),
        *_twice("node_pools", (pool.name for pool in fleet.node_pools), "name"),
        *_objects_twice(fleet.services, "autoscaling"),
        *_objects_twice(fleet.services, "disruption"),
        *_twice("quotas", (f"{quota.namespace}/{quota.name}" for quota in fleet.quotas), "name"),
        *_twice("config_maps", (f"{one.namespace}/{one.name}" for one in fleet.config_maps), "name"),
        *_twice("gitops", (source.owner for source in fleet.gitops), "name"),
        *_twice("webhooks", (f"{one.configuration}/{one.name}" for one in fleet.webhooks), "name"),
        *_twice("secrets", (f"{one.namespace}/{one.name}" for one in fleet.secrets), "name"),
    ]
    if twice:  # The rest would be consequences: calls to the one that went under another's name.
        yield from twice
        return
    for index, service in enumerate(fleet.services):
        yield from _service_flaws(service, ("services", index), ops)
    for index, journey in enumerate(fleet.journeys):
        if journey.target not in ops:
            yield _unknown_op(journey.target, ops, ("journeys", index, "target"))
    for index, pool in enumerate(fleet.node_pools):
        if pool.nodes and len(pool.nodes) != pool.count:
            text = f"{len(pool.nodes)} names for {pool.count} nodes"
            yield Flaw(("node_pools", index, "nodes"), text, "name each of them, or none")
    known_services = {service.id for service in fleet.services}
    for index, webhook in enumerate(fleet.webhooks):
        if webhook.service and webhook.service not in known_services:
            text = f'there is no service "{webhook.service}"'
            yield Flaw(("webhooks", index, "service"), text, "name one of the fleet's, or none for somebody outside")
    yield from _endless_calls(fleet)
    if fleet.beliefs:
        known = {path for path, _ in parameters_of(fleet)}
        for path in fleet.beliefs:
            if path not in known:
                message = f'the belief "{path}" is about nothing in this fleet'
                yield Flaw(("beliefs", path), message, _did_you_mean(path, known, "remove it, or correct the path"))


def _twice(group: str, names: Iterable[str], key: str) -> Iterator[Flaw]:
    seen: set[str] = set()
    for index, name in enumerate(names):
        if name in seen:
            yield Flaw((group, index, key), f'"{name}" is there twice', "keep one of the two, or rename one")
        seen.add(name)


def _objects_twice(services: Sequence[Service], what: Literal["autoscaling", "disruption"]) -> Iterator[Flaw]:
    """Autoscalers, or budgets, of several services under one name: they could not be told apart."""
    seen: set[str] = set()
    for index, service in enumerate(services):
        declared = getattr(service, what)
        if declared is None:
            continue
        name = f"{service.namespace}/{declared.name or service.name}"
        if name in seen:
            yield Flaw(("services", index, what), f'its object "{name}" is there twice', "give one another name")
        seen.add(name)


def _service_flaws(service: Service, path: _Path, ops: set[OpId]) -> Iterator[Flaw]:
    namespace, slash, name = service.id.partition("/")
    if not (namespace and slash and name) or any(sign in service.id for sign in (":", " ")) or "/" in name:
        yield Flaw((*path, "id"), f'"{service.id}" is no service id', "write namespace/name, as shop/cart")
    stations = [station.name for station in service.stations]
    for name in sorted({name for name in stations if stations.count(name) > 1}):
        yield Flaw((*path, "stations"), f'the station "{name}" is there twice', "keep one of the two")
    operations = [operation.name for operation in service.operations]
    for name in sorted({name for name in operations if operations.count(name) > 1}):
        yield Flaw((*path, "operations"), f'the operation "{name}" is there twice', "keep one of the two")
    scaling = service.autoscaling
    if scaling is not None and scaling.max_replicas < scaling.min_replicas:
        text = f"at most {scaling.max_replicas} replicas, but at least {scaling.min_replicas}"
        yield Flaw((*path, "autoscaling"), text, "make max no smaller than min")
    known = {*stations, IMPLICIT_STATION}
    for operation in service.operations:
        yield from _step_flaws(operation.steps, (*path, "operations", operation.name), known, ops)


def _step_flaws(steps: tuple[Step, ...], path: _Path, stations: set[str], ops: set[OpId]) -> Iterator[Flaw]:
    for index, step in enumerate(steps):
        here = (*path, index)
        match step:
            case Work(station=station):
                if station not in stations:
                    yield _unknown_station(station, stations, (*here, "station"))
            case Call(target=target):
                if target not in ops:
                    yield _unknown_op(target, ops, (*here, "call"))
            case Publish(target=target):
                if target not in ops:
                    yield _unknown_op(target, ops, (*here, "publish"))
            case Hold(station=station, body=body):
                if station not in stations:
                    yield _unknown_station(station, stations, (*here, "hold", "station"))
                yield from _step_flaws(body, (*here, "hold", "body"), stations, ops)
            case Cached(miss=miss):
                yield from _step_flaws(miss, (*here, "cached", "miss"), stations, ops)


def _unknown_station(name: str, known: set[str], path: _Path) -> Flaw:
    fallback = "declare it under stations, or use one of: " + ", ".join(sorted(known))
    return Flaw(path, f'the station "{name}" is not declared', _did_you_mean(name, known, fallback))


def _unknown_op(target: str, ops: set[OpId], path: _Path) -> Flaw:
    service, _, operation = target.rpartition(":")
    others = sorted(op.rsplit(":", 1)[1] for op in ops if op.rsplit(":", 1)[0] == service)
    if others:
        shown = ", ".join(others[:5])
        return Flaw(path, f'"{service}" has no operation "{operation}"', f"it has: {shown}")
    if not service:
        return Flaw(path, f'"{target}" names no operation', "write namespace/name:operation, as shop/cart:add")
    return Flaw(
        path, f'"{target}" is called and not described', _did_you_mean(target, ops, "describe it, or remove the call")
    )


def _did_you_mean(name: str, known: Iterable[str], fallback: str) -> str:
    choices = sorted(known)
    if len(choices) > 5_000:  # Comparing a name with each takes longer than a person likes to wait.
        choices = [choice for choice in choices if choice[:1] == name[:1]][:5_000]
    close = difflib.get_close_matches(name, choices, n=1)
    return f'did you mean "{close[0]}"? Otherwise: {fallback}' if close else fallback


def _endless_calls(fleet: Fleet) -> Iterator[Flaw]:
    """Operations that are certain to call themselves again, through whatever others: no request would end."""
    calls: dict[OpId, list[OpId]] = {}
    places: dict[OpId, _Path] = {}
    for index, service in enumerate(fleet.services):
        for operation in service.operations:
            op = op_id(service.id, operation.name)
            calls[op] = list(_certain_calls(operation.steps))
            places[op] = ("services", index, "operations", operation.name)
    done: set[OpId] = set()
    for start in calls:
        on_path: dict[OpId, None] = {}
        stack: list[tuple[OpId, Iterator[OpId]]] = []
        if start not in done:
            stack.append((start, iter(calls[start])))
            on_path[start] = None
        while stack:
            op, rest = stack[-1]
            target = next(rest, None)
            if target is None:
                stack.pop()
                del on_path[op]
                done.add(op)
            elif target in on_path:
                text = f'a request to "{target}" always calls "{target}" again: it never ends'
                yield Flaw(places[op], text, "give one call of the circle a probability below 1")
                return
            elif target in calls and target not in done:
                stack.append((target, iter(calls[target])))
                on_path[target] = None


def _certain_calls(steps: tuple[Step, ...]) -> Iterator[OpId]:
    for step in steps:
        match step:
            case Call(target=target, probability=probability) | Publish(target=target, probability=probability):
                if probability >= 1.0:
                    yield target
            case Hold(body=body):
                yield from _certain_calls(body)
            case Cached(hit_ratio=hit_ratio, miss=miss):
                if hit_ratio <= 0.0:
                    yield from _certain_calls(miss)
            case Work():
                pass
