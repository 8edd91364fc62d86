"""A shadow cluster: loaded with a snapshot of production played by stand-ins, closed towards everything outside.

Nothing is loaded into a cluster that has not been seen to be closed.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from twin.kube.api import LiveKubeApi
from twin.kube.cluster import MANAGED, ShadowCluster
from twin.kube.dressing import WORKLOADS
from twin.kube.loaded import Images, Loaded, Mischief, users_script
from twin.kube.scale import cores_of, fitted, requests_share, users_share
from twin.kube.snapshot import KINDS, Snapshot
from twin.kube.standins import (
    CONTROL_PORT,
    IMAGE,
    LOAD,
    NAMESPACE,
    SCRIPTS,
    build_program,
    images_of,
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

__all__ = ["KubeShadow", "wait_until"]

PUT_TRIES: Final = 5
READY_MAX_S: Final = 120.0
PULLED_MAX_S: Final = 900.0  # Real images come from a registry first.
GONE_MAX_S: Final = 60.0
POLL_S: Final = 0.25
DEFAULT: Final = "default"


class KubeShadow:
    """Implements Shadow on a cluster that `pool` made or was given."""

    def __init__(
        self,
        name: str,
        api: LiveKubeApi,
        *,
        cluster: ShadowCluster,
        enforces: Mapping[str, bool],
        cache: Path,
    ) -> None:
        self._name = name
        self._api = api
        self._cluster = cluster
        self._enforces = dict(enforces)
        self._cache = cache
        self._loaded: Loaded | None = None
        self._mischief = Mischief()

    @property
    def name(self) -> str:
        return self._name

    @property
    def level(self) -> EvidenceLevel:
        real = self._loaded is not None and self._loaded.images is Images.REAL
        return EvidenceLevel.REAL_IMAGES if real else EvidenceLevel.STAND_INS

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

    @property
    def state(self) -> tuple[Loaded | None, Mischief]:
        """What it plays, and what was done to it: to be written down, and taken up by `go_on`."""
        return self._loaded, self._mischief

    def go_on(self, loaded: Loaded, mischief: Mischief) -> None:
        """With what the cluster already plays."""
        self._loaded, self._mischief = loaded, mischief

    def load_snapshot(self, snapshot: Snapshot, fleet: Fleet, *, images: Images = Images.STAND_INS) -> Loaded:
        """Take away what was loaded before, load this, and wait until it is ready.

        Raises BadInput if one of its namespaces is there and no shadow's; Inconclusive if the shadow is not closed or
        does not get ready; ComponentMissing; ApiError.
        """
        if not self._enforces.get("egress", False):
            raise Inconclusive(
                f"shadow {self._name} is not closed", "its pods were not seen to be kept from outside",
                "make it anew: twin shadow down; twin shadow up",
            )  # fmt: skip
        self._refuse_others(snapshot.namespaces)
        self.clear()
        nodes = self._api.list_objects("Node")
        loaded = Loaded.of(
            snapshot, fleet, images=images, walls=self._cluster.walls,
            room=requests_share(snapshot, nodes=nodes, pods=self._api.list_objects("Pod")),
            share=users_share(fleet, cores_of(nodes)),
        )  # fmt: skip
        self._load_images(images_of(snapshot) if images is Images.STAND_INS else [IMAGE])
        self._loaded = loaded
        self._teach({obj["kind"] for obj in loaded.objects})
        for part in (loaded.objects, loaded.users):  # Nobody comes before there is somebody to answer.
            for obj in part:
                self._put(obj)
            self._await_ready()
        return loaded

    def _refuse_others(self, namespaces: Sequence[str]) -> None:
        """A cluster that somebody uses, production above all, must not be written over."""
        for one in self._api.list_objects("Namespace"):
            name, labels = one["metadata"]["name"], one["metadata"].get("labels", {})
            if name in namespaces and name != DEFAULT and MANAGED not in labels:
                raise BadInput(
                    f"shadow {self._name} has a namespace {name}", "no shadow made it, so it is not ours to write over",
                    "give a cluster that is for this alone",
                )  # fmt: skip

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
        self._mischief = Mischief()

    def _managed(self, kind: str) -> list[KubeObject]:
        try:
            return self._api.list_objects(kind, DEFAULT, {MANAGED: "true"})
        except NotFound:
            return []

    # Shadow

    def reset(self) -> None:
        self._mischief = Mischief()
        for obj in (*self.loaded.objects, *self.loaded.users):
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
        if self.loaded.images is Images.REAL:
            if all(one.image is not None or one.env is not None for one in conducts):
                return  # What a build or a setting does, a real program does by itself.
            self._refuse_to_play("misbehave")
        self._mischief.conducts[service] = tuple(conducts)
        self._tell(service)

    def hold(self, service: ServiceId, station: str, slots: int) -> None:
        self._refuse_to_play("hold its servers")
        self._mischief.held.setdefault(service, {})[station] = slots
        self._tell(service)

    def let_go(self, service: ServiceId) -> None:
        self._mischief.held.pop(service, None)
        self._tell(service)

    def load(self, journey: JourneyName, factor: float) -> None:
        self._mischief.factors[journey] = factor
        self._tell_users()

    def delay(self, caller: ServiceId, callee: ServiceId, delay_s: float) -> None:
        self._refuse_to_play("wait for a slow network")
        self._mischief.delays.setdefault(caller, {})[callee] = delay_s
        self._tell(caller)

    def users(self) -> Mapping[JourneyName, UserCount]:
        came: dict[str, float] = {}
        bad: dict[str, float] = {}
        for line in self._users_metrics():
            if line.startswith("twin_users_total{"):
                labels, _, value = line.removeprefix("twin_users_total{").partition("} ")
                said = dict(part.split("=", 1) for part in labels.replace('"', "").split(","))
                journey = said["caller_operation"]
                came[journey] = came.get(journey, 0.0) + float(value)
                bad[journey] = bad.get(journey, 0.0) + float(value) * (said["outcome"] != "ok")
        return {JourneyName(name): UserCount(came=came[name], let_down=bad[name]) for name in sorted(came)}

    def _users_metrics(self) -> list[str]:
        """What the generator shows; it also knows its node's processor."""
        return [
            line
            for pod in self._api.list_objects("Pod", NAMESPACE, {"app": LOAD})
            for line in self._api.ask_pod(
                ObjectRef(kind="Pod", name=pod["metadata"]["name"], namespace=NAMESPACE), CONTROL_PORT, "metrics"
            ).splitlines()
        ]

    def processor_s(self) -> tuple[float, float]:
        spent = dict.fromkeys(("busy", "all"), 0.0)
        for line in self._users_metrics():
            for mode in spent:
                if line.startswith(f'twin_node_cpu_seconds_total{{mode="{mode}"}} '):
                    spent[mode] = float(line.rpartition(" ")[2])
        return spent["busy"], spent["all"]

    def events(self) -> Sequence[KubeObject]:
        found = [one for name in self.loaded.snapshot.namespaces for one in self._api.list_objects("Event", name)]
        return sorted(
            found, key=lambda one: (one.get("lastTimestamp") or one.get("eventTime") or "", one["metadata"]["name"])
        )

    def now_s(self) -> float:
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        time.sleep(duration_s)

    def _refuse_to_play(self, what: str) -> None:
        if self.loaded.images is Images.REAL:
            raise Inconclusive(
                f"shadow {self._name} cannot let a program {what}", "it runs real images, and these do what they do",
                "load it with stand-ins",
            )  # fmt: skip

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
            NAMESPACE, LOAD,
            users_script(loaded.images)(loaded.fleet, loaded.addresses, share=loaded.share, factors=factors),
        )  # fmt: skip

    def _tell_all(self) -> None:
        if self.loaded.images is Images.REAL:
            self._tell_users()
            return
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
        max_s = READY_MAX_S if self.loaded.images is Images.STAND_INS else PULLED_MAX_S

        def ready() -> bool:
            waiting[:] = missing()
            return not waiting

        wait_until("every workload is ready", ready, max_s=max_s, why=lambda: f"not ready: {', '.join(waiting[:5])}")


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
