"""All that a World knows, as data: arrays and small frozen records.

No pending event carries a payload: what is to happen stands here as a due time, and systems look at the
state, never at what woke them. So a copy of the state is a copy of the World.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from twin.fleet.blueprint import Blueprint
from twin.fleet.perturbation import Timed
from twin.fleet.traffic.engine import F64, I64, Conditions
from twin.fleet.traffic.network import initial_conditions
from twin.spec.config import ConfigMap
from twin.spec.fleet import QUOTA_RESOURCES, Quota, Resources
from twin.spec.signal import Signal
from twin.spec.units import ns

__all__ = [
    "NEVER_NS",
    "UNBOUNDED",
    "ActivePerturbation",
    "Bool",
    "HeldSession",
    "Phase",
    "State",
    "Template",
    "first_state",
]

Bool = NDArray[np.bool_]
NEVER_NS: Final = int(np.iinfo(np.int64).max)
UNBOUNDED: Final = int(np.iinfo(np.int64).max)


class Phase(enum.IntEnum):
    """Where a pod is in its life. FREE rows hold no pod."""

    FREE = 0
    PENDING = 1  # no node yet
    STARTING = 2  # container runs, not ready yet
    RUNNING = 3
    BACKOFF = 4  # crashed, waits for its restart
    TERMINATING = 5
    UNCONFIGURED = 6  # has its node, and no container: a ConfigMap, a Secret or a key that it reads is missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One revision of a service's pods. `service` and `revision` number it; annotations hold restarts.

    `of` another: not a revision of its own, but what pods of that one run that found `settings` in ConfigMaps.
    """

    service: int
    revision: int
    image: str
    env: tuple[tuple[str, str], ...]
    resources: Resources
    annotations: tuple[tuple[str, str], ...] = ()
    cause: str = ""
    of: int = -1
    settings: tuple[tuple[str, str], ...] = ()

    def has(self, setting: tuple[str, str]) -> bool:
        """Whether its containers find this value of this variable."""
        name, value = setting
        return {**dict(self.settings), **dict(self.env)}.get(name) == value


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivePerturbation:
    """`begun` and `over` are what the perturbation system has done so far."""

    id: int
    timed: Timed
    begun: bool = False
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSession:
    """A database session that holds servers of a station (index) until it is terminated."""

    id: str
    service: int
    station: int
    slots: int
    since_ns: int
    text: str


