"""A real API server with 2,000 Deployments: time of a snapshot, and memory of the promoter beside it.

Run from the root: python -m tests.benchmarks.bench_live
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

from agent.limits.guard import MemoryWriteGuard
from tests.clusters.control_plane import PROMOTER, control_plane
from tests.clusters.production import LiveRig, lay_out_bad_build, plant_at, service_on, watched
from tests.clusters.prometheus import Users
from tests.real import require_tool
from tests.twin.promote.rehearsed import keys
from twin.kube.snapshot import take_snapshot

DEPLOYMENTS = 2000
NAMESPACES = 20
VARIABLES = 10
TAKES = 5


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as name,
        control_plane(require_tool("control-plane"), Path(name) / "plane") as plane,
        watched(Users(), Path(name) / "prometheus") as url,
    ):
        admin = lay_out_bad_build(plane)
        for number in range(NAMESPACES):
            admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"n{number}"}})
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda number: admin.create(_deployment(number)), range(DEPLOYMENTS)))
        took_s = []
        for _ in range(TAKES):
            start_s = perf_counter()
            snapshot = take_snapshot(admin, [f"n{number}" for number in range(NAMESPACES)], source="bench")
            took_s.append(perf_counter() - start_s)
        print(f"snapshot of {len(snapshot.objects)} objects: {statistics.median(took_s):.2f} s, "
              f"worst {max(took_s):.2f} s of {TAKES}")  # fmt: skip
        rig = LiveRig(plane, url, Path(name), admin)
        said = multiprocessing.get_context("spawn").SimpleQueue()
        promoter = multiprocessing.get_context("spawn").Process(
            target=_promote, args=(plane.kubeconfig(PROMOTER), url, Path(name), keys().trusted, rig.receipt(), said)
        )
        promoter.start()
        promoter.join()
        print(f"promotion: {said.get()}")


def _promote(kubeconfig: Path, url: str, folder: Path, trusted: Any, receipt: Any, said: Any) -> None:
    guard = MemoryWriteGuard(terminations_max=100)
    done = service_on(plant_at(kubeconfig, url), folder / "journal.sqlite", trusted, guard).promote(receipt)
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    said.put(f"{done.outcome.value}, {peak_bytes / 1e6:.0f} MB at its most")


def _deployment(number: int) -> dict[str, Any]:
    labels = {"app": f"d{number}"}
    container = {
        "name": "c", "image": "x:1", "env": [{"name": f"E{k}", "value": "v"} for k in range(VARIABLES)]
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": f"d{number}", "namespace": f"n{number % NAMESPACES}"},
        "spec": {
            "replicas": 0,  # What is measured is reading; KWOK need not play 2,000 pods.
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


if __name__ == "__main__":
    main()
