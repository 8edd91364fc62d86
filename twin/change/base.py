"""The base of a rehearsal: what the objects looked like that the plan was worked out from.

resourceVersion moves with every status write: comparing it would refuse nearly everything. A digest of the
whole spec would refuse whenever an autoscaler scales. So the specs are compared without what a controller
writes, and a number that an autoscaler owns only has to stay within the autoscaler's range.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twin.change.owned import autoscaler_of
from twin.ports.plant import KubeApi, KubeObject
from twin.spec.canonical import digest
from twin.spec.errors import NotFound
from twin.spec.plan import ObjectRef
from twin.spec.receipt import BaseObject, FieldRange

__all__ = ["Drift", "base_of", "find_drift"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One object that is no longer what was rehearsed."""

    ref: ObjectRef
    what: str


def base_of(kube: KubeApi, refs: Sequence[ObjectRef]) -> tuple[BaseObject, ...]:
    """The base over these objects, in order. Raises NotFound."""
    return tuple(_object(kube, ref) for ref in sorted(refs))


def find_drift(rehearsed: Sequence[BaseObject], kube: KubeApi) -> tuple[Drift, ...]:
    """What moved since. An object that is gone has drifted too."""
    moved = []
    for old in rehearsed:
        try:
            now = _object(kube, old.ref)
        except NotFound:
            moved.append(Drift(ref=old.ref, what="is gone"))
            continue
        if now.uid != old.uid:
            moved.append(Drift(ref=old.ref, what="was deleted and made anew"))
        elif (now.fields_digest, now.ranges) != (old.fields_digest, old.ranges):
            words = f"{old.note} → {now.note}" if old.note != now.note else "its spec was changed"
            moved.append(Drift(ref=old.ref, what=words))
    return tuple(moved)


def _object(kube: KubeApi, ref: ObjectRef) -> BaseObject:
    obj = kube.get(ref)
    spec = copy.deepcopy(_wanted(obj))
    owned = _range(kube, ref)
    if owned:
        spec.pop("replicas", None)
    return BaseObject(
        ref=ref, uid=obj["metadata"]["uid"], fields_digest=digest(spec), ranges=owned, note=_note(obj, bool(owned))
    )


def _wanted(obj: KubeObject) -> dict[str, Any]:
    """What people want of an object: its spec, or of a kind without one all that it says of itself."""
    own = ("apiVersion", "kind", "metadata", "status")
    wanted: dict[str, Any] = obj["spec"] if "spec" in obj else {k: v for k, v in obj.items() if k not in own}
    return wanted


def _range(kube: KubeApi, ref: ObjectRef) -> tuple[FieldRange, ...]:
    """Fields that an autoscaler owns, and how far it may move them."""
    if ref.kind not in ("Deployment", "StatefulSet"):
        return ()
    autoscaler = autoscaler_of(kube, ref)
    if autoscaler is None:
        return ()
    least, most = autoscaler["spec"].get("minReplicas", 1), autoscaler["spec"]["maxReplicas"]
    return (FieldRange(path="spec.replicas", low=float(least), high=float(most)),)


def _note(obj: KubeObject, scaled: bool) -> str:
    spec = _wanted(obj)
    if "template" not in spec:
        return ""
    image = spec["template"]["spec"]["containers"][0]["image"]
    return f"image {image}" if scaled else f"image {image}, {spec.get('replicas')} replicas"
