"""A shop of five services, small enough to read: front end, cart, catalog, orders and a database with a lock."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType

from twin.spec.config import ConfigMap, ConfigRead
from twin.spec.fleet import (
    Autoscaling,
    Disruption,
    Fleet,
    Journey,
    NodePool,
    Probe,
    Quota,
    Resources,
    Service,
    WorkloadKind,
)
from twin.spec.gitops import GitOps, GitOpsKind
from twin.spec.ids import JourneyName, OpId, ServiceId
from twin.spec.program import Call, Hold, Operation, Retry, Scope, Station, Step, Work

__all__ = ["small_shop"]

MIB = 2**20


def small_shop(*, rate_rps: float = 120.0) -> Fleet:
    """Utilisation about a third; every kind of limit once."""
    return Fleet(
        name="small-shop",
        services=(
            _service("web", (Work(mean_s=0.004), _call("cart"), _call("catalog"))),
            _service(
                "cart",
                (Work(mean_s=0.004), _call("orders", probability=0.5)),
                disruption=Disruption(min_available=2),
                reads=(
                    ConfigRead(source="settings"),
                    ConfigRead(source="limits", key="pool", name="POOL", optional=True),
                ),
            ),
            _service(
                "catalog",
                (Work(mean_s=0.006),),
                readiness=Probe(),
                liveness=Probe(failure_threshold=6),
                autoscaling=Autoscaling(min_replicas=3, max_replicas=8),
            ),
            _service(
                "orders",
                (Hold(station="workers", body=(Work(mean_s=0.005), _call("db", operation="write", timeout_s=2.0))),),
                stations=(Station(name="workers", servers=32),),
            ),
            dataclasses.replace(
                _service(
                    "db",
                    (Hold(station="row-lock", body=(Work(mean_s=0.004),)),),
                    operation="write",
                    stations=(Station(name="row-lock", servers=1, scope=Scope.SERVICE),),
                ),
                kind=WorkloadKind.STATEFUL_SET,
                replicas=1,
                stateful=True,
            ),
        ),
        journeys=(
            Journey(
                name=JourneyName("browse"),
                target=OpId("shop/web:serve"),
                rate_rps=rate_rps,
                timeout_s=3.0,
                retry=Retry(retries=1, backoff_s=0.5),
            ),
        ),
        node_pools=(
            NodePool(name="a", zone="zone-a", count=2, cpu_cores=8.0),
            NodePool(name="b", zone="zone-b", count=2, cpu_cores=8.0),
        ),
        quotas=(Quota(name="all", namespace="shop", pods=60),),
        gitops=(GitOps(kind=GitOpsKind.FLUX, namespace="shop", name="apps"),),  # Nobody here is its.
        config_maps=(
            ConfigMap(name="settings", namespace="shop", data=MappingProxyType({"LEVEL": "info"})),
            ConfigMap(name="frozen", namespace="shop", data=MappingProxyType({"a": "1"}), immutable=True),
        ),
    )


def _service(
    name: str,
    steps: tuple[Step, ...],
    *,
    operation: str = "serve",
    stations: tuple[Station, ...] = (),
    readiness: Probe | None = None,
    liveness: Probe | None = None,
    autoscaling: Autoscaling | None = None,
    disruption: Disruption | None = None,
    reads: tuple[ConfigRead, ...] = (),
) -> Service:
    return Service(
        id=ServiceId(f"shop/{name}"),
        operations=(Operation(name=operation, steps=steps),),
        stations=stations,
        replicas=3,
        image=f"{name}:v1",
        resources=Resources(cpu_request_cores=0.5, memory_limit_bytes=256 * MIB),
        memory_base_bytes=96 * MIB,
        readiness=readiness,
        liveness=liveness,
        autoscaling=autoscaling,
        disruption=disruption,
        reads=reads,
    )


def _call(name: str, *, operation: str = "serve", probability: float = 1.0, timeout_s: float = 1.0) -> Call:
    return Call(
        target=OpId(f"shop/{name}:{operation}"),
        probability=probability,
        timeout_s=timeout_s,
        retry=Retry(retries=1, backoff_s=0.1),
    )
