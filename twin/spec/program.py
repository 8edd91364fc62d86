"""What a service does for one request: a small program, the one description that every engine reads.

Every limit is a Station: workers, CPU, a connection pool, a database's max_connections, a lock. A request
that holds a station keeps it for as long as the body takes, calls to other services included: that is how
a slow dependency eats the threads of everybody above it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from twin.spec.ids import OpId

__all__ = [
    "Cached",
    "Call",
    "Hold",
    "Operation",
    "Publish",
    "Retry",
    "Scope",
    "Station",
    "Step",
    "Work",
    "calls_of",
]


class Scope(StrEnum):
    """Whose limit a station is."""

    REPLICA = "replica"  # each ready pod brings `servers` of its own
    SERVICE = "service"  # one limit, however many pods: max_connections, a lock, a partition count


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A place with a limited number of servers and a FIFO queue before it.

    `queue_limit` is the longest queue per replica (per service for Scope.SERVICE); beyond it a request is
    rejected at once. None: unbounded.
    """

    name: str
    servers: int
    scope: Scope = Scope.REPLICA
    queue_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """`retries` further attempts after the first one fails, `backoff_s` before each."""

    retries: int = 0
    backoff_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Service time at one station: mean in seconds at speed 1, coefficient of variation `cv`."""

    mean_s: float
    station: str = "cpu"
    cv: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A synchronous call, made with `probability`.

    Neighbouring calls that share a `group` number run in parallel; None runs alone. `cancel`: the callee
    stops when the caller gives up (otherwise its work goes on as zombie work). `required`: a failed call
    fails the request.
    """

    target: OpId
    probability: float = 1.0
    timeout_s: float | None = None
    retry: Retry = Retry()
    group: int | None = None
    cancel: bool = False
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Take one server of `station` and keep it during `body`. `timeout_s` bounds the wait; None waits on."""

    station: str
    body: tuple[Step, ...]
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Send a message that `target` will work on; the request does not wait for it."""

    target: OpId
    probability: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """Run `miss` for the share of requests that the cache does not answer."""

    cache: str
    hit_ratio: float
    miss: tuple[Step, ...]


Step = Work | Call | Hold | Publish | Cached


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One kind of request that a service answers."""

    name: str
    steps: tuple[Step, ...]


def calls_of(steps: tuple[Step, ...]) -> Iterator[Call | Publish]:
    """Every call and publish of a program, depth first, in program order."""
    for step in steps:
        match step:
            case Call() | Publish():
                yield step
            case Hold(body=inner) | Cached(miss=inner):
                yield from calls_of(inner)
            case Work():
                pass
