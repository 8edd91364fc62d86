"""A snapshot: what a cluster says about some namespaces at one moment, fit to be kept, compared and loaded elsewhere.

Kept is what people and owners declared. What controllers wrote down, what only one server may say (uids, versions,
cluster addresses) and what is secret is left out; the uids go into the digest, so that an object made anew shows.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from twin.ports.plant import KubeObject
from twin.spec.atomic import replace_file
from twin.spec.canonical import digest
from twin.spec.errors import BadInput, Forbidden, NotFound
from twin.spec.ids import Sha256
from twin.spec.owners import owner_of

__all__ = [
    "CLUSTER_KINDS",
    "KINDS",
    "REDACTED",
    "SIZE_MAX_BYTES",
    "Snapshot",
    "differences",
    "read_snapshot",
    "take_snapshot",
    "write_snapshot",
]

SIZE_MAX_BYTES: Final = 64 * 2**20
REDACTED: Final = "cmVkYWN0ZWQ="  # base64 of "redacted"
# In the order in which a cluster wants them: what others need comes first.
CLUSTER_KINDS: Final = ("PriorityClass", "CustomResourceDefinition", "ValidatingWebhookConfiguration",
                        "MutatingWebhookConfiguration", "ClusterRole", "ClusterRoleBinding")  # fmt: skip
KINDS: Final = (
    "ResourceQuota", "LimitRange", "ServiceAccount", "ConfigMap", "Secret", "Role", "RoleBinding", "Service",
    "Endpoints", "PodDisruptionBudget", "NetworkPolicy", "HTTPRoute", "ReplicaSet", "Deployment", "StatefulSet",
    "DaemonSet", "HorizontalPodAutoscaler",
)  # fmt: skip
# Made by controllers in every namespace; a new cluster makes its own.
_OWN: Final = frozenset({("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")})
_KEPT_METADATA: Final = ("name", "namespace", "labels", "annotations")
_NOISE: Final = ("kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/desired-replicas",
                 "deployment.kubernetes.io/max-replicas")  # fmt: skip


class Readable(Protocol):
    """As much of a KubeApi as a snapshot needs. One that also has LiveKubeApi's `list_at` is read at one revision."""

    def list_objects(self, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[KubeObject]:
        """Raises NotFound for a kind that is not known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`objects` in loading order, each kind by namespace and name. `owners` maps "kind/namespace/name" to who decides
    about it. `moved` names kinds that could not be read at `version`; `unread` those that this identity may not read or
    the cluster does not know. `digest` is over uids and specs."""

    source: str
    namespaces: tuple[str, ...]
    version: str
    objects: tuple[KubeObject, ...]
    owners: Mapping[str, str]
    moved: tuple[str, ...]
    unread: tuple[str, ...]
    digest: Sha256

    def of(self, kind: str) -> list[KubeObject]:
        return [obj for obj in self.objects if obj["kind"] == kind]


def take_snapshot(kube: Readable, namespaces: Sequence[str], *, source: str) -> Snapshot:
    """Read everything that bears on these namespaces. Raises BadInput if there is nothing, or too much; ApiError."""
    found: list[KubeObject] = []
    moved: list[str] = []
    unread: list[str] = []
    version = ""
    for kind in (*CLUSTER_KINDS, *KINDS):
        for namespace in ("",) if kind in CLUSTER_KINDS else namespaces:
            try:
                objects, told = _listed(kube, kind, namespace, version)
            except (NotFound, Forbidden):
                unread.append(kind)
                break
            if version and told != version:
                moved.append(kind)
            version = version or told
            found += objects
    if not any(obj["metadata"].get("namespace") for obj in found):
        raise BadInput(
            f"there is nothing in {', '.join(namespaces) or 'no namespace'}", f"{source} holds no objects there",
            "name other namespaces: -n shop",
        )  # fmt: skip
    found = _without_other_roles(found, namespaces)
    workloads = {_key(obj) for obj in found if obj["kind"] in ("Deployment", "StatefulSet", "DaemonSet")}
    scaled = _scaled(found)
    owners = {_key(obj): owner for obj in found if (owner := _owner(obj, scaled))}
    kept = [obj for obj in found if _keeps(obj, workloads)]
    uids = {_key(obj): obj["metadata"].get("uid", "") for obj in kept}
    bare = [_bare(obj) for obj in kept]
    snapshot = Snapshot(
        source=source, namespaces=tuple(namespaces), version=version, objects=tuple(bare), owners=owners,
        moved=tuple(dict.fromkeys(moved)), unread=tuple(dict.fromkeys(unread)),
        digest=digest([[_key(obj), uids[_key(obj)], _spec(obj)] for obj in bare]),
    )  # fmt: skip
    size = len(_encoded(snapshot))
    if size > SIZE_MAX_BYTES:
        raise BadInput(
            "the snapshot is too large", f"{size / 2**20:.0f} MiB, at most {SIZE_MAX_BYTES / 2**20:.0f}",
            "take fewer namespaces",
        )  # fmt: skip
    return snapshot


def differences(old: Snapshot, new: Snapshot) -> list[str]:
    """What changed from one to the other, one line an object, in order."""
    before, after = ({_key(obj): obj for obj in one.objects} for one in (old, new))
    lines = [f"- {key}" for key in sorted(before.keys() - after.keys())]
    lines += [f"+ {key}" for key in sorted(after.keys() - before.keys())]
    lines += [f"~ {key}" for key in sorted(before.keys() & after.keys()) if before[key] != after[key]]
    return lines


def write_snapshot(snapshot: Snapshot, path: Path) -> None:
    """One JSON file, whole or not at all; the same snapshot gives the same bytes. Raises OSError."""
    replace_file(path, _encoded(snapshot))


def read_snapshot(path: Path) -> Snapshot:
    """Raises BadInput for what is no snapshot, or was changed since."""
    try:
        if path.stat().st_size > 2 * SIZE_MAX_BYTES:
            raise ValueError("it is too large")
        data = json.loads(path.read_bytes())
        if data["kind"] != "Snapshot":
            raise ValueError(f"it is a {data['kind']}")
        objects = tuple(data["objects"])
        snapshot = Snapshot(
            source=str(data["source"]), namespaces=tuple(data["namespaces"]), version=str(data["version"]),
            objects=objects, owners=dict(data["owners"]), moved=tuple(data["moved"]), unread=tuple(data["unread"]),
            digest=Sha256(str(data["digest"])),
        )  # fmt: skip
        for obj in objects:
            _key(obj)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadInput(
            f"cannot read the snapshot {path}", str(error) or type(error).__name__, "take it again"
        ) from error
    return snapshot


def _encoded(snapshot: Snapshot) -> bytes:
    data = {
        "apiVersion": "twin/v1alpha1", "kind": "Snapshot", "source": snapshot.source,
        "namespaces": list(snapshot.namespaces), "version": snapshot.version, "digest": snapshot.digest,
        "owners": dict(snapshot.owners), "moved": list(snapshot.moved), "unread": list(snapshot.unread),
        "objects": list(snapshot.objects),
    }  # fmt: skip
    return (json.dumps(data, sort_keys=True, indent=1) + "\n").encode()


def _listed(kube: Readable, kind: str, namespace: str, version: str) -> tuple[list[KubeObject], str]:
    reader = getattr(kube, "list_at", None)
    if reader is not None:
        objects, told = reader(kind, namespace, version)
        return objects, told
    return kube.list_objects(kind, namespace), version  # A World stands still while it is read.


def _key(obj: KubeObject) -> str:
    metadata = obj["metadata"]
    return "/".join(part for part in (obj["kind"], metadata.get("namespace", ""), metadata["name"]) if part)


def _keeps(obj: KubeObject, workloads: set[str]) -> bool:
    """Whether somebody declared it: what a controller makes anew by itself is left out. Old revisions are kept, as the
    way back."""
    metadata, kind = obj["metadata"], obj["kind"]
    if (kind, metadata["name"]) in _OWN or (kind == "Secret" and obj.get("type", "").endswith("service-account-token")):
        return False
    if kind == "Endpoints":  # Only those that a person wrote lead outside; the others are worked out.
        return "endpoints.kubernetes.io/last-change-trigger-time" not in (metadata.get("annotations") or {})
    if kind == "PriorityClass":
        return not metadata["name"].startswith("system-")
    owners = [
        f"{one['kind']}/{metadata.get('namespace', '')}/{one['name']}" for one in metadata.get("ownerReferences", ())
    ]
    return not owners or kind == "ReplicaSet"


def _without_other_roles(objects: Sequence[KubeObject], namespaces: Sequence[str]) -> list[KubeObject]:
    """Of the whole cluster's roles and bindings those that say what these namespaces' accounts may do."""
    groups = {"system:serviceaccounts", *(f"system:serviceaccounts:{name}" for name in namespaces)}

    def is_theirs(subject: Mapping[str, Any]) -> bool:
        if subject["kind"] == "ServiceAccount":
            return subject.get("namespace") in namespaces
        return subject["kind"] == "Group" and subject["name"] in groups

    bindings = [
        obj
        for obj in objects
        if obj["kind"] == "RoleBinding"
        or (obj["kind"] == "ClusterRoleBinding" and any(map(is_theirs, obj.get("subjects") or ())))
    ]
    kept = {_key(obj) for obj in bindings}
    kept |= {f"ClusterRole/{one['roleRef']['name']}" for one in bindings if one["roleRef"]["kind"] == "ClusterRole"}
    return [obj for obj in objects if obj["kind"] not in ("ClusterRole", "ClusterRoleBinding") or _key(obj) in kept]


def _scaled(objects: Sequence[KubeObject]) -> dict[str, str]:
    """Workloads whose number of replicas an autoscaler decides."""
    found = {}
    for obj in objects:
        if obj["kind"] == "HorizontalPodAutoscaler":
            target = obj["spec"]["scaleTargetRef"]
            found[f"{target['kind']}/{obj['metadata']['namespace']}/{target['name']}"] = obj["metadata"]["name"]
    return found


def _owner(obj: KubeObject, scaled: Mapping[str, str]) -> str:
    """Who decides about it: a GitOps controller, a package manager, a parent, or an autoscaler about its replicas."""
    owner = owner_of(obj)
    if owner is not None:
        return str(owner)
    scaler = scaled.get(_key(obj))
    return f"replicas by HorizontalPodAutoscaler:{scaler}" if scaler else ""


def _bare(obj: KubeObject) -> KubeObject:
    bare = {key: value for key, value in copy.deepcopy(obj).items() if key != "status"}
    metadata = {key: bare["metadata"][key] for key in _KEPT_METADATA if bare["metadata"].get(key)}
    notes = {key: value for key, value in metadata.get("annotations", {}).items() if key not in _NOISE}
    if notes:
        metadata["annotations"] = notes
    else:
        metadata.pop("annotations", None)
    if obj["kind"] == "ReplicaSet":
        metadata["ownerReferences"] = [
            {"kind": one["kind"], "name": one["name"]} for one in obj["metadata"].get("ownerReferences", ())
        ]
    bare["metadata"] = metadata
    if obj["kind"] == "Secret":
        for part in ("data", "stringData"):
            if bare.get(part):
                bare[part] = dict.fromkeys(bare[part], REDACTED)
    if obj["kind"] == "Service":
        for part in ("clusterIP", "clusterIPs", "healthCheckNodePort"):
            if bare["spec"].get(part) not in ("None", ["None"]):
                bare["spec"].pop(part, None)
        for port in bare["spec"].get("ports", ()):
            port.pop("nodePort", None)
    return bare


def _spec(obj: KubeObject) -> Any:
    return {key: value for key, value in obj.items() if key not in ("metadata", "apiVersion")}
