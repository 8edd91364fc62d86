"""The ledger of one edge over one tick: every attempt that was issued is somewhere.

    issued = ok + failed + rejected + timed out + still in flight,

exactly, because each figure is moved from one pot to another and never worked out twice.
"""

from __future__ import annotations

from twin.fleet.traffic.engine import F64
from twin.fleet.traffic.jit import inlined, kernel
from twin.fleet.traffic.state import (
    CALM_SHARE,
    E_BACKOFF,
    E_FAIL,
    E_FLIGHT,
    E_HOT,
    E_MEAN,
    E_OK,
    E_PASS,
    E_RATE,
    E_TRANSIT,
    E_ZOMBIE,
    E_ZOMBIE_S,
    O_CAME,
    O_CANCEL,
    O_LOST,
    RESIDUE,
    T_BACKOFF,
    T_CALL_FAILED,
    T_CALL_OK,
    T_FAILED,
    T_REJECTED,
    T_RETRIED,
    T_TIMED_OUT,
    T_ZOMBIE,
    X_FLIGHT,
    X_ISSUED,
    X_OK,
)

__all__ = ["settle_calm_edge", "settle_edge"]


@inlined
def settle_calm_edge(
    e: int, mean_s: float, expected: float, drawn: float, dt_s: float, edges: F64, out_edge: F64
) -> float:
    """An edge where every attempt ends well, after `mean_s` seconds; returns how many did.

    expected, drawn: first attempts of the tick. Little (1961): in flight = rate × time.
    """
    whole: float = edges[E_FLIGHT, e] + drawn
    if_long = whole * (mean_s / (mean_s + dt_s))
    if_short = min(expected * mean_s / dt_s, whole)
    after = if_long if mean_s > 0.1 * dt_s else if_short
    done = whole - after
    edges[E_FLIGHT, e] = after
    out_edge[X_ISSUED, e] = drawn
    out_edge[X_OK, e] = done
    out_edge[X_FLIGHT, e] = after
    return done