@dataclass(slots=True)
class State:
    """Shapes: (S,) services, (M,) pod rows, (Q,) quotas, (N,) nodes, (T,) templates, (E,) edges, (O,), (J,), (A, S)
    alerts."""

    seed: int
    replication: int
    now_ns: int
    version: int  # Kubernetes' resourceVersion: one counter for all objects

    # services
    wanted: I64  # (S,) spec.replicas
    paused: Bool
    partition: I64  # so many pods of a StatefulSet keep their template in a roll-out
    template: I64  # (S,) the template that new pods get
    service_version: I64
    pod_serial: I64  # (S,) pods made so far, for names
    reconcile_due_ns: I64
    autoscale_due_ns: I64
    autoscale_low_since_ns: I64  # when the autoscaler first wanted fewer; scale-down waits
    autoscale_max: I64
    autoscale_min: I64
    budget_min: I64  # (S,) ready pods that evictions have to leave; 0 where nothing is budgeted
    budget_version: I64
    refused_since_ns: I64  # (S,) since when a quota lets no pod be made that is wanted; NEVER_NS: none is refused
    readiness_due_ns: I64  # when a probe is due; never while nobody waits and none fails
    liveness_due_ns: I64

    # pods
    pod_service: I64  # (M,)
    pod_template: I64
    pod_variant: I64  # the template whose behaviour it has: its own, or what it read with it; -1: not started yet
    pod_node: I64  # -1: none
    pod_phase: I64
    pod_ready: Bool
    pod_number: I64
    pod_created_ns: I64
    pod_started_ns: I64
    pod_due_ns: I64  # when the kubelet has to look again
    pod_restarts: I64
    pod_crashes: I64  # in a row, for the back-off
    pod_ready_fails: I64
    pod_live_fails: I64
    pod_version: I64
    schedule_due_ns: int
    pools_due_ns: int

    # quotas: (Q, R), R as QUOTA_RESOURCES
    quota_hard: I64  # pods, millicores, bytes; UNBOUNDED
    quota_version: I64  # (Q,)

    # ConfigMaps: (C,), as the fleet lists them
    config_maps: list[ConfigMap]
    config_version: I64

    # who keeps workloads as their source says: (G,)
    gitops_suspended: Bool
    gitops_version: I64
    gitops_due_ns: I64  # when it looks again; NEVER_NS while suspended
    source_template: I64  # (S,) the template that a service's source says

    # nodes
    node_dark_ns: I64  # (N,) since when it answers nobody; NEVER_NS: it does
    node_ready: Bool  # what the control plane believes
    node_evicted: Bool  # its pods were given up
    node_cordoned: Bool
    node_version: I64

    # templates and what they do
    templates: list[Template]
    template_error_ratio: F64  # (T,)
    template_speed: F64
    template_crash_s: F64  # inf: does not crash
    template_leak: F64  # bytes per second
    template_never_ready: Bool
    template_memory_limit: F64  # bytes; inf: the node's

    # the world outside
    perturbations: list[ActivePerturbation]
    sessions: list[HeldSession]
    journey_factor: F64  # (J,)
    journey_scale: F64  # (J,) how this replication's draw differs from the point estimate
    service_speed: F64  # (S,) likewise
    edge_version: I64  # (E,)
    op_shed_asked: F64  # (O,)
    dropped_tables: list[str]
    firewall_rules: list[str]
    marks: dict[str, str]  # spent receipts, leases: what promoters leave in the target

    # traffic
    conditions: Conditions
    tick_due_ns: int
    wait_s: F64  # (S,) how long a request waits before it is worked on, from the last tick
    cpu_utilisation: F64  # (S,) of the last tick

    # what is watched
    scrape_due_ns: int
    restarts_since_scrape: I64  # (S,)
    alert_since_ns: I64  # (A, S) NEVER_NS: no
    alert_on: Bool  # (A, S)
    usual_latency_s: F64  # (S,) slow average of p99 while all is well
    usual_rate_rps: F64
    signals: list[tuple[int, Signal]]
    signal_cursor: int

    # what cannot be brought back
    pods_terminated: int
    sessions_terminated: int

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every array of the state, by name, in declaration order."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                yield field.name, value
        for field in dataclasses.fields(self.conditions):
            yield f"conditions.{field.name}", getattr(self.conditions, field.name)

    def copy(self) -> State:
        """An independent copy: arrays are copied, frozen records shared."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            values[field.name] = value.copy() if isinstance(value, np.ndarray | list | dict) else value
        conditions = {f.name: getattr(self.conditions, f.name).copy() for f in dataclasses.fields(self.conditions)}
        values["conditions"] = Conditions(**conditions)
        return State(**values)

    def new_version(self) -> int:
        """The next resourceVersion."""
        self.version += 1
        return self.version

    def pods_of(self, service: int) -> I64:
        """Rows of a service's pods, oldest first; terminating ones included."""
        rows = np.flatnonzero(self.pod_service == service)
        return rows[np.argsort(self.pod_number[rows], kind="stable")]

    def add_pod_rows(self, count: int) -> I64:
        """The lowest `count` free rows; the table grows if there are fewer."""
        free = np.flatnonzero(self.pod_phase == Phase.FREE)
        if free.size < count:
            self._grow(max(count - free.size, self.pod_phase.size // 4 + 16))
            free = np.flatnonzero(self.pod_phase == Phase.FREE)
        return free[:count]

    def free_pod_rows(self, rows: I64) -> None:
        """Forget pods. What is left in their rows must not depend on who was there."""
        for name, blank in _POD_BLANKS.items():
            getattr(self, name)[rows] = blank

    def _grow(self, extra: int) -> None:
        for name, blank in _POD_BLANKS.items():
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.full(extra, blank, dtype=old.dtype)]))


_POD_BLANKS: Final[dict[str, int | bool]] = {
    "pod_service": -1,
    "pod_template": -1,
    "pod_variant": -1,
    "pod_node": -1,
    "pod_phase": int(Phase.FREE),
    "pod_ready": False,
    "pod_number": 0,
    "pod_created_ns": 0,
    "pod_started_ns": 0,
    "pod_due_ns": NEVER_NS,
    "pod_restarts": 0,
    "pod_crashes": 0,
    "pod_ready_fails": 0,
    "pod_live_fails": 0,
    "pod_version": 0,
}

ALERT_RULES: Final = 7  # rows of the alert arrays; see telemetry/alerts.py


def _limit(resources: Resources) -> float:
    return np.inf if resources.memory_limit_bytes is None else float(resources.memory_limit_bytes)


def _hard(quota: Quota) -> list[int]:
    """(R,) a quota's bounds in whole numbers."""
    return [
        round(quota.hard[name] * (1000.0 if name.endswith("cpu") else 1.0)) if name in quota.hard else UNBOUNDED
        for name in QUOTA_RESOURCES
    ]


