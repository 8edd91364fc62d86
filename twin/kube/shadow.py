"""A shadow cluster: loaded with a snapshot of production played by stand-ins, closed towards everything outside.

Nothing is loaded into a cluster that has not been seen to be closed.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from twin.kube.api import LiveKubeApi
from twin.kube.kind import KindCluster
from twin.kube.scale import cores_of, fitted, requests_share, users_share
from twin.kube.snapshot import KINDS, Snapshot
from twin.kube.standins import (
    CONTROL_PORT,
    LOAD,
    NAMESPACE,
    SCRIPTS,
    addresses_of,
    build_program,
    dress,
    images_of,
    load_objects,
    load_script,
    script_of,
    write_images,
)
from twin.ports.plant import KubeObject
from twin.ports.shadow import Conduct, UserCount
from twin.spec.errors import ApiError, BadInput, Conflict, Inconclusive, NotFound
from twin.spec.fleet import Fleet, Service
from twin.spec.ids import JourneyName, ServiceId
from twin.spec.plan import ObjectRef, Plan, ref_of
from twin.spec.receipt import EvidenceLevel

__all__ = ["KubeShadow", "Loaded", "wait_until"]

PUT_TRIES: Final = 5
READY_MAX_S: Final = 120.0
GONE_MAX_S: Final = 60.0
POLL_S: Final = 0.25
TICKS_A_S: Final = 100.0  # of /proc/stat, on every machine that Kubernetes runs on
WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")
MANAGED: Final = "twin.dev/shadow"  # label of what we made, and may take away again
DEFAULT: Final = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """`room` and `share`: what requests and users' rates were multiplied by."""

    snapshot: Snapshot
    fleet: Fleet
    objects: tuple[KubeObject, ...]
    addresses: Mapping[str, str]
    room: float
    share: float


@dataclass(slots=True)
class _Mischief:
    """What misbehaves now."""

    conducts: dict[ServiceId, tuple[Conduct, ...]] = field(default_factory=dict)
    held: dict[ServiceId, dict[str, int]] = field(default_factory=dict)
    delays: dict[ServiceId, dict[str, float]] = field(default_factory=dict)
    factors: dict[JourneyName, float] = field(default_factory=dict)


