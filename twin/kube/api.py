"""A real cluster's API behind the KubeApi port: the same calls, shapes and refusals as a World's.

Patches are JSON merge patches with the version that they were worked out from: a list is replaced whole, as it was
read but for what is set, and a write that meets another version is refused by the server, so nothing of anybody else
is lost. (Server-side apply would take over fields by key, but cannot take away a field that it does not own.)
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from twin.kube.transport import Answer, Transport, open_transport
from twin.ports.plant import KubeObject
from twin.spec.errors import (
    ApiError,
    Conflict,
    Forbidden,
    NotFound,
    Overtaken,
    TooManyRequests,
    Unprocessable,
    Unreachable,
)
from twin.spec.fields import FieldPath, path_text
from twin.spec.plan import ObjectRef, ref_of

__all__ = ["LiveKubeApi", "connect"]

PAGE: Final = 500  # objects of a list in one answer
PATIENCE_S: Final = 1.5  # how long an answer is waited for in all; who is in the middle of something has more
BACKOFF_S: Final = 0.2
BACKOFF_MAX_S: Final = 2.0
CONFLICT_TRIES: Final = 5
WATCH_S: Final = 1  # A watch that hears nothing new for so long has caught up.
_MERGE: Final = "application/merge-patch+json"
_JSON: Final = "application/json"
_CONFLICT: Final = 409
_GONE: Final = 410
_BUSY: Final = 429  # Sent by a server that did nothing. (For an eviction it means: not now.)
_TROUBLED: Final = (_BUSY, 500, 502, 503, 504)
_WEBHOOK_FAILED: Final = "failed calling webhook"  # A 500 too, of one that fails closed: an answer, and no trouble.


@dataclass(frozen=True, slots=True)
class _Resource:
    version: str  # as in apiVersion
    plural: str
    namespaced: bool = True

    def path(self, namespace: str, name: str = "", sub: str = "") -> str:
        root = f"/apis/{self.version}" if "/" in self.version else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return "/".join(part for part in (f"{root}{scope}/{self.plural}", name, sub) if part)


_RESOURCES: Final[Mapping[str, _Resource]] = {
    "Application": _Resource("argoproj.io/v1alpha1", "applications"),
    "ClusterRole": _Resource("rbac.authorization.k8s.io/v1", "clusterroles", namespaced=False),
    "ClusterRoleBinding": _Resource("rbac.authorization.k8s.io/v1", "clusterrolebindings", namespaced=False),
    "ConfigMap": _Resource("v1", "configmaps"),
    "CustomResourceDefinition": _Resource("apiextensions.k8s.io/v1", "customresourcedefinitions", namespaced=False),
    "DaemonSet": _Resource("apps/v1", "daemonsets"),
    "Deployment": _Resource("apps/v1", "deployments"),
    "Endpoints": _Resource("v1", "endpoints"),
    "Event": _Resource("v1", "events"),
    "HTTPRoute": _Resource("gateway.networking.k8s.io/v1", "httproutes"),
    "HorizontalPodAutoscaler": _Resource("autoscaling/v2", "horizontalpodautoscalers"),
    "Kustomization": _Resource("kustomize.toolkit.fluxcd.io/v1", "kustomizations"),
    "Lease": _Resource("coordination.k8s.io/v1", "leases"),
    "LimitRange": _Resource("v1", "limitranges"),
    "MutatingWebhookConfiguration": _Resource(
        "admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations", namespaced=False
    ),
    "Namespace": _Resource("v1", "namespaces", namespaced=False),
    "NetworkPolicy": _Resource("networking.k8s.io/v1", "networkpolicies"),
    "Node": _Resource("v1", "nodes", namespaced=False),
    "Pod": _Resource("v1", "pods"),
    "PodDisruptionBudget": _Resource("policy/v1", "poddisruptionbudgets"),
    "PriorityClass": _Resource("scheduling.k8s.io/v1", "priorityclasses", namespaced=False),
    "ReplicaSet": _Resource("apps/v1", "replicasets"),
    "ResourceQuota": _Resource("v1", "resourcequotas"),
    "Role": _Resource("rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": _Resource("rbac.authorization.k8s.io/v1", "rolebindings"),
    "Secret": _Resource("v1", "secrets"),
    "Service": _Resource("v1", "services"),
    "ServiceAccount": _Resource("v1", "serviceaccounts"),
    "StatefulSet": _Resource("apps/v1", "statefulsets"),
    "ValidatingWebhookConfiguration": _Resource(
        "admissionregistration.k8s.io/v1", "validatingwebhookconfigurations", namespaced=False
    ),
}


def connect(
    *, context: str | None = None, kubeconfig: Path | None = None, patience_s: float = PATIENCE_S
) -> LiveKubeApi:
    """A cluster's API by kubeconfig. Raises ComponentMissing, BadInput."""
    return LiveKubeApi(open_transport(context=context, kubeconfig=kubeconfig), patience_s=patience_s)