@kernel
def settle_edge(
    e: int,
    callee: int,
    expected: float,
    drawn: float,
    cancel: int,
    retries: int,
    backoff_s: float,
    cut: float,
    dt_s: float,
    edges: F64,
    ops: F64,
    out_edge: F64,
    out_trouble: F64,
) -> None:
    """The ledger of one edge in trouble: issue, resolve, back off, issue again; exact to rounding.

    Attempts take E_MEAN seconds, and end with the shares of the last backward sweep. Attempts of one
    number share one pot, so a retry leaves only after the attempt before it has failed. What was in a pot
    is spread evenly over its time; what comes in during the tick comes evenly from `start_s` on, so that
    a second attempt does not appear in the tick of the first if time-out and back-off take longer.
    """
    issued = drawn
    mean = edges[E_MEAN, e]
    ok_share = edges[E_OK, e]
    failed_share = edges[E_OK + 1, e]
    rejected_share = edges[E_OK + 2, e]
    late_share = edges[E_OK + 3, e]
    bad_share = failed_share + rejected_share + late_share
    # If fewer end than begin, the rest is stuck behind something that grows. What is stuck takes no part:
    # only what was on the way before it grew, by Little's law. If more end than begin, all takes part.
    whole_share = ok_share + bad_share
    in_flight = edges[E_FLIGHT, e] + edges[E_FLIGHT + 1, e] + edges[E_FLIGHT + 2, e] + edges[E_FLIGHT + 3, e]
    if edges[E_RATE, e] == 0.0:
        edges[E_RATE, e] = drawn / dt_s
        edges[E_TRANSIT, e] = min(in_flight / edges[E_RATE, e], mean) if drawn > 0.0 else mean
    moving = 1.0
    transit = mean
    if whole_share < 0.999:
        transit = min(edges[E_TRANSIT, e], mean)
        if in_flight > edges[E_RATE, e] * transit:
            moving = edges[E_RATE, e] * transit / in_flight
    edges[E_TRANSIT, e] = transit
    old_share = min(dt_s / transit, 1.0) if transit > 0.0 else 1.0
    lost = ops[O_LOST, callee]
    ok = 0.0
    failed = 0.0
    rejected = 0.0
    timed_out = 0.0
    retried = 0.0
    call_failed = 0.0
    flight = 0.0
    backoff = 0.0
    again = 0.0
    start_s = 0.0  # from when in the tick on attempts are issued, and then come back
    for a in range(4):
        if a > 0:
            waiting = edges[E_BACKOFF + a - 1, e]
            call_failed += waiting * cut
            waiting *= 1.0 - cut
            early = waiting * min(dt_s / backoff_s, 1.0) if backoff_s > 0.0 else waiting
            late = again * _still_in_tick(backoff_s, start_s, dt_s)
            issued = early + late
            start_s = (start_s + backoff_s) * late / issued if issued > 0.0 else 0.0
            edges[E_BACKOFF + a - 1, e] = waiting + again - issued
            backoff += waiting + again - issued
            retried += issued
        here = edges[E_FLIGHT + a, e]
        gone = here * cut
        timed_out += gone
        call_failed += gone
        here -= gone
        broken = here * lost
        failed += broken
        here -= broken
        early = here * old_share * moving
        late = issued * _still_in_tick(transit, start_s, dt_s)
        done = early + late
        start_s = (start_s + mean) * late / done if done > 0.0 else 0.0
        if done * whole_share > here + issued:
            done = (here + issued) / whole_share
        left = here + issued - done * whole_share
        edges[E_FLIGHT + a, e] = left
        flight += left
        bad = done * bad_share
        good = done * whole_share - bad
        ok += good
        if bad_share > 0.0:
            rejected += done * rejected_share
            timed_out += done * late_share
            # The rest of `bad`, so that the ledger closes to the last digit.
            failed += bad - done * rejected_share - done * late_share
        bad += broken
        again = 0.0
        if a < 3:
            if a < retries:
                again = bad
        elif retries > 3:
            # Attempts 3..retries share the last pot; of those that fail there, this share was the last.
            rounds = retries - 3
            f = min(bad_share / max(whole_share, 1e-12), 1.0)
            last = f**rounds / _geometric(f, rounds + 1)
            held = bad * (1.0 - last)
            edges[E_BACKOFF + 2, e] += held
            backoff += held
            bad -= held
        call_failed += bad - again
    call_ok = ok
    edges[E_RATE, e] += ((drawn + retried) / dt_s - edges[E_RATE, e]) * dt_s / (dt_s + mean)
    zombies = edges[E_ZOMBIE, e]
    if cancel != 0:
        ops[O_CANCEL, callee] += timed_out
    else:
        zombies += timed_out
    tail = edges[E_ZOMBIE_S, e]
    zombies *= tail / (tail + dt_s)
    edges[E_ZOMBIE, e] = zombies
    residue = flight - edges[E_FLIGHT, e] + backoff + zombies
    if bad_share <= CALM_SHARE and residue < RESIDUE:
        # Calm again: the crumbs end well, and the fast path takes over.
        rest = flight - edges[E_FLIGHT, e]
        ok += rest
        call_ok += rest
        call_failed += backoff
        flight -= rest
        backoff = 0.0
        zombies = 0.0
        for i in range(1, E_HOT):
            edges[i, e] = 0.0
        edges[E_OK, e] = 1.0
        edges[E_FAIL, e] = 0.0
        edges[E_PASS, e] = 1.0
        for i in range(E_OK + 1, E_OK + 4):
            edges[i, e] = 0.0
        edges[E_HOT, e] = 0.0
    ops[O_CAME, callee] += expected + retried
    ops[O_CAME + 1, callee] += drawn + retried
    out_edge[X_ISSUED, e] = drawn + retried
    out_edge[X_OK, e] = ok
    out_trouble[T_FAILED, e] = failed
    out_trouble[T_REJECTED, e] = rejected
    out_trouble[T_TIMED_OUT, e] = timed_out
    out_trouble[T_RETRIED, e] = retried
    out_edge[X_FLIGHT, e] = flight
    out_trouble[T_BACKOFF, e] = backoff
    out_trouble[T_ZOMBIE, e] = zombies
    out_trouble[T_CALL_OK, e] = call_ok
    out_trouble[T_CALL_FAILED, e] = call_failed


@inlined
def _still_in_tick(delay_s: float, start_s: float, dt_s: float) -> float:
    """Of what comes evenly from start_s to the tick's end, the share that is through by then."""
    rest = dt_s - start_s
    return max((rest - delay_s) / rest, 0.0) if rest > 0.0 else 0.0


@inlined
def _geometric(f: float, terms: int) -> float:
    """1 + f + f² + …, so many terms."""
    total = 0.0
    power = 1.0
    for _ in range(min(terms, 64)):
        total += power
        power *= f
    return total
