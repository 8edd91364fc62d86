"""Small fleets that the traffic tests share, and strategies for random ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from twin.fleet.traffic.engine import Conditions, Sample, TrafficEngine
from twin.fleet.traffic.network import Network
from twin.spec.fleet import Fleet, Journey, Service
from twin.spec.ids import JourneyName, OpId, ServiceId
from twin.spec.program import Cached, Call, Hold, Operation, Publish, Retry, Scope, Station, Step, Work

SECOND_NS = 1_000_000_000
NO_RETRY = Retry()


def service(
    name: str, *steps: Step, servers: int = 4, stations: tuple[Station, ...] = (), replicas: int = 1
) -> Service:
    """A service "s/<name>" with one operation "op" and a cpu station."""
    return Service(
        id=ServiceId(f"s/{name}"),
        operations=(Operation(name="op", steps=steps),),
        stations=(Station(name="cpu", servers=servers), *stations),
        replicas=replicas,
    )


def op(name: str) -> OpId:
    return OpId(f"s/{name}:op")


def fleet(*services: Service, rate_rps: float, timeout_s: float | None = 3.0, retry: Retry = NO_RETRY) -> Fleet:
    """One journey into the first service."""
    journey = Journey(
        name=JourneyName("users"),
        target=OpId(f"{services[0].id}:op"),
        rate_rps=rate_rps,
        timeout_s=timeout_s,
        retry=retry,
    )
    return Fleet(name="test", services=services, journeys=(journey,))


def copy_of(conditions: Conditions) -> Conditions:
    arrays = {name: getattr(conditions, name).copy() for name in Conditions.__dataclass_fields__}
    return replace(conditions, **arrays)


def assert_same(one: Sample, other: Sample) -> None:
    """Byte for byte."""
    for name in Sample.__dataclass_fields__:
        left, right = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        assert left.tobytes() == right.tobytes(), f"{name}: {left} is not {right}"


class Ledger:
    """Issued so far, less how it ended: what has to be in flight."""

    def __init__(self) -> None:
        self.open: NDArray[np.float64] | float = 0.0
        self.issued: NDArray[np.float64] | float = 0.0

    def add(self, sample: Sample) -> None:
        ended = sample.edge_ok + sample.edge_failed + sample.edge_rejected + sample.edge_timed_out
        self.open = self.open + sample.edge_issued - ended
        self.issued = self.issued + sample.edge_issued


def run(engine: TrafficEngine, conditions: Conditions, ticks: int, *, dt_ns: int = SECOND_NS) -> list[Sample]:
    return [engine.advance(conditions, now_ns=tick * dt_ns, dt_ns=dt_ns) for tick in range(ticks)]


@st.composite
def random_fleets(draw: st.DrawFn) -> Fleet:
    """Two or three services with every kind of step, calls mostly downwards and now and then back."""
    count = draw(st.integers(2, 3))
    names = [f"v{index}" for index in range(count)]
    services = []
    for index in range(count):
        stations = (
            Station(name="pool", servers=draw(st.integers(1, 4)), scope=draw(st.sampled_from(Scope))),
            Station(name="lock", servers=1, queue_limit=draw(st.sampled_from([None, 0, 3]))),
        )
        steps = draw(_steps(names, index, depth=1))
        services.append(service(names[index], *steps, servers=2, stations=stations, replicas=2))
    return fleet(
        *services,
        rate_rps=draw(st.sampled_from([3.0, 15.0, 40.0])),
        timeout_s=draw(st.sampled_from([None, 0.5, 2.0])),
        retry=Retry(retries=draw(st.integers(0, 2)), backoff_s=draw(st.sampled_from([0.0, 0.3]))),
    )


def _steps(names: list[str], index: int, *, depth: int) -> st.SearchStrategy[tuple[Step, ...]]:
    mean = st.sampled_from([0.0, 0.01, 0.05])
    retry = st.builds(Retry, retries=st.sampled_from([0, 1, 2, 5]), backoff_s=st.sampled_from([0.0, 0.1]))
    work = st.builds(
        Work, mean_s=mean, station=st.sampled_from(["cpu", "lock"]), cv=st.sampled_from([0.0, 0.5, 1.0, 1.5])
    )
    options: list[st.SearchStrategy[Step]] = [work]
    targets = [(op(name), st.sampled_from([0.3, 1.0])) for name in names[index + 1 :]]
    if index > 0:
        # A call back closes a cycle. It has to be rare: with retries, one in three would explode.
        targets.append((op(names[0]), st.just(0.01)))
    for target, probability in targets:
        options.append(
            st.builds(
                Call,
                target=st.just(target),
                probability=probability,
                timeout_s=st.sampled_from([None, 0.05, 0.4]),
                retry=retry,
                group=st.sampled_from([None, 1]),
                cancel=st.booleans(),
                required=st.booleans(),
            )
        )
        options.append(st.builds(Publish, target=st.just(target), probability=probability))
    if depth > 0:
        inner = _steps(names, index, depth=depth - 1)
        options.append(st.builds(Hold, station=st.just("pool"), body=inner, timeout_s=st.sampled_from([None, 0.2])))
        options.append(st.builds(Cached, cache=st.just("c"), hit_ratio=st.sampled_from([0.0, 0.7]), miss=inner))
    return st.lists(st.one_of(options), min_size=1, max_size=1 + depth).map(tuple)


@st.composite
def disturbed(draw: st.DrawFn, network: Network, conditions: Conditions, fresh_key: int) -> Conditions:
    """Other conditions: servers, speeds, errors, time-outs, shed load, pools that split and vanish."""
    c = copy_of(conditions)
    services = len(network.services)
    share = st.sampled_from([0.0, 0.0, 0.5, 1.0])
    sizes = [draw(st.integers(1, 2)) for _ in range(services)]
    pools = sum(sizes)
    keys = draw(st.permutations(range(fresh_key, fresh_key + pools)))
    old = set(conditions.pool_key.tolist())
    if draw(st.booleans()) and pools <= len(old):
        keys = sorted(old)[:pools]
    c.pool_key = np.array(keys, dtype=np.int64)
    c.pool_service = np.repeat(np.arange(services), sizes).astype(np.int64)
    c.pool_start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    c.pool_ready = np.array([float(draw(st.integers(0, 2))) for _ in range(pools)])
    c.pool_speed = np.array([draw(st.sampled_from([0.05, 1.0, 2.0])) for _ in range(pools)])
    c.pool_error_ratio = np.array([draw(share) for _ in range(pools)])
    for k in range(len(network.stations)):
        c.station_servers[k] = draw(st.integers(0, 3))
    for e in range(len(network.edge_callee)):
        c.edge_timeout_s[e] = draw(st.sampled_from([np.inf, 0.03, 0.5, float(c.edge_timeout_s[e])]))
        c.edge_retries[e] = draw(st.integers(0, 3))
        c.edge_delay_s[e] = draw(st.sampled_from([0.0, 0.0, 0.1]))
    for o in range(len(network.ops)):
        c.op_shed_ratio[o] = draw(share)
    return c