class LiveKubeApi:
    """Implements KubeApi. What an identity may do is the cluster's to say: its refusals come back as Forbidden.

    A server in trouble is asked again for `patience_s`, where that is safe: for reads, for what it refused to begin
    (429), and for patches. Of a patch that was not answered nobody can tell whether it was made; but the version in it
    lets it be made once only, and what is there afterwards tells whether it was; where it does not, because somebody
    wrote since, Overtaken is raised. Other writes are sent once.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        patience_s: float = PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport
        self._patience_s = patience_s
        self._sleep = sleep
        self._now_s = now_s

    # Reading

    def get(self, ref: ObjectRef) -> KubeObject:
        return self._object(self._read(f"get {ref}", self._path(ref)))

    def list_objects(self, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[KubeObject]:
        return self._list(kind, namespace, labels)[0]

    def list_at(self, kind: str, namespace: str, version: str) -> tuple[list[KubeObject], str]:
        """As `list_objects`, as of one revision of the whole cluster, and the version that they are of: the newest one
        if `version` is empty, or forgotten by the server."""
        try:
            return self._list(kind, namespace, None, version=version)
        except _Gone:
            return self._list(kind, namespace, None)

    def watch(self, kind: str, *, since_version: str) -> Iterator[tuple[str, KubeObject]]:
        """As the port says. If the server has forgotten that version (410 Gone), every object is told as modified:
        nobody knows any more which ones were."""
        resource = _resource(kind)
        query = {"watch": "true", "resourceVersion": since_version, "timeoutSeconds": str(WATCH_S)}
        answer, _ = self._send("GET", resource.path(""), query, again=_in_trouble)
        events = _events(answer)
        if answer.status == _GONE or any(kind == "ERROR" and obj.get("code") == _GONE for kind, obj in events):
            yield from (("MODIFIED", obj) for obj in self.list_objects(kind))
            return
        if answer.status >= 400:
            _refuse(f"watch {kind}", answer)
        for what, obj in events:
            if what == "ERROR":
                _refuse(f"watch {kind}", Answer(int(obj.get("code", 500)), obj))
            yield what, obj

    def logs(self, ref: ObjectRef, *, tail: int = 100) -> list[str]:
        text = self._read(f"read logs of {ref}", self._path(ref, "log"), {"tailLines": str(tail)})
        return str(text).splitlines()[-tail:]

    # Writing

    def patch(
        self,
        ref: ObjectRef,
        fields: Mapping[FieldPath, Any],
        *,
        resource_version: str | None = None,
        dry_run: bool = False,
        field_manager: str = "twin",
    ) -> KubeObject:
        tries = 1 if resource_version is not None else CONFLICT_TRIES
        end_s = self._now_s() + self._patience_s  # of all its requests together
        for number in range(tries):
            seen = self._object(self._read(f"get {ref}", self._path(ref), end_s=end_s))
            version = resource_version or seen["metadata"]["resourceVersion"]
            body = _merge_patch(ref, seen, fields)
            body.setdefault("metadata", {})["resourceVersion"] = version
            query = {"fieldManager": field_manager, "fieldValidation": "Strict", **_dry(dry_run)}
            answer, unanswered = self._send(
                "PATCH", self._path(ref), query, body, content_type=_MERGE, again=_in_trouble, end_s=end_s
            )
            if answer.status == _CONFLICT and unanswered and not dry_run:
                made = self._made_unseen(ref, fields, seen)
                if made is not None:
                    return made
            try:
                return self._object(_accepted(f"patch {ref}", answer))
            except Conflict:  # Somebody wrote in between: worked out anew from what is there now.
                if number + 1 == tries:
                    raise
        raise AssertionError("unreachable")

    def create(self, obj: KubeObject, *, dry_run: bool = False) -> KubeObject:
        kind, namespace = obj.get("kind", ""), obj.get("metadata", {}).get("namespace", "")
        what = f"create {kind} {obj.get('metadata', {}).get('name', '')}"
        query = {"fieldManager": "twin", "fieldValidation": "Strict", **_dry(dry_run)}
        return self._object(self._write(what, "POST", _resource(kind).path(namespace), query, obj))

    def delete(self, ref: ObjectRef, *, dry_run: bool = False) -> None:
        self._write(f"delete {ref}", "DELETE", self._path(ref), {"propagationPolicy": "Background", **_dry(dry_run)})

    def evict(self, ref: ObjectRef, *, dry_run: bool = False) -> None:
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": ref.name, "namespace": ref.namespace},
        }
        self._write(f"evict {ref}", "POST", self._path(ref, "eviction"), _dry(dry_run), eviction)

    def replace(self, obj: KubeObject) -> KubeObject:
        """Put an object in the place of the one of its name, whole. Raises as `create`, NotFound."""
        ref = ref_of(obj)
        return self._object(self._write(f"replace {ref}", "PUT", self._path(ref), {"fieldManager": "twin"}, obj))

    def ask_pod(self, ref: ObjectRef, port: int, path: str, *, body: Any = None) -> str:
        """An HTTP request to a pod's port, carried by the API server: GET, or POST with a body. Raises ApiError."""
        address = _resource("Pod").path(ref.namespace, f"{ref.name}:{port}", f"proxy/{path.lstrip('/')}")
        what = f"ask {ref} for {path}"
        if body is None:
            return str(self._read(what, address))
        return str(self._write(what, "POST", address, {}, body))

    # One request

    def _path(self, ref: ObjectRef, sub: str = "") -> str:
        return _resource(ref.kind).path(ref.namespace, ref.name, sub)

    def _list(
        self, kind: str, namespace: str, labels: Mapping[str, str] | None, *, version: str = ""
    ) -> tuple[list[KubeObject], str]:
        """All pages, and the version of the whole. A list that grew too old while it was read begins again; one of a
        stated version raises _Gone instead."""
        resource = _resource(kind)
        selector = ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items()))
        query = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
        exact = {"resourceVersion": version, "resourceVersionMatch": "Exact"} if version else {}
        found: list[KubeObject] = []
        token = ""
        while True:
            try:
                page = self._read(
                    f"list {kind}", resource.path(namespace), {**query, **({"continue": token} if token else exact)}
                )
            except _Gone:
                if version:
                    raise
                found, token = [], ""
                continue
            # Objects in a list come without their kind.
            found += [{"apiVersion": resource.version, "kind": kind, **obj} for obj in page.get("items", ())]
            token = page["metadata"].get("continue", "")
            if not token:
                ordered = sorted(found, key=lambda o: (o["metadata"].get("namespace", ""), o["metadata"]["name"]))
                return ordered, page["metadata"]["resourceVersion"]

    def _read(self, what: str, path: str, query: Mapping[str, str] = {}, *, end_s: float | None = None) -> Any:
        """A GET, tried again while there is patience. Raises ApiError's subclasses."""
        return _accepted(what, self._send("GET", path, query, again=_in_trouble, end_s=end_s)[0])

    def _write(self, what: str, method: str, path: str, query: Mapping[str, str], body: Any = None) -> Any:
        """A write that is sent anew only if it was not begun. Raises ApiError's subclasses."""
        again = _never if path.endswith("/eviction") else _not_begun
        return _accepted(what, self._send(method, path, query, body, again=again)[0])

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Any = None,
        *,
        content_type: str = _JSON,
        again: Callable[[Answer | None], bool],
        end_s: float | None = None,
    ) -> tuple[Answer, bool]:
        """One request, sent `again` after such answers (None: nobody answered) until `end_s`, by default while there is
        patience. Returns the last answer, and whether one before it may have been carried out unseen.

        Raises Unreachable.
        """
        unanswered, pause_s = False, BACKOFF_S
        if end_s is None:  # A server that hangs spends it as one does that refuses.
            end_s = self._now_s() + self._patience_s
        while True:
            try:
                answer = self._transport.send(method, path, query=query, body=body, content_type=content_type)
            except Unreachable:
                if not again(None) or self._now_s() + pause_s > end_s:
                    raise
                unanswered = True
            else:
                if not again(answer) or self._now_s() + pause_s > end_s:
                    return answer, unanswered
                unanswered = unanswered or not _not_begun(answer)
            self._sleep(pause_s)
            pause_s = min(2.0 * pause_s, BACKOFF_MAX_S)

    def _made_unseen(self, ref: ObjectRef, fields: Mapping[FieldPath, Any], before: KubeObject) -> KubeObject | None:
        """The object, if it is as a patch would have it that nobody heard of; None if nobody has written what is wanted
        of it. Raises Overtaken.

        Whether the fields would change anything, the server says: it may write "512Mi" its own way.
        """
        now = self.get(ref)
        if _said(self.patch(ref, fields, dry_run=True)) == _said(now):
            return now
        if _wishes(now) == _wishes(before):
            return None
        raise Overtaken(
            f"cannot patch {ref}", "it was not answered, and the object is now neither as before nor as wanted",
            "look who changed it, and decide anew",
        )  # fmt: skip

    def _object(self, body: Any) -> KubeObject:
        if not isinstance(body, dict):
            raise ApiError("cannot read the answer", "the server sent something that is no object", "look at its logs")
        body.get("metadata", {}).setdefault("labels", {})
        body.get("metadata", {}).setdefault("annotations", {})
        return body


