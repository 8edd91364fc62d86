"""One station's queue over one tick: how many are there, who leaves, how long the wait is.

The state is the mean number in system m and its variance v, after the pointwise-stationary fluid flow
approximation: a queue that holds m on average works like the stationary queue that holds m on average.

    dm/dt = λ - cμ·ρ(m),   m = cρ + g·C(ρ)·ρ/(1-ρ),   g = (1 + cv²)/2

C is Erlang's chance to wait, g the factor of Allen and Cunneen (1990) for service times that are not
exponential. We solve for y = ρ/(1-ρ) instead of ρ: bounded derivatives in calm and in a backlog of 10⁶.
One implicit Euler step a tick; what leaves is what came in minus what stayed, so requests are conserved.

Two waits. In a growing backlog, whoever leaves now came when it was shorter: he has waited m/λ (Little
1961, with λ averaged over the wait), whereas whoever comes now will wait m/(cμ). How requests end now is
the first; how fast they end is the second. In a steady state both are one.

Noise. Arrivals come twice: expected, and as drawn. In calm the stationary formula already holds the noise
of arrivals, so only the expectation drives m; in a backlog nothing forgets, so the draw does. Between
them the draw's share is ρ⁸. (Driving m by the draw always would add up to half the queue a second time.)
"""

from __future__ import annotations

from typing import Final

from twin.fleet.traffic.engine import F64
from twin.fleet.traffic.erlang import POINTS
from twin.fleet.traffic.jit import inlined, kernel

__all__ = [
    "CALM_UTILISATION",
    "PASS_MAX",
    "PASS_MIN",
    "Q_AGE",
    "Q_ARRIVAL",
    "Q_BLOCK",
    "Q_BUSY",
    "Q_FLOW",
    "Q_IMPATIENT",
    "Q_LEAD",
    "Q_LET_IN",
    "Q_MARGINAL",
    "Q_NUMBER",
    "Q_OFF",
    "Q_PASS",
    "Q_SCV",
    "Q_SERVICE",
    "Q_TAKEN",
    "Q_VARIANCE",
    "Q_WAIT",
    "Q_WIDTH",
    "Q_Y",
    "STATIONARY",
    "WAIT_FOR_EVER_S",
    "refresh_queue",
    "step_queue",
]

# Columns of a queue's state.
Q_NUMBER: Final = 0  # mean number in system
Q_VARIANCE: Final = 1  # its variance
Q_Y: Final = 2  # ρ/(1-ρ) at the tick's end
Q_FLOW: Final = 3  # expected arrivals a second, last tick
Q_SERVICE: Final = 4  # mean seconds that a visitor keeps a server, last tick
Q_WAIT: Final = 5  # 5..7 cumulants of the wait
Q_MARGINAL: Final = 8  # seconds of wait added by one more arrival a second
Q_BLOCK: Final = 9  # share of arrivals that find the queue full
Q_BUSY: Final = 10  # mean servers in use
Q_SCV: Final = 11  # squared coefficient of variation of the service times
Q_ARRIVAL: Final = 12  # arrivals a second, averaged over as long as the wait is
Q_LEAD: Final = 13  # seconds that whoever comes now will wait longer than whoever leaves now has waited
Q_IMPATIENT: Final = 14  # share of arrivals that will give up waiting, as Q_BLOCK is of those turned away
Q_LET_IN: Final = 15  # expected visitors a second that got a server, last tick
Q_PASS: Final = 16  # visitors that leave for each one that is let into the queue
Q_AGE: Final = 17  # how long whoever leaves at the tick's end has waited; Q_WAIT is the tick's average
Q_TAKEN: Final = 18  # requests taken out since the last tick, because their callers cancelled
Q_OFF: Final = 19  # how far the number in system is from the stationary one, in calm
Q_WIDTH: Final = 20

STATIONARY: Final = -1.0  # in place of a variance: what the stationary queue has, worked out when needed
PASS_MIN: Final = 1e-6
PASS_MAX: Final = 10.0
WAIT_FOR_EVER_S: Final = 1e6  # of a queue without servers
CALM_UTILISATION: Final = 0.8
SHORT_QUEUE_MAX: Final = 512.0  # Limits up to here may be solved place by place.


