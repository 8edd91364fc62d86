"""Stand-ins: workloads that play the services of a snapshot as a fleet model describes them, under their own names.

A stand-in keeps what Kubernetes acts on (names, labels, replicas, images' names, probes' timing, strategy, budgets) and
replaces what would need the real program (command, files, volumes). Its image is one static program of ours under every
name of the snapshot's images; a name that the snapshot does not know cannot be pulled, as in a registry that lacks it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from twin.kube.archive import write_image
from twin.kube.dressing import WORKLOADS, dressed, scale_requests
from twin.kube.snapshot import Snapshot
from twin.ports.plant import KubeObject
from twin.spec.errors import ComponentMissing
from twin.spec.fleet import Fleet, Service
from twin.spec.program import Cached, Call, Hold, Publish, Scope, Step, Work
from twin.spec.units import parse_bytes

__all__ = [
    "CONTROL_PORT", "IMAGE", "LOAD", "NAMESPACE", "SCRIPTS", "addresses_of", "build_program", "dress", "images_of",
    "load_objects", "load_script", "script_object", "script_of", "write_images",
]  # fmt: skip

SOURCE: Final = Path(__file__).parent / "standin"
IMAGE: Final = "twin.local/stand-in:1"
NAMESPACE: Final = "twin-shadow"  # where the users of a shadow live
LOAD: Final = "twin-load"
SCRIPTS: Final = "twin-script"  # prefix of the ConfigMaps that say what to play
CONTROL_PORT: Final = 9464
SERVE_PORT: Final = 8080
BUILD_MAX_S: Final = 300.0
MEMORY_MIN_BYTES: Final = 24 * 2**20  # the least with which the program runs
CPU_SERVERS_MIN: Final = 1
DELAY_MAX_S: Final = 3


def build_program(cache: Path) -> Path:
    """The program, built from its source beside this module once and kept by the source's digest.

    Raises ComponentMissing without Go, or if it does not build.
    """
    sources = sorted(path for path in SOURCE.iterdir() if path.suffix in (".go", ".mod"))
    digest = hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in sources)).hexdigest()
    program = cache / f"stand-in-{digest[:12]}"
    if program.is_file():
        return program
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        raise ComponentMissing(
            "there is no stand-in here", "it is built by Go, which is not on the PATH", "install Go; see: twin doctor"
        )
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f".{program.name}.{os.getpid()}"
    try:
        done = subprocess.run(
            [go, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", str(partial), "."], cwd=SOURCE,
            env={**os.environ, "CGO_ENABLED": "0", "GOOS": "linux"}, capture_output=True, text=True,
            timeout=BUILD_MAX_S, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()
            raise ComponentMissing(
                "the stand-in does not build", said[-1] if said else "no reason given", "see: go env"
            )
        os.replace(partial, program)  # Renamed into place: what is half built has no name.
    finally:
        partial.unlink(missing_ok=True)
    return program


def images_of(snapshot: Snapshot) -> list[str]:
    """Every image that the snapshot's workloads use or have used, in order."""
    kinds = (*WORKLOADS, "ReplicaSet")
    return sorted({c["image"] for kind in kinds for obj in snapshot.of(kind) for c in _containers(obj)})


def write_images(program: Path, names: Sequence[str], out: Path) -> None:
    """An archive of the program's image under all these names and IMAGE. Each knows its own name."""
    write_image(
        out, {name: {"STAND_IN_IMAGE": name} for name in sorted({IMAGE, *names})}, files={"/stand-in": program},
        entrypoint=["/stand-in"],
    )  # fmt: skip


def dress(snapshot: Snapshot, fleet: Fleet, *, room: float) -> list[KubeObject]:
    """The snapshot's objects as a shadow takes them: workloads as stand-ins with their scripts, nothing that leads
    outside, no revisions. `room`: as `dressed`."""
    known = {str(service.id): service for service in fleet.services}
    addresses = addresses_of(snapshot)

    def play(workload: KubeObject) -> list[KubeObject]:
        metadata = workload["metadata"]
        service = known.get(f"{metadata['namespace']}/{metadata['name']}")
        script = script_of(service, addresses) if service else _idle(workload)
        _dress_pod(workload["spec"]["template"], metadata["name"], room)
        return [script_object(metadata["namespace"], metadata["name"], script), workload]

    return dressed(snapshot, room=room, workload=play, target_port=SERVE_PORT)


