"""Kernels that add one tick of a rehearsal up to its bin: called a hundred thousand times a verdict."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["add_requests", "add_users", "count_missing"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@njit(cache=True, fastmath=False)
def add_users(rows: I64, failed: F64, ok: F64, bin_s: float, out_let_down: F64, out_users: F64) -> None:
    """Users a second of the journeys in `rows` (J,), from counts by edge (E,): those let down, and all."""
    for column in range(rows.shape[0]):
        row = rows[column]
        out_let_down[column] += failed[row] / bin_s
        out_users[column] += (failed[row] + ok[row]) / bin_s


@njit(cache=True, fastmath=False)
def add_requests(
    op_service: I64, failed: F64, rejected: F64, arrivals: F64, bin_s: float, out_bad: F64, out_asked: F64
) -> None:
    """Requests a second by service (S,), from counts by operation (O,): those that ended badly, and all."""
    for op in range(op_service.shape[0]):
        out_bad[op_service[op]] += (failed[op] + rejected[op]) / bin_s
        out_asked[op_service[op]] += arrivals[op] / bin_s


@njit(cache=True, fastmath=False)
def count_missing(pod_service: I64, pod_ready: Bool, wanted: I64, ready: I64) -> float:
    """How many pods are wanted and not ready, over all services. `ready` (S,) is scratch."""
    ready[:] = 0
    for pod in range(pod_ready.shape[0]):
        if pod_ready[pod]:
            ready[pod_service[pod]] += 1
    missing = 0
    for service in range(wanted.shape[0]):
        missing += max(wanted[service] - ready[service], 0)
    return float(missing)