@inlined
def _wait_chance(tables: F64, row: int, rho: float) -> tuple[float, float]:
    """(C(ρ), dC/dρ) from the table."""
    x = rho * (POINTS - 1.0)
    i = min(int(x), POINTS - 2)
    low = tables[row, 0, i]
    rise = tables[row, 0, i + 1] - low
    return low + rise * (x - i), rise * (POINTS - 1.0)


@inlined
def _number_variance(tables: F64, row: int, rho: float) -> float:
    """Var(N)·(1-ρ)² from the table."""
    x = rho * (POINTS - 1.0)
    i = min(int(x), POINTS - 2)
    low = tables[row, 1, i]
    return float(low + (tables[row, 1, i + 1] - low) * (x - i))


@kernel
def _solve_y(b: float, c: float, g: float, drain: float, guess: float, tables: F64, row: int) -> float:
    """y with c·ρ + g·C(ρ)·y + drain·ρ = b. Newton's method, kept inside a bracket."""
    if b <= 0.0:
        return 0.0
    y = max(guess, 1e-9)
    low = 0.0
    high = 1e300
    for _ in range(60):
        rest = 1.0 / (1.0 + y)
        rho = y * rest
        chance, slope = _wait_chance(tables, row, rho)
        f = (c + drain) * rho + g * chance * y - b
        if f > 0.0:
            high = y
        else:
            low = y
        per_y = rest * rest
        step = f / ((c + drain) * per_y + g * (chance + slope * y * per_y))
        new = y - step
        if not low < new < high:
            new = 0.5 * (low + high) if high < 1e299 else 2.0 * low + 1.0
        if abs(new - y) <= 1e-10 * (1.0 + y):
            y = new
            break
        y = new
    return y


@kernel
def _full_queue(
    queues: F64, q: int, c: float, limit: float, offered_rps: float, s: float, tables: F64, row: int
) -> float:
    """Settle a queue whose places fill within one tick; returns its mean number in system.

    M/M/c with `limit` places to wait, in its stationary state. Accepted arrivals that see j waiting wait
    for j + 1 services at rate cμ. Source: Gross and Harris (1998), section 2.4.
    """
    rate = c / s
    rho = offered_rps / rate
    if rho < 1.0:
        chance, _ = _wait_chance(tables, row, rho)
        loss = chance * (1.0 - rho) / max(1.0 - chance * rho, 1e-300)
    else:
        x = (POINTS - 1.0) / rho
        i = min(int(x), POINTS - 2)
        loss = tables[row, 2, i] + (tables[row, 2, i + 1] - tables[row, 2, i]) * (x - i)
    places = int(limit)
    # Scaled by the largest term and summed from there, so that ρ^512 can neither overflow nor drown all in zeros.
    first, last = (loss * rho ** (-places), loss) if rho > 1.0 else (loss, loss * rho**places)
    total = (1.0 - loss) * (rho ** (-places) if rho > 1.0 else 1.0) + (last if rho > 1.0 else first)
    waits1 = 0.0
    waits2 = 0.0
    waits3 = 0.0
    waiting = 0.0
    upper = last
    lower = first
    for i in range(places):
        if rho > 1.0:
            j = places - 1 - i
            waiting += upper * (j + 1.0)
            lower = upper / rho
            total += lower
        else:
            j = i
            upper = lower * rho
            waiting += upper * (j + 1.0)
            total += upper
        waits1 += lower * (j + 1.0)
        waits2 += lower * (j + 1.0) * (j + 2.0)
        waits3 += lower * (j + 1.0) * (j + 2.0) * (j + 3.0)
        if rho > 1.0:
            upper = lower
        else:
            lower = upper
    block = last / total
    accepted = max(total - last, 1e-300)
    w1 = waits1 / accepted / rate
    r2 = waits2 / accepted / (rate * rate)
    r3 = waits3 / accepted / (rate * rate * rate)
    queues[q, Q_BLOCK] = block
    queues[q, Q_WAIT] = w1
    queues[q, Q_WAIT + 1] = max(r2 - w1 * w1, 0.0)
    queues[q, Q_WAIT + 2] = r3 - 3.0 * w1 * r2 + 2.0 * w1 * w1 * w1
    queues[q, Q_MARGINAL] = 0.0
    queues[q, Q_BUSY] = offered_rps * (1.0 - block) * s
    return float(queues[q, Q_BUSY] + waiting / total)


