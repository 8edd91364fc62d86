"""Calls that run in parallel: the longest counts."""

from __future__ import annotations

from math import sqrt
from typing import Final

import numpy as np

from twin.fleet.traffic.engine import F64, I64
from twin.fleet.traffic.jit import inlined, kernel
from twin.fleet.traffic.moments import CERTAIN_SIGMAS, ROW, survival
from twin.fleet.traffic.state import CALM_SHARE, G_CLEAN, G_KEY, G_MOMENT, G_TROUBLE_KEY, G_TROUBLED

__all__ = ["group_outcome", "longest", "recall_longest"]


MOVED: Final = 0.01  # by how much calls may move before the longest of them is worked out anew


@kernel
def group_outcome(
    code: int, first: int, last: int, first_tmp: int, edge_probability: F64, edge_required: I64, calls: F64,
    groups: F64, out_row: F64,
) -> None:  # fmt: skip
    """Calls `first` to `last` at once: the longest counts, and one failure of a required one fails all.

    Moments of the maximum by quadrature: E[X^n] = ∫ n·x^(n-1)·(1 - Π F(x)) dx, with x = u·t² so that the
    points gather where short calls end. They are kept until the calls have moved by MOVED; shares are exact
    always. calls: (n, ROW). groups: (codes, G_WIDTH).
    """
    clean = 1.0
    sound = 1.0
    passing = 1e300
    marginal = 0.0
    top_clean = 0.0
    top_all = 0.0
    for e in range(first, last):
        i = e - first_tmp
        p = edge_probability[e]
        clean *= 1.0 - p + p * calls[i, 0]
        bad = calls[i, 8] if edge_required[e] != 0 else 0.0
        sound *= 1.0 - p * bad
        through = calls[i, 17] if edge_required[e] != 0 else calls[i, 17] + calls[i, 18]
        # All have to end: those that get through the narrowest get through the others too.
        passing = min(passing, 1.0 - p + p * through)
        marginal = max(marginal, p * calls[i, 16])
        if calls[i, 0] > 1e-12:
            spread = sqrt(max(calls[i, 2] - calls[i, 1] * calls[i, 1], 0.0))
            top_clean = max(top_clean, calls[i, 1] + CERTAIN_SIGMAS * spread)
        if calls[i, 4] > 1e-12:
            spread = sqrt(max(calls[i, 6] - calls[i, 5] * calls[i, 5], 0.0))
            top_all = max(top_all, calls[i, 5] + CERTAIN_SIGMAS * spread)
        if calls[i, 8] > 1e-12:
            mean = calls[i, 9] / calls[i, 8]
            spread = sqrt(max(calls[i, 10] / calls[i, 8] - mean * mean, 0.0))
            top_all = max(top_all, mean + CERTAIN_SIGMAS * spread)
    top_all = max(top_all, top_clean)
    for i in range(ROW):
        out_row[i] = 0.0
    out_row[16] = marginal
    out_row[0] = clean
    out_row[17] = passing
    out_row[18] = 1.0 - sound
    troubled = 1.0 - clean
    if _moved(code, first, last, first_tmp, edge_probability, calls, groups):
        c1, c2, c3 = longest(first, last, first_tmp, edge_probability, calls, top_clean, False)
        groups[code, G_CLEAN] = c1
        groups[code, G_CLEAN + 1] = c2
        groups[code, G_CLEAN + 2] = c3
        if troubled > CALM_SHARE:
            a1, a2, a3 = longest(first, last, first_tmp, edge_probability, calls, top_all, True)
            t1 = max((a1 - clean * c1) / troubled, 0.0)
            t2 = max((a2 - clean * c2) / troubled, t1 * t1)
            groups[code, G_TROUBLED] = t1
            groups[code, G_TROUBLED + 1] = t2
            groups[code, G_TROUBLED + 2] = max((a3 - clean * c3) / troubled, t1 * t2)
    out_row[1] = groups[code, G_CLEAN]
    out_row[2] = groups[code, G_CLEAN + 1]
    out_row[3] = groups[code, G_CLEAN + 2]
    if troubled <= CALM_SHARE:
        return
    failed = min(1.0 - sound, troubled)
    t1 = groups[code, G_TROUBLED]
    t2 = groups[code, G_TROUBLED + 1]
    t3 = groups[code, G_TROUBLED + 2]
    out_row[4] = troubled - failed
    out_row[5] = t1
    out_row[6] = t2
    out_row[7] = t3
    out_row[8] = failed
    out_row[9] = failed * t1
    out_row[10] = failed * t2
    out_row[11] = failed * t3


