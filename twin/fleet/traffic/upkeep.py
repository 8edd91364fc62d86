"""Small kernels around the two sweeps: keep and take back a state, bring waits up to date, read off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twin.fleet.traffic.engine import F64, I64
from twin.fleet.traffic.jit import kernel
from twin.fleet.traffic.queues import Q_BUSY, Q_LET_IN, refresh_queue
from twin.fleet.traffic.state import E_HOT, E_MEAN, M_HOLD, O_HOT

__all__ = ["all_same", "keep_state", "read_utilisation", "refresh_queues", "take_back"]


@kernel
def all_same(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    """Whether two arrays of one length hold the same; np.array_equal takes longer than the comparison."""
    same = True
    for i in range(one.shape[0]):
        same = same and one[i] == other[i]
    return same


@kernel
def keep_state(edges: F64, contents: F64, queues: F64, ops: F64, out_kept: F64) -> None:
    """Copy what sweep_forward moves into one row of memory, so that a tick can be taken again."""
    at = 0
    for row in range(E_MEAN):
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
    for o in range(ops.shape[0]):
        for i in range(O_HOT):
            out_kept[at] = ops[o, i]
            at += 1


@kernel
def take_back(kept: F64, edges: F64, contents: F64, queues: F64, ops: F64) -> None:
    """Undo sweep_forward. What the backward sweep has learnt stays, with the flow that it was learnt at."""
    at = 0
    for row in range(E_MEAN):
        for e in range(edges.shape[1]):
            # An edge that got into trouble meanwhile stays hot.
            edges[row, e] = max(kept[at], edges[row, e]) if row == E_HOT else kept[at]
            at += 1
    for m in range(contents.shape[0]):
        for i in range(M_HOLD):
            contents[m, i] = kept[at]
            at += 1
    for q in range(queues.shape[0]):
        for i in range(queues.shape[1]):
            if i != Q_LET_IN:
                queues[q, i] = kept[at]
            at += 1
    for o in range(ops.shape[0]):
        for i in range(O_HOT):
            ops[o, i] = kept[at]
            at += 1


@kernel
def refresh_queues(queue_servers: F64, queue_table: I64, tables: F64, queues: F64) -> None:
    """After servers or speeds changed: what the queues mean for waits now."""
    for q in range(queues.shape[0]):
        refresh_queue(queues, q, queue_servers[q], tables, queue_table[q])


@kernel
def read_utilisation(pool_queue: I64, queue_servers: F64, queues: F64, out_ratio: F64) -> None:
    """Share of its cpu station that each pool uses. pool_queue, out_ratio: (P,)."""
    for p in range(pool_queue.shape[0]):
        q = pool_queue[p]
        out_ratio[p] = min(queues[q, Q_BUSY] / queue_servers[q], 1.0) if queue_servers[q] > 0.0 else 0.0
