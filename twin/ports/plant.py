"""A Plant: all that an agent or an action ever touches of a fleet, simulated or live.

Four small interfaces, implemented by a World and by any live cluster. Nothing here can tell the truth
about a simulation: only what production would show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef
from twin.spec.signal import Signal

__all__ = [
    "Clock",
    "EdgeId",
    "KubeApi",
    "KubeObject",
    "Metric",
    "OperationStats",
    "OpsApi",
    "Plant",
    "Series",
    "Session",
    "Telemetry",
    "TracedEdge",
]

KubeObject = dict[str, Any]  # in Kubernetes' wire shape


class KubeApi(Protocol):
    """Kubernetes' API, on objects in wire shape. Errors are ApiError's subclasses, by HTTP status."""

    def get(self, ref: ObjectRef) -> KubeObject:
        """Raises NotFound, Forbidden."""
        ...

    def list_objects(self, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[KubeObject]:
        """All objects of a kind, in (namespace, name) order; an empty namespace means all of them."""
        ...

    def patch(
        self,
        ref: ObjectRef,
        fields: Mapping[tuple[str, ...], Any],
        *,
        resource_version: str | None = None,
        dry_run: bool = False,
        field_manager: str = "twin",
    ) -> KubeObject:
        """Set fields by path; a value of None removes one. Returns the object as it then is.

        Raises NotFound, Conflict (stale resource_version), Unprocessable (not a valid object), Forbidden.
        """
        ...

    def create(self, obj: KubeObject, *, dry_run: bool = False) -> KubeObject:
        """Raises Conflict if it exists, Unprocessable, Forbidden."""
        ...

    def delete(self, ref: ObjectRef, *, dry_run: bool = False) -> None:
        """Raises NotFound, Forbidden."""
        ...

    def evict(self, ref: ObjectRef, *, dry_run: bool = False) -> None:
        """Raises NotFound, TooManyRequests (a disruption budget says: not now)."""
        ...

    def watch(self, kind: str, *, since_version: str) -> Iterator[tuple[str, KubeObject]]:
        """What changed since a version, as ("ADDED" | "MODIFIED" | "DELETED", object). Ends when caught up."""
        ...

    def logs(self, ref: ObjectRef, *, tail: int = 100) -> list[str]:
        """A pod's last lines. Raises NotFound."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A database session that holds something. `held_slots` of `station` on `service` since `since_s`."""

    id: str
    service: ServiceId
    station: str
    held_slots: int
    since_s: float
    text: str


class OpsApi(Protocol):
    """What lies beyond Kubernetes: databases, edge proxies, firewalls. Raises ComponentMissing without adapter."""

    def sessions(self, service: ServiceId) -> Sequence[Session]: ...

    def call(self, operation: str, arguments: Mapping[str, Any], *, dry_run: bool = False) -> Mapping[str, Any]:
        """Carry out one operation; returns what undoing it needs. Raises BadInput, NotFound."""
        ...


class Metric(StrEnum):
    """What a service exports, one value a scrape. Units are in the names' second half."""

    REQUESTS_RPS = "requests_rps"
    ERROR_RATIO = "error_ratio"
    LATENCY_MEAN_S = "latency_mean_s"
    LATENCY_P99_S = "latency_p99_s"
    CPU_CORES = "cpu_cores"
    CPU_UTILISATION_RATIO = "cpu_utilisation_ratio"
    POOL_UTILISATION_RATIO = "pool_utilisation_ratio"  # the fullest of its pools other than cpu
    MEMORY_BYTES = "memory_bytes"  # of its largest pod
    READY_REPLICAS = "ready_replicas"
    WANTED_REPLICAS = "wanted_replicas"
    RESTARTS = "restarts"  # since the last scrape


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class EdgeId:
    """Caller and callee as tracing shows them. Outside traffic has the caller "user" and its journey's name
    as the caller's operation. `position` orders the calls of one operation, as their spans begin."""

    caller: str
    caller_operation: str
    callee: str
    callee_operation: str
    position: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedEdge:
    """What the shape of traces says of an edge: calls of one `group` overlap; nobody waits for an
    `asynchronous` one."""

    id: EdgeId
    group: int | None = None
    asynchronous: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationStats:
    """One operation as its spans show it. `own_time_s` is the span without its children."""

    service: ServiceId
    operation: str
    rate_rps: float
    error_ratio: float
    own_time_s: float


@dataclass(frozen=True, slots=True)
class Series:
    """Values (T, n) at Unix times (T,); columns are the services or edges that were asked for."""

    times_s: NDArray[np.float64]
    values: NDArray[np.float64]


class Telemetry(Protocol):
    """Metrics, traces' edge statistics and pushed signals. NaN stands for a scrape that is missing."""

    def services(self) -> Sequence[ServiceId]: ...

    def series(self, metric: Metric, services: Sequence[ServiceId], *, start_s: float, end_s: float) -> Series: ...

    def edges(self) -> Sequence[TracedEdge]:
        """Every edge that tracing has seen, in order."""
        ...

    def edge_series(self, metric: Metric, edges: Sequence[EdgeId], *, start_s: float, end_s: float) -> Series:
        """REQUESTS_RPS (attempts), ERROR_RATIO (failed, rejected or timed out), LATENCY_MEAN_S of edges.

        For a user's edge, REQUESTS_RPS counts users, ERROR_RATIO users let down. Raises BadInput for others.
        """
        ...

    def operations(self, *, start_s: float, end_s: float) -> Sequence[OperationStats]:
        """Every operation that answered anything between the two moments."""
        ...

    def signals(self, *, after: int) -> Sequence[tuple[int, Signal]]:
        """Signals pushed since cursor `after`, each with its cursor."""
        ...


class Clock(Protocol):
    def now_s(self) -> float:
        """Unix time of the target."""
        ...

    def sleep(self, duration_s: float) -> None:
        """Let the target's time pass: a World runs on, a live target is waited for."""
        ...


class Plant(Protocol):
    """The four together, under one name."""

    @property
    def name(self) -> str: ...
    @property
    def live(self) -> bool | None:
        """Whether real users depend on it: not on a World, not on a shadow. None: unknown, which denies."""
        ...

    @property
    def kube(self) -> KubeApi: ...
    @property
    def ops(self) -> OpsApi: ...
    @property
    def telemetry(self) -> Telemetry: ...
    @property
    def clock(self) -> Clock: ...
