"""What a Fleet file may say, field by field, and how it becomes a Fleet. See twin/spec/files.py for the format."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from twin.spec.config import ConfigMap, ConfigRead, Secret
from twin.spec.edge import (
    STEP_KINDS,
    Bytes,
    ConfigKey,
    Cores,
    Count,
    Duration,
    Figure,
    FileModel,
    Name,
    PositiveCount,
    PositiveDuration,
    QuotaCores,
    Rate,
    Share,
)
from twin.spec.fleet import (
    Autoscaling,
    Belief,
    Disruption,
    Fleet,
    Journey,
    NodePool,
    Probe,
    Quota,
    Resources,
    RollingUpdate,
    Service,
    Source,
    WorkloadKind,
)
from twin.spec.gitops import SYNC_S, GitOps, GitOpsKind
from twin.spec.ids import JourneyName, NodeName, OpId, ServiceId
from twin.spec.program import Cached, Call, Hold, Operation, Publish, Retry, Scope, Station, Step, Work
from twin.spec.webhooks import Webhook, WebhookRule

__all__ = ["AnyStep", "FleetFile", "JourneyFile", "NodePoolFile", "StationFile", "steps_of"]


class _WorkStep(FileModel):
    work: Duration
    station: Name = "cpu"
    cv: Figure = 1.0

    def to_step(self) -> Step:
        return Work(mean_s=self.work, station=self.station, cv=self.cv)


class _CallStep(FileModel):
    call: Name
    probability: Share = 1.0
    timeout: PositiveDuration | None = None
    retries: Count = 0
    backoff: Duration = 0.0
    group: Count | None = None
    cancel: bool = False
    required: bool = True

    def to_step(self) -> Step:
        return Call(
            target=OpId(self.call),
            probability=self.probability,
            timeout_s=self.timeout,
            retry=Retry(retries=self.retries, backoff_s=self.backoff),
            group=self.group,
            cancel=self.cancel,
            required=self.required,
        )


class _PublishStep(FileModel):
    publish: Name
    probability: Share = 1.0

    def to_step(self) -> Step:
        return Publish(target=OpId(self.publish), probability=self.probability)


class _HoldBody(FileModel):
    station: Name
    timeout: PositiveDuration | None = None
    body: list[AnyStep]


class _HoldStep(FileModel):
    hold: _HoldBody

    def to_step(self) -> Step:
        return Hold(station=self.hold.station, body=steps_of(self.hold.body), timeout_s=self.hold.timeout)


class _CachedBody(FileModel):
    cache: Name
    hit_ratio: Share
    miss: list[AnyStep]


class _CachedStep(FileModel):
    cached: _CachedBody

    def to_step(self) -> Step:
        return Cached(cache=self.cached.cache, hit_ratio=self.cached.hit_ratio, miss=steps_of(self.cached.miss))


def _step_kind(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return next((kind for kind in STEP_KINDS if kind in value), None)
    return next((kind for kind in STEP_KINDS if hasattr(value, kind)), None)


AnyStep = Annotated[
    Annotated[_WorkStep, Tag("work")]
    | Annotated[_CallStep, Tag("call")]
    | Annotated[_HoldStep, Tag("hold")]
    | Annotated[_PublishStep, Tag("publish")]
    | Annotated[_CachedStep, Tag("cached")],
    Discriminator(_step_kind),
]


def steps_of(items: list[Any]) -> tuple[Step, ...]:
    """A program of a file as a program of a Fleet."""
    return tuple(item.to_step() for item in items)


class StationFile(FileModel):
    servers: PositiveCount
    scope: Literal["replica", "service"] = "replica"
    queue_limit: Count | None = None

    def to_station(self, name: str) -> Station:
        return Station(name=name, servers=self.servers, scope=Scope(self.scope), queue_limit=self.queue_limit)


_DEFAULT_RESOURCES: Final = Resources()


class _ResourcesFile(FileModel):
    cpu: Cores = _DEFAULT_RESOURCES.cpu_request_cores
    memory: Bytes = _DEFAULT_RESOURCES.memory_request_bytes
    cpu_limit: Cores | None = None
    memory_limit: Bytes | None = None

    def to_resources(self) -> Resources:
        return Resources(
            cpu_request_cores=self.cpu,
            memory_request_bytes=self.memory,
            cpu_limit_cores=self.cpu_limit,
            memory_limit_bytes=self.memory_limit,
        )


class _ProbeFile(FileModel):
    period: PositiveDuration = 10.0
    timeout: PositiveDuration = 1.0
    failure_threshold: PositiveCount = 3
    initial_delay: Duration = 0.0

    def to_probe(self) -> Probe:
        return Probe(
            period_s=self.period,
            timeout_s=self.timeout,
            failure_threshold=self.failure_threshold,
            initial_delay_s=self.initial_delay,
        )


class _StrategyFile(FileModel):
    max_surge: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.25
    max_unavailable: Share = 0.25

    def to_strategy(self) -> RollingUpdate:
        return RollingUpdate(max_surge_ratio=self.max_surge, max_unavailable_ratio=self.max_unavailable)


class _AutoscalingFile(FileModel):
    min: Count
    max: PositiveCount
    cpu_target: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 0.7
    name: str = ""

    def to_autoscaling(self) -> Autoscaling:
        return Autoscaling(
            min_replicas=self.min, max_replicas=self.max, cpu_target_ratio=self.cpu_target, name=self.name
        )


class _DisruptionFile(FileModel):
    min_available: Count
    name: str = ""

    def to_disruption(self) -> Disruption:
        return Disruption(min_available=self.min_available, name=self.name)


class _ReadFile(FileModel):
    """One of both: a ConfigMap's name or a Secret's."""

    config_map: Name | None = None
    secret: Name | None = None
    key: ConfigKey | None = None
    name: str = ""
    optional: bool = False

    @model_validator(mode="after")
    def _is_of_one(self) -> _ReadFile:
        if (self.config_map is None) == (self.secret is None):
            raise ValueError("name a config_map or a secret, and not both")
        if self.key is not None and not self.name:
            raise ValueError("a key becomes a variable: give its name")
        return self

    def to_read(self) -> ConfigRead:
        source = self.config_map or self.secret or ""
        return ConfigRead(
            source=source, secret=self.secret is not None, key=self.key or "", name=self.name, optional=self.optional
        )


class _ServiceFile(FileModel):
    id: Name
    kind: Literal["Deployment", "StatefulSet", "DaemonSet"] = "Deployment"
    replicas: Annotated[int, Field(ge=0, le=1_000_000)] = 2
    image: str = "app:v1"
    owner: str = ""
    stateful: bool = False
    labels: dict[str, str] = Field(default={})
    env: dict[str, str] = Field(default={})
    config_maps: list[str] = Field(default=[])
    reads: list[_ReadFile] = Field(default=[])
    resources: _ResourcesFile = _ResourcesFile()
    memory_base: Bytes = 64 * 2**20
    start: Duration = 5.0
    readiness: _ProbeFile | None = None
    liveness: _ProbeFile | None = None
    strategy: _StrategyFile = _StrategyFile()
    autoscaling: _AutoscalingFile | None = None
    disruption: _DisruptionFile | None = None
    stations: dict[Name, StationFile] = Field(default={})
    operations: dict[Name, list[AnyStep]] = Field(default={})

    def to_service(self) -> Service:
        return Service(
            id=ServiceId(self.id),
            operations=tuple(Operation(name=name, steps=steps_of(items)) for name, items in self.operations.items()),
            stations=tuple(station.to_station(name) for name, station in self.stations.items()),
            kind=WorkloadKind(self.kind),
            replicas=self.replicas,
            image=self.image,
            env=MappingProxyType(self.env),
            labels=MappingProxyType(self.labels),
            config_maps=tuple(self.config_maps),
            reads=tuple(read.to_read() for read in self.reads),
            resources=self.resources.to_resources(),
            memory_base_bytes=self.memory_base,
            start_s=self.start,
            readiness=self.readiness.to_probe() if self.readiness else None,
            liveness=self.liveness.to_probe() if self.liveness else None,
            strategy=self.strategy.to_strategy(),
            autoscaling=self.autoscaling.to_autoscaling() if self.autoscaling else None,
            disruption=self.disruption.to_disruption() if self.disruption else None,
            stateful=self.stateful,
            owner=self.owner,
        )


class JourneyFile(FileModel):
    name: Name
    target: Name
    rate_rps: Rate
    timeout: PositiveDuration | None = 10.0
    retries: Count = 0
    backoff: Duration = 0.0
    weight: Figure = 1.0
    success_slo: Share = 0.999
    latency_slo: PositiveDuration = 1.0

    def to_journey(self) -> Journey:
        return Journey(
            name=JourneyName(self.name),
            target=OpId(self.target),
            rate_rps=self.rate_rps,
            timeout_s=self.timeout,
            retry=Retry(retries=self.retries, backoff_s=self.backoff),
            weight=self.weight,
            success_slo_ratio=self.success_slo,
            latency_slo_s=self.latency_slo,
        )


class NodePoolFile(FileModel):
    name: Name
    zone: Name
    count: Count
    cpu: Cores = 16.0
    memory: Bytes = 64 * 2**30
    nodes: list[Name] = Field(default=[])

    def to_pool(self) -> NodePool:
        return NodePool(
            name=self.name, zone=self.zone, count=self.count, cpu_cores=self.cpu, memory_bytes=self.memory,
            nodes=tuple(NodeName(name) for name in self.nodes),
        )  # fmt: skip


class QuotaFile(FileModel):
    name: Name
    namespace: Name
    pods: Count | None = None
    requests_cpu: QuotaCores | None = None
    requests_memory: Bytes | None = None
    limits_cpu: QuotaCores | None = None
    limits_memory: Bytes | None = None

    def to_quota(self) -> Quota:
        return Quota(
            name=self.name,
            namespace=self.namespace,
            pods=self.pods,
            cpu_request_cores=self.requests_cpu,
            memory_request_bytes=self.requests_memory,
            cpu_limit_cores=self.limits_cpu,
            memory_limit_bytes=self.limits_memory,
        )


class ConfigMapFile(FileModel):
    name: Name
    namespace: Name
    data: dict[ConfigKey, str] = Field(default={})
    immutable: bool = False

    def to_config_map(self) -> ConfigMap:
        return ConfigMap(
            name=self.name, namespace=self.namespace, data=MappingProxyType(dict(self.data)), immutable=self.immutable
        )


class SecretFile(FileModel):
    """Names and keys only: a fleet file has no place for a secret value."""

    name: Name
    namespace: Name
    keys: list[ConfigKey] = Field(default=[])

    def to_secret(self) -> Secret:
        return Secret(name=self.name, namespace=self.namespace, keys=tuple(self.keys))


class GitOpsFile(FileModel):
    kind: Literal["flux", "argocd"]
    name: Name
    namespace: Name
    interval: PositiveDuration = SYNC_S
    suspended: bool = False

    def to_gitops(self) -> GitOps:
        return GitOps(
            kind=GitOpsKind(self.kind), name=self.name, namespace=self.namespace, interval_s=self.interval,
            suspended=self.suspended,
        )  # fmt: skip


class _WebhookRuleFile(FileModel):
    groups: list[str]
    resources: Annotated[list[Name], Field(min_length=1)]
    operations: list[Name] = Field(default=["*"])

    def to_rule(self) -> WebhookRule:
        return WebhookRule(
            groups=tuple(self.groups), resources=tuple(self.resources), operations=tuple(self.operations)
        )


class WebhookFile(FileModel):
    configuration: Name
    name: Name
    service: Name | None = None
    failure_policy: Literal["Fail", "Ignore"] = "Fail"
    namespaces: list[Name] | None = None
    rules: Annotated[list[_WebhookRuleFile], Field(min_length=1)]

    def to_webhook(self) -> Webhook:
        return Webhook(
            configuration=self.configuration, name=self.name, service=ServiceId(self.service or ""),
            fails_closed=self.failure_policy == "Fail", rules=tuple(rule.to_rule() for rule in self.rules),
            namespaces=None if self.namespaces is None else tuple(self.namespaces),
        )  # fmt: skip


class _BeliefFile(FileModel):
    source: Literal["measured", "declared", "prior"]
    spread: Figure = 0.0


_EPOCH_S: Final = Fleet(name="", services=()).epoch_s


class FleetFile(FileModel):
    """A fleet of services, the machines they run on and the traffic they serve."""

    api_version: Literal["twin/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["Fleet"]
    name: Name
    epoch_s: Annotated[int, Field(ge=0, le=2**33)] = _EPOCH_S
    node_pools: list[NodePoolFile] = Field(default=[])
    quotas: list[QuotaFile] = Field(default=[])
    config_maps: list[ConfigMapFile] = Field(default=[])
    secrets: list[SecretFile] = Field(default=[])
    gitops: list[GitOpsFile] = Field(default=[])
    webhooks: list[WebhookFile] = Field(default=[])
    journeys: list[JourneyFile] = Field(default=[])
    services: list[_ServiceFile]
    beliefs: dict[str, _BeliefFile] = Field(default={})

    def to_fleet(self) -> Fleet:
        beliefs = {
            path: Belief(source=Source(belief.source), spread=belief.spread) for path, belief in self.beliefs.items()
        }
        return Fleet(
            name=self.name,
            services=tuple(service.to_service() for service in self.services),
            journeys=tuple(journey.to_journey() for journey in self.journeys),
            node_pools=tuple(pool.to_pool() for pool in self.node_pools),
            quotas=tuple(quota.to_quota() for quota in self.quotas),
            config_maps=tuple(one.to_config_map() for one in self.config_maps),
            secrets=tuple(one.to_secret() for one in self.secrets),
            gitops=tuple(one.to_gitops() for one in self.gitops),
            webhooks=tuple(one.to_webhook() for one in self.webhooks),
            epoch_s=self.epoch_s,
            beliefs=MappingProxyType(beliefs),
        )
