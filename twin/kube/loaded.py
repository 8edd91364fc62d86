"""What a shadow plays, and what misbehaves in it: all that a later command needs to go on with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from twin.kube.cluster import MANAGED
from twin.kube.real_images import as_declared, real_load_script
from twin.kube.snapshot import Snapshot
from twin.kube.standins import NAMESPACE, addresses_of, dress, load_objects, load_script
from twin.ports.plant import KubeObject
from twin.ports.shadow import Conduct
from twin.spec.canonical import plain
from twin.spec.fleet import Fleet
from twin.spec.ids import JourneyName, ServiceId

__all__ = ["Images", "Loaded", "Mischief", "users_script"]


class Images(StrEnum):
    """What a shadow's workloads run."""

    STAND_INS = "stand-ins"
    REAL = "real"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """`room` and `share`: what requests and users' rates were multiplied by."""

    snapshot: Snapshot
    fleet: Fleet
    images: Images
    objects: tuple[KubeObject, ...]
    users: tuple[KubeObject, ...]
    addresses: Mapping[str, str]
    room: float
    share: float

    @staticmethod
    def of(
        snapshot: Snapshot,
        fleet: Fleet,
        *,
        images: Images,
        room: float,
        share: float,
        walls: Callable[[str], list[KubeObject]],
    ) -> Loaded:
        """`walls`: what each namespace needs of its own to be closed."""
        addresses = addresses_of(snapshot)
        namespaces = snapshot.namespaces
        workloads = (
            dress(snapshot, fleet, room=room) if images is Images.STAND_INS else as_declared(snapshot, room=room)
        )
        objects = [
            *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in namespaces),
            *(wall for name in namespaces for wall in walls(name)),
            *workloads,
        ]  # fmt: skip
        script = users_script(images)(fleet, addresses, share=share)
        users = load_objects(script)
        users[1:1] = walls(NAMESPACE)
        for obj in (*objects, *users):
            obj["metadata"].setdefault("labels", {})[MANAGED] = "true"
        return Loaded(
            snapshot=snapshot, fleet=fleet, images=images, objects=tuple(objects), users=tuple(users),
            addresses=addresses, room=room, share=share,
        )  # fmt: skip


def users_script(images: Images) -> Callable[..., Any]:
    """What the generator of users plays, by what it asks."""
    return load_script if images is Images.STAND_INS else real_load_script


@dataclass(slots=True)
class Mischief:
    """What misbehaves now."""

    conducts: dict[ServiceId, tuple[Conduct, ...]] = field(default_factory=dict)
    held: dict[ServiceId, dict[str, int]] = field(default_factory=dict)
    delays: dict[ServiceId, dict[str, float]] = field(default_factory=dict)
    factors: dict[JourneyName, float] = field(default_factory=dict)

    def to_json(self) -> Any:
        return plain(self)

    @staticmethod
    def from_json(data: Any) -> Mischief:
        """Raises KeyError, TypeError, AttributeError for what `to_json` did not write."""
        return Mischief(
            conducts={ServiceId(name): tuple(_conduct(one) for one in of) for name, of in data["conducts"].items()},
            held={ServiceId(service): dict(of) for service, of in data["held"].items()},
            delays={ServiceId(service): dict(of) for service, of in data["delays"].items()},
            factors={JourneyName(name): float(factor) for name, factor in data["factors"].items()},
        )


def _conduct(data: Mapping[str, Any]) -> Conduct:
    env = data["env"]
    return Conduct(**{**data, "env": None if env is None else (env[0], env[1])})