class KubeShadow:
    """Implements Shadow on a kind cluster that `pool` made."""

    def __init__(
        self,
        name: str,
        api: LiveKubeApi,
        *,
        cluster: KindCluster,
        enforces: Mapping[str, bool],
        cache: Path,
    ) -> None:
        self._name = name
        self._api = api
        self._cluster = cluster
        self._enforces = dict(enforces)
        self._cache = cache
        self._loaded: Loaded | None = None
        self._mischief = _Mischief()

    @property
    def name(self) -> str:
        return self._name

    @property
    def level(self) -> EvidenceLevel:
        return EvidenceLevel.STAND_INS

    @property
    def kube(self) -> LiveKubeApi:
        return self._api

    @property
    def enforces(self) -> Mapping[str, bool]:
        return self._enforces

    @property
    def loaded(self) -> Loaded:
        """Raises BadInput if nothing is."""
        if self._loaded is None:
            raise BadInput(f"shadow {self._name} is empty", "nothing was loaded into it", "twin shadow load")
        return self._loaded

    def load_snapshot(self, snapshot: Snapshot, fleet: Fleet) -> Loaded:
        """Take away what was loaded before, load this, and wait until it is ready.

        Raises Inconclusive if the shadow is not closed or does not get ready; ComponentMissing; ApiError.
        """
        if not self._enforces.get("egress", False):
            raise Inconclusive(
                f"shadow {self._name} is not closed", "its pods were not seen to be kept from outside",
                "make it anew: twin shadow down; twin shadow up",
            )  # fmt: skip
        self.clear()
        nodes = self._api.list_objects("Node")
        room = requests_share(snapshot, nodes=nodes, pods=self._api.list_objects("Pod"))
        share = users_share(fleet, cores_of(nodes))
        addresses = addresses_of(snapshot)
        self._load_images(images_of(snapshot))
        objects = [
            *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in snapshot.namespaces),
            *dress(snapshot, fleet, room=room),
        ]  # fmt: skip
        users = load_objects(load_script(fleet, addresses, share=share))
        for obj in (*objects, *users):
            obj["metadata"].setdefault("labels", {})[MANAGED] = "true"
        self._loaded = Loaded(
            snapshot=snapshot, fleet=fleet, objects=(*objects, *users), addresses=addresses, room=room, share=share
        )
        self._teach({obj["kind"] for obj in objects})
        for part in (objects, users):  # Nobody comes before there is somebody to answer.
            for obj in part:
                self._put(obj)
            self._await_ready()
        return self._loaded

    def clear(self) -> None:
        """Take away what was loaded. Raises Inconclusive if it does not go."""
        ours = [one for one in self._api.list_objects("Namespace") if one["metadata"]["labels"].get(MANAGED)]
        names = [one["metadata"]["name"] for one in ours if one["metadata"]["name"] != DEFAULT]
        for name in names:
            self._api.delete(ObjectRef(kind="Namespace", name=name))
        if len(names) < len(ours):  # This one cannot be deleted: only what is in it.
            for kind in reversed(KINDS):
                for obj in self._managed(kind):
                    self._api.delete(ObjectRef(kind=kind, name=obj["metadata"]["name"], namespace=DEFAULT))
        wait_until(
            "what was loaded before is gone",
            lambda: (
                not {one["metadata"]["name"] for one in self._api.list_objects("Namespace")} & set(names)
                and not self._api.list_objects("Pod", DEFAULT)
            ),
            max_s=GONE_MAX_S,
        )
        self._loaded = None
        self._mischief = _Mischief()

    def _managed(self, kind: str) -> list[KubeObject]:
        try:
            return self._api.list_objects(kind, DEFAULT, {MANAGED: "true"})
        except NotFound:
            return []

    # Shadow

    def reset(self) -> None:
        self._mischief = _Mischief()
        for obj in self.loaded.objects:
            if obj["kind"] in (*WORKLOADS, "ConfigMap", "PodDisruptionBudget", "ResourceQuota", "HTTPRoute",
                               "HorizontalPodAutoscaler"):  # fmt: skip
                self._put(obj)
        for node in self._api.list_objects("Node"):
            if node["spec"].get("unschedulable"):
                self._api.patch(
                    ObjectRef(kind="Node", name=node["metadata"]["name"]), {("spec", "unschedulable"): None}
                )
        self._tell_all()
        self._await_ready()

    def fit(self, plan: Plan) -> Plan:
        return fitted(plan, self.loaded.room)

    def conduct(self, service: ServiceId, conducts: Sequence[Conduct]) -> None:
        self._mischief.conducts[service] = tuple(conducts)
        self._tell(service)

    def hold(self, service: ServiceId, station: str, slots: int) -> None:
        self._mischief.held.setdefault(service, {})[station] = slots
        self._tell(service)

    def let_go(self, service: ServiceId) -> None:
        self._mischief.held.pop(service, None)
        self._tell(service)

    def load(self, journey: JourneyName, factor: float) -> None:
        self._mischief.factors[journey] = factor
        self._tell_users()

    def delay(self, caller: ServiceId, callee: ServiceId, delay_s: float) -> None:
        self._mischief.delays.setdefault(caller, {})[callee] = delay_s
        self._tell(caller)

    def users(self) -> Mapping[JourneyName, UserCount]:
        pods = self._api.list_objects("Pod", NAMESPACE, {"app": LOAD})
        came: dict[str, float] = {}
        bad: dict[str, float] = {}
        for pod in pods:
            ref = ObjectRef(kind="Pod", name=pod["metadata"]["name"], namespace=NAMESPACE)
            for line in self._api.ask_pod(ref, CONTROL_PORT, "metrics").splitlines():
                if line.startswith("twin_users_total{"):
                    labels, _, value = line.removeprefix("twin_users_total{").partition("} ")
                    said = dict(part.split("=", 1) for part in labels.replace('"', "").split(","))
                    journey = said["caller_operation"]
                    came[journey] = came.get(journey, 0.0) + float(value)
                    bad[journey] = bad.get(journey, 0.0) + float(value) * (said["outcome"] != "ok")
        return {JourneyName(name): UserCount(came=came[name], let_down=bad[name]) for name in sorted(came)}

    def processor_s(self) -> tuple[float, float]:
        told = self._cluster.on_node(self._cluster.nodes()[0], ["cat", "/proc/stat"]).splitlines()[0].split()
        ticks = [float(one) for one in told[1:9]]  # user nice system idle iowait irq softirq steal
        idle = ticks[3] + ticks[4]
        return (sum(ticks) - idle) / TICKS_A_S, sum(ticks) / TICKS_A_S

    def events(self) -> Sequence[KubeObject]:
        found = [one for name in self.loaded.snapshot.namespaces for one in self._api.list_objects("Event", name)]
        return sorted(
            found, key=lambda one: (one.get("lastTimestamp") or one.get("eventTime") or "", one["metadata"]["name"])
        )

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        time.sleep(duration_s)

    # Scripts

    def _script(self, service: Service) -> dict[str, Any]:
        mischief = self._mischief
        conducts = [
            {
                "image": one.image or "", "env": list(one.env or ()), "error_ratio": one.error_ratio,
                "speed": one.speed, "crash_after_s": one.crash_after_s, "leak_bytes_per_s": one.leak_bytes_per_s,
                "never_ready": one.never_ready,
            }
            for one in mischief.conducts.get(service.id, ())
        ]  # fmt: skip
        return script_of(
            service, self.loaded.addresses, behaviours=conducts, held=mischief.held.get(service.id, {}),
            delays=mischief.delays.get(service.id, {}),
        )  # fmt: skip

    def _tell(self, service_id: ServiceId) -> None:
        """The new script, for pods to come and for those that are there."""
        try:
            service = self.loaded.fleet.service(service_id)
        except KeyError as error:
            raise BadInput(
                f"the shadow plays no {service_id}", "the twin does not know it", "observe it again"
            ) from error
        self._write_script(service.namespace, service.name, self._script(service))

    def _tell_users(self) -> None:
        loaded = self.loaded
        factors = {str(name): factor for name, factor in self._mischief.factors.items()}
        self._write_script(
            NAMESPACE, LOAD, load_script(loaded.fleet, loaded.addresses, share=loaded.share, factors=factors)
        )

    def _tell_all(self) -> None:
        played = {
            f"{o['metadata']['namespace']}/{o['metadata']['name']}"
            for o in self.loaded.objects
            if o["kind"] in WORKLOADS
        }
        for service in self.loaded.fleet.services:
            if service.id in played:
                self._tell(service.id)
        self._tell_users()

    def _write_script(self, namespace: str, name: str, script: Any) -> None:
        ref = ObjectRef(kind="ConfigMap", name=f"{SCRIPTS}-{name}", namespace=namespace)
        text = json.dumps(script, sort_keys=True)
        self._api.patch(ref, {("data", "script.json"): text})
        kinds = ("Deployment",) if namespace == NAMESPACE else WORKLOADS
        for pod in self._pods_of(namespace, name, kinds):
            # A pod that is not there yet, or not any more, reads the ConfigMap when it starts.
            if pod["status"].get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp"):
                try:
                    self._api.ask_pod(
                        ObjectRef(kind="Pod", name=pod["metadata"]["name"], namespace=namespace),
                        CONTROL_PORT, "script", body=script,
                    )  # fmt: skip
                except ApiError:
                    continue

    def _pods_of(self, namespace: str, name: str, kinds: Sequence[str]) -> list[KubeObject]:
        for kind in kinds:
            try:
                workload = self._api.get(ObjectRef(kind=kind, name=name, namespace=namespace))
            except NotFound:
                continue
            return self._api.list_objects("Pod", namespace, workload["spec"]["selector"].get("matchLabels", {}))
        return []

    # Loading

    def _load_images(self, names: Sequence[str]) -> None:
        program = build_program(self._cache)
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "stand-ins.tar"
            write_images(program, names, archive)
            self._cluster.load_images(archive)

    def _teach(self, kinds: set[str]) -> None:
        """Let the cluster know kinds that the snapshot has and Kubernetes lacks: any content, no behaviour."""
        if "HTTPRoute" not in kinds:
            return
        try:
            self._api.list_objects("HTTPRoute")
        except NotFound:
            self._api.create(_ROUTE_DEFINITION)

        def known() -> bool:
            try:
                self._api.list_objects("HTTPRoute")
            except NotFound:
                return False
            return True

        wait_until("the cluster knows routes", known, max_s=GONE_MAX_S)

    def _put(self, obj: KubeObject) -> None:
        try:
            self._api.create(obj)
            return
        except Conflict:
            pass
        metadata, ref = obj["metadata"], ref_of(obj)
        for left in reversed(range(PUT_TRIES)):
            version = self._api.get(ref)["metadata"]["resourceVersion"]  # Some kinds insist on being told.
            try:
                self._api.replace({**obj, "metadata": {**metadata, "resourceVersion": version}})
                return
            except Conflict:  # A controller wrote in between.
                if not left:
                    raise

    def _await_ready(self) -> None:
        namespaces = (*self.loaded.snapshot.namespaces, NAMESPACE)

        def missing() -> list[str]:
            found = [o for name in namespaces for kind in WORKLOADS for o in self._api.list_objects(kind, name)]
            return [f"{o['metadata']['namespace']}/{o['metadata']['name']}" for o in found if not _settled(o)]

        waiting: list[str] = []

        def ready() -> bool:
            waiting[:] = missing()
            return not waiting

        wait_until(
            "every stand-in is ready", ready, max_s=READY_MAX_S, why=lambda: f"not ready: {', '.join(waiting[:5])}"
        )


