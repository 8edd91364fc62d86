"""Arithmetic of durations known by three moments, and of outcomes known by four classes.

A duration is carried by its cumulants (mean, variance, third) where it is added to others and by its raw
moments where it is mixed with others. Its distribution is read as Pearson's type III, a shifted gamma,
through the approximation of Wilson and Hilferty (1931).

An *outcome row* says how one request, or one whole call, ends:

    0       share that ends well without trouble       1..3  raw moments of its duration
    4       share that ends well after trouble (some attempt inside failed)  5..7  raw moments
    8       share that fails                           9..11 raw moments times the share
    12      share that is rejected                     13..15 raw moments times the share
    16      marginal duration: seconds added by one more request a second over this tick
    17      how many end well now for each one that begins now: the share that ends well, but in a
            growing or shrinking queue less or more (a blocked station lets nobody through)
    18      how many fail now for each one that begins now
    19      unused
    20      seconds that who begins now will take longer than who ends now has taken

Why two classes end well: a fit of one gamma to "20 ms, or 1 s time-out and 20 ms" predicts time-outs one
level up that nobody sees, and so a collapse that does not happen.
"""

from __future__ import annotations

from math import exp, lgamma, log, sqrt
from typing import Final

import numpy as np

from twin.fleet.traffic.engine import F64
from twin.fleet.traffic.jit import inlined, kernel
from twin.fleet.traffic.normal import normal_quantile, normal_survival

__all__ = [
    "CERTAIN_SIGMAS",
    "ROW",
    "SKEW_MAX",
    "SKEW_MIN",
    "add_step",
    "attempt_outcome",
    "call_outcome",
    "close_frame",
    "compose",
    "leave",
    "open_frame",
    "quantile",
    "survival",
    "truncate",
    "two_part_quantile",
]

ROW: Final = 21  # figures in an outcome row
TINY: Final = 1e-12
SKEW_MAX: Final = 4.0  # Wilson and Hilferty's approximation is poor beyond.
SKEW_MIN: Final = 0.02  # Below, the gamma is a normal to four digits, and its shift would cancel badly.
SERIES_SHAPE_MAX: Final = 64.0  # Beyond, the approximation is good to four digits, and the series long.
CERTAIN_SIGMAS: Final = 14.0  # P(beyond) < 1e-6 for an exponential.
RETRIES_MAX: Final = 64  # More attempts than this are one regime: for ever.


@inlined
def gamma_survival(shape: float, x: float) -> float:
    """P(X > x) of a gamma with that shape and scale 1. Source: Wilson and Hilferty (1931)."""
    if x <= 0.0:
        return 1.0
    ninth = 1.0 / (9.0 * shape)
    return normal_survival((float(np.cbrt(x / shape)) - 1.0 + ninth) / sqrt(ninth))


@kernel
def survival(x: float, k1: float, k2: float, k3: float) -> float:
    """P(X > x) of a duration with cumulants k1, k2, k3."""
    if x < 0.0:
        return 1.0
    if k2 <= 1e-16 * (k1 * k1 + 1e-30):
        return 1.0 if k1 > x else 0.0
    sigma = sqrt(k2)
    skew = min(max(k3 / (k2 * sigma), SKEW_MIN), SKEW_MAX)
    scale = 0.5 * sigma * skew
    shape = 4.0 / (skew * skew)
    return gamma_survival(shape, (x - k1) / scale + shape)