class _Gone(ApiError):
    status = _GONE


def _resource(kind: str) -> _Resource:
    if kind not in _RESOURCES:
        raise NotFound(f"cannot find kind {kind}", "this adapter does not know it", f"known: {', '.join(_RESOURCES)}")
    return _RESOURCES[kind]


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _events(answer: Answer) -> list[tuple[str, KubeObject]]:
    """Events of a watch: one JSON document a line, of which a single one has been decoded already. A line that was cut
    short ends them: whoever watches on from the last one that he was told hears of it then."""
    if isinstance(answer.body, dict):
        documents = [answer.body]
    else:
        documents = []
        for line in filter(str.strip, str(answer.body).splitlines()):
            try:
                documents.append(json.loads(line))
            except ValueError:
                break
    return [(one["type"], one["object"]) for one in documents if "type" in one and "object" in one]


_REFUSALS: Final[Mapping[int, tuple[type[ApiError], str]]] = {
    400: (Unprocessable, "correct the field"),
    401: (Forbidden, "check the credentials of this context"),
    403: (Forbidden, "ask for the role, or promote a receipt: twin promote"),
    404: (NotFound, "list what there is, and check the spelling"),
    409: (Conflict, "read it again and decide anew"),
    _GONE: (_Gone, "list anew"),
    422: (Unprocessable, "correct the field"),
    429: (TooManyRequests, "wait until more are ready, or add a replica first"),
}


