"""How well does the twin tell what a real cluster does? The same shop, on kind and in a World built from its telemetry.

    python -m tests.benchmarks.bench_fidelity [--boutique online-boutique.yaml] [--seconds 60] [--json FILE]

The shop is the small one of the tests, or Online Boutique's manifests. It runs on kind, played by stand-ins. A twin is
built from what Prometheus shows of it while all is well, and a World from the twin; then each fault strikes both, and
both are read through the same port. A run during which the machine was more than 70 % busy is void: what it measures is
the machine.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from chaos.catalogue import compile_fault
from chaos.live import strike
from tests.clusters.prometheus import pods_of, prometheus
from tests.clusters.shadow import NAME, kind_cluster, shadow_pool
from tests.small_shop import small_shop
from twin.change.compile import compile_change
from twin.change.moves import Patience, Watch, make_move, moves_of
from twin.cli.shadows import snapshot_of_source
from twin.fit.observe import observe
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.trial import shadow_plant
from twin.kube.plant import LivePlant, live_plant
from twin.kube.shadow import KubeShadow
from twin.kube.snapshot import Snapshot, take_snapshot
from twin.ports.plant import Metric, Plant
from twin.ports.users import read_users
from twin.spec.change import Action, Change, Strategy
from twin.spec.fault import parse_fault
from twin.spec.fleet import Fleet
from twin.spec.ids import ServiceId
from twin.spec.units import NS_PER_S

BUSY_MAX: Final = 0.7
WARM_S: Final = 45.0  # The window of a rate, and then some.


@dataclass(frozen=True)
class System:
    """What runs on both: `front` and `back` are looked at, the faults strike `back`, `restarted` is rolled out anew."""

    snapshot: Snapshot
    fleet: Fleet
    front: ServiceId
    back: ServiceId
    restarted: ServiceId

    @property
    def cases(self) -> tuple[str, ...]:
        journey = self.fleet.journeys[0].name
        faults = (
            f"errors({self.back}, ratio=0.3)",
            f"slow({self.back}, factor=4)",
            f"load_spike({journey}, factor=1.5)",
        )
        return ("", *faults)


@dataclass(frozen=True)
class Row:
    """One figure on both, and how far the twin's is off: as a share of it for times, in itself for ratios."""

    case: str
    figure: str
    cluster: float
    twin: float
    busy: float

    @property
    def error(self) -> float:
        if self.figure.endswith("ratio"):
            return self.twin - self.cluster
        return self.twin / self.cluster - 1.0 if self.cluster else math.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--boutique", type=Path, help="Online Boutique's manifests, in place of the small shop")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    parser.add_argument("--json", type=Path)
    said = parser.parse_args()
    system = _small_shop() if said.boutique is None else _boutique(said.boutique)
    with tempfile.TemporaryDirectory() as name, shadow_pool(Path(name)) as pool, pool.borrow(NAME) as shadow:
        shadow.load_snapshot(system.snapshot, system.fleet)
        kubeconfig = kind_cluster(pool).kubeconfig
        with (
            pods_of(shadow.kube, kubeconfig, [*system.snapshot.namespaces, "twin-shadow"], Path(name)) as job,
            prometheus(Path(name) / "prometheus", [job], scrape_s=5.0) as url,
        ):
            rows = _study(system, shadow, live_plant(None, url, kubeconfig=kubeconfig), said.seconds)
    _print(rows)
    if said.json:
        said.json.write_text(json.dumps([{**asdict(row), "error": row.error} for row in rows], indent=1))


def _small_shop() -> System:
    kube = plant_of(World.build(small_shop(), seed=1)).kube
    snapshot = take_snapshot(kube, ["shop"], source="a World")
    return System(snapshot, small_shop(), ServiceId("shop/web"), ServiceId("shop/catalog"), ServiceId("shop/cart"))


def _boutique(manifests: Path) -> System:
    snapshot, fleet = snapshot_of_source(str(manifests), fleet_file=None, namespaces=())
    front, back, restarted = "default/frontend", "default/productcatalogservice", "default/cartservice"
    return System(snapshot, fleet, ServiceId(front), ServiceId(back), ServiceId(restarted))


