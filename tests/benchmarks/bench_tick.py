"""Time of a tick, calm and in an incident; of a calm hour of a World; and how much faster than the interpreter.

Run from the root: python -m tests.benchmarks.bench_tick
"""

from __future__ import annotations

import platform
import statistics
from time import perf_counter, process_time

from twin.fleet.draws import uniform
from twin.fleet.traffic.engine import Conditions, TrafficEngine
from twin.fleet.traffic.interpreter import InterpreterEngine
from twin.fleet.traffic.network import compile_network, initial_conditions
from twin.fleet.traffic.tick import TickEngine
from twin.fleet.world import World
from twin.spec.fleet import Fleet, Journey, Service
from twin.spec.generators import generate
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


def calm_hour_s(services: int, *, watched: bool, hours: int = 3) -> float:
    """Processor seconds of one calm simulated hour of a generated World, systems and telemetry included; the best."""
    world = World.build(generate(services, seed=1), seed=1)
    world.watched = watched
    world.run_for(120 * SECOND_NS)
    times = []
    for _ in range(hours):
        began = process_time()
        world.run_for(3600 * SECOND_NS)
        times.append(process_time() - began)
    return min(times)


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
    for services in (1_000, 2_000):
        fleet = generate(services, seed=1)
        network = compile_network(fleet)
        conditions = initial_conditions(network, fleet)
        engine = TickEngine(network, seed=1)
        tick_ms(engine, conditions, 60)
        calm = tick_ms(engine, conditions, 300)
        told = []
        for step, speed in ((5 * services, 0.02), (5, 0.02)):  # One slow service; one in five.
            struck = initial_conditions(network, fleet)
            struck.pool_speed[50::step] = speed
            storm = engine.fork()
            tick_ms(storm, struck, 10)
            told.append(tick_ms(storm, struck, 20))
        print(
            f"{services:6d} services, {len(network.edge_callee):6d} edges, generated"
            f"  calm {calm[0]:.3f} {calm[1]:.3f}  one slow {told[0][0]:.2f} {told[0][1]:.2f}"
            f"  one in five slow {told[1][0]:.1f} {told[1][1]:.1f}"
        )
    watched, unwatched = calm_hour_s(2_000, watched=True), calm_hour_s(2_000, watched=False)
    print(f"  2000 generated services, one calm hour: {watched:.2f} s with telemetry, {unwatched:.2f} s without")
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
