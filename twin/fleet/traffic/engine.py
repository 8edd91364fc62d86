"""The one face of every traffic engine: conditions in, a sample out.

Systems (roll-outs, probes, schedulers, faults) decide how many replicas are ready, how fast they are and
what the routes say; they write `Conditions`. An engine advances the requests by one tick under them and
reports a `Sample`. Neither knows the other's inside, so a World runs on any engine.

Edges: the first J are the journeys (callers outside the fleet), then every Call and Publish of every
operation in program order. Stations: every declared station of every service, in the fleet's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["F64", "I64", "Conditions", "Sample", "TrafficEngine"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(slots=True)
class Conditions:
    """What holds during the next tick. Engines read it and never write it.

    A pool is the ready replicas of one service that are alike: same revision, zone and health. Rows of a
    service are neighbours: service s owns pool_start[s]:pool_start[s+1]. Requests go to pools in
    proportion to their ready replicas. A service without ready replicas refuses at once.
    """

    pool_key: I64  # (P,) identity of a row over time: an engine keeps its queues by it
    pool_service: I64  # (P,) index of the service
    pool_start: I64  # (S+1,)
    pool_ready: F64  # (P,) ready replicas
    pool_speed: F64  # (P,) 1 is as declared; 0.125 is eight times slower
    pool_error_ratio: F64  # (P,) share of requests that fail at once, before any call
    station_servers: F64  # (K,) per replica or per service, by the station's scope; 0 is wholly blocked
    edge_timeout_s: F64  # (E,) inf: waits for ever
    edge_retries: I64  # (E,) further attempts after the first
    edge_backoff_s: F64  # (E,) before each further attempt
    edge_delay_s: F64  # (E,) extra network time, added to each attempt
    op_shed_ratio: F64  # (O,) share of arrivals turned away at the door
    journey_rate_rps: F64  # (J,) first attempts from outside, before retries


@dataclass(slots=True)
class Sample:
    """What happened during one tick of `dt_s`. Counts are requests in the tick, as floats.

    On every edge, over a run: issued = ok + failed + rejected + timed_out + in_flight, where issued counts
    attempts, and attempts that wait for their back-off are in_backoff (issued when it ends). `zombie` is
    work that goes on for callers who have given up; it is not part of the sum.
    """

    dt_s: float
    op_arrivals: F64  # (O,) attempts that reached the operation
    op_ok: F64  # (O,) answered well, whether or not the caller still waited
    op_failed: F64  # (O,) answered with an error, its own or a required callee's
    op_rejected: F64  # (O,) turned away: shed, full queue, no ready replica, no connection in time
    op_latency_mean_s: F64  # (O,) of answered requests; 0 if none
    op_latency_p50_s: F64  # (O,)
    op_latency_p99_s: F64  # (O,)
    edge_issued: F64  # (E,) attempts
    edge_ok: F64  # (E,)
    edge_failed: F64  # (E,)
    edge_rejected: F64  # (E,)
    edge_timed_out: F64  # (E,)
    edge_retried: F64  # (E,) attempts that are not the first
    edge_in_flight: F64  # (E,) at the tick's end, callers still waiting
    edge_in_backoff: F64  # (E,) at the tick's end
    edge_zombie: F64  # (E,) at the tick's end
    call_ok: F64  # (E,) calls (all attempts together) that ended well
    call_failed: F64  # (E,) calls that failed for good; for a journey: users let down
    call_latency_mean_s: F64  # (E,) of calls that ended, attempts and back-offs together
    call_latency_p99_s: F64  # (E,)
    station_busy: F64  # (K,) mean servers in use, over all pools
    station_capacity: F64  # (K,) servers, over all pools
    station_queue: F64  # (K,) waiting at the tick's end
    pool_utilisation: F64  # (P,) of the pool's cpu station, 0 to 1


class TrafficEngine(Protocol):
    """Requests in motion. Deterministic: the same state, conditions and draws give the same bytes."""

    name: str

    def advance(self, conditions: Conditions, *, now_ns: int, dt_ns: int) -> Sample:
        """Move every request by `dt_ns` and say what happened."""
        ...

    def save(self) -> dict[str, NDArray[np.generic]]:
        """The engine's whole state as named arrays."""
        ...

    def load(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Take up a saved state. Raises BadInput if it does not fit this fleet."""
        ...

    def fork(self, *, replication: int | None) -> TrafficEngine:
        """An independent copy; with `replication`, its further draws come from that replication."""
        ...