def wait_until(what: str, holds: Callable[[], bool], *, max_s: float, why: Callable[[], str] = lambda: "") -> None:
    """Poll until it holds. Raises Inconclusive after `max_s`."""
    end_s = time.monotonic() + max_s
    while not holds():
        if time.monotonic() > end_s:
            raise Inconclusive(
                f"waited in vain until {what}", why() or f"not so after {max_s:g} s", "twin shadow status"
            )
        time.sleep(POLL_S)


def _settled(obj: KubeObject) -> bool:
    status, spec = obj.get("status", {}), obj["spec"]
    if status.get("observedGeneration", 0) < obj["metadata"].get("generation", 0):
        return False
    if obj["kind"] == "DaemonSet":
        return bool(status.get("numberReady", 0) >= status.get("desiredNumberScheduled", math.inf))
    wanted = spec.get("replicas", 1)
    counted = [status.get(name, 0) for name in ("readyReplicas", "updatedReplicas", "replicas")]
    return counted == [wanted] * 3 or wanted == 0


_ROUTE_DEFINITION: Final[KubeObject] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "httproutes.gateway.networking.k8s.io",
        # The API server wants to know who approved a definition in a *.k8s.io group; ours is for a test cluster only.
        "annotations": {"api-approved.kubernetes.io": "unapproved, a shadow's own"},
    },
    "spec": {
        "group": "gateway.networking.k8s.io",
        "names": {"kind": "HTTPRoute", "plural": "httproutes", "singular": "httproute"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