def first_state(blueprint: Blueprint, *, seed: int, replication: int) -> State:
    """Time zero: every service wants its declared replicas and has none yet; nothing is wrong."""
    services, quotas = blueprint.fleet.services, blueprint.fleet.quotas
    s, n = len(services), len(blueprint.node_names)
    conditions = initial_conditions(blueprint.network, blueprint.fleet)
    edges, ops = conditions.edge_timeout_s.size, conditions.op_shed_ratio.size
    journeys = conditions.journey_rate_rps.size

    def whole(size: int, value: int = 0) -> I64:
        return np.full(size, value, dtype=np.int64)

    def flags(size: int, value: bool = False) -> Bool:
        return np.full(size, value, dtype=np.bool_)

    scaled = [service.autoscaling for service in services]
    pods: dict[str, Any] = {
        name: np.full(0, blank, dtype=np.bool_ if isinstance(blank, bool) else np.int64)
        for name, blank in _POD_BLANKS.items()
    }
    return State(
        seed=seed,
        replication=replication,
        now_ns=0,
        version=1,
        wanted=np.array([service.replicas for service in services], dtype=np.int64),
        paused=flags(s),
        partition=np.zeros(s, dtype=np.int64),
        template=np.arange(s, dtype=np.int64),
        service_version=whole(s, 1),
        pod_serial=whole(s),
        reconcile_due_ns=whole(s),
        autoscale_due_ns=np.array([15_000_000_000 if a else NEVER_NS for a in scaled], dtype=np.int64),
        autoscale_low_since_ns=whole(s, NEVER_NS),
        autoscale_max=np.array([a.max_replicas if a else 0 for a in scaled], dtype=np.int64),
        autoscale_min=np.array([a.min_replicas if a else 0 for a in scaled], dtype=np.int64),
        budget_min=np.array([d.min_available if (d := one.disruption) else 0 for one in services], dtype=np.int64),
        budget_version=whole(s, 1),
        refused_since_ns=whole(s, NEVER_NS),
        readiness_due_ns=whole(s, NEVER_NS),
        liveness_due_ns=whole(s, NEVER_NS),
        **pods,
        schedule_due_ns=NEVER_NS,
        pools_due_ns=NEVER_NS,
        quota_hard=np.array([_hard(quota) for quota in quotas], dtype=np.int64).reshape(-1, len(QUOTA_RESOURCES)),
        quota_version=whole(len(quotas), 1),
        config_maps=list(blueprint.fleet.config_maps),
        config_version=whole(len(blueprint.fleet.config_maps), 1),
        gitops_suspended=np.array([source.suspended for source in blueprint.gitops], dtype=np.bool_),
        gitops_version=whole(len(blueprint.gitops), 1),
        gitops_due_ns=np.array(
            [NEVER_NS if source.suspended else ns(source.interval_s) for source in blueprint.gitops], dtype=np.int64
        ),
        source_template=np.arange(s, dtype=np.int64),
        node_dark_ns=whole(n, NEVER_NS),
        node_ready=flags(n, True),
        node_evicted=flags(n),
        node_cordoned=flags(n),
        node_version=whole(n, 1),
        templates=[
            Template(
                service=i,
                revision=1,
                image=service.image,
                env=tuple(sorted(service.env.items())),
                resources=service.resources,
            )
            for i, service in enumerate(services)
        ],
        template_error_ratio=np.zeros(s),
        template_speed=np.ones(s),
        template_crash_s=np.full(s, np.inf),
        template_leak=np.zeros(s),
        template_never_ready=flags(s),
        template_memory_limit=np.array([_limit(service.resources) for service in services]),
        perturbations=[],
        sessions=[],
        journey_factor=np.ones(journeys),
        journey_scale=np.ones(journeys),
        service_speed=np.ones(s),
        edge_version=whole(edges, 1),
        op_shed_asked=np.zeros(ops),
        dropped_tables=[],
        firewall_rules=[],
        marks={},
        conditions=conditions,
        tick_due_ns=0,
        wait_s=np.zeros(s),
        cpu_utilisation=np.zeros(s),
        scrape_due_ns=0,
        restarts_since_scrape=whole(s),
        alert_since_ns=np.full((ALERT_RULES, s), NEVER_NS, dtype=np.int64),
        alert_on=np.zeros((ALERT_RULES, s), dtype=np.bool_),
        usual_latency_s=np.zeros(s),
        usual_rate_rps=np.zeros(s),
        signals=[],
        signal_cursor=0,
        pods_terminated=0,
        sessions_terminated=0,
    )
