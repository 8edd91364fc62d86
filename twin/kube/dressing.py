"""A snapshot's objects as a shadow takes them, whatever its workloads run: fitted in size, nothing leading outside."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Final

from twin.kube.snapshot import Snapshot
from twin.ports.plant import KubeObject
from twin.spec.fleet import WorkloadKind
from twin.spec.units import parse_bytes, parse_cores

__all__ = ["WORKLOADS", "dressed", "scale_requests", "scaled", "scaled_bound"]

WORKLOADS: Final = tuple(kind.value for kind in WorkloadKind)
# Revisions and addresses are made anew; the servers of webhooks and the controllers of definitions are not here.
LEFT_OUT: Final = (
    "ReplicaSet", "Endpoints", "ServiceAccount", "CustomResourceDefinition", "ValidatingWebhookConfiguration",
    "MutatingWebhookConfiguration", "ClusterRole", "ClusterRoleBinding",
)  # fmt: skip
EVERY_POD: Final[KubeObject] = {"namespaceSelector": {}}


def dressed(
    snapshot: Snapshot, *, room: float, workload: Callable[[KubeObject], Sequence[KubeObject]], target_port: int | None
) -> list[KubeObject]:
    """Copies of the objects.

    `room`: what requests, quotas and limit ranges of cpu and memory are multiplied by, so that what was made for a data
    centre can be scheduled here. `workload` makes of a workload what is loaded in its place. `target_port`: where all
    Services lead, if not to where they say.
    """
    objects: list[KubeObject] = []
    for original in snapshot.objects:
        kind, obj = original["kind"], copy.deepcopy(original)
        if kind in LEFT_OUT:
            continue
        if kind in WORKLOADS:
            objects += workload(obj)
            continue
        if kind == "Service":
            _turn_service_inwards(obj, target_port)
        elif kind == "NetworkPolicy":
            _turn_policy_inwards(obj)
        elif kind == "ResourceQuota":
            hard = obj["spec"].get("hard", {})
            obj["spec"]["hard"] = {name: scaled_bound(name, value, room) for name, value in hard.items()}
        elif kind == "LimitRange":
            for one in obj["spec"].get("limits", ()):
                for part in ("defaultRequest", "min"):
                    one[part] = {name: scaled(name, value, room) for name, value in one.get(part, {}).items()}
        objects.append(obj)
    return objects


def scaled(resource: str, quantity: Any, room: float) -> str:
    """A quantity of cpu or memory times `room`; others as they are."""
    if resource.endswith("cpu"):
        return f"{max(round(parse_cores(str(quantity)) * room * 1000), 1)}m"
    if resource.endswith("memory"):
        return str(max(round(parse_bytes(str(quantity)) * room), 1))
    return str(quantity)


def scaled_bound(resource: str, quantity: Any, room: float) -> Any:
    """A quota's bound: of requests times `room`, as these are; of all else as it is."""
    of_requests = resource.startswith("requests.") or resource in ("cpu", "memory")
    return scaled(resource, quantity, room) if of_requests else quantity


def scale_requests(container: dict[str, Any], room: float) -> None:
    """What asks for nothing and is limited asks for its limit: said here, since it is to be scaled."""
    resources = container.setdefault("resources", {})
    requests = {**resources.get("limits", {}), **resources.get("requests", {})}
    resources["requests"] = {key: scaled(key, value, room) for key, value in requests.items()}


def _turn_service_inwards(service: KubeObject, target_port: int | None) -> None:
    """A name that leads outside leads to nothing."""
    spec = service["spec"]
    for part in ("externalName", "externalIPs", "loadBalancerIP", "loadBalancerSourceRanges", "externalTrafficPolicy",
                 "loadBalancerClass", "allocateLoadBalancerNodePorts", "ipFamilies", "ipFamilyPolicy"):  # fmt: skip
        spec.pop(part, None)
    spec["type"] = "ClusterIP"
    for port in spec.get("ports", ()):
        if target_port is not None and port.get("protocol", "TCP") == "TCP":
            port["targetPort"] = target_port


def _turn_policy_inwards(policy: KubeObject) -> None:
    """Policies add up: one that lets pods reach addresses outside would undo the walls that another policy makes."""
    egress = policy["spec"].get("egress")
    if not egress:
        return
    inwards = []
    for rule in egress:
        peers = rule.get("to") or [EVERY_POD]  # A rule that names nobody lets everybody be reached.
        kept = [peer for peer in peers if "ipBlock" not in peer]
        if kept:
            inwards.append({**rule, "to": kept})
    policy["spec"]["egress"] = inwards
