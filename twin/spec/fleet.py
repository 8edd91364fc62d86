"""A Fleet: the services, their programs, the machines they run on and the people who use them.

This is what a YAML file describes, what an importer or a generator makes and what a World is built from.
A twin's Fleet also carries beliefs: where each parameter came from and how sure we are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from twin.spec.config import ConfigMap, ConfigRead, Secret
from twin.spec.gitops import GitOps
from twin.spec.ids import JourneyName, NodeName, OpId, ServiceId
from twin.spec.program import Operation, Retry, Station
from twin.spec.webhooks import Webhook

__all__ = [
    "QUOTA_RESOURCES",
    "Autoscaling",
    "Belief",
    "Disruption",
    "Fleet",
    "Journey",
    "NodePool",
    "Probe",
    "Quota",
    "Resources",
    "RollingUpdate",
    "Service",
    "Source",
    "WorkloadKind",
]


QUOTA_RESOURCES: Final = ("pods", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory")


class WorkloadKind(StrEnum):
    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    DAEMON_SET = "DaemonSet"


class Source(StrEnum):
    """Where a parameter's value comes from, best first."""

    MEASURED = "measured"
    DECLARED = "declared"
    PRIOR = "prior"


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """How sure we are of one parameter. `spread` is the standard deviation of its logarithm; 0 is certain."""

    source: Source
    spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Per replica. `memory_limit_bytes` None: bounded by the node only."""

    cpu_request_cores: float = 0.25
    memory_request_bytes: int = 128 * 2**20
    cpu_limit_cores: float | None = None
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    period_s: float = 10.0
    timeout_s: float = 1.0
    failure_threshold: int = 3
    initial_delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingUpdate:
    """Kubernetes' own defaults: 25 % each, surge rounded up, unavailable rounded down."""

    max_surge_ratio: float = 0.25
    max_unavailable_ratio: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaling:
    """A HorizontalPodAutoscaler, by CPU. `name`: its object's; empty: the workload's."""

    min_replicas: int
    max_replicas: int
    cpu_target_ratio: float = 0.7
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disruption:
    """A PodDisruptionBudget: at least so many pods stay available under voluntary eviction. `name` as Autoscaling's."""

    min_available: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One workload, its Service object, and what it does for each request.

    `start_s`: from container start to ready at the earliest. `memory_base_bytes`: resident when idle.
    `env` is what the pod template's environment says itself; `reads` is what it takes from ConfigMaps and Secrets,
    which `env` overrides. `config_maps` names all that it uses, as files too. `stateful`: a lost pod loses something
    that its controller cannot replace.
    """

    id: ServiceId
    operations: tuple[Operation, ...]
    stations: tuple[Station, ...] = ()
    kind: WorkloadKind = WorkloadKind.DEPLOYMENT
    replicas: int = 2
    image: str = "app:v1"
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    config_maps: tuple[str, ...] = ()
    reads: tuple[ConfigRead, ...] = ()
    resources: Resources = Resources()
    memory_base_bytes: int = 64 * 2**20
    start_s: float = 5.0
    readiness: Probe | None = None
    liveness: Probe | None = None
    strategy: RollingUpdate = RollingUpdate()
    autoscaling: Autoscaling | None = None
    disruption: Disruption | None = None
    stateful: bool = False
    owner: str = ""

    @property
    def namespace(self) -> str:
        return self.id.split("/", 1)[0]

    @property
    def name(self) -> str:
        return self.id.split("/", 1)[1]

    def operation(self, name: str) -> Operation:
        """The operation of that name. Raises KeyError."""
        for operation in self.operations:
            if operation.name == name:
                return operation
        raise KeyError(f"{self.id} has no operation {name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """Traffic from outside: what people do. They too give up after `timeout_s` and may try again.

    `weight` is what one failed request costs its user, relative to other journeys. `success_slo_ratio`
    and `latency_slo_s` (at p99) say what they were promised.
    """

    name: JourneyName
    target: OpId
    rate_rps: float
    timeout_s: float | None = 10.0
    retry: Retry = Retry()
    weight: float = 1.0
    success_slo_ratio: float = 0.999
    latency_slo_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePool:
    """Machines alike. `nodes`: their names, if they do not follow from the pool's (`pool-0`, `pool-1`, …)."""

    name: str
    zone: str
    count: int
    cpu_cores: float = 16.0
    memory_bytes: int = 64 * 2**30
    nodes: tuple[NodeName, ...] = ()

    @property
    def node_names(self) -> tuple[NodeName, ...]:
        return self.nodes or tuple(NodeName(f"{self.name}-{number}") for number in range(self.count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """A ResourceQuota: the most that all pods of a namespace may have together. None: as much as they like."""

    name: str
    namespace: str
    pods: int | None = None
    cpu_request_cores: float | None = None
    memory_request_bytes: int | None = None
    cpu_limit_cores: float | None = None
    memory_limit_bytes: int | None = None

    @property
    def hard(self) -> Mapping[str, float]:
        """What is bounded, by QUOTA_RESOURCES' names: pods, cores, bytes."""
        amounts = (
            self.pods, self.cpu_request_cores, self.memory_request_bytes, self.cpu_limit_cores, self.memory_limit_bytes,
        )  # fmt: skip
        return {name: amount for name, amount in zip(QUOTA_RESOURCES, amounts, strict=True) if amount is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """`epoch_s`: Unix time of simulated time zero, so that freezes and expiries have dates.

    `beliefs` is keyed by parameter path, as "shop/cart:add work[0].mean_s". Absent: taken as declared.
    """

    name: str
    services: tuple[Service, ...]
    journeys: tuple[Journey, ...] = ()
    node_pools: tuple[NodePool, ...] = ()
    quotas: tuple[Quota, ...] = ()
    config_maps: tuple[ConfigMap, ...] = ()
    secrets: tuple[Secret, ...] = ()
    gitops: tuple[GitOps, ...] = ()
    webhooks: tuple[Webhook, ...] = ()
    epoch_s: int = 1_780_000_000
    beliefs: Mapping[str, Belief] = field(default_factory=lambda: MappingProxyType({}))

    def service(self, service_id: ServiceId) -> Service:
        """The service of that id. Raises KeyError."""
        for service in self.services:
            if service.id == service_id:
                return service
        raise KeyError(f"fleet {self.name!r} has no service {service_id!r}")
