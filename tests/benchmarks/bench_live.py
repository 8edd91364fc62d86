"""A real API server with 2,000 Deployments: time of a snapshot, and memory of the promoter beside it.

Run from the root: python -m tests.benchmarks.bench_live
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

from tests.clusters.control_plane import PROMOTER, control_plane
from tests.clusters.production import UNDO, LiveRig, lay_out_bad_build, watched
from tests.clusters.prometheus import Users
from tests.clusters.shop import await_that
from tests.real import require_tool
from twin.kube import LiveKubeApi
from twin.kube.snapshot import take_snapshot
from twin.receipt import KeyRole, load_signer, new_key, trust_key
from twin.spec.change import Strategy

DEPLOYMENTS = 2000
NAMESPACES = 20
VARIABLES = 10
TAKES = 5
LOOK_S = 0.2
SEEN_S = 40.0  # until whole scrapes have seen the users
SLOWLY = dataclasses.replace(UNDO, strategy=Strategy(canary_ratio=0.34, watch_s=30.0, settle_s=45.0))


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
        await_that("controllers have seen them all", lambda: _all_seen(admin), patience_s=600.0)
        print(f"twin promote: {_promoted(LiveRig(plane, url, Path(name), admin))}")


def _all_seen(admin: LiveKubeApi) -> bool:
    found = admin.list_objects("Deployment")
    return all(one["status"].get("observedGeneration") == one["metadata"]["generation"] for one in found)


def _promoted(rig: LiveRig) -> str:
    """How the command ends, as people run it, and how much memory it had at its most."""
    home = rig.folder / "home"
    keys = home / "keys"
    keys.mkdir(parents=True)
    trust_key(new_key(keys / "gate.key", "gate-here"), home / "trusted", KeyRole.GATE)
    (rig.folder / "receipt.json").write_text(json.dumps(rig.receipt(SLOWLY, signer=load_signer(keys / "gate.key"))))
    time.sleep(SEEN_S)
    command = ["promote", "receipt.json", "--prod", "kube:", "--prometheus", rig.url]
    with (rig.folder / "promote.log").open("w+") as log:
        promoter = subprocess.Popen(
            [sys.executable, "-m", "twin.cli.main", *command],
            cwd=rig.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env={
                **os.environ, "KUBECONFIG": str(rig.plane.kubeconfig(PROMOTER)), "TWIN_HOME": str(home),
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
        )  # fmt: skip
        held_bytes = 0
        while promoter.poll() is None:
            held_bytes = max(held_bytes, _most_held_bytes(promoter.pid))
            time.sleep(LOOK_S)
        log.seek(0)
        told = " ".join(log.read().split())
    return f"exit code {promoter.returncode}, {held_bytes / 1e6:.0f} MB at its most; {told}"


def _most_held_bytes(pid: int) -> int:
    """The high-water mark of its own memory. (What wait4 tells begins with that of the process it was forked from.)"""
    status = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


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
