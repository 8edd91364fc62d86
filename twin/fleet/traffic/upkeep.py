"""Small kernels around the two sweeps: notice changes, keep and take back a state, refresh waits, read off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.fleet.traffic.engine import F64, I64, Conditions
from twin.fleet.traffic.jit import inlined, kernel
from twin.fleet.traffic.queues import Q_BUSY, Q_LET_IN, refresh_queue
from twin.fleet.traffic.state import E_EXPECTED, E_HOT, E_MEAN, E_OK, E_ZOMBIE_S, M_HOLD, O_HOT

__all__ = ["keep_state", "mend", "read_utilisation", "refresh_queues", "same_conditions", "take_back"]


def same_conditions(known: Conditions, now: Conditions) -> bool:
    """Whether conditions are what they were: by their figures, for callers write into the arrays."""
    if len(known.pool_key) != len(now.pool_key):
        return False
    return _same(
        known.pool_key, now.pool_key, known.pool_service, now.pool_service, known.pool_start, now.pool_start,
        known.edge_retries, now.edge_retries,
        known.pool_ready, now.pool_ready, known.pool_speed, now.pool_speed,
        known.pool_error_ratio, now.pool_error_ratio, known.station_servers, now.station_servers,
        known.edge_timeout_s, now.edge_timeout_s, known.edge_backoff_s, now.edge_backoff_s,
        known.edge_delay_s, now.edge_delay_s, known.op_shed_ratio, now.op_shed_ratio,
        known.journey_rate_rps, now.journey_rate_rps,
    )  # fmt: skip


@inlined
def _differing(one: NDArray[np.generic], other: NDArray[np.generic]) -> int:
    """In how many places two arrays differ. Counted, not sought: a loop without a way out is four times as fast."""
    if one.shape[0] != other.shape[0]:
        return 1
    differing = 0
    for i in range(one.shape[0]):
        differing += one[i] != other[i]
    return differing


@kernel
def _same(
    i: I64, i2: I64, j: I64, j2: I64, k: I64, k2: I64, n: I64, n2: I64,
    a: F64, a2: F64, b: F64, b2: F64, c: F64, c2: F64, d: F64, d2: F64, e: F64, e2: F64, f: F64, f2: F64,
    g: F64, g2: F64, h: F64, h2: F64, x: F64, x2: F64,
) -> bool:  # fmt: skip
    differing = _differing(i, i2) + _differing(j, j2) + _differing(k, k2) + _differing(n, n2)
    differing += _differing(a, a2) + _differing(b, b2) + _differing(c, c2) + _differing(d, d2) + _differing(e, e2)
    return differing + _differing(f, f2) + _differing(g, g2) + _differing(h, h2) + _differing(x, x2) == 0


@inlined
def _blank(array: F64) -> int:
    """Put 0 in place of what is infinite or no number; says how many there were. array: (n, m)."""
    bad = 0
    for i in range(array.shape[0]):
        for j in range(array.shape[1]):
            bad += array[i, j] - array[i, j] != 0.0  # No way out of the loop: it is four times as fast.
    if bad > 0:
        for i in range(array.shape[0]):
            for j in range(array.shape[1]):
                if array[i, j] - array[i, j] != 0.0:
                    array[i, j] = 0.0
    return bad


@kernel
def mend(edges: F64, contents: F64, queues: F64, ops: F64, calm: F64, flow: F64, standing: F64) -> bool:
    """Put 0 in place of every figure that is none; says whether there was any. flow, standing: (n,), others (n, m)."""
    bad = _blank(edges) + _blank(contents) + _blank(queues) + _blank(ops) + _blank(calm)
    bad += _blank(flow.reshape(1, flow.shape[0])) + _blank(standing.reshape(1, standing.shape[0]))
    return bad > 0


@kernel
def keep_state(edges: F64, contents: F64, queues: F64, ops: F64, out_kept: F64) -> None:
    """Copy what sweep_forward moves into one row of memory, so that a tick can be taken again."""
    at = 0
    for row in range(E_MEAN):
        for e in range(edges.shape[1]):
            out_kept[at] = edges[row, e]
            at += 1
    for row in range(E_OK, E_EXPECTED):
        for e in range(edges.shape[1]):
            out_kept[at] = edges[row, e]
            at += 1
    for m in range(contents.shape[0]):
        for i in range(M_HOLD):
            out_kept[at] = contents[m, i]
            at += 1
    for q in range(queues.shape[0]):
        for i in range(queues.shape[1]):
            out_kept[at] = queues[q, i]
            at += 1
    for i in range(O_HOT):
        for o in range(ops.shape[1]):
            out_kept[at] = ops[i, o]
            at += 1


@kernel
def take_back(kept: F64, edges: F64, contents: F64, queues: F64, ops: F64) -> None:
    """Undo sweep_forward. What the backward sweep has learnt stays, with the flow that it was learnt at.

    But where time-outs begin or cease within the tick, neither its start nor its end speaks for it: those
    edges take the average of both. (The end alone lets a retry storm feed on itself within its first tick.)
    """
    at = 0
    for row in range(E_MEAN):
        for e in range(edges.shape[1]):
            # An edge that got into trouble meanwhile stays hot.
            edges[row, e] = max(kept[at], edges[row, e]) if row == E_HOT else kept[at]
            at += 1
    width = edges.shape[1]
    late = at + 3 * width
    for e in range(width):
        if abs(edges[E_OK + 3, e] - kept[late + e]) > 0.02:
            for row in range(E_OK, E_EXPECTED):
                if row != E_ZOMBIE_S:
                    edges[row, e] = 0.5 * (edges[row, e] + kept[at + (row - E_OK) * width + e])
    at += (E_EXPECTED - E_OK) * width
    for m in range(contents.shape[0]):
        for i in range(M_HOLD):
            contents[m, i] = kept[at]
            at += 1
    for q in range(queues.shape[0]):
        for i in range(queues.shape[1]):
            if i != Q_LET_IN:
                queues[q, i] = kept[at]
            at += 1
    for i in range(O_HOT):
        for o in range(ops.shape[1]):
            ops[i, o] = kept[at]
            at += 1


@kernel
def refresh_queues(touched: I64, queue_servers: F64, queue_table: I64, tables: F64, queues: F64) -> None:
    """After servers or speeds changed: what the queues mean for waits now. touched: rows of these queues."""
    for i in range(touched.shape[0]):
        q = touched[i]
        refresh_queue(queues, q, queue_servers[q], tables, queue_table[q])


@kernel
def read_utilisation(pool_queue: I64, queue_servers: F64, queues: F64, out_ratio: F64) -> None:
    """Share of its cpu station that each pool uses. pool_queue, out_ratio: (P,)."""
    for p in range(pool_queue.shape[0]):
        q = pool_queue[p]
        out_ratio[p] = min(queues[q, Q_BUSY] / queue_servers[q], 1.0) if queue_servers[q] > 0.0 else 0.0
