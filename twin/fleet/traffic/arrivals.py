"""How many users come in a tick: Poisson counts, by inversion from one uniform each.

Both engines draw at the same addresses, (seed, replication, journey, ARRIVALS, tick), so that they see the
same crowd and differ in the model only.
"""

from __future__ import annotations

from math import exp, floor, sqrt

from twin.fleet.traffic.engine import F64
from twin.fleet.traffic.jit import kernel
from twin.fleet.traffic.normal import normal_quantile

__all__ = ["draw_arrivals", "poisson_quantile"]

POISSON_SUM_MEAN_MAX = 40.0  # Above, the expansion is within one count in 10⁴ draws, and much faster.


@kernel
def poisson_quantile(u: float, mean: float) -> float:
    """The Poisson count at level u in (0, 1).

    Small means: the sum of probabilities, term by term. Larger ones: Cornish and Fisher (1938), two terms
    beyond the normal, rounded to the nearest count.
    """
    if mean <= 0.0:
        return 0.0
    if mean < POISSON_SUM_MEAN_MAX:
        term = exp(-mean)
        total = term
        count = 0
        while u > total and count < 400:
            count += 1
            term *= mean / count
            total += term
        return float(count)
    z = normal_quantile(u)
    root = sqrt(mean)
    count_real = mean + root * z + (z * z - 1.0) / 6.0 - (z * z * z - z) / (72.0 * root)
    return max(0.0, floor(count_real + 0.5))


@kernel
def draw_arrivals(u: F64, rate_rps: F64, dt_s: float, out_count: F64) -> None:
    """New users of each journey in one tick. u, rate_rps, out_count: (J,)."""
    for j in range(u.shape[0]):
        out_count[j] = poisson_quantile(u[j], rate_rps[j] * dt_s)