@inlined
def _moved(code: int, first: int, last: int, first_tmp: int, edge_probability: F64, calls: F64, groups: F64) -> bool:
    """Whether calls differ from those that the kept moments belong to; if so, these are noted in their place."""
    share = 0.0
    mean = 0.0
    second = 0.0
    other = 0.0
    other_mean = 0.0
    other_second = 0.0
    for e in range(first, last):
        i = e - first_tmp
        p = edge_probability[e]
        share += p * calls[i, 0]
        mean += p * calls[i, 0] * calls[i, 1]
        second += p * calls[i, 0] * calls[i, 2]
        other += p * (calls[i, 4] + calls[i, 8])
        other_mean += p * (calls[i, 4] * calls[i, 5] + calls[i, 9])
        other_second += p * (calls[i, 4] * calls[i, 6] + calls[i, 10])
    at = G_TROUBLE_KEY
    moved = bool(
        groups[code, at] + groups[code, at + 3] == 0.0
        or not abs(share - groups[code, at]) <= MOVED * share  # Not ">": what is no figure has moved.
        or not abs(mean - groups[code, at + 1]) <= MOVED * mean
        or not abs(second - groups[code, at + 2]) <= MOVED * second
        or not abs(other - groups[code, at + 3]) <= MOVED * other
        or not abs(other_mean - groups[code, at + 4]) <= MOVED * other_mean
        or not abs(other_second - groups[code, at + 5]) <= MOVED * other_second
    )
    if moved:
        groups[code, at] = share
        groups[code, at + 1] = mean
        groups[code, at + 2] = second
        groups[code, at + 3] = other
        groups[code, at + 4] = other_mean
        groups[code, at + 5] = other_second
    return moved


_GAUSS = np.polynomial.legendre.leggauss(24)
_GAUSS_AT = 0.5 * (_GAUSS[0] + 1.0)
_GAUSS_WEIGHT = 0.5 * _GAUSS[1]


@kernel
def longest(
    first: int, last: int, first_tmp: int, edge_probability: F64, calls: F64, top: float, everything: bool
) -> tuple[float, float, float]:
    """Raw moments of the longest of some calls: of the clean ones given that all are, or of all."""
    r1 = 0.0
    r2 = 0.0
    r3 = 0.0
    if top <= 0.0:
        return r1, r2, r3
    for n in range(24):
        t = _GAUSS_AT[n]
        x = top * t * t
        below = 1.0
        for e in range(first, last):
            i = e - first_tmp
            p = edge_probability[e]
            above = 0.0
            for at in (0, 4, 8):
                share = calls[i, at]
                if share <= 1e-12 or (at > 0 and not everything):
                    continue
                scale = 1.0 if at < 8 else 1.0 / share
                k1 = calls[i, at + 1] * scale
                m2 = calls[i, at + 2] * scale
                k2 = max(m2 - k1 * k1, 0.0)
                k3 = calls[i, at + 3] * scale - 3.0 * k1 * m2 + 2.0 * k1 * k1 * k1
                above += share * survival(x, k1, k2, k3)
            if everything:
                below *= max(1.0 - p * above, 0.0)
            else:
                whole = 1.0 - p + p * calls[i, 0]
                below *= max(whole - p * above, 0.0) / whole if whole > 0.0 else 1.0
        weight = _GAUSS_WEIGHT[n] * 2.0 * top * t * (1.0 - below)
        r1 += weight
        r2 += 2.0 * x * weight
        r3 += 3.0 * x * x * weight
    return r1, max(r2, r1 * r1), max(r3, r1 * r2)


@kernel
def recall_longest(
    code: int,
    first: int,
    last: int,
    edge_probability: F64,
    calls: F64,
    groups: F64,
) -> tuple[float, float, float]:
    """Raw moments of the longest of some calm calls, worked out anew only where the calls have moved.

    While the sums of their first two moments stay within one part in a hundred, the longest is what it
    was, scaled with the sum. groups: (codes, G_WIDTH).
    """
    key1 = 0.0
    key2 = 0.0
    top = 0.0
    for e in range(first, last):
        i = e - first
        key1 += edge_probability[e] * calls[i, 1]
        key2 += edge_probability[e] * calls[i, 2]
        spread = sqrt(max(calls[i, 2] - calls[i, 1] * calls[i, 1], 0.0))
        top = max(top, calls[i, 1] + CERTAIN_SIGMAS * spread)
    known1 = groups[code, G_KEY]
    known2 = groups[code, G_KEY + 1]
    if abs(key1 - known1) > MOVED * known1 or abs(key2 - known2) > MOVED * known2 or known1 == 0.0:
        r1, r2, r3 = longest(first, last, first, edge_probability, calls, top, False)
        groups[code, G_KEY] = key1
        groups[code, G_KEY + 1] = key2
        groups[code, G_MOMENT] = r1
        groups[code, G_MOMENT + 1] = r2
        groups[code, G_MOMENT + 2] = r3
        known1 = key1
    scale = key1 / known1 if known1 > 0.0 else 1.0
    return (
        groups[code, G_MOMENT] * scale,
        groups[code, G_MOMENT + 1] * scale * scale,
        groups[code, G_MOMENT + 2] * scale * scale * scale,
    )