def script_object(namespace: str, name: str, script: Mapping[str, Any]) -> KubeObject:
    """The ConfigMap that a stand-in reads its script from."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{SCRIPTS}-{name}", "namespace": namespace},
        "data": {"script.json": json.dumps(script, sort_keys=True)},
    }


def script_of(
    service: Service, addresses: Mapping[str, str], *, behaviours: Sequence[Mapping[str, Any]] = (),
    held: Mapping[str, int] = {}, delays: Mapping[str, float] = {},
) -> dict[str, Any]:  # fmt: skip
    """What a stand-in of this service plays. `addresses`: URL by service id. `behaviours`, `held` servers by station,
    and `delays` in seconds by callee are what a fault makes of it."""
    cores = service.resources.cpu_limit_cores or service.resources.cpu_request_cores
    stations: dict[str, Any] = {
        "cpu": {"servers": max(round(cores), CPU_SERVERS_MIN)},
    }
    for station in service.stations:
        # A limit of the whole service is shared by its pods: each plays its part.
        share = max(round(station.servers / service.replicas), 1) if station.scope is Scope.SERVICE else station.servers
        stations[station.name] = {"servers": share, "queue_limit": station.queue_limit}
    for name, slots in held.items():
        stations[name]["held"] = min(slots, stations[name]["servers"])
    return {
        "service": service.id,
        "operations": {
            operation.name: list(_steps(operation.steps, addresses, delays, _Counter()))
            for operation in service.operations
        },
        "stations": stations,
        "start_s": min(
            service.start_s, 3.0
        ),  # What the model adds for starting is mostly what Kubernetes takes anyway.
        "ports": [80, SERVE_PORT],
        "behaviours": list(behaviours),
    }


def load_script(fleet: Fleet, addresses: Mapping[str, str], *, share: float, factors: Mapping[str, float] = {}) -> Any:
    """What the generator of users plays: every journey at `share` of its rate, times its factor."""
    return {
        "journeys": [
            {
                "name": journey.name,
                "rate_rps": journey.rate_rps * share * factors.get(journey.name, 1.0),
                "call": {
                    "do": "call", "target": journey.target, "position": 0, "probability": 1.0, "required": True,
                    "url": addresses.get(journey.target.partition(":")[0], "http://nowhere.invalid"),
                    "timeout_s": journey.timeout_s, "retries": journey.retry.retries,
                    "backoff_s": journey.retry.backoff_s,
                },
            }
            for journey in fleet.journeys
        ]
    }  # fmt: skip


def load_objects(script: Any) -> list[KubeObject]:
    """The namespace of the users, and their generator."""
    container = {
        "name": LOAD, "image": IMAGE, "args": ["load"], "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "metrics", "containerPort": CONTROL_PORT}],
        "readinessProbe": {"httpGet": {"path": "/metrics", "port": CONTROL_PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "twin-script", "mountPath": "/twin"}],
    }  # fmt: skip
    pod = {
        "containers": [container], "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "twin-script", "configMap": {"name": f"{SCRIPTS}-{LOAD}"}}],
    }  # fmt: skip
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        script_object(NAMESPACE, LOAD, script),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": LOAD, "namespace": NAMESPACE, "labels": {"app": LOAD}},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": LOAD}},
                "template": {"metadata": {"labels": {"app": LOAD}}, "spec": pod},
            },
        },
    ]


def addresses_of(snapshot: Snapshot) -> dict[str, str]:
    """The URL of each service by id, as its callers inside the cluster reach it: by the Service of the workload's own
    name, or the first whose selector picks its pods."""
    found: dict[str, str] = {}
    services = snapshot.of("Service")
    for kind in WORKLOADS:
        for workload in snapshot.of(kind):
            namespace, name = workload["metadata"]["namespace"], workload["metadata"]["name"]
            labels = workload["spec"]["template"]["metadata"].get("labels", {}).items()
            near = [
                one
                for one in services
                if one["metadata"]["namespace"] == namespace
                and (one["spec"].get("selector") or {}).items() <= labels
                and one["spec"].get("selector")
            ]
            near.sort(key=lambda one: (one["metadata"]["name"] != name, one["metadata"]["name"]))
            if near and near[0]["spec"].get("ports"):
                port = near[0]["spec"]["ports"][0]["port"]
                found[f"{namespace}/{name}"] = (
                    f"http://{near[0]['metadata']['name']}.{namespace}.svc.cluster.local:{port}"
                )
    return found


class _Counter:
    """Calls are numbered depth first, in program order, as traces' positions are."""

    def __init__(self) -> None:
        self.next = 0

    def take(self) -> int:
        self.next += 1
        return self.next - 1