def _study(system: System, shadow: KubeShadow, live: LivePlant, seconds: float) -> list[Row]:
    time.sleep(WARM_S + 2.0 * seconds)
    twin = observe(live, window_s=2.0 * seconds)
    rows: list[Row] = []
    for case in system.cases:
        shadow.reset()
        if case:
            strike(parse_fault(case), system.fleet, shadow)
        time.sleep(WARM_S)
        before = shadow.processor_s()
        time.sleep(seconds)
        after = shadow.processor_s()
        busy = (after[0] - before[0]) / (after[1] - before[1])
        world = _world(twin, case, seconds)
        seen, told = (_figures(system, plant, seconds) for plant in (live, plant_of(world)))
        rows += [Row(case or "calm", name, seen[name], told[name], busy) for name in sorted(seen)]
    shadow.reset()
    took_s, told_s = (_roll_out_s(system, act) for act in (lambda: _on_cluster(shadow), lambda: _in_world(twin)))
    return [*rows, Row(f"restart of {system.restarted}", "roll-out_s", took_s, told_s, 0.0)]


def _world(twin: Fleet, case: str, seconds: float) -> World:
    world = World.build(twin, seed=1)
    world.run(120 * NS_PER_S)
    if case:
        world.inject(compile_fault(parse_fault(case), world.fleet, start_ns=world.now_ns))
    world.run(world.now_ns + round((WARM_S + seconds) * NS_PER_S))
    return world


def _figures(system: System, plant: Plant, seconds: float) -> dict[str, float]:
    """Means over the last `seconds`, through the port."""
    end_s = plant.clock.now_s()
    found: dict[str, float] = {}
    for metric in (Metric.LATENCY_MEAN_S, Metric.LATENCY_P99_S, Metric.ERROR_RATIO):
        for service in (system.front, system.back):
            series = plant.telemetry.series(metric, [service], start_s=end_s - seconds, end_s=end_s)
            found[f"{service} {metric}"] = float(np.nanmean(series.values))
    users = read_users(plant.telemetry, start_s=end_s - seconds, end_s=end_s)
    found["users let down, ratio"] = float(np.nanmax(users.let_down_ratio()))
    return found


def _roll_out_s(system: System, act: Callable[[], tuple[Plant, Callable[[], float]]]) -> float:
    restart = Change(
        actions=(Action(kind="restart", target=system.restarted),), reason="how long does it take", requester="bench",
        strategy=Strategy(canary_ratio=0.0, watch_s=0.0, settle_s=0.0),
    )  # fmt: skip
    plant, now_s = act()
    plan = compile_change(restart, plant.kube, at_s=plant.clock.now_s())
    began_s = now_s()
    for move in moves_of(plan):
        if not isinstance(move, Watch):
            make_move(plant, plan, move, patience=Patience(poll_s=0.25))
    return now_s() - began_s


def _on_cluster(shadow: KubeShadow) -> tuple[Plant, Callable[[], float]]:
    return shadow_plant(shadow), time.monotonic


def _in_world(twin: Fleet) -> tuple[Plant, Callable[[], float]]:
    world = World.build(twin, seed=1)
    world.run(60 * NS_PER_S)
    plant = plant_of(world, writes=True)
    return plant, plant.clock.now_s


def _print(rows: list[Row]) -> None:
    print(f"{'case':34} {'figure':32} {'cluster':>9} {'twin':>9} {'error':>8} {'busy':>5}")
    for row in rows:
        void = "  void" if row.busy > BUSY_MAX else ""
        error = f"{row.error:+8.3f}" if row.figure.endswith("ratio") else f"{row.error:+8.0%}"
        print(f"{row.case:34} {row.figure:32} {row.cluster:9.4f} {row.twin:9.4f} {error} {row.busy:5.0%}{void}")


if __name__ == "__main__":
    main()
