"""Workloads as they are declared, with their real images: what a program does by itself, at its start or with its
files, is seen then. It needs a cluster whose nodes can pull them; what lies outside the snapshot is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twin.kube.dressing import dressed, scale_requests
from twin.kube.snapshot import Snapshot
from twin.kube.standins import load_script
from twin.ports.plant import KubeObject
from twin.spec.fleet import Fleet

__all__ = ["as_declared", "real_load_script"]

# Nodes, accounts and registries' passwords are production's, and not here.
_POD: Final = ("containers", "initContainers", "priorityClassName", "tolerations", "terminationGracePeriodSeconds",
               "securityContext", "volumes", "enableServiceLinks", "shareProcessNamespace")  # fmt: skip
_VOLUMES: Final = ("name", "configMap", "secret", "emptyDir", "projected", "downwardAPI")


def as_declared(snapshot: Snapshot, *, room: float) -> list[KubeObject]:
    """The snapshot's objects with their workloads' own images, commands and probes. A volume that comes from elsewhere
    (claims, the node's disk) is an empty one, and secrets hold what the snapshot left of them. `room`: as `dressed`."""

    def keep(workload: KubeObject) -> list[KubeObject]:
        template = workload["spec"]["template"]
        spec = {key: value for key, value in template["spec"].items() if key in _POD}
        spec["automountServiceAccountToken"] = False
        spec["volumes"] = [_volume(one) for one in spec.get("volumes", ())]
        for claim in workload["spec"].pop("volumeClaimTemplates", ()):
            spec["volumes"].append({"name": claim["metadata"]["name"], "emptyDir": {}})
        for container in spec["containers"]:
            scale_requests(container, room)
        template["spec"] = spec
        return [workload]

    return dressed(snapshot, room=room, workload=keep, target_port=None)


def real_load_script(
    fleet: Fleet, addresses: Mapping[str, str], *, share: float, factors: Mapping[str, float] = {}
) -> Any:
    """As stand-ins' users, but they ask for a page: an operation that is a path by that path, any other by "/"."""
    script = load_script(fleet, addresses, share=share, factors=factors)
    for journey in script["journeys"]:
        operation = journey["call"]["target"].partition(":")[2]
        journey["call"]["path"] = operation if operation.startswith("/") else "/"
    return script


def _volume(volume: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in volume.items() if key in _VOLUMES}
    return kept if len(kept) > 1 else {"name": volume["name"], "emptyDir": {}}
