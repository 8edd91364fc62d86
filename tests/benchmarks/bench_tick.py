"""Time of a tick, calm and in an incident, and how many times faster it is than the interpreter.

Run from the root: python -m tests.benchmarks.bench_tick
"""

from __future__ import annotations

import platform
import statistics
from time import perf_counter

from twin.fleet.draws import uniform
from twin.fleet.traffic.engine import Conditions, TrafficEngine
from twin.fleet.traffic.interpreter import InterpreterEngine
from twin.fleet.traffic.network import compile_network, initial_conditions
from twin.fleet.traffic.tick import TickEngine
from twin.spec.fleet import Fleet, Journey, Service
from twin.spec.ids import JourneyName, OpId, ServiceId
from twin.spec.program import Call, Hold, Operation, Retry, Station, Step, Work

SECOND_NS = 1_000_000_000
CALLS = 8
REACH = 400  # A service calls others at most so far down the list.


def random_fleet(services: int, *, threads: bool = False, probability: float = 0.05) -> Fleet:
    """Services in layers, each with `CALLS` calls downwards; with `threads`, every other one holds one."""
    made = []
    for index in range(services):
        below = services - index - 1
        targets: dict[int, None] = {}
        draw = 0
        while len(targets) < min(CALLS, below):
            draw += 1
            targets[index + 1 + int(uniform(0, 0, index, 0, draw) * min(REACH, below))] = None
        steps: tuple[Step, ...] = (
            Work(mean_s=0.004),
            *(
                Call(
                    target=OpId(f"s/v{target}:op"),
                    probability=probability,
                    timeout_s=1.0,
                    retry=Retry(retries=2, backoff_s=0.05),
                )
                for target in targets
            ),
        )
        stations = (Station(name="cpu", servers=4),)
        if threads and index % 2 == 0:
            steps = (Hold(station="threads", timeout_s=1.0, body=steps),)
            stations = (*stations, Station(name="threads", servers=64))
        made.append(
            Service(
                id=ServiceId(f"s/v{index}"),
                operations=(Operation(name="op", steps=steps),),
                stations=stations,
                replicas=2,
            )
        )
    journeys = tuple(
        Journey(name=JourneyName(f"j{index}"), target=OpId(f"s/v{index}:op"), rate_rps=100.0)
        for index in range(max(2, services // 40))
    )
    return Fleet(name="bench", services=tuple(made), journeys=journeys)


def tick_ms(engine: TrafficEngine, conditions: Conditions, ticks: int) -> tuple[float, float]:
    """(fastest, median) of single ticks: the fastest says what the code costs, the median what we got."""
    times = []
    for _ in range(ticks):
        began = perf_counter()
        engine.advance(conditions, now_ns=0, dt_ns=SECOND_NS)
        times.append((perf_counter() - began) * 1e3)
    return min(times), statistics.median(times)


def main() -> None:
    print(f"{platform.machine()}, Python {platform.python_version()}; fastest and median tick in ms")
    for services in (1_000, 2_000, 5_000):
        for threads in (False, True):
            fleet = random_fleet(services, threads=threads)
            network = compile_network(fleet)
            conditions = initial_conditions(network, fleet)
            engine = TickEngine(network, seed=1)
            tick_ms(engine, conditions, 30)
            calm = tick_ms(engine, conditions, 300)
            conditions.pool_speed[50::20] = 0.02
            tick_ms(engine, conditions, 10)
            incident = tick_ms(engine, conditions, 30)
            kind = "threads" if threads else "plain"
            print(
                f"{services:6d} services, {len(network.edge_callee):6d} edges, {kind:7s}"
                f"  calm {calm[0]:.3f} {calm[1]:.3f}  incident {incident[0]:.2f} {incident[1]:.2f}"
            )
    fleet = random_fleet(12, probability=0.3)
    network = compile_network(fleet)
    conditions = initial_conditions(network, fleet)
    tick, interpreter = TickEngine(network, seed=1), InterpreterEngine(network, seed=1)
    tick_ms(tick, conditions, 30)
    ratios = []
    for _ in range(3):  # Both sides in turn, so that a busy machine slows both.
        slow = tick_ms(interpreter, conditions, 3)[1]
        ratios.append(slow / tick_ms(tick, conditions, 300)[1])
    print(f"12 services: interpreter over tick {statistics.median(ratios):,.0f}×")


if __name__ == "__main__":
    main()
