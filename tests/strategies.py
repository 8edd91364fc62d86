"""Hypothesis strategies that every room's tests share.

`fleets()` draws small topologies with every kind of step; calls point forward only, so every request ends.
`plain=True` keeps the figures within what an engine meets in practice; without it they go to the format's edges.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st

from twin.spec.config import ConfigMap, ConfigRead, Secret
from twin.spec.fleet import (
    Autoscaling,
    Belief,
    Disruption,
    Fleet,
    Journey,
    NodePool,
    Probe,
    Quota,
    Resources,
    RollingUpdate,
    Service,
    Source,
    WorkloadKind,
)
from twin.spec.gitops import GitOps, GitOpsKind
from twin.spec.ids import JourneyName, NodeName, OpId, ServiceId, op_id
from twin.spec.parameters import parameters_of
from twin.spec.program import Cached, Call, Hold, Operation, Publish, Retry, Scope, Station, Step, Work
from twin.spec.webhooks import Webhook, WebhookRule

__all__ = [
    "damage",
    "durations_s",
    "fleets",
    "journeys",
    "json_junk",
    "names",
    "resources",
    "retries",
    "services",
    "stations",
    "steps",
    "texts",
]

names = st.from_regex(r"[a-z][a-z0-9]{0,7}(-[a-z0-9]{1,4})?", fullmatch=True)
# Everything that text in an environment variable may be: no control characters, no half surrogates.
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20) | st.sampled_from(
    [
        "",
        "on",
        "~",
        "null",
        "1:30",
        "0644",
        "1e3",
        "- x",
        "a: b",
        "#",
        "{{ x }}",
        "é\u2028",
        "a\nb\tc",
        "\x7f\x85\ufeff",
    ]
)


def json_junk(words: list[str]) -> st.SearchStrategy[Any]:
    """Anything that JSON can hold, `words` that look right among it."""
    return st.recursive(
        st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats() | st.text(max_size=5)
        | st.sampled_from(words),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=4,
    )  # fmt: skip


def damage(draw: st.DrawFn, data: Any, junk: st.SearchStrategy[Any], *, depth: int = 5) -> None:
    """Put junk in the place of one thing in `data`, at most so deep. Changes `data`."""
    here = data
    for _ in range(draw(st.integers(1, depth))):
        keys = list(here) if isinstance(here, dict) else list(range(len(here))) if isinstance(here, list) else []
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        if not isinstance(here[key], dict | list) or draw(st.integers(0, 3)) == 0:
            here[key] = draw(junk)
            return
        here = here[key]


shares = st.floats(0, 1, allow_nan=False) | st.sampled_from([0.0, 0.25, 0.5, 1.0])


def durations_s(*, plain: bool = True) -> st.SearchStrategy[float]:
    """Seconds above zero."""
    if plain:
        return st.integers(1, 2_000).map(lambda ms: ms / 1000)
    return st.floats(1e-9, 3e8, allow_nan=False) | st.integers(1, 10**7).map(lambda ms: ms / 1000)


def retries(*, plain: bool = True) -> st.SearchStrategy[Retry]:
    backoffs = st.just(0.0) | durations_s(plain=plain)
    return st.builds(Retry, retries=st.integers(0, 4 if plain else 10**6), backoff_s=backoffs)


def stations(*, plain: bool = True) -> st.SearchStrategy[tuple[Station, ...]]:
    def build(found: list[str]) -> st.SearchStrategy[tuple[Station, ...]]:
        return st.tuples(
            *(
                st.builds(
                    Station,
                    name=st.just(name),
                    servers=st.integers(1, 20 if plain else 10**9),
                    scope=st.sampled_from(Scope),
                    queue_limit=st.none() | st.integers(0, 50 if plain else 10**9),
                )
                for name in found
            )
        )

    return st.lists(st.sampled_from(["cpu", "workers", "db-pool", "lock"]), max_size=3, unique=True).flatmap(build)


def steps(
    targets: list[OpId], held: list[str], *, plain: bool = True, depth: int = 2, size: int = 4
) -> st.SearchStrategy[tuple[Step, ...]]:
    """Programs that call `targets` and use the stations `held` besides the CPU."""
    times = durations_s(plain=plain)
    kinds: list[st.SearchStrategy[Step]] = [
        st.builds(
            Work,
            mean_s=(times | st.just(0.0)).map(lambda s: min(s, 0.05) if plain else s),
            station=st.sampled_from(["cpu", *held]),
            cv=st.floats(0, 3),
        )
    ]
    if targets:
        to = st.sampled_from(targets)
        kinds.append(
            st.builds(
                Call,
                target=to,
                probability=shares,
                timeout_s=st.none() | times,
                retry=retries(plain=plain),
                group=st.none() | st.integers(0, 3),
                cancel=st.booleans(),
                required=st.booleans(),
            )
        )
        kinds.append(st.builds(Publish, target=to, probability=shares))
    if depth > 0:
        inner = steps(targets, held, plain=plain, depth=depth - 1, size=2)
        kinds.append(st.builds(Cached, cache=names, hit_ratio=shares, miss=inner))
        if held:
            kinds.append(st.builds(Hold, station=st.sampled_from(held), body=inner, timeout_s=st.none() | times))
    return st.lists(st.one_of(kinds), max_size=size).map(tuple)


def resources(*, plain: bool = True) -> st.SearchStrategy[Resources]:
    cores = st.integers(1, 64_000).map(lambda milli: milli / 1000)
    count = st.integers(1, 2**34) if plain else st.integers(0, 2**52)
    return st.builds(
        Resources,
        cpu_request_cores=cores if plain else cores | st.floats(1e-6, 1e5),
        memory_request_bytes=count,
        cpu_limit_cores=st.none() | cores,
        memory_limit_bytes=st.none() | count,
    )


def probes(*, plain: bool = True) -> st.SearchStrategy[Probe]:
    times = durations_s(plain=plain)
    return st.builds(
        Probe,
        period_s=times,
        timeout_s=times,
        failure_threshold=st.integers(1, 10),
        initial_delay_s=st.just(0.0) | times,
    )


def journeys(targets: list[OpId], *, plain: bool = True) -> st.SearchStrategy[tuple[Journey, ...]]:
    journey = st.builds(
        Journey,
        name=names.map(JourneyName),
        target=st.sampled_from(targets),
        rate_rps=st.floats(0, 200 if plain else 1e9),
        timeout_s=st.none() | durations_s(plain=plain),
        retry=retries(plain=plain),
        weight=st.floats(0, 100),
        success_slo_ratio=shares,
        latency_slo_s=durations_s(plain=plain),
    )
    return st.lists(journey, max_size=3, unique_by=lambda j: j.name).map(tuple)


reads = st.builds(
    ConfigRead, source=names, secret=st.booleans(), key=st.just(""), name=names | st.just(""), optional=st.booleans()
) | st.builds(ConfigRead, source=names, secret=st.booleans(), key=names, name=names, optional=st.booleans())


@st.composite
def services(draw: st.DrawFn, service: ServiceId, targets: list[OpId], *, plain: bool = True) -> Service:
    """One service whose programs call `targets`."""
    limits = draw(stations(plain=plain))
    held = [station.name for station in limits if station.name != "cpu"]
    ops = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    words = st.just("x") if plain else texts
    least = draw(st.integers(0, 5))
    scaling = st.builds(
        Autoscaling,
        min_replicas=st.just(least),
        max_replicas=st.integers(max(1, least), 20),
        cpu_target_ratio=st.floats(0.1, 1),
    )
    probe = st.none() | probes(plain=plain)
    pairs = st.dictionaries(names, words, max_size=2).map(MappingProxyType)
    return Service(
        id=service,
        operations=tuple(Operation(name=name, steps=draw(steps(targets, held, plain=plain))) for name in ops),
        stations=limits,
        kind=draw(st.sampled_from(WorkloadKind)),
        replicas=draw(st.integers(0, 6)),
        image=draw(st.just("app:v1") | words),
        env=draw(pairs),
        labels=draw(pairs),
        config_maps=tuple(draw(st.lists(names, max_size=2))),
        reads=tuple(draw(st.lists(reads, max_size=2))),
        resources=draw(resources(plain=plain)),
        memory_base_bytes=draw(st.integers(0, 2**30)),
        start_s=draw(st.just(0.0) | durations_s(plain=plain)),
        readiness=draw(probe),
        liveness=draw(probe),
        strategy=draw(st.builds(RollingUpdate, max_surge_ratio=shares, max_unavailable_ratio=shares)),
        autoscaling=draw(st.none() | scaling),
        disruption=draw(st.none() | st.builds(Disruption, min_available=st.integers(0, 5))),
        stateful=draw(st.booleans()),
        owner=draw(words),
    )


def _named(pool: NodePool) -> NodePool:
    """The same machines under names of their own."""
    names = tuple(NodeName(f"{pool.name}.{number}: [ä]") for number in range(pool.count))
    return dataclasses.replace(pool, nodes=names)


@st.composite
def fleets(draw: st.DrawFn, *, plain: bool = True, services_max: int = 4) -> Fleet:
    """A small Fleet without contradictions, beliefs included."""
    ids = draw(st.lists(names, min_size=1, max_size=services_max, unique=True))
    found: list[Service] = []
    targets: list[OpId] = []
    for name in ids:
        service = draw(services(ServiceId(f"{draw(names)}/{name}"), targets, plain=plain))
        found.append(service)
        targets = targets + [op_id(service.id, operation.name) for operation in service.operations]
    pool = st.builds(
        NodePool,
        name=names,
        zone=names,
        count=st.integers(0, 9),
        cpu_cores=st.integers(1, 64).map(float),
        memory_bytes=st.integers(0, 2**40),
    ).flatmap(lambda pool: st.sampled_from([pool, _named(pool)]))
    quota = st.builds(
        Quota,
        name=names,
        namespace=names,
        pods=st.none() | st.integers(0, 99),
        cpu_request_cores=st.none() | st.integers(0, 64_000).map(lambda millicores: millicores / 1000.0),
        memory_request_bytes=st.none() | st.integers(0, 2**45),
        cpu_limit_cores=st.none() | st.integers(0, 64).map(float),
        memory_limit_bytes=st.none() | st.integers(0, 2**45),
    )
    config_map = st.builds(
        ConfigMap,
        name=names,
        namespace=names,
        data=st.dictionaries(names, texts, max_size=2).map(MappingProxyType),
        immutable=st.booleans(),
    )
    source = st.builds(
        GitOps,
        kind=st.sampled_from(GitOpsKind),
        name=names,
        namespace=names,
        interval_s=durations_s(plain=plain),
        suspended=st.booleans(),
    )
    rule = st.builds(
        WebhookRule,
        groups=st.lists(st.sampled_from(["", "apps", "*"]), max_size=2).map(tuple),
        resources=st.lists(st.sampled_from(["pods", "deployments", "*"]), min_size=1, max_size=2).map(tuple),
        operations=st.lists(st.sampled_from(["CREATE", "UPDATE", "*"]), max_size=2).map(tuple),
    )
    webhook = st.builds(
        Webhook,
        configuration=names,
        name=names,
        rules=st.lists(rule, min_size=1, max_size=2).map(tuple),
        service=st.sampled_from(["", *(service.id for service in found)]).map(ServiceId),
        fails_closed=st.booleans(),
        namespaces=st.none() | st.lists(names, max_size=2).map(tuple),
    )
    secret = st.builds(Secret, name=names, namespace=names, keys=st.lists(names, max_size=2).map(tuple))
    fleet = Fleet(
        name=draw(names),
        services=tuple(reversed(found)),
        journeys=draw(journeys(targets, plain=plain)),
        node_pools=tuple(draw(st.lists(pool, max_size=3, unique_by=lambda p: p.name))),
        config_maps=tuple(draw(st.lists(config_map, max_size=2, unique_by=lambda c: (c.namespace, c.name)))),
        webhooks=tuple(draw(st.lists(webhook, max_size=2, unique_by=lambda w: (w.configuration, w.name)))),
        gitops=tuple(draw(st.lists(source, max_size=2, unique_by=lambda g: g.owner))),
        secrets=tuple(draw(st.lists(secret, max_size=2, unique_by=lambda c: (c.namespace, c.name)))),
        quotas=tuple(draw(st.lists(quota, max_size=2, unique_by=lambda q: (q.namespace, q.name)))),
        epoch_s=draw(st.just(1_780_000_000) | st.integers(0, 2**33)),
    )
    paths = [path for path, _ in parameters_of(fleet)]
    belief = st.builds(Belief, source=st.sampled_from(Source), spread=st.floats(0, 3))
    beliefs = draw(st.dictionaries(st.sampled_from(paths), belief, max_size=4))
    return Fleet(
        name=fleet.name,
        services=fleet.services,
        journeys=fleet.journeys,
        node_pools=fleet.node_pools,
        quotas=fleet.quotas,
        config_maps=fleet.config_maps,
        secrets=fleet.secrets,
        webhooks=fleet.webhooks,
        gitops=fleet.gitops,
        epoch_s=fleet.epoch_s,
        beliefs=MappingProxyType(beliefs),
    )