@inlined
def _set_wait(
    queues: F64, q: int, y: float, v: float, rate: float, g: float, past: float, tables: F64, row: int
) -> None:
    """The wait of whoever leaves a queue in the state y, v; source of the cumulants: exponential given C.

    past: how that wait compares with the wait of whoever comes.
    """
    rho = y / (1.0 + y)
    chance, _ = _wait_chance(tables, row, rho)
    coming = g * (1.0 + y) / rate  # mean wait of those who wait
    given = coming * past
    queues[q, Q_LEAD] = chance * (coming - given)
    stationary = g * _number_variance(tables, row, rho) * (1.0 + y) * (1.0 + y)
    narrow = min(v / stationary, 1.0) if stationary > 0.0 else 1.0
    queues[q, Q_WAIT] = chance * given
    queues[q, Q_WAIT + 1] = chance * (2.0 - chance) * given * given * narrow
    queues[q, Q_WAIT + 2] = (
        chance * (6.0 - 6.0 * chance + 2.0 * chance * chance) * given * given * given * narrow * narrow
    )


@inlined
def _find_variance(queues: F64, q: int, g: float, tables: F64, row: int) -> None:
    """Work out the variance of a queue that was stationary until now."""
    if queues[q, Q_VARIANCE] == STATIONARY:
        y = queues[q, Q_Y]
        spread = _number_variance(tables, row, y / (1.0 + y))
        queues[q, Q_VARIANCE] = g * spread * (1.0 + y) * (1.0 + y)


@inlined
def _past(leaving_rps: float, arrival_rps: float, waited_s: float, number: float, dt_s: float) -> float:
    """The wait of whoever leaves, over the wait of whoever comes: m/λ over m/(departures a second).

    Nobody can have waited longer than whoever left a tick ago, and the tick.
    """
    if leaving_rps <= 0.0 or number <= 0.0:
        return 1.0
    most = (waited_s + dt_s) * leaving_rps / number if dt_s > 0.0 else 1e300
    ratio = leaving_rps / arrival_rps if arrival_rps > 0.0 else 1e300
    return min(ratio, most) if number > 1.0 else min(ratio, 1.0)


@kernel
def refresh_queue(queues: F64, q: int, c: float, tables: F64, row: int) -> None:
    """After servers or speeds changed: the wait that the same number in system means now."""
    s = queues[q, Q_SERVICE]
    if c <= 0.0:
        queues[q, Q_LEAD] = WAIT_FOR_EVER_S
        queues[q, Q_PASS] = PASS_MIN
        return
    if s <= 1e-12:
        return
    g = 0.5 * (1.0 + queues[q, Q_SCV])
    _find_variance(queues, q, g, tables, row)
    y = _solve_y(queues[q, Q_NUMBER], c, g, 0.0, queues[q, Q_Y], tables, row)
    queues[q, Q_Y] = y
    leaving = c * y / ((1.0 + y) * s)
    past = _past(leaving, queues[q, Q_ARRIVAL], queues[q, Q_WAIT], queues[q, Q_NUMBER], 0.0)
    _set_wait(queues, q, y, queues[q, Q_VARIANCE], c / s, g, past, tables, row)


