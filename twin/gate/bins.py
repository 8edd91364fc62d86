"""Kernels that add one tick of a rehearsal up to its bin: called a hundred thousand times a verdict."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["add_tick", "count_missing"]

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]


@njit(cache=True, fastmath=False)
def add_tick(
    rows: I64, failed: F64, ok: F64, op_service: I64, op_failed: F64, op_rejected: F64, op_arrivals: F64, bin_s: float,
    out_let_down: F64, out_users: F64, out_bad: F64, out_asked: F64,
) -> None:  # fmt: skip
    """Add a tick's counts to a bin, a second each.

    Of the journeys in `rows` (J,), from counts by edge (E,): users let down, and all. By service (S,), from counts by
    operation (O,): requests that ended badly, and all.
    """
    for column in range(rows.shape[0]):
        row = rows[column]
        out_let_down[column] += failed[row] / bin_s
        out_users[column] += (failed[row] + ok[row]) / bin_s
    for op in range(op_service.shape[0]):
        out_bad[op_service[op]] += (op_failed[op] + op_rejected[op]) / bin_s
        out_asked[op_service[op]] += op_arrivals[op] / bin_s


@njit(cache=True, fastmath=False)
def count_missing(pod_service: I64, pod_ready: Bool, wanted: I64, ready: I64, out_missing: I64) -> None:
    """Raise each service's most pods that were wanted and not ready: (S,). `ready` (S,) is scratch."""
    ready[:] = 0
    for pod in range(pod_ready.shape[0]):
        if pod_ready[pod]:
            ready[pod_service[pod]] += 1
    for service in range(wanted.shape[0]):
        out_missing[service] = max(out_missing[service], wanted[service] - ready[service])
