"""See what a cluster enforces before anything is believed of it: above all that it is closed towards the outside.

A pod tries to get out, beside two controls: a pod on its node's own network, which can, and the cluster's own DNS,
which the pod can reach.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

from twin.kube.api import LiveKubeApi
from twin.kube.cluster import ShadowCluster
from twin.kube.standins import CONTROL_PORT, IMAGE, script_object
from twin.ports.plant import KubeObject
from twin.spec.errors import ApiError, Conflict, Forbidden, Inconclusive, NotFound, TooManyRequests
from twin.spec.plan import ObjectRef

__all__ = ["PROOFS", "prove"]

NAMESPACE: Final = "twin-proof"
PROOFS: Final = ("egress", "network_policy", "memory_limits", "disruption_budgets", "quotas")
PATIENCE_S: Final = 30.0
GONE_MAX_S: Final = 60.0
POLICY_S: Final = 2.0  # A CNI that enforces policies has done so by then.
CONTROL_TRIES: Final = 5
HOG_LIMIT: Final = "48Mi"
HOG_S: Final = 10.0  # It is beyond its limit after a quarter of a second.
T = TypeVar("T")


def prove(api: LiveKubeApi, cluster: ShadowCluster) -> dict[str, bool]:
    """Try each of PROOFS on the cluster, and say what it enforces. Raises Inconclusive if a trial cannot be made."""
    _remove(api)
    # kind calls a cluster ready when its nodes are; a control that does not answer yet would say that nothing is.
    _await("the cluster's DNS is ready", lambda: _dns_answers(api), GONE_MAX_S)
    _create(api, _NAMESPACE)
    try:
        for wall in cluster.walls(NAMESPACE):
            _create(api, wall)
        _create(api, script_object(NAMESPACE, "server", {"journeys": []}))
        _create(api, script_object(NAMESPACE, "hog", _HOG))
        _create(api, _pod("server", ["load"], ready=True))
        _create(api, _pod("hog", ["serve"], limit=HOG_LIMIT))
        _create(api, _budget())
        address = _await("the trial's server is ready", lambda: _ready_address(api, "server"))
        found: dict[str, bool] = {}
        with cluster.outside() as outside:
            if not _reach(api, "reach-as-a-node", [outside], as_node=True)[outside]:
                raise Inconclusive(
                    "the shadow's walls cannot be tried", f"a node itself cannot reach {outside}",
                    "name somebody outside whom nodes reach, or see the machine's firewall",
                )  # fmt: skip
            dns = api.get(ObjectRef(kind="Service", name="kube-dns", namespace="kube-system"))["spec"]["clusterIP"]
            server = f"{address}:{CONTROL_PORT}"
            for number in range(CONTROL_TRIES):  # A Service's way in is known to a node a moment after its pods are.
                reached = _reach(api, f"reach-open-{number}", [outside, f"{dns}:53", server])
                if reached[f"{dns}:53"] and reached[server]:
                    break
            else:
                raise Inconclusive(
                    "nothing can be said of the shadow's walls", "its pods reach nobody at all", "see its CNI"
                )
        found["egress"] = not reached[outside]
        _create(api, _deny())
        time.sleep(POLICY_S)
        found["network_policy"] = not _reach(api, "reach-denied", [server])[server]
        give_up_s = time.monotonic() + HOG_S
        found["memory_limits"] = _await("the hog ends", lambda: _hog_end(api, give_up_s)) == "OOMKilled"
        found["disruption_budgets"] = _refuses(
            lambda: api.evict(ObjectRef(kind="Pod", name="server", namespace=NAMESPACE)), TooManyRequests
        )
        _create(api, _quota())
        quota = ObjectRef(kind="ResourceQuota", name="none", namespace=NAMESPACE)
        _await("the quota is counted", lambda: api.get(quota).get("status", {}).get("hard"))
        found["quotas"] = _refuses(lambda: api.create(script_object(NAMESPACE, "one-too-many", {})), Forbidden)
        return found
    finally:
        _remove(api, wait=False)


_NAMESPACE: Final[KubeObject] = {
    "apiVersion": "v1", "kind": "Namespace",
    # One of the trials stands on its node's own network: a cluster that holds pods to a standard must let it.
    "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
}  # fmt: skip
_HOG: Final[Mapping[str, Any]] = {
    "service": "twin-proof/hog", "operations": {}, "stations": {}, "start_s": 0.0, "ports": [],
    "behaviours": [{"speed": 1.0, "leak_bytes_per_s": 200 * 2**20}],
}  # fmt: skip


def _pod(
    name: str, args: Sequence[str], *, ready: bool = False, limit: str = "", as_node: bool = False
) -> KubeObject:  # fmt: skip
    container: dict[str, Any] = {"name": "trial", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "args": list(args)}
    spec: dict[str, Any] = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0}
    if as_node:
        spec["hostNetwork"] = True
    if args[0] in ("load", "serve"):
        container["volumeMounts"] = [{"name": "script", "mountPath": "/twin"}]
        spec["volumes"] = [{"name": "script", "configMap": {"name": f"twin-script-{name}"}}]
    if ready:
        container["readinessProbe"] = {"httpGet": {"path": "/metrics", "port": CONTROL_PORT}, "periodSeconds": 1}
    if limit:
        container["resources"] = {"limits": {"memory": limit}}
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}}, "spec": spec,
    }  # fmt: skip


def _budget() -> KubeObject:
    return {
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": "server", "namespace": NAMESPACE},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "server"}}},
    }  # fmt: skip


def _deny() -> KubeObject:
    return {
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "server", "namespace": NAMESPACE},
        "spec": {"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"]},
    }  # fmt: skip


def _quota() -> KubeObject:
    return {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": NAMESPACE},
        "spec": {"hard": {"count/configmaps": "0"}},
    }  # fmt: skip


def _create(api: LiveKubeApi, obj: KubeObject) -> None:
    """A namespace's service account comes a moment after it: until then its pods are refused."""

    def made() -> bool:
        try:
            api.create(obj)
        except Conflict:
            return True
        except Forbidden as error:
            if "serviceaccount" in str(error):
                return False
            raise
        return True

    _await(f"{obj['kind']} {obj['metadata']['name']} can be made", made)


