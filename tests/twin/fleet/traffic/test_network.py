"""What the compiled call graph holds, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.twin.fleet.traffic.fleets import fleet, op, service
from twin.fleet.traffic.network import (
    CACHED,
    CALLS,
    END,
    END_CACHED,
    END_HOLD,
    GROUP,
    HOLD,
    PUBLISHES,
    WORK,
    compile_network,
    initial_conditions,
)
from twin.spec.errors import BadInput
from twin.spec.fleet import Fleet, Resources, Service
from twin.spec.ids import JourneyName, ServiceId
from twin.spec.program import Cached, Call, Hold, Operation, Publish, Scope, Station, Step, Work


def shop() -> Fleet:
    pool = Station(name="pool", servers=8, scope=Scope.SERVICE, queue_limit=20)
    threads = Station(name="threads", servers=30)
    return fleet(
        service(
            "a",
            Work(mean_s=0.01),
            Call(target=op("b"), group=1),
            Call(target=op("c"), group=1),
            Call(target=op("b"), timeout_s=2.0, cancel=True),
            Publish(target=op("c"), probability=0.5),
            Cached(cache="x", hit_ratio=0.75, miss=(Call(target=op("c"), probability=0.5),)),
        ),
        service("b", Hold(station="threads", body=(Hold(station="pool", body=(Call(target=op("c")),)),)),
                stations=(threads, pool), replicas=3),
        service("c", Work(mean_s=0.02)),
        rate_rps=10.0,
    )  # fmt: skip


def test_edges_are_the_journeys_and_then_every_call_in_program_order() -> None:
    network = compile_network(shop())
    assert network.edge_caller.tolist() == [-1, 0, 0, 0, 0, 0, 1]
    assert network.edge_callee.tolist() == [0, 1, 2, 1, 2, 2, 2]
    assert network.edge_visit_ratio.tolist() == [1.0, 1.0, 1.0, 1.0, 0.5, 0.125, 1.0]
    assert network.edge_timeout_s.tolist() == [3.0, np.inf, np.inf, 2.0, np.inf, np.inf, np.inf]
    assert network.edge_index(op("a"), op("b"), 1) == 3
    assert network.edge_index(JourneyName("users"), op("a")) == 0
    names = [network.stations[k][1] for k in network.edge_holds[6]]
    assert names == ["threads", "pool"]


def test_a_program_becomes_codes() -> None:
    network = compile_network(shop())
    kinds = [network.code_kind[a:b].tolist() for a, b in zip(network.code_start, network.code_start[1:])]
    assert kinds[0] == [WORK, GROUP, CALLS, PUBLISHES, CACHED, CALLS, END_CACHED, END]
    assert kinds[1] == [HOLD, HOLD, CALLS, END_HOLD, END_HOLD, END]
    assert network.code_b[network.code_start[1]] == network.code_start[1] + 4


def test_callers_stand_before_callees_also_round_a_cycle() -> None:
    network = compile_network(shop())
    assert network.service_order.tolist() == [0, 1, 2]
    circle = fleet(
        service("a", Work(mean_s=0.01), Call(target=op("b"))),
        service("b", Work(mean_s=0.01), Call(target=op("a"), probability=0.1)),
        rate_rps=1.0,
    )
    assert compile_network(circle).service_order.tolist() == [0, 1]


def test_initial_conditions_are_as_declared() -> None:
    conditions = initial_conditions(compile_network(shop()), shop())
    assert conditions.pool_ready.tolist() == [1.0, 3.0, 1.0]
    assert conditions.station_servers.tolist() == [4.0, 4.0, 30.0, 8.0, 4.0]
    assert conditions.journey_rate_rps.tolist() == [10.0]


@pytest.mark.parametrize(("cores", "servers"), [(None, 1.0), (0.2, 1.0), (3.6, 4.0)])
def test_every_service_has_a_cpu(cores: float | None, servers: float) -> None:
    bare = Service(
        id=ServiceId("s/a"),
        operations=(Operation(name="op", steps=(Work(mean_s=0.01),)),),
        resources=Resources(cpu_limit_cores=cores),
    )
    network = compile_network(fleet(bare, rate_rps=1.0))
    assert network.station_servers[network.station_index(ServiceId("s/a"), "cpu")] == servers


@pytest.mark.parametrize(
    ("step", "what"),
    [
        (Work(mean_s=0.1, station="gpu"), "does not declare"),
        (Hold(station="gone", body=()), "does not declare"),
        (Work(mean_s=-1.0), "has to be 0 or more"),
        (Work(mean_s=float("nan")), "has to be 0 or more"),
        (Call(target=op("nobody")), "no such operation"),
        (Call(target=op("a"), probability=1.5), "between 0 and 1"),
        (Call(target=op("a"), timeout_s=-0.5), "has to be 0 or more"),
        (Cached(cache="x", hit_ratio=-0.1, miss=()), "between 0 and 1"),
    ],
)
def test_a_figure_or_a_name_that_means_nothing_is_bad_input(step: Step, what: str) -> None:
    with pytest.raises(BadInput) as caught:
        compile_network(fleet(service("a", step), rate_rps=1.0))
    assert what in f"{caught.value} {caught.value.why}"
    assert caught.value.next_step


def test_names_are_declared_once_and_looked_up_or_refused() -> None:
    one = service("a", Work(mean_s=0.1))
    with pytest.raises(BadInput, match="declared twice"):
        compile_network(fleet(one, one, rate_rps=1.0))
    plain = fleet(one, rate_rps=1.0)
    with pytest.raises(BadInput, match="declared twice"):
        compile_network(replace(plain, journeys=plain.journeys * 2))
    network = compile_network(plain)
    with pytest.raises(BadInput, match="unknown operation"):
        network.op_index(op("z"))
    with pytest.raises(BadInput, match="unknown call"):
        network.edge_index(op("a"), op("z"))
    with pytest.raises(BadInput, match="call number 1"):
        network.edge_index(JourneyName("users"), op("a"), 1)