def _steps(
    steps: Sequence[Step], addresses: Mapping[str, str], delays: Mapping[str, float], counter: _Counter
) -> Iterator[dict[str, Any]]:
    for step in steps:
        match step:
            case Work(mean_s=mean_s, station=station, cv=cv):
                yield {"do": "work", "mean_s": mean_s, "station": station, "cv": cv}
            case Hold(station=station, body=body, timeout_s=timeout_s):
                inner = list(_steps(body, addresses, delays, counter))
                yield {"do": "hold", "station": station, "timeout_s": timeout_s, "body": inner}
            case Cached(hit_ratio=hit_ratio, miss=miss):
                inner = list(_steps(miss, addresses, delays, counter))
                yield {"do": "cached", "hit_ratio": hit_ratio, "body": inner}
            case Call() | Publish():
                service = step.target.partition(":")[0]
                call: dict[str, Any] = {
                    "do": "call" if isinstance(step, Call) else "publish", "target": step.target,
                    "url": addresses.get(service, "http://nowhere.invalid"), "position": counter.take(),
                    "probability": step.probability, "delay_s": delays.get(service, 0.0),
                }  # fmt: skip
                if isinstance(step, Call):
                    call |= {
                        "timeout_s": step.timeout_s, "retries": step.retry.retries, "backoff_s": step.retry.backoff_s,
                        "group": step.group, "cancel": step.cancel, "required": step.required,
                    }  # fmt: skip
                yield call


def _idle(workload: KubeObject) -> dict[str, Any]:
    """For a workload that the fleet does not know: it starts, is ready, and does nothing."""
    metadata = workload["metadata"]
    return {
        "service": f"{metadata['namespace']}/{metadata['name']}", "operations": {}, "stations": {}, "start_s": 0.0,
        "ports": [80, SERVE_PORT], "behaviours": [],
    }  # fmt: skip


def _containers(workload: KubeObject) -> list[dict[str, Any]]:
    containers: list[dict[str, Any]] = workload["spec"]["template"]["spec"]["containers"]
    return containers


def _dress_pod(template: dict[str, Any], name: str, room: float) -> None:
    spec = template["spec"]
    # Where pods may run is said by labels of production's nodes, which are not here.
    kept = ("containers", "priorityClassName", "tolerations", "terminationGracePeriodSeconds")
    template["spec"] = {key: spec[key] for key in kept if key in spec}
    template["spec"]["volumes"] = [{"name": "twin-script", "configMap": {"name": f"{SCRIPTS}-{name}"}}]
    template["spec"]["automountServiceAccountToken"] = False
    for number, container in enumerate(template["spec"]["containers"]):
        played = {key: container[key] for key in ("name", "image", "env", "ports", "resources") if key in container}
        played["imagePullPolicy"] = "IfNotPresent"
        played["args"] = ["serve"] if number == 0 else ["rest"]
        played["env"] = [one for one in played.get("env", ()) if "value" in one]
        played["volumeMounts"] = [{"name": "twin-script", "mountPath": "/twin"}]
        scale_requests(played, room)
        limits = played["resources"].get("limits", {})
        if "memory" in limits and parse_bytes(str(limits["memory"])) < MEMORY_MIN_BYTES:
            limits["memory"] = str(MEMORY_MIN_BYTES)
        for key, path in (("readinessProbe", "/ready"), ("livenessProbe", "/live"), ("startupProbe", "/ready")):
            if key in container and number == 0:
                timing = {k: v for k, v in container[key].items() if k not in ("httpGet", "exec", "tcpSocket", "grpc")}
                if "initialDelaySeconds" in timing:  # A stand-in starts in no time.
                    timing["initialDelaySeconds"] = min(timing["initialDelaySeconds"], DELAY_MAX_S)
                played[key] = {**timing, "httpGet": {"path": path, "port": CONTROL_PORT}}
        template["spec"]["containers"][number] = played
