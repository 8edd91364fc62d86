"""What is assumed where nobody says: each figure with its spread (standard deviation of its logarithm).

0.7 is "within a factor of two, two times in three"; 1.0 is "the order of magnitude". A twin with such figures
can be rehearsed on, and a verdict that flips within a spread names the figure to measure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

__all__ = [
    "CALLS_A_REQUEST", "LOAD_TARGET_UTILISATION", "MEMORY_BASE_SHARE", "PRIORS", "RATE_SPREAD", "Figure", "Role",
    "RolePriors", "looks_like_front_end", "role_of",
]  # fmt: skip


class Role(StrEnum):
    APP = "app"
    DATABASE = "database"
    CACHE = "cache"
    BROKER = "broker"
    LOAD = "load generator"


@dataclass(frozen=True, slots=True)
class Figure:
    value: float
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePriors:
    """`workers` threads a replica; `connections` a service; `pool` connections a replica that its callers keep."""

    work_s: Figure
    start_s: Figure
    timeout_s: Figure
    workers: Figure | None = None
    connections: Figure | None = None
    pool: Figure | None = None


PRIORS: Final = {
    Role.APP: RolePriors(
        work_s=Figure(0.005, 0.7), start_s=Figure(5.0, 0.7), timeout_s=Figure(2.0, 1.0), workers=Figure(64, 1.0)
    ),
    Role.DATABASE: RolePriors(
        work_s=Figure(0.003, 0.7),
        start_s=Figure(10.0, 0.7),
        timeout_s=Figure(5.0, 1.0),
        connections=Figure(100, 0.3),
        pool=Figure(10, 0.7),
    ),
    Role.CACHE: RolePriors(work_s=Figure(0.0005, 0.7), start_s=Figure(2.0, 0.7), timeout_s=Figure(0.5, 1.0)),
    Role.BROKER: RolePriors(work_s=Figure(0.001, 0.7), start_s=Figure(10.0, 0.7), timeout_s=Figure(2.0, 1.0)),
    Role.LOAD: RolePriors(work_s=Figure(0.005, 0.7), start_s=Figure(5.0, 0.7), timeout_s=Figure(2.0, 1.0)),
}

# A request makes about three calls however many addresses its service knows: the mean of published fleets.
CALLS_A_REQUEST: Final = Figure(3.0, 0.5)
RATE_SPREAD: Final = 1.0
MEMORY_BASE_SHARE: Final = Figure(0.5, 0.5)  # of the request
LOAD_TARGET_UTILISATION: Final = 0.4  # of the busiest workload: people size their fleets for what they see

_ROLES: Final = (
    (Role.LOAD, re.compile(r"load-?gen|load-?test|locust|\bk6\b|vegeta|jmeter|gatling|artillery|traffic-?gen")),
    (Role.DATABASE, re.compile(r"postgres|postgis|mysql|mariadb|percona|mongo|cassandra|scylla|cockroach|mssql|oracle"
                               r"|elasticsearch|opensearch|clickhouse|couchdb|neo4j|influxdb|timescale")),
    (Role.CACHE, re.compile(r"redis|memcached|valkey|keydb|dragonfly")),
    (Role.BROKER, re.compile(r"rabbitmq|kafka|redpanda|\bnats\b|activemq|artemis|pulsar|mosquitto")),
)  # fmt: skip
_HELPERS: Final = re.compile(r"exporter|proxy|envoy|sidecar|fluent|agent|operator|admin|commander|ui$|init|backup")
_PORTS: Final = {
    5432: Role.DATABASE, 3306: Role.DATABASE, 27017: Role.DATABASE, 1433: Role.DATABASE, 1521: Role.DATABASE,
    9042: Role.DATABASE, 26257: Role.DATABASE, 6379: Role.CACHE, 11211: Role.CACHE, 5672: Role.BROKER,
    9092: Role.BROKER, 4222: Role.BROKER, 61616: Role.BROKER,
}  # fmt: skip
_FRONT: Final = re.compile(r"front|web|(?:^|-)ui(?:-|$)|gateway|edge|portal|storefront|ingress|bff|website|site$")


def role_of(name: str, images: Iterable[str], ports: Iterable[int]) -> Role:
    """What kind of workload it is, by its images first, then by its well-known ports."""
    bases = [image.rsplit("/", 1)[-1].split("@", 1)[0].split(":", 1)[0].lower() for image in images]
    bases = [base for base in bases if not _HELPERS.search(base)]
    for role, pattern in _ROLES:
        if any(pattern.search(base) for base in bases) or (role is Role.LOAD and pattern.search(name.lower())):
            return role
    return next((_PORTS[port] for port in ports if port in _PORTS), Role.APP)


def looks_like_front_end(name: str) -> bool:
    """Whether people would call a workload of that name a front end."""
    return _FRONT.search(name.lower()) is not None