def _remove(api: LiveKubeApi, *, wait: bool = True) -> None:
    with suppress(NotFound, Conflict):
        api.delete(ObjectRef(kind="Namespace", name=NAMESPACE))
    if wait:
        _await(
            "the last trial is gone", lambda: not _exists(api, ObjectRef(kind="Namespace", name=NAMESPACE)), GONE_MAX_S
        )


def _exists(api: LiveKubeApi, ref: ObjectRef) -> bool:
    try:
        api.get(ref)
    except NotFound:
        return False
    return True


def _dns_answers(api: LiveKubeApi) -> bool:
    found = api.list_objects("Deployment", "kube-system", {"k8s-app": "kube-dns"})
    return any(one.get("status", {}).get("readyReplicas") for one in found)


def _await(what: str, found: Callable[[], T], max_s: float = PATIENCE_S) -> T:
    end_s = time.monotonic() + max_s
    while not (got := found()):
        if time.monotonic() > end_s:
            raise Inconclusive(
                "the shadow's walls cannot be tried", f"waited {max_s:g} s in vain until {what}", "see: kubectl"
            )
        time.sleep(0.2)
    return got


def _ready_address(api: LiveKubeApi, name: str) -> str:
    status = api.get(ObjectRef(kind="Pod", name=name, namespace=NAMESPACE)).get("status", {})
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
    return str(status.get("podIP", "")) if ready else ""


def _hog_end(api: LiveKubeApi, give_up_s: float) -> str:
    """Why the hog ended; "went on" if it has run for long enough to be far beyond its limit."""
    status = api.get(ObjectRef(kind="Pod", name="hog", namespace=NAMESPACE)).get("status", {})
    for one in status.get("containerStatuses", ()):
        if ended := one["state"].get("terminated"):
            return str(ended.get("reason", "unknown"))
    return "went on" if time.monotonic() > give_up_s else ""


def _reach(api: LiveKubeApi, name: str, addresses: Sequence[str], *, as_node: bool = False) -> dict[str, bool]:
    """Whether a pod can connect to each address; `as_node`: one on its node's own network."""
    _create(api, _pod(name, ["reach", *addresses], as_node=as_node))
    ref = ObjectRef(kind="Pod", name=name, namespace=NAMESPACE)
    _await(f"{name} has ended", lambda: api.get(ref).get("status", {}).get("phase") in ("Succeeded", "Failed"))
    said = dict(line.split() for line in api.logs(ref) if len(line.split()) == 2)
    if set(said) != set(addresses):
        raise Inconclusive("the shadow's walls cannot be tried", f"{name} says {said}", "see: kubectl logs")
    return {address: said[address] == "true" for address in addresses}


def _refuses(write: Callable[[], object], refusal: type[ApiError]) -> bool:
    try:
        write()
    except refusal:
        return True
    return False