def _accepted(what: str, answer: Answer) -> Any:
    """What came. Raises the error of ours for a refusal."""
    if answer.status >= 400:
        _refuse(what, answer)
    return answer.body


def _in_trouble(answer: Answer | None) -> bool:
    """Whether the server may answer better soon. None: it did not answer at all."""
    return answer is None or (answer.status in _TROUBLED and _WEBHOOK_FAILED not in _words(answer))


def _not_begun(answer: Answer | None) -> bool:
    return answer is not None and answer.status == _BUSY


def _never(_: Answer | None) -> bool:
    return False


def _wishes(obj: KubeObject) -> Any:
    """What moves whenever somebody writes what is wanted of an object, even if it is put back, and not with its status.

    Kinds without a generation have managed fields, which bear the times of their writes.
    """
    metadata = obj["metadata"]
    wishes = [entry for entry in metadata.get("managedFields", ()) if entry.get("subresource") != "status"]
    return metadata.get("generation", wishes)


def _words(answer: Answer) -> str:
    """What the server said with its status."""
    return str(answer.body.get("message", "") if isinstance(answer.body, dict) else answer.body)


def _said(obj: KubeObject) -> KubeObject:
    """All that is not the server's own book-keeping."""
    own = {"managedFields", "resourceVersion", "generation"}
    metadata = {key: value for key, value in obj["metadata"].items() if key not in own}
    return {**{key: value for key, value in obj.items() if key != "status"}, "metadata": metadata}