@kernel
def truncate(k1: float, k2: float, k3: float, limit: float) -> tuple[float, float, float, float]:
    """(P(X > limit), raw moments of X given X <= limit) for a duration with these cumulants.

    Partial moments of a gamma: E[Y^n; Y > y] = Γ(k+n)/Γ(k) · P(Y_(k+n) > y), and from each shape to the
    next P(Y_(k+1) > y) = P(Y_k > y) + y^k·e^(-y)/Γ(k+1), exactly. Below the mean the tail itself is the series
    of the incomplete gamma function: Abramowitz and Stegun (1964), 6.5.29.
    """
    r2 = k2 + k1 * k1
    r3 = k3 + 3.0 * k1 * k2 + k1 * k1 * k1
    if limit <= 0.0:
        return 1.0, 0.0, 0.0, 0.0
    if k2 <= 1e-16 * (k1 * k1 + 1e-30):
        if k1 > limit:
            return 1.0, limit, limit * limit, limit * limit * limit
        return 0.0, k1, r2, r3
    sigma = sqrt(k2)
    if limit > k1 + CERTAIN_SIGMAS * sigma:
        return 0.0, k1, r2, r3
    skew = min(max(k3 / (k2 * sigma), SKEW_MIN), SKEW_MAX)
    scale = 0.5 * sigma * skew
    shape = 4.0 / (skew * skew)
    shift = k1 - shape * scale
    y = (limit - shift) / scale
    s0 = gamma_survival(shape, y)
    if s0 > 1.0 - 1e-9:
        return 1.0, limit, limit * limit, limit * limit * limit
    if s0 < 1e-9:
        return 0.0, k1, r2, r3
    step = exp(shape * log(y) - y - lgamma(shape + 1.0))
    if y < shape + 1.0 and shape < SERIES_SHAPE_MAX:
        # Little is left below the limit, and the approximation's error would drown it: sum it up.
        term = 1.0
        total = 1.0
        n = shape
        while term > 1e-9 * total:
            n += 1.0
            term *= y / n
            total += term
        s0 = 1.0 - step * total
        if s0 > 1.0 - 1e-9:
            return 1.0, limit, limit * limit, limit * limit * limit
    s1 = min(s0 + step, 1.0)
    step *= y / (shape + 1.0)
    s2 = min(s1 + step, 1.0)
    step *= y / (shape + 2.0)
    s3 = min(s2 + step, 1.0)
    y1 = scale * shape * s1
    y2 = scale * scale * shape * (shape + 1.0) * s2
    y3 = scale * scale * scale * shape * (shape + 1.0) * (shape + 2.0) * s3
    q = 1.0 - s0
    b1 = (k1 - (y1 + shift * s0)) / q
    b1 = min(max(b1, 0.0), limit)
    b2 = (r2 - (y2 + 2.0 * shift * y1 + shift * shift * s0)) / q
    b2 = min(max(b2, b1 * b1), b1 * limit)
    b3 = (r3 - (y3 + 3.0 * shift * y2 + 3.0 * shift * shift * y1 + shift * shift * shift * s0)) / q
    b3 = min(max(b3, b2 * b1), b2 * limit)
    return s0, b1, b2, b3


@kernel
def quantile(z: float, k1: float, k2: float, k3: float) -> float:
    """The quantile at normal level z of a duration with these cumulants."""
    if k2 <= 0.0:
        return max(k1, 0.0)
    sigma = sqrt(k2)
    skew = min(max(k3 / (k2 * sigma), SKEW_MIN), SKEW_MAX)
    h = 1.0 + skew * z / 6.0 - skew * skew / 36.0
    h = max(h, 0.0)
    return max(k1 + sigma * (2.0 / skew) * (h * h * h - 1.0), 0.0)


@kernel
def two_part_quantile(
    u: float, p: float, k1: float, k2: float, k3: float, q: float, j1: float, j2: float, j3: float
) -> float:
    """The quantile at level u of a mixture: share p with cumulants k, share q with cumulants j.

    Taken in order of their means, as if they did not overlap: exact for "20 ms, or a time-out more",
    and a few per cent off where they do overlap. No search, so it costs the same always.
    """
    total = p + q
    if total <= TINY:
        return 0.0
    if q <= 1e-6 * total:
        return quantile(normal_quantile(u), k1, k2, k3)
    if p <= 1e-6 * total:
        return quantile(normal_quantile(u), j1, j2, j3)
    if k1 <= j1:
        low = p / total
        if u <= low:
            return quantile(normal_quantile(max(u / low, 1e-9) * (1.0 - 1e-9)), k1, k2, k3)
        return quantile(normal_quantile(min(max((u - low) / (1.0 - low), 1e-9), 1.0 - 1e-9)), j1, j2, j3)
    low = q / total
    if u <= low:
        return quantile(normal_quantile(max(u / low, 1e-9) * (1.0 - 1e-9)), j1, j2, j3)
    return quantile(normal_quantile(min(max((u - low) / (1.0 - low), 1e-9), 1.0 - 1e-9)), k1, k2, k3)


