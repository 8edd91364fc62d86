"""What a cluster itself tells of lately: roll-outs, restarts, kills and nodes, as signals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from twin.ports.plant import KubeApi, KubeObject
from twin.spec.errors import Forbidden, NotFound
from twin.spec.ids import ServiceId
from twin.spec.signal import Signal, SignalKind

__all__ = ["cluster_news"]

REVISION: Final = "deployment.kubernetes.io/revision"
OUT_OF_MEMORY: Final = "OOMKilled"


def cluster_news(kube: KubeApi) -> list[Signal]:
    """Signals in order of time, each id the same however often it is asked for. Raises ApiError.

    Deploys are the revisions of Deployments, at the moment when their ReplicaSet was made; a roll-back to a revision
    that is there already makes none, and is not seen.
    """
    found = [*_deploys(kube), *_events(kube), *_kills(kube)]
    return sorted(found, key=lambda signal: (signal.at_s, signal.id))


def _deploys(kube: KubeApi) -> Iterator[Signal]:
    for one in kube.list_objects("ReplicaSet"):
        metadata = one["metadata"]
        owner = next((o["name"] for o in metadata.get("ownerReferences", ()) if o["kind"] == "Deployment"), None)
        revision = (metadata.get("annotations") or {}).get(REVISION, "1").split(",")[0]
        if owner is None or revision == "1":
            continue  # The first revision is no change of anything.
        service = ServiceId(f"{metadata['namespace']}/{owner}")
        images = ", ".join(c["image"] for c in one["spec"]["template"]["spec"]["containers"])
        yield Signal(
            id=f"deploy-{metadata['uid']}", kind=SignalKind.DEPLOY, at_s=_unix_s(metadata["creationTimestamp"]),
            service=service, reason="ScalingReplicaSet", text=f"{service} revision {revision}: {images}",
        )  # fmt: skip


def _events(kube: KubeApi) -> Iterator[Signal]:
    try:
        events = kube.list_objects("Event")
    except (Forbidden, NotFound):
        return
    workloads = _workloads(kube)
    for one in events:
        about = one.get("involvedObject", {})
        if one.get("type") != "Warning" and about.get("kind") != "Node":
            continue
        at = one.get("lastTimestamp") or one.get("eventTime") or one["metadata"]["creationTimestamp"]
        yield Signal(
            id=f"event-{one['metadata']['uid']}-{one.get('count', 1)}", kind=SignalKind.EVENT, at_s=_unix_s(at),
            service=_service(about, workloads), reason=str(one.get("reason", "")), text=str(one.get("message", "")),
        )  # fmt: skip


def _kills(kube: KubeApi) -> Iterator[Signal]:
    """The kubelet writes no event for a container that ran out of memory: its status says so."""
    workloads = _workloads(kube)
    for pod in kube.list_objects("Pod"):
        metadata = pod["metadata"]
        for one in pod.get("status", {}).get("containerStatuses", ()):
            ended = one.get("lastState", {}).get("terminated") or {}
            if ended.get("reason") == OUT_OF_MEMORY and ended.get("finishedAt"):
                yield Signal(
                    id=f"oom-{metadata['uid']}-{one['restartCount']}", kind=SignalKind.EVENT,
                    at_s=_unix_s(ended["finishedAt"]), reason=OUT_OF_MEMORY,
                    service=_service(metadata, workloads), text=f"{metadata['name']} ran out of memory",
                )  # fmt: skip


def _workloads(kube: KubeApi) -> frozenset[str]:
    kinds = ("Deployment", "StatefulSet", "DaemonSet")
    return frozenset(
        f"{one['metadata']['namespace']}/{one['metadata']['name']}" for kind in kinds for one in kube.list_objects(kind)
    )


def _service(about: Mapping[str, str] | KubeObject, workloads: frozenset[str]) -> ServiceId | None:
    """The workload that an object belongs to, by its name: controllers name what they make after themselves."""
    parts = str(about.get("name", "")).split("-")
    for end in range(len(parts), 0, -1):
        name = f"{about.get('namespace', '')}/{'-'.join(parts[:end])}"
        if name in workloads:
            return ServiceId(name)
    return None


def _unix_s(stamp: str) -> float:
    return datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