def _refuse(what: str, answer: Answer) -> NoReturn:
    """The error of ours for a status, with the server's own words."""
    error, next_step = _REFUSALS.get(answer.status, (ApiError, "look at the API server's health and logs"))
    raise error(f"cannot {what}", _words(answer) or f"the server answered {answer.status}", next_step)


def _merge_patch(ref: ObjectRef, seen: KubeObject, fields: Mapping[FieldPath, Any]) -> dict[str, Any]:
    """A merge patch that sets `fields` in `seen`. Lists in it are whole."""
    wanted = copy.deepcopy(seen)
    patch: dict[str, Any] = {}
    for path, value in fields.items():
        _set(ref, wanted, path, value)
    for path, value in fields.items():
        plain = next((i for i, part in enumerate(path) if part.startswith("[")), len(path))
        head = path[:plain]
        place = patch
        for part in head[:-1]:
            place = place.setdefault(part, {})
        place[head[-1]] = _at(wanted, head) if plain < len(path) else value
    return patch


def _at(obj: Any, path: FieldPath) -> Any:
    for part in path:
        obj = obj[part]
    return obj


def _set(ref: ObjectRef, obj: Any, path: FieldPath, value: Any) -> None:
    """Set one field in place; None takes it away, and with it a list's entry of which nothing but its key is left."""
    parents: list[tuple[Any, Any]] = []
    here = obj
    for part, following in zip(path, (*path[1:], ""), strict=True):
        last = following == ""
        if part.startswith("["):
            key: Any = _entry(ref, here, path, part[1:-1])
        else:
            if not isinstance(here, dict):
                _unprocessable(ref, path, "its parent is no object")
            key = part
            if not last and here.get(part) is None:
                here[part] = [] if following.startswith("[") else {}
        parents.append((here, key))
        if not last:
            here = here[key]
    holder, key = parents[-1]
    if value is not None:
        holder[key] = value
        return
    if isinstance(holder, dict):
        holder.pop(key, None)
    if len(parents) > 1 and len(holder) <= 1 and isinstance(parents[-2][0], list):
        del parents[-2][0][parents[-2][1]]


def _entry(ref: ObjectRef, items: Any, path: FieldPath, key: str) -> int:
    """Where in a list the named entry is. Of environments only, one that is not there is added."""
    if not isinstance(items, list):
        _unprocessable(ref, path, "its parent is no list")
    name, has_name, wanted = key.partition("=")
    if not has_name:
        if not name.isdigit() or int(name) >= len(items):
            _unprocessable(ref, path, f"there is no entry {name}")
        return int(name)
    for index, item in enumerate(items):
        if isinstance(item, dict) and item.get(name) == wanted:
            return index
    if "env" not in path:
        _unprocessable(ref, path, f"there is no entry with {name} {wanted}")
    items.append({name: wanted})
    return len(items) - 1


def _unprocessable(ref: ObjectRef, path: FieldPath, why: str) -> NoReturn:
    raise Unprocessable(f"cannot patch {ref}", f"{path_text(path) or 'object'}: {why}", "correct the field")
