"""Tables of the M/M/c queue: how likely a wait is, by utilisation, for every number of servers in use.

One row a number of servers. Between points the kernels interpolate linearly. A row holds, over
utilisation 0 to 1: C, the chance to wait (Erlang C), and the variance of the number in system times
(1 - utilisation)²; and, over 1/utilisation 0 to 1 for overload, B, the loss of a queue without places
(Erlang B). All three are smooth and bounded, which the raw figures are not.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from twin.fleet.traffic.engine import F64, I64
from twin.fleet.traffic.jit import kernel

__all__ = ["POINTS", "ErlangTables"]

POINTS: Final = 257
SERVERS_MAX: Final = 20_000  # Beyond, a queue is deterministic for our purposes.


class ErlangTables:
    """Rows by number of servers, made when first asked for.

    `rows`: (R, 3, POINTS). Rows are only ever added, and depend on nothing but their number of servers,
    so forks may share them.
    """

    def __init__(self) -> None:
        self.rows: F64 = np.zeros((0, 3, POINTS))
        self._row_of: dict[int, int] = {}

    def copy(self) -> ErlangTables:
        """The same rows, to which others may be added."""
        other = ErlangTables()
        other.rows, other._row_of = self.rows, dict(self._row_of)
        return other

    def counts(self) -> I64:
        """The number of servers of each row, in order: a saved layout names rows."""
        return np.array(list(self._row_of), dtype=np.int64)

    def rows_of(self, servers: F64) -> I64:
        """The row of each figure, rounded to whole servers, one at least."""
        whole = np.clip(np.rint(servers), 1, SERVERS_MAX).astype(np.int64)
        distinct, inverse = np.unique(whole, return_inverse=True)
        missing = [int(count) for count in distinct if int(count) not in self._row_of]
        if missing:
            made = np.zeros((len(missing), 3, POINTS))
            for row, count in zip(made, missing, strict=True):
                self._row_of[count] = len(self._row_of)
                _fill_row(count, row)
            self.rows = np.concatenate([self.rows, made])
        found = np.array([self._row_of[int(count)] for count in distinct], dtype=np.int64)
        return found[inverse.reshape(-1)]


@kernel
def _fill_row(servers: int, out_row: F64) -> None:
    """out_row: (3, POINTS). Source: Erlang (1917); recursion of B over servers, Jagerman (1974)."""
    c = float(servers)
    for point in range(POINTS):
        at = point / (POINTS - 1.0)
        rho = min(at, 1.0 - 1e-9)
        offered = c * rho
        inverse_b = 1.0  # 1/B, which stays representable where B underflows
        if offered > 0.0:
            for k in range(1, servers + 1):
                inverse_b = 1.0 + inverse_b * k / offered
                if inverse_b > 1e250:
                    break
            b = 1.0 / inverse_b
            wait = b / (1.0 - rho * (1.0 - b))
        else:
            wait = 0.0
        out_row[0, point] = wait
        out_row[1, point] = _variance(c, servers, rho, wait) * (1.0 - rho) * (1.0 - rho)
        # Overload: offered = c / at.
        if at <= 0.0:
            out_row[2, point] = 1.0
        else:
            offered = c / at
            inverse_b = 1.0
            for k in range(1, servers + 1):
                inverse_b = 1.0 + inverse_b * k / offered
            out_row[2, point] = 1.0 / inverse_b
    out_row[0, POINTS - 1] = 1.0


@kernel
def _variance(c: float, servers: int, rho: float, wait: float) -> float:
    """Variance of the number in system of M/M/c, from its probabilities, downwards from c."""
    at_c = wait * (1.0 - rho)
    first = 0.0
    second = 0.0
    p = at_c
    offered = c * rho
    for k in range(servers - 1, -1, -1):
        if offered <= 0.0 or p < 1e-290:
            break
        p *= (k + 1) / offered
        first += k * p
        second += float(k) * k * p
    q = 1.0 - rho
    zeroth = at_c / q
    ahead = at_c * rho / (q * q)
    ahead2 = at_c * rho * (1.0 + rho) / (q * q * q)
    mean = first + c * zeroth + ahead
    mean2 = second + c * c * zeroth + 2.0 * c * ahead + ahead2
    if wait <= 1e-100:
        return offered  # Nobody waits: Poisson, and the sums above have nothing to start from.
    return max(mean2 - mean * mean, 1e-12)