@kernel
def open_frame(frame: F64) -> None:
    """Start of a program, or of the inside of a Hold or Cached: everybody alive, no time spent.

    A frame is an outcome row in the making: shares and durations so far, with slots 1..3 and 5..7 as
    cumulants, because time is being added.
    """
    for i in range(ROW):
        frame[i] = 0.0
    frame[0] = 1.0
    frame[17] = 1.0


@kernel
def add_step(frame: F64, k1: float, k2: float, k3: float) -> None:
    """Everybody who is alive spends an independent time with cumulants k1, k2, k3."""
    frame[1] += k1
    frame[2] += k2
    frame[3] += k3
    frame[5] += k1
    frame[6] += k2
    frame[7] += k3


@inlined
def leave(frame: F64, to: int, at: int, share: float, x0: float, x1: float, x2: float, x3: float) -> None:
    """Of class `at` (cumulants at+1..), `share` leaves for class `to` after x1..x3 (raw, times x0) more."""
    c1 = frame[at + 1]
    r1 = c1
    r2 = frame[at + 2] + c1 * c1
    r3 = frame[at + 3] + 3.0 * c1 * frame[at + 2] + c1 * c1 * c1
    frame[to] += share * x0
    frame[to + 1] += share * (x1 + x0 * r1)
    frame[to + 2] += share * (x2 + 2.0 * x1 * r1 + x0 * r2)
    frame[to + 3] += share * (x3 + 3.0 * x2 * r1 + 3.0 * x1 * r2 + x0 * r3)


@inlined
def _lengthen(frame: F64, at: int, e1: float, r2: float, r3: float) -> None:
    """Class `at` spends a time with raw moments e1, r2, r3 more."""
    frame[at + 1] += e1
    frame[at + 2] += r2 - e1 * e1
    frame[at + 3] += r3 - 3.0 * e1 * r2 + 2.0 * e1 * e1 * e1


@kernel
def compose(frame: F64, p: float, row: F64, required: bool) -> None:
    """A share p of those alive goes through something that ends as `row` says.

    Where it is required, its failures end the request; where it is not, they are trouble. Rejections of
    the row (of a Hold inside; calls have folded theirs into failures) reject the request.
    """
    q0 = row[0]
    qb = row[4]
    qf = row[8]
    qj = row[12]
    frame[16] += p * row[16] * (frame[0] + frame[4])
    frame[20] += p * row[20] * (frame[0] + frame[4])
    flow = frame[17] * p
    frame[17] += flow * (row[17] - 1.0)
    if required:
        frame[18] += flow * row[18]
    else:
        frame[17] += flow * row[18]
    if qb + qf + qj <= TINY and frame[4] <= TINY:  # Calm: one class goes in, one comes out.
        _lengthen(frame, 0, p * row[1], p * row[2], p * row[3])
        return
    stay = 1.0 - p
    clean = frame[0]
    troubled = frame[4]
    # What those who come out well after trouble spent on it: row's class 4, and failures if optional.
    t0 = qb
    t1 = qb * row[5]
    t2 = qb * row[6]
    t3 = qb * row[7]
    if required:
        if qf > 0.0:
            leave(frame, 8, 0, clean * p, qf, row[9], row[10], row[11])
            leave(frame, 8, 4, troubled * p, qf, row[9], row[10], row[11])
    else:
        t0 += qf
        t1 += row[9]
        t2 += row[10]
        t3 += row[11]
    if qj > 0.0:
        leave(frame, 12, 0, clean * p, qj, row[13], row[14], row[15])
        leave(frame, 12, 4, troubled * p, qj, row[13], row[14], row[15])
    # Those troubled before: every way to go on.
    w0 = stay + p * (q0 + t0)
    m0 = troubled * w0
    m1 = 0.0
    m2 = 0.0
    m3 = 0.0
    if m0 > TINY:
        e1 = p * (q0 * row[1] + t1) / w0
        e2 = p * (q0 * row[2] + t2) / w0
        e3 = p * (q0 * row[3] + t3) / w0
        _lengthen(frame, 4, e1, e2, e3)
        c1 = frame[5]
        m1 = m0 * c1
        m2 = m0 * (frame[6] + c1 * c1)
        m3 = m0 * (frame[7] + 3.0 * c1 * frame[6] + c1 * c1 * c1)
    # Those who meet trouble now: clean so far, then t.
    if t0 > 0.0 and clean > TINY:
        share = clean * p
        c1 = frame[1]
        r2 = frame[2] + c1 * c1
        r3 = frame[3] + 3.0 * c1 * frame[2] + c1 * c1 * c1
        m0 += share * t0
        m1 += share * (t1 + t0 * c1)
        m2 += share * (t2 + 2.0 * t1 * c1 + t0 * r2)
        m3 += share * (t3 + 3.0 * t2 * c1 + 3.0 * t1 * r2 + t0 * r3)
    frame[4] = m0
    if m0 > TINY:
        c1 = m1 / m0
        c2 = m2 / m0
        frame[5] = c1
        frame[6] = max(c2 - c1 * c1, 0.0)
        frame[7] = m3 / m0 - 3.0 * c1 * c2 + 2.0 * c1 * c1 * c1
    # Those who stay clean.
    w0 = stay + p * q0
    if w0 > TINY:
        e = p / w0
        _lengthen(frame, 0, e * q0 * row[1], e * q0 * row[2], e * q0 * row[3])
    frame[0] = clean * w0