@kernel
def step_queue(
    queues: F64,
    q: int,
    c: float,
    limit: float,
    expected: float,
    drawn: float,
    s: float,
    scv: float,
    patience_s: float,
    dt_s: float,
    tables: F64,
    row: int,
) -> tuple[float, float, float]:
    """Advance queue q by a tick; returns (expected departures, departures, rejections), in requests.

    queues: (Q, Q_WIDTH). c: servers. limit: places to wait. expected, drawn: arrivals. s, scv: mean and
    squared coefficient of variation of a service. patience_s: how long a visitor waits at most. Who will
    give up waiting (Q_IMPATIENT of the arrivals) is returned among the rejections.
    """
    before = queues[q, Q_NUMBER]
    flow = expected / dt_s
    queues[q, Q_FLOW] = flow
    taken = queues[q, Q_TAKEN]
    queues[q, Q_TAKEN] = 0.0
    queues[q, Q_IMPATIENT] = 0.0
    memory = dt_s / (dt_s + queues[q, Q_AGE])  # weight of this tick in the arrivals so far
    queues[q, Q_SERVICE] = s
    queues[q, Q_SCV] = scv
    queues[q, Q_BLOCK] = 0.0
    if c <= 0.0:  # Wholly blocked: whoever comes waits, while there is room.
        _find_variance(queues, q, 0.5 * (1.0 + scv), tables, row)
        after = before + drawn
        turned_away = max(0.0, after - limit)
        after -= turned_away
        queues[q, Q_BLOCK] = turned_away / drawn if drawn > 0.0 else (1.0 if before >= limit else 0.0)
        queues[q, Q_NUMBER] = after
        queues[q, Q_VARIANCE] += drawn
        queues[q, Q_ARRIVAL] += ((drawn - turned_away) / dt_s - queues[q, Q_ARRIVAL]) * memory
        # Nobody leaves; whoever would, has waited since before the block.
        age = queues[q, Q_AGE]
        queues[q, Q_AGE] = min(after / max(queues[q, Q_ARRIVAL], 1e-9), age + dt_s)
        queues[q, Q_WAIT] = 0.5 * (age + queues[q, Q_AGE])
        queues[q, Q_PASS] = PASS_MIN
        queues[q, Q_WAIT + 1] = 0.0
        queues[q, Q_WAIT + 2] = 0.0
        queues[q, Q_LEAD] = WAIT_FOR_EVER_S
        queues[q, Q_MARGINAL] = 0.0
        queues[q, Q_BUSY] = 0.0
        return 0.0, 0.0, turned_away
    if s <= 1e-12:  # No work: straight through.
        queues[q, Q_NUMBER] = 0.0
        queues[q, Q_VARIANCE] = STATIONARY
        queues[q, Q_Y] = 0.0
        queues[q, Q_OFF] = 0.0
        for i in range(Q_WAIT, Q_SCV):
            queues[q, i] = 0.0
        queues[q, Q_ARRIVAL] = flow
        queues[q, Q_LEAD] = 0.0
        queues[q, Q_PASS] = 1.0
        queues[q, Q_AGE] = 0.0
        return before + expected, before + drawn, 0.0
    g = 0.5 * (1.0 + scv)
    rate = c / s
    rho = flow / rate
    # A short queue settles within the tick: it fills at the surplus, or else wanders like √(2·rate·t).
    settles = limit * limit < rate * dt_s or 2.0 * limit < (flow - rate) * dt_s
    if settles and limit <= SHORT_QUEUE_MAX and rho > 0.1:
        after = _full_queue(queues, q, c, limit, flow, s, tables, row)
        turned_away = drawn * queues[q, Q_BLOCK]
        kept = before + drawn - turned_away
        after = min(after, kept)
        queues[q, Q_NUMBER] = after
        queues[q, Q_VARIANCE] = queues[q, Q_WAIT + 1] * rate * rate
        queues[q, Q_Y] = rho / max(1.0 - rho, 1e-3)
        queues[q, Q_LEAD] = 0.0
        queues[q, Q_ARRIVAL] = flow * (1.0 - queues[q, Q_BLOCK])
        queues[q, Q_PASS] = 1.0
        queues[q, Q_AGE] = queues[q, Q_WAIT]
        left = max(before + expected * (1.0 - queues[q, Q_BLOCK]) - after, 0.0)
        return left, kept - after, turned_away
    if rho < CALM_UTILISATION:
        rest = 1.0 / (1.0 - rho)
        chance, _ = _wait_chance(tables, row, rho)
        stationary = c * rho + g * chance * rho * rest
        off = before - stationary
        if abs(off) < 0.1 * (1.0 + stationary):
            stiff = dt_s * rate / (c + g * chance * rest * rest)
            after = min(stationary + off / (1.0 + stiff), before + drawn)
            given = g * rest / rate
            queues[q, Q_NUMBER] = after
            queues[q, Q_OFF] = after - stationary
            queues[q, Q_VARIANCE] = STATIONARY
            queues[q, Q_Y] = rho * rest
            queues[q, Q_LEAD] = 0.0
            queues[q, Q_PASS] = 1.0
            queues[q, Q_AGE] = chance * given
            queues[q, Q_ARRIVAL] = flow
            queues[q, Q_WAIT] = chance * given
            queues[q, Q_WAIT + 1] = chance * (2.0 - chance) * given * given
            queues[q, Q_WAIT + 2] = chance * (6.0 - chance * (6.0 - 2.0 * chance)) * given * given * given
            queues[q, Q_MARGINAL] = chance * given * rest / rate
            queues[q, Q_BUSY] = c * rho
            return max(before + expected - after, 0.0), before + drawn - after, 0.0
    # The long way: a step of the fluid queue.
    _find_variance(queues, q, g, tables, row)
    y = queues[q, Q_Y]
    rho = max(y / (1.0 + y), min(rho, 1.0))
    share = rho * rho
    share *= share
    share *= share
    came = expected + share * (drawn - expected)
    drain = dt_s * rate
    b = before + came
    y = _solve_y(b, c, g, drain, y, tables, row)
    rho = y / (1.0 + y)
    chance, slope = _wait_chance(tables, row, rho)
    after = c * rho + g * chance * y
    turned_away = 0.0
    top = c + min(limit, rate * patience_s)
    if after > top:
        turned_away = min(after - top, drawn)
        after = max(top, after - turned_away)
        y = _solve_y(after, c, g, 0.0, y, tables, row)
        rho = y / (1.0 + y)
        chance, slope = _wait_chance(tables, row, rho)
        if drawn > 0.0:
            # Those who wait in vain take places too: what the limit leaves over is turned away at once.
            doomed = 0.0
            if patience_s < 1e300:
                doomed = turned_away
                if limit < 1e300:
                    places = max(limit - rate * patience_s, 0.0)
                    doomed = min(turned_away, places * dt_s / max(patience_s, 1e-9))
            queues[q, Q_IMPATIENT] = doomed / drawn
            queues[q, Q_BLOCK] = (turned_away - doomed) / drawn
    kept = before + drawn - turned_away
    after = min(after, kept)
    # Averages over the tick, for whoever arrives in it.
    per_y = 1.0 / ((1.0 + y) * (1.0 + y))
    number_per_y = c * per_y + g * (chance + slope * y * per_y)
    relax = rate * per_y / number_per_y  # d(departures per second)/dm
    mid = 0.5 / (1.0 + 0.5 * dt_s * relax)
    change = after - before
    y_mid = max(y - change * mid / number_per_y, 0.0)
    left = (before + expected - turned_away) - after
    stationary = g * _number_variance(tables, row, rho) / per_y
    pull = max(left, 0.0) / dt_s / stationary if stationary > 1e-12 else 1e12
    v_before = queues[q, Q_VARIANCE]
    # What the draw has told is no longer uncertain.
    v = (v_before + came * (1.0 - share) + max(left, 0.0)) / (1.0 + 2.0 * dt_s * pull)
    v_mid = v + (v_before - v) * mid
    queues[q, Q_NUMBER] = after
    queues[q, Q_VARIANCE] = v
    queues[q, Q_Y] = y
    accepted = max(came - turned_away, 0.0) / dt_s
    queues[q, Q_ARRIVAL] += (accepted - queues[q, Q_ARRIVAL]) * memory
    number_mid = after - change * mid
    leaving = max(left, 0.0) / dt_s
    past = _past(leaving, queues[q, Q_ARRIVAL], queues[q, Q_AGE], number_mid, dt_s)
    _set_wait(queues, q, y_mid, v_mid, rate, g, past, tables, row)
    queues[q, Q_AGE] = chance * g * (1.0 + y) / rate * past
    let_in = max(expected - turned_away, 1e-9)
    queues[q, Q_PASS] = min(max((left + taken) / let_in, PASS_MIN), PASS_MAX)
    queues[q, Q_MARGINAL] = (dt_s / (1.0 + dt_s * relax)) / rate * chance
    queues[q, Q_BUSY] = c * rho
    return max(left, 0.0), kept - after, turned_away