@kernel
def close_frame(frame: F64, out_row: F64) -> None:
    """Turn a frame into an outcome row: cumulants into raw moments."""
    for i in range(8, ROW):
        out_row[i] = frame[i]
    for at in (0, 4):
        c1 = frame[at + 1]
        c2 = frame[at + 2]
        out_row[at] = frame[at]
        out_row[at + 1] = c1
        out_row[at + 2] = c2 + c1 * c1
        out_row[at + 3] = frame[at + 3] + 3.0 * c1 * c2 + c1 * c1 * c1


@inlined
def _shifted(r1: float, r2: float, r3: float, d: float) -> tuple[float, float, float]:
    """Raw moments of X + d."""
    return (
        r1 + d,
        r2 + 2.0 * d * r1 + d * d,
        r3 + 3.0 * d * r2 + 3.0 * d * d * r1 + d * d * d,
    )


@kernel
def attempt_outcome(row: F64, timeout_s: float, delay_s: float, out: F64) -> None:
    """How one attempt on an operation that ends as `row` says ends for a caller with that patience.

    out: (24,) 0..3 shares ok, failed, rejected, timed out; 4 mean time until the caller knows, 5 mean
    time that work goes on after a time-out; 6..9 ok without trouble and its raw moments, 10..13 ok after
    trouble, 14..17 not ok: share, and raw moments times share; 18 how much longer than their past
    those in flight will take, 19 what 0 was multiplied with. Shares 0..3 are of those that end now, for
    each one that begins now; all others are of those that begin.
    """
    for i in range(24):
        out[i] = 0.0
    ok = 0.0
    timed_out = 0.0
    mean_known = 0.0
    mean_whole = 0.0
    for at in (0, 4, 8, 12):
        share = row[at]
        if share <= TINY:
            continue
        scale = 1.0 if at < 8 else 1.0 / share
        r1, r2, r3 = _shifted(row[at + 1] * scale, row[at + 2] * scale, row[at + 3] * scale, delay_s)
        mean_whole += share * r1
        late = 0.0
        b1 = r1
        b2 = r2
        b3 = r3
        if timeout_s < 1e300:
            k2 = max(r2 - r1 * r1, 0.0)
            late, b1, b2, b3 = truncate(r1, k2, r3 - 3.0 * r1 * r2 + 2.0 * r1 * r1 * r1, timeout_s)
        timed_out += share * late
        kept = share * (1.0 - late)
        mean_known += kept * b1
        if at < 8:
            ok += kept
            to = 6 if at == 0 else 10
            out[to] = kept
            out[to + 1] = b1
            out[to + 2] = b2
            out[to + 3] = b3
        else:
            out[1 if at == 8 else 2] = kept
            out[14] += kept
            out[15] += kept * b1
            out[16] += kept * b2
            out[17] += kept * b3
    out[0] = ok
    out[3] = timed_out
    if timed_out > 0.0:
        mean_known += timed_out * timeout_s
        out[14] += timed_out
        out[15] += timed_out * timeout_s
        out[16] += timed_out * timeout_s * timeout_s
        out[17] += timed_out * timeout_s * timeout_s * timeout_s
        out[5] = max(mean_whole - mean_known, 0.0) / timed_out
    out[4] = mean_known
    lead = row[20] * (1.0 - timed_out)
    out[18] = max(min(lead, timeout_s - mean_known), -0.9 * mean_known)
    # From shares of those that begin to numbers of those that end now.
    well = row[0] + row[4]
    out[19] = row[17] / well if well > TINY else 1.0
    out[0] *= out[19]
    if row[8] > TINY:
        out[1] *= row[18] / row[8]


@kernel
def call_outcome(attempt: F64, retries: int, backoff_s: float, marginal: float, out_row: F64) -> None:
    """The outcome row of a call of up to 1 + `retries` attempts that end as `attempt` says.

    Attempts are taken as alike and independent given the state of the system: with n queues between,
    the mean field is what two attempts share.
    """
    for i in range(ROW):
        out_row[i] = 0.0
    bad = min(attempt[14], 1.0)
    out_row[0] = attempt[6]
    out_row[1] = attempt[7]
    out_row[2] = attempt[8]
    out_row[3] = attempt[9]
    out_row[16] = marginal
    out_row[20] = attempt[18]
    m0 = attempt[10]
    m1 = m0 * attempt[11]
    m2 = m0 * attempt[12]
    m3 = m0 * attempt[13]
    if bad > TINY:
        f1 = attempt[15] / bad
        f2 = attempt[16] / bad
        f3 = attempt[17] / bad
        # A failed attempt and the back-off after it, as cumulants; k of them add up.
        g1 = f1 + backoff_s
        g2 = max(f2 - f1 * f1, 0.0)
        g3 = f3 - 3.0 * f1 * f2 + 2.0 * f1 * f1 * f1
        good = attempt[6] + attempt[10]
        weight = 1.0
        rounds = min(retries, RETRIES_MAX)
        if good > TINY:
            s1 = (attempt[6] * attempt[7] + m1) / good
            s2 = (attempt[6] * attempt[8] + m2) / good
            s3 = (attempt[6] * attempt[9] + m3) / good
            v2 = max(s2 - s1 * s1, 0.0)
            v3 = s3 - 3.0 * s1 * s2 + 2.0 * s1 * s1 * s1
            for k in range(1, rounds + 1):
                weight *= bad
                c1 = k * g1 + s1
                c2 = k * g2 + v2
                share = weight * good
                m0 += share
                m1 += share * c1
                m2 += share * (c2 + c1 * c1)
                m3 += share * (k * g3 + v3 + 3.0 * c1 * c2 + c1 * c1 * c1)
        else:
            for _ in range(rounds):
                weight *= bad
        weight *= bad
        n = rounds + 1
        c1 = n * g1 - backoff_s
        c2 = n * g2
        out_row[8] = weight
        out_row[18] = weight * (attempt[1] + attempt[2] + attempt[3]) / bad
        out_row[9] = weight * c1
        out_row[10] = weight * (c2 + c1 * c1)
        out_row[11] = weight * (n * g3 + 3.0 * c1 * c2 + c1 * c1 * c1)
    if m0 > TINY:
        out_row[4] = m0
        out_row[5] = m1 / m0
        out_row[6] = m2 / m0
        out_row[7] = m3 / m0
    out_row[17] = (out_row[0] + m0) * attempt[19]
