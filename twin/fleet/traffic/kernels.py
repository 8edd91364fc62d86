"""The tick's two sweeps over the call graph, compiled.

`sweep_forward` moves requests: callers before callees, every station's queue by one tick, every edge's
ledger. `sweep_backward` asks how long and how well: callees before callers, every operation's outcome
row, every edge's shares for the next tick. Between them they own all state; nothing here allocates.

Letters of shapes: as in network.py, and (P,) pools, (Q,) queues (one a pool and station, or one a
service and station), (M,) contents (one a pool and visit).
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import numpy as np

from twin.fleet.traffic.engine import F64, I64
from twin.fleet.traffic.jit import inlined, kernel
from twin.fleet.traffic.moments import (
    CERTAIN_SIGMAS,
    ROW,
    add_step,
    attempt_outcome,
    call_outcome,
    close_frame,
    compose,
    leave,
    open_frame,
    quantile,
    survival,
    truncate,
    two_part_quantile,
)
from twin.fleet.traffic.network import (
    CACHED,
    CALLS,
    END,
    END_CACHED,
    END_HOLD,
    GROUP,
    HOLD,
    WORK,
)
from twin.fleet.traffic.queues import (
    Q_ARRIVAL,
    Q_BLOCK,
    Q_BUSY,
    Q_FLOW,
    Q_IMPATIENT,
    Q_LEAD,
    Q_LET_IN,
    Q_MARGINAL,
    Q_NUMBER,
    Q_SCV,
    Q_SERVICE,
    Q_WAIT,
    refresh_queue,
    step_queue,
)

__all__ = [
    "E_HOT",
    "E_WIDTH",
    "M_HOLD",
    "M_NUMBER",
    "M_WIDTH",
    "O_CUT",
    "O_LOST",
    "O_WIDTH",
    "X_ROWS",
    "Y_FAILED",
    "Y_ROWS",
    "keep_state",
    "read_utilisation",
    "refresh_queues",
    "sweep_backward",
    "sweep_forward",
    "take_back",
]

# Rows of the edges' state, (E_WIDTH, E).
E_FLIGHT: Final = 0  # 0..3 attempts in flight, by number of attempt; 3 is "fourth or later"
E_BACKOFF: Final = 4  # 4..6 waiting to become attempt 1, 2, 3 or later
E_ZOMBIE: Final = 7
E_HOT: Final = 8  # 1: some attempt may end badly, or some mass is left from when it could
E_MEAN: Final = 9  # mean seconds until the caller knows
E_OK: Final = 10  # 10..13 shares of attempts: ok, failed, rejected, timed out
E_ZOMBIE_S: Final = 14  # mean seconds that a timed-out attempt goes on
E_FAIL: Final = 15  # share of calls that fail their request
E_FIRST: Final = 16  # 16, 17 first attempts this tick: expected, drawn
E_WIDTH: Final = 18

# Columns of contents, (M, M_WIDTH): the requests of one operation and pool at one visit.
M_NUMBER: Final = 0
M_CAME: Final = 1  # 1, 2 this tick: expected, drawn
M_DOOMED: Final = 3  # waiting out a Hold's time-out in vain
M_HOLD: Final = 4  # 4, 5 mean and variance of the holding time
M_HOLD_MARGINAL: Final = 6
M_LATE: Final = 7  # share of waits beyond the Hold's time-out
M_WIDTH: Final = 8

# Columns of operations, (O, O_WIDTH).
O_CAME: Final = 0  # 0, 1 arrivals not yet taken in: expected, drawn
O_CANCEL: Final = 2  # attempts whose callers have given up and cancelled, to be taken out
O_CUT: Final = 3  # share of its waiting callers cut this tick
O_LOST: Final = 4  # share of its requests lost with a vanished pool
O_HOT: Final = 5  # some edge is hot
O_WIDTH: Final = 6

# Rows of a sample's edge block.
X_ISSUED: Final = 0
X_OK: Final = 1
X_FAILED: Final = 2
X_REJECTED: Final = 3
X_TIMED_OUT: Final = 4
X_RETRIED: Final = 5
X_FLIGHT: Final = 6
X_BACKOFF: Final = 7
X_ZOMBIE: Final = 8
X_CALL_OK: Final = 9
X_CALL_FAILED: Final = 10
X_CALL_MEAN: Final = 11
X_CALL_P99: Final = 12
X_ROWS: Final = 13

# Rows of a sample's operation block.
Y_CAME: Final = 0
Y_OK: Final = 1
Y_FAILED: Final = 2
Y_REJECTED: Final = 3
Y_MEAN: Final = 4
Y_P50: Final = 5
Y_P99: Final = 6
Y_ROWS: Final = 7

Z_P99: Final = 2.3263478740408408
CALM_SHARE: Final = 1e-7  # Below, trouble is not worth its arithmetic.
LEAD_MAX: Final = 0.02  # of the mean: below, coming and leaving requests are alike
RESIDUE: Final = 1e-9  # requests


@inlined
def _take_in(
    o: int,
    first_pool: int,
    pools: int,
    ready: float,
    pool_ready: F64,
    pool_error_ratio: F64,
    shed: float,
    ops: F64,
    out_op: F64,
    stack: F64,
    depth: int,
    code: int,
) -> int:
    """Let an operation's arrivals in at the door; pushes one flow a pool."""
    expected = ops[o, O_CAME]
    drawn = ops[o, O_CAME + 1]
    ops[o, O_CAME] = 0.0
    ops[o, O_CAME + 1] = 0.0
    out_op[Y_CAME, o] = drawn
    out_op[Y_OK, o] = 0.0
    failed = 0.0
    if ready <= 0.0:
        out_op[Y_FAILED, o] = 0.0
        out_op[Y_REJECTED, o] = drawn
        return depth
    out_op[Y_REJECTED, o] = drawn * shed
    expected *= 1.0 - shed
    drawn *= 1.0 - shed
    for pool in range(pools):
        p = first_pool + pool
        share = pool_ready[p] / ready
        if share <= 0.0:
            continue
        sound = share * (1.0 - pool_error_ratio[p])
        failed += drawn * share * pool_error_ratio[p]
        stack[depth, 0] = code
        stack[depth, 1] = pool
        stack[depth, 2] = expected * sound
        stack[depth, 3] = drawn * sound
        stack[depth, 4] = o
        depth += 1
    out_op[Y_FAILED, o] = failed
    return depth


@kernel
def _settle_edge(
    e: int,
    callee: int,
    cancel: int,
    retries: int,
    backoff_s: float,
    cut: float,
    dt_s: float,
    edges: F64,
    ops: F64,
    out_edge: F64,
) -> None:
    """The ledger of one edge in trouble: issue, resolve, back off, issue again; exact to rounding.

    Attempts take E_MEAN seconds, and end with the shares of the last backward sweep. Attempts of one
    number share one pot, so a retry leaves only after the attempt before it has failed. What was in a pot
    is spread evenly over its time; what comes in during the tick comes evenly from `start_s` on, so that
    a second attempt does not appear in the tick of the first if time-out and back-off take longer.
    """
    issued = edges[E_FIRST + 1, e]
    expected = edges[E_FIRST, e]
    mean = edges[E_MEAN, e]
    old_share = min(dt_s / mean, 1.0) if mean > 0.0 else 1.0
    failed_share = edges[E_OK + 1, e]
    rejected_share = edges[E_OK + 2, e]
    late_share = edges[E_OK + 3, e]
    bad_share = failed_share + rejected_share + late_share
    lost = ops[callee, O_LOST]
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
        early = here * old_share
        late = issued * _still_in_tick(mean, start_s, dt_s)
        done = early + late
        start_s = (start_s + mean) * late / done if done > 0.0 else 0.0
        left = here + issued - done
        edges[E_FLIGHT + a, e] = left
        flight += left
        bad = done * bad_share
        good = done - bad
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
            f = min(bad_share, 1.0)
            last = f**rounds / _geometric(f, rounds + 1)
            held = bad * (1.0 - last)
            edges[E_BACKOFF + 2, e] += held
            backoff += held
            bad -= held
        call_failed += bad - again
    call_ok = ok
    zombies = edges[E_ZOMBIE, e]
    if cancel != 0:
        ops[callee, O_CANCEL] += timed_out
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
        edges[E_HOT, e] = 0.0
    ops[callee, O_CAME] += expected + retried
    ops[callee, O_CAME + 1] += edges[E_FIRST + 1, e] + retried
    out_edge[X_ISSUED, e] = edges[E_FIRST + 1, e] + retried
    out_edge[X_OK, e] = ok
    out_edge[X_FAILED, e] = failed
    out_edge[X_REJECTED, e] = rejected
    out_edge[X_TIMED_OUT, e] = timed_out
    out_edge[X_RETRIED, e] = retried
    out_edge[X_FLIGHT, e] = flight
    out_edge[X_BACKOFF, e] = backoff
    out_edge[X_ZOMBIE, e] = zombies
    out_edge[X_CALL_OK, e] = call_ok
    out_edge[X_CALL_FAILED, e] = call_failed


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


@inlined
def _settle_calm_edge(e: int, callee: int, dt_s: float, edges: F64, ops: F64, out_edge: F64) -> None:
    """The ledger of an edge where every attempt ends well. Little (1961): in flight = rate × time."""
    expected = edges[E_FIRST, e]
    drawn = edges[E_FIRST + 1, e]
    mean = edges[E_MEAN, e]
    before = edges[E_FLIGHT, e]
    if mean < 0.1 * dt_s:
        after = min(expected * mean / dt_s, before + drawn)
    else:
        after = (before + drawn) * mean / (mean + dt_s)
    done = before + drawn - after
    edges[E_FLIGHT, e] = after
    ops[callee, O_CAME] += expected
    ops[callee, O_CAME + 1] += drawn
    out_edge[X_ISSUED, e] = drawn
    out_edge[X_OK, e] = done
    out_edge[X_FLIGHT, e] = after
    out_edge[X_CALL_OK, e] = done
    out_edge[X_FAILED, e] = 0.0
    out_edge[X_REJECTED, e] = 0.0
    out_edge[X_TIMED_OUT, e] = 0.0
    out_edge[X_RETRIED, e] = 0.0
    out_edge[X_BACKOFF, e] = 0.0
    out_edge[X_ZOMBIE, e] = 0.0
    out_edge[X_CALL_FAILED, e] = 0.0


@kernel
def sweep_forward(
    dt_s: float,
    journey_drawn: F64,
    # The network.
    service_order: I64,
    op_start: I64,
    edge_start: I64,
    edge_callee: I64,
    edge_probability: F64,
    edge_cancel: I64,
    station_start: I64,
    station_order: I64,
    station_visit_start: I64,
    station_visits: I64,
    visit_op: I64,
    visit_code: I64,
    visit_hold: I64,
    visit_mean_s: F64,
    visit_cv2: F64,
    visit_timeout_s: F64,
    code_start: I64,
    code_kind: I64,
    code_a: I64,
    code_b: I64,
    code_x: F64,
    # The conditions.
    pool_start: I64,
    pool_ready: F64,
    pool_speed: F64,
    pool_error_ratio: F64,
    edge_retries: I64,
    edge_backoff_s: F64,
    op_shed_ratio: F64,
    journey_rate_rps: F64,
    # The queues under these conditions.
    queue_start: I64,
    queue_servers: F64,
    queue_limit: F64,
    queue_table: I64,
    content_start: I64,
    tables: F64,
    # State, and work space.
    edges: F64,
    contents: F64,
    queues: F64,
    ops: F64,
    stack: F64,
    # What happened.
    out_edge: F64,
    out_op: F64,
    out_busy: F64,
    out_capacity: F64,
    out_queue: F64,
) -> None:
    """Move every request by one tick of `dt_s` seconds.

    journey_drawn: (J,) new users. queue_start: (K+1,), queue_servers, queue_limit, queue_table: (Q,).
    content_start: (V,) first of a visit's contents, one a pool. edges: (E_WIDTH, E), contents:
    (M, M_WIDTH), queues: (Q, Q_WIDTH), ops: (O, O_WIDTH). stack: (D, 5) flows to be followed. out_edge:
    (X_ROWS, E), out_op: (Y_ROWS, O), out_busy, out_capacity, out_queue: (K,).
    """
    for j in range(journey_drawn.shape[0]):
        edges[E_FIRST, j] = journey_rate_rps[j] * dt_s
        edges[E_FIRST + 1, j] = journey_drawn[j]
        if edges[E_HOT, j] == 0.0 and ops[edge_callee[j], O_LOST] == 0.0:
            _settle_calm_edge(j, edge_callee[j], dt_s, edges, ops, out_edge)
        else:
            _settle_edge(
                j,
                edge_callee[j],
                0,  # A user who gives up tells nobody.
                edge_retries[j],
                edge_backoff_s[j],
                0.0,
                dt_s,
                edges,
                ops,
                out_edge,
            )
    for at in range(service_order.shape[0]):
        service = service_order[at]
        first_pool = pool_start[service]
        pools = pool_start[service + 1] - first_pool
        first_op = op_start[service]
        last_op = op_start[service + 1]
        ready = 0.0
        for p in range(first_pool, first_pool + pools):
            ready += pool_ready[p]
        first_edge = edge_start[first_op]
        last_edge = edge_start[last_op]
        for e in range(first_edge, last_edge):
            edges[E_FIRST, e] = 0.0
            edges[E_FIRST + 1, e] = 0.0
        depth = 0
        for o in range(first_op, last_op):
            if ops[o, O_CANCEL] > 0.0:
                _take_out_cancelled(
                    o, pools, station_start[service], station_start[service + 1], station_visit_start,
                    station_visits, visit_op, visit_hold, queue_start, content_start, edge_start, edges,
                    contents, queues, ops,
                )  # fmt: skip
            depth = _take_in(
                o, first_pool, pools, ready, pool_ready, pool_error_ratio, op_shed_ratio[o], ops, out_op,
                stack, depth, code_start[o],
            )  # fmt: skip
        next_station = station_start[service]
        while True:
            # Follow every flow to the next station, or to the end of its program.
            while depth > 0:
                depth -= 1
                pc = int(stack[depth, 0])
                pool = int(stack[depth, 1])
                expected = stack[depth, 2]
                drawn = stack[depth, 3]
                o = int(stack[depth, 4])
                hot = ops[o, O_HOT] != 0.0
                while True:
                    kind = code_kind[pc]
                    if kind == CALLS:
                        if hot:
                            for e in range(code_a[pc], code_b[pc]):
                                edges[E_FIRST, e] += expected * edge_probability[e]
                                edges[E_FIRST + 1, e] += drawn * edge_probability[e]
                                failing = edge_probability[e] * edges[E_FAIL, e]
                                out_op[Y_FAILED, o] += drawn * failing
                                expected *= 1.0 - failing
                                drawn *= 1.0 - failing
                                if drawn < 1e-9:
                                    out_op[Y_FAILED, o] += drawn
                                    drawn = 0.0
                                if expected < 1e-9:
                                    expected = 0.0
                        else:
                            for e in range(code_a[pc], code_b[pc]):
                                edges[E_FIRST, e] += expected * edge_probability[e]
                                edges[E_FIRST + 1, e] += drawn * edge_probability[e]
                        pc += 1
                    elif kind == GROUP:
                        alive = 1.0
                        for e in range(code_a[pc], code_b[pc]):
                            edges[E_FIRST, e] += expected * edge_probability[e]
                            edges[E_FIRST + 1, e] += drawn * edge_probability[e]
                            alive *= 1.0 - edge_probability[e] * edges[E_FAIL, e]
                        out_op[Y_FAILED, o] += drawn * (1.0 - alive)
                        expected *= alive
                        drawn *= alive
                        pc += 1
                    elif kind == END:
                        out_op[Y_OK, o] += drawn
                        break
                    elif kind == CACHED:
                        hit = code_x[pc]
                        stack[depth, 0] = code_b[pc] + 1
                        stack[depth, 1] = pool
                        stack[depth, 2] = expected * hit
                        stack[depth, 3] = drawn * hit
                        stack[depth, 4] = o
                        depth += 1
                        expected *= 1.0 - hit
                        drawn *= 1.0 - hit
                        pc += 1
                    elif kind in (END_HOLD, END_CACHED):
                        pc += 1
                    else:  # WORK or HOLD: the flow joins what waits there.
                        m = content_start[code_a[pc]] + pool
                        contents[m, M_CAME] += expected
                        contents[m, M_CAME + 1] += drawn
                        break
            if next_station == station_start[service + 1]:
                break
            k = station_order[next_station]
            next_station += 1
            busy = 0.0
            waiting = 0.0
            capacity = 0.0
            first_queue = queue_start[k]
            queue_count = queue_start[k + 1] - first_queue
            shared = queue_count == 1  # Then it serves all pools, be they one or many.
            for i in range(queue_count):
                q = first_queue + i
                from_pool = 0 if shared else i
                to_pool = pools if shared else i + 1
                capacity += queue_servers[q]
                came_expected = 0.0
                came_drawn = 0.0
                weight = 0.0
                service1 = 0.0
                service2 = 0.0
                marginal = 0.0
                patience = np.inf
                doomed = 0.0
                present = 0.0
                for w in range(station_visit_start[k], station_visit_start[k + 1]):
                    visit = station_visits[w]
                    hold = visit_hold[visit] != 0
                    for pool in range(from_pool, to_pool):
                        m = content_start[visit] + pool
                        if hold:
                            mean = contents[m, M_HOLD]
                            second = contents[m, M_HOLD + 1] + mean * mean
                            limit_s = visit_timeout_s[visit]
                            if limit_s < 1e300:
                                patience = min(patience, limit_s)
                                late = contents[m, M_LATE]
                                pot = contents[m, M_DOOMED] + contents[m, M_CAME + 1] * late
                                gone = pot * dt_s / (limit_s + dt_s)
                                contents[m, M_DOOMED] = pot - gone
                                doomed += pot - gone
                                out_op[Y_REJECTED, visit_op[visit]] += gone
                                contents[m, M_CAME] *= 1.0 - late
                                contents[m, M_CAME + 1] *= 1.0 - late
                        else:
                            mean = visit_mean_s[visit] / pool_speed[first_pool + pool]
                            second = mean * mean * (1.0 + visit_cv2[visit])
                        came_expected += contents[m, M_CAME]
                        came_drawn += contents[m, M_CAME + 1]
                        here = contents[m, M_NUMBER] + contents[m, M_CAME]
                        present += contents[m, M_NUMBER] + contents[m, M_CAME + 1]
                        weight += here
                        service1 += here * mean
                        service2 += here * second
                        if hold:
                            marginal += here * contents[m, M_HOLD_MARGINAL]
                if weight <= 1e-9 and queues[q, Q_NUMBER] <= 1e-9:
                    s = queues[q, Q_SERVICE]
                    scv = queues[q, Q_SCV]
                    if came_drawn <= 0.0 and queues[q, Q_WAIT] == 0.0:
                        queues[q, Q_BUSY] = 0.0
                        continue
                else:
                    s = service1 / weight
                    scv = max(service2 / weight / (s * s) - 1.0, 0.0) if s > 0.0 else 0.0
                c = queue_servers[q]
                busy_before = queues[q, Q_BUSY]
                if marginal > 0.0 and c > 0.0:
                    # A Hold is kept for longer the more are inside: solve for the flow that it lets in.
                    s = _holding_time(
                        s, marginal / weight, c, queues[q, Q_LET_IN], came_expected, queues[q, Q_NUMBER], dt_s
                    )
                left_expected, left, turned_away = step_queue(
                    queues, q, c, queue_limit[q], came_expected, came_drawn, s, scv, patience, dt_s, tables,
                    queue_table[q],
                )  # fmt: skip
                queue_len = max(queues[q, Q_NUMBER] - queues[q, Q_BUSY], 0.0)
                # Into a Hold's body goes who gets a server, which is not who gives one back.
                more_busy = queues[q, Q_BUSY] - busy_before
                let_in = max(left + more_busy, 0.0)
                let_in_expected = max(left_expected + more_busy, 0.0)
                queues[q, Q_LET_IN] = let_in_expected / dt_s
                impatient = 0.0
                if patience < 1e300:
                    # Of those who waited already when the queue became too slow for them.
                    rate = c / s if s > 0.0 else 1e300
                    impatient = max(queue_len - patience * max(rate, queues[q, Q_ARRIVAL]), 0.0)
                    queues[q, Q_NUMBER] -= impatient
                busy += queues[q, Q_BUSY]
                waiting += queue_len - impatient + doomed
                share_left = left / present if present > 0.0 else 0.0
                share_expected = left_expected / weight if weight > 0.0 else 0.0
                share_let_in = let_in / present if present > 0.0 else 0.0
                share_let_in_expected = let_in_expected / weight if weight > 0.0 else 0.0
                share_away = turned_away / came_drawn if came_drawn > 0.0 else 0.0
                share_impatient = impatient / present if present > 0.0 else 0.0
                share_doomed = min(queues[q, Q_IMPATIENT], share_away)
                for w in range(station_visit_start[k], station_visit_start[k + 1]):
                    visit = station_visits[w]
                    for pool in range(from_pool, to_pool):
                        m = content_start[visit] + pool
                        here = contents[m, M_NUMBER] + contents[m, M_CAME + 1]
                        came = contents[m, M_CAME + 1]
                        away = came * share_away + here * share_impatient
                        contents[m, M_DOOMED] += came * share_doomed
                        out_op[Y_REJECTED, visit_op[visit]] += away - came * share_doomed
                        going = here * share_left
                        expected = (contents[m, M_NUMBER] + contents[m, M_CAME]) * share_expected
                        if visit_hold[visit] != 0:
                            expected = (contents[m, M_NUMBER] + contents[m, M_CAME]) * share_let_in_expected
                        contents[m, M_NUMBER] = max(here - away - going, 0.0)
                        if visit_hold[visit] != 0:
                            going = here * share_let_in
                        contents[m, M_CAME] = 0.0
                        contents[m, M_CAME + 1] = 0.0
                        if going > 0.0 or expected > 0.0:
                            stack[depth, 0] = visit_code[visit] + 1
                            stack[depth, 1] = pool
                            stack[depth, 2] = expected
                            stack[depth, 3] = going
                            stack[depth, 4] = visit_op[visit]
                            depth += 1
            out_busy[k] = busy
            out_capacity[k] = capacity
            out_queue[k] = waiting
        for o in range(first_op, last_op):
            cut = ops[o, O_CUT]
            for e in range(edge_start[o], edge_start[o + 1]):
                callee = edge_callee[e]
                if edges[E_HOT, e] == 0.0 and cut == 0.0 and ops[callee, O_LOST] == 0.0:
                    _settle_calm_edge(e, callee, dt_s, edges, ops, out_edge)
                else:
                    _settle_edge(
                        e,
                        callee,
                        edge_cancel[e],
                        edge_retries[e],
                        edge_backoff_s[e],
                        cut,
                        dt_s,
                        edges,
                        ops,
                        out_edge,
                    )
            ops[o, O_CUT] = 0.0
    for o in range(ops.shape[0]):
        ops[o, O_LOST] = 0.0


@inlined
def _holding_time(
    s: float, marginal: float, c: float, last_flow: float, came: float, number: float, dt_s: float
) -> float:
    """How long a Hold is kept, given that its inside slows down by `marginal` for each request a second.

    At flow x it is kept for s + marginal·(x - last_flow). Full, x·(that) = c: a quadratic in x. This is
    the implicit step that keeps a pool of threads and the queue behind it from overshooting each other.
    """
    base = s - marginal * last_flow
    root = sqrt(base * base + 4.0 * marginal * c)
    # Either form of the root, whichever does not cancel.
    full_flow = 2.0 * c / (root + base) if base > 0.0 else (root - base) / (2.0 * marginal)
    waiting = max(number - c, 0.0)
    wanted = came / dt_s + waiting / dt_s
    if wanted >= full_flow:
        return c / full_flow
    return max(s + marginal * (wanted - last_flow), 0.25 * s)


@kernel
def _take_out_cancelled(
    o: int,
    pools: int,
    first_station: int,
    last_station: int,
    station_visit_start: I64,
    station_visits: I64,
    visit_op: I64,
    visit_hold: I64,
    queue_start: I64,
    content_start: I64,
    edge_start: I64,
    edges: F64,
    contents: F64,
    queues: F64,
    ops: F64,
) -> None:
    """Remove the requests of operation o whose callers cancelled: from its queues, and from its calls.

    They are spread over both in proportion to where its requests are.
    """
    cancelled = ops[o, O_CANCEL]
    ops[o, O_CANCEL] = 0.0
    queued = 0.0
    for k in range(first_station, last_station):
        for w in range(station_visit_start[k], station_visit_start[k + 1]):
            if visit_op[station_visits[w]] == o:
                for pool in range(pools):
                    m = content_start[station_visits[w]] + pool
                    share = 1.0
                    if visit_hold[station_visits[w]] != 0:
                        # Who holds is counted where he is: in the body.
                        q = queue_start[k] + (0 if queue_start[k + 1] - queue_start[k] == 1 else pool)
                        share = max(1.0 - queues[q, Q_BUSY] / max(queues[q, Q_NUMBER], 1e-9), 0.0)
                    queued += contents[m, M_NUMBER] * share + contents[m, M_DOOMED]
    calling = 0.0
    for e in range(edge_start[o], edge_start[o + 1]):
        for a in range(E_FLIGHT, E_ZOMBIE):
            calling += edges[a, e]
    total = queued + calling
    if total <= RESIDUE:
        return
    share = min(cancelled / total, 1.0)
    ops[o, O_CUT] = 1.0 - (1.0 - ops[o, O_CUT]) * (1.0 - share)
    for k in range(first_station, last_station):
        shared = queue_start[k + 1] - queue_start[k] == 1
        for w in range(station_visit_start[k], station_visit_start[k + 1]):
            if visit_op[station_visits[w]] == o:
                for pool in range(pools):
                    m = content_start[station_visits[w]] + pool
                    q = queue_start[k] + (0 if shared else pool)
                    removed = contents[m, M_NUMBER] * share
                    contents[m, M_NUMBER] -= removed
                    contents[m, M_DOOMED] *= 1.0 - share
                    queues[q, Q_NUMBER] = max(queues[q, Q_NUMBER] - removed, 0.0)


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
    """Undo sweep_forward. What the backward sweep has learnt stays, and so does the flow that it was learnt at."""
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


@kernel
def _group_outcome(
    first: int, last: int, first_tmp: int, edge_probability: F64, edge_required: I64, calls: F64, out_row: F64
) -> None:
    """Calls `first` to `last` at once: the longest counts, and one failure of a required one fails all.

    Moments of the maximum by quadrature: E[X^n] = ∫ n·x^(n-1)·(1 - Π F(x)) dx, with x = u·t² so that the
    points gather where short calls end. calls: (n, ROW).
    """
    clean = 1.0
    sound = 1.0
    marginal = 0.0
    top_clean = 0.0
    top_all = 0.0
    for e in range(first, last):
        i = e - first_tmp
        p = edge_probability[e]
        clean *= 1.0 - p + p * calls[i, 0]
        bad = calls[i, 8] if edge_required[e] != 0 else 0.0
        sound *= 1.0 - p * bad
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
    c1, c2, c3 = _longest(first, last, first_tmp, edge_probability, calls, top_clean, False)
    out_row[1] = c1
    out_row[2] = c2
    out_row[3] = c3
    troubled = 1.0 - clean
    if troubled <= CALM_SHARE:
        return
    a1, a2, a3 = _longest(first, last, first_tmp, edge_probability, calls, top_all, True)
    t1 = max((a1 - clean * c1) / troubled, 0.0)
    t2 = max((a2 - clean * c2) / troubled, t1 * t1)
    t3 = max((a3 - clean * c3) / troubled, t1 * t2)
    failed = min(1.0 - sound, troubled)
    out_row[4] = troubled - failed
    out_row[5] = t1
    out_row[6] = t2
    out_row[7] = t3
    out_row[8] = failed
    out_row[9] = failed * t1
    out_row[10] = failed * t2
    out_row[11] = failed * t3


_GAUSS = np.polynomial.legendre.leggauss(24)
_GAUSS_AT = 0.5 * (_GAUSS[0] + 1.0)
_GAUSS_WEIGHT = 0.5 * _GAUSS[1]


@kernel
def _longest(
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
def _evaluate_edge(
    e: int,
    callee: int,
    timeout_s: float,
    delay_s: float,
    retries: int,
    backoff_s: float,
    failing: bool,
    rows: F64,
    edges: F64,
    attempt: F64,
    out_call: F64,
    out_edge: F64,
) -> float:
    """How attempts and calls on an edge end now; returns how far that is from what the tick assumed.

    out_call: (ROW,). attempt: (24,) work space.
    """
    if timeout_s - delay_s > rows[callee, 17] and edges[E_HOT, e] == 0.0:
        r1 = rows[callee, 1]
        r2 = rows[callee, 2]
        r3 = rows[callee, 3]
        p99 = rows[callee, 19] + delay_s
        if delay_s > 0.0:
            r3 += 3.0 * r2 * delay_s + 3.0 * r1 * delay_s * delay_s + delay_s * delay_s * delay_s
            r2 += 2.0 * r1 * delay_s + delay_s * delay_s
            r1 += delay_s
        for i in range(ROW):
            out_call[i] = 0.0
        out_call[0] = 1.0
        out_call[1] = r1
        out_call[2] = r2
        out_call[3] = r3
        out_call[16] = rows[callee, 16]
        edges[E_MEAN, e] = r1
        edges[E_FAIL, e] = 0.0
        out_edge[X_CALL_MEAN, e] = r1
        out_edge[X_CALL_P99, e] = p99
        return 0.0
    assumed_ok = 1.0
    assumed_mean = edges[E_MEAN, e]
    if edges[E_HOT, e] != 0.0:
        assumed_ok = edges[E_OK, e]
    attempt_outcome(rows[callee], timeout_s, delay_s, attempt)
    call_outcome(attempt, retries, backoff_s, rows[callee, 16] * (1.0 - attempt[3]), out_call)
    edges[E_HOT, e] = 1.0
    edges[E_MEAN, e] = attempt[4]
    edges[E_OK, e] = attempt[0]
    edges[E_OK + 1, e] = attempt[1]
    edges[E_OK + 2, e] = attempt[2]
    edges[E_OK + 3, e] = attempt[3]
    edges[E_ZOMBIE_S, e] = attempt[5]
    edges[E_FAIL, e] = out_call[8] if failing else 0.0
    out_edge[X_CALL_MEAN, e] = out_call[0] * out_call[1] + out_call[4] * out_call[5] + out_call[9]
    out_edge[X_CALL_P99, e] = _row_quantile(0.99, out_call)
    if edges[E_FIRST, e] + edges[E_FLIGHT, e] < 1e-6:
        return 0.0
    return max(abs(attempt[0] - assumed_ok), 0.1 * abs(attempt[4] - assumed_mean) / (attempt[4] + 0.1))


@kernel
def _row_quantile(u: float, row: F64) -> float:
    """A quantile of the durations of those answered: clean, against all others together."""
    q0 = row[0]
    k1 = row[1]
    k2 = row[2] - k1 * k1
    k3 = row[3] - 3.0 * k1 * row[2] + 2.0 * k1 * k1 * k1
    other = row[4] + row[8]
    if other <= 1e-12:
        return two_part_quantile(u, q0, k1, k2, k3, 0.0, 0.0, 0.0, 0.0)
    r1 = (row[4] * row[5] + row[9]) / other
    r2 = (row[4] * row[6] + row[10]) / other
    r3 = (row[4] * row[7] + row[11]) / other
    j2 = max(r2 - r1 * r1, 0.0)
    return two_part_quantile(u, q0, k1, k2, k3, other, r1, j2, r3 - 3.0 * r1 * r2 + 2.0 * r1 * r1 * r1)


@inlined
def _lose(frame: F64, share: float, after_s: float) -> None:
    """A share of those alive is rejected, after so long."""
    if share > 0.0:
        r2 = after_s * after_s
        leave(frame, 12, 0, frame[0], share, share * after_s, share * r2, share * r2 * after_s)
        leave(frame, 12, 4, frame[4], share, share * after_s, share * r2, share * r2 * after_s)
        frame[0] *= 1.0 - share
        frame[4] *= 1.0 - share


@kernel
def sweep_backward(
    # The network.
    service_order: I64,
    op_start: I64,
    op_flat: I64,
    edge_start: I64,
    edge_callee: I64,
    edge_probability: F64,
    edge_required: I64,
    edge_publish: I64,
    station_shared: I64,
    visit_station: I64,
    visit_mean_s: F64,
    visit_cv2: F64,
    visit_timeout_s: F64,
    code_start: I64,
    code_kind: I64,
    code_a: I64,
    code_b: I64,
    code_x: F64,
    # The conditions.
    pool_start: I64,
    pool_ready: F64,
    pool_speed: F64,
    pool_error_ratio: F64,
    edge_timeout_s: F64,
    edge_retries: I64,
    edge_backoff_s: F64,
    edge_delay_s: F64,
    op_shed_ratio: F64,
    queue_start: I64,
    queue_servers: F64,
    content_start: I64,
    # State, and work space.
    queues: F64,
    edges: F64,
    contents: F64,
    ops: F64,
    rows: F64,
    frames: F64,
    calls: F64,
    attempt: F64,
    # What happened.
    out_edge: F64,
    out_op: F64,
    journeys: int,
) -> tuple[float, bool]:
    """Find how requests end and how long they take, callees before callers.

    op_flat: (O,) 1 where the program is Work and single calls only. rows: (O, ROW). frames: (D, ROW).
    calls: (n, ROW) for the widest operation, and one spare at the end. Other shapes as in sweep_forward.

    Returns how far the forward sweep's assumptions were off, and whether any edge is in trouble.
    """
    spare = calls.shape[0] - 1
    unsettled = 0.0
    hot = False
    for at in range(service_order.shape[0] - 1, -1, -1):
        service = service_order[at]
        first_pool = pool_start[service]
        pools = pool_start[service + 1] - first_pool
        ready = 0.0
        for p in range(first_pool, first_pool + pools):
            ready += pool_ready[p]
        for o in range(op_start[service + 1] - 1, op_start[service] - 1, -1):
            row = rows[o]
            plain = op_flat[o] != 0 and pools == 1 and ready > 0.0 and op_shed_ratio[o] == 0.0
            if plain and pool_error_ratio[first_pool] == 0.0 and _evaluate_calm(
                o, first_pool, code_start, code_kind, code_a, code_b, edge_callee, edge_probability,
                edge_publish, visit_station, visit_mean_s, visit_cv2, pool_speed, edge_timeout_s,
                edge_delay_s, queue_start, queues, edges, rows, out_edge, out_op,
            ):  # fmt: skip
                ops[o, O_HOT] = 0.0
                continue
            first = edge_start[o]
            ops[o, O_HOT] = 0.0
            for e in range(first, edge_start[o + 1]):
                failing = edge_required[e] != 0 and edge_publish[e] == 0
                off = _evaluate_edge(
                    e, edge_callee[e], edge_timeout_s[e], edge_delay_s[e], edge_retries[e], edge_backoff_s[e],
                    failing, rows, edges, attempt, calls[e - first], out_edge,
                )  # fmt: skip
                if edges[E_HOT, e] != 0.0:
                    ops[o, O_HOT] = 1.0
                    unsettled = max(unsettled, off)
                    hot = True
            for i in range(ROW):
                row[i] = 0.0
            if ready <= 0.0:
                row[12] = 1.0
                row[17] = np.inf
                out_op[Y_MEAN, o] = 0.0
                out_op[Y_P50, o] = 0.0
                out_op[Y_P99, o] = 0.0
                continue
            for pool in range(pools):
                p = first_pool + pool
                share = pool_ready[p] / ready
                if share <= 0.0 and pools > 1:
                    continue
                depth = 0
                frame = frames[0]
                open_frame(frame)
                _lose(frame, op_shed_ratio[o], 0.0)
                broken = frame[0] * pool_error_ratio[p]
                frame[8] += broken
                frame[0] -= broken
                pc = code_start[o]
                while True:
                    kind = code_kind[pc]
                    if kind == CALLS:
                        for e in range(code_a[pc], code_b[pc]):
                            if edge_publish[e] == 0:
                                compose(frame, edge_probability[e], calls[e - first], edge_required[e] != 0)
                    elif kind == GROUP:
                        _group_outcome(
                            code_a[pc],
                            code_b[pc],
                            first,
                            edge_probability,
                            edge_required,
                            calls,
                            calls[spare],
                        )
                        compose(frame, 1.0, calls[spare], True)
                    elif kind in (WORK, HOLD):
                        visit = code_a[pc]
                        k = visit_station[visit]
                        q = queue_start[k] + (pool if station_shared[k] == 0 else 0)
                        _lose(frame, queues[q, Q_BLOCK], 0.0)
                        frame[16] += (frame[0] + frame[4]) * queues[q, Q_MARGINAL]
                        frame[20] += (frame[0] + frame[4]) * queues[q, Q_LEAD]
                        w1 = queues[q, Q_WAIT]
                        w2 = queues[q, Q_WAIT + 1]
                        w3 = queues[q, Q_WAIT + 2]
                        if kind == WORK:
                            s = visit_mean_s[visit] / pool_speed[p]
                            variance = s * s * visit_cv2[visit]
                            third = 2.0 * variance * s * visit_cv2[visit]
                            add_step(frame, w1 + s, w2 + variance, w3 + third)
                        else:
                            m = content_start[visit] + pool
                            limit_s = visit_timeout_s[visit]
                            if limit_s < 1e300:
                                late, b1, b2, b3 = truncate(w1, w2, w3, limit_s)
                                # In overload the queue itself says who waits in vain.
                                demand = queues[q, Q_FLOW] * queues[q, Q_SERVICE]
                                if demand > 0.95 * queue_servers[q]:
                                    block = queues[q, Q_BLOCK]
                                    late = queues[q, Q_IMPATIENT] / max(1.0 - block, 1e-12)
                                    contents[m, M_LATE] = 0.0
                                else:
                                    contents[m, M_LATE] = late
                                _lose(frame, min(late, 1.0), limit_s)
                                w1 = b1
                                w2 = max(b2 - b1 * b1, 0.0)
                                w3 = b3 - 3.0 * b1 * b2 + 2.0 * b1 * b1 * b1
                            add_step(frame, w1, w2, w3)
                            depth += 1
                            frame = frames[depth]
                            open_frame(frame)
                    elif kind == END_HOLD:
                        m = content_start[code_a[pc]] + pool
                        close_frame(frame, calls[spare])
                        body = calls[spare]
                        mean = body[0] * body[1] + body[4] * body[5] + body[9] + body[13]
                        second = body[0] * body[2] + body[4] * body[6] + body[10] + body[14]
                        held_s = max(mean + body[20], 0.1 * mean)
                        if queues[queue_start[visit_station[code_a[pc]]], Q_LEAD] != 0.0 or body[20] != 0.0:
                            unsettled = max(unsettled, abs(held_s - contents[m, M_HOLD]) / (held_s + 1e-3))
                            hot = True
                        contents[m, M_HOLD] = held_s
                        contents[m, M_HOLD + 1] = max(second - mean * mean, 0.0)
                        contents[m, M_HOLD_MARGINAL] = body[16]
                        depth -= 1
                        frame = frames[depth]
                        compose(frame, 1.0, body, True)
                    elif kind == CACHED:
                        depth += 1
                        frame = frames[depth]
                        open_frame(frame)
                    elif kind == END_CACHED:
                        close_frame(frame, calls[spare])
                        depth -= 1
                        frame = frames[depth]
                        compose(frame, 1.0 - code_x[code_a[pc]], calls[spare], True)
                    else:
                        break
                    pc += 1
                close_frame(frame, calls[spare])
                _mix_in(row, share, calls[spare])
            _finish_row(o, row, out_op)
    for j in range(journeys):
        off = _evaluate_edge(
            j, edge_callee[j], edge_timeout_s[j], edge_delay_s[j], edge_retries[j], edge_backoff_s[j], True,
            rows, edges, attempt, calls[spare], out_edge,
        )  # fmt: skip
        if edges[E_HOT, j] != 0.0:
            unsettled = max(unsettled, off)
            hot = True
    return unsettled, hot


@inlined
def _mix_in(row: F64, share: float, part: F64) -> None:
    """Add a pool's outcome to the operation's. Slots 1..3, 5..7 stay sums until _finish_row."""
    for at in (0, 4):
        row[at] += share * part[at]
        for i in range(at + 1, at + 4):
            row[i] += share * part[at] * part[i]
    for i in range(8, 17):
        row[i] += share * part[i]
    row[20] += share * part[20]


@kernel
def _finish_row(o: int, row: F64, out_op: F64) -> None:
    """Shares and conditional moments, the certain time-out, and what the sample says of the operation."""
    for at in (0, 4):
        if row[at] > 1e-12:
            for i in range(at + 1, at + 4):
                row[i] /= row[at]
    spread = sqrt(max(row[2] - row[1] * row[1], 0.0))
    calm = row[0] >= 1.0 - CALM_SHARE and abs(row[20]) <= LEAD_MAX * row[1]
    row[17] = row[1] + CERTAIN_SIGMAS * spread if calm else np.inf
    answered = row[0] + row[4] + row[8]
    mean = 0.0
    if answered > 1e-12:
        mean = (row[0] * row[1] + row[4] * row[5] + row[9]) / answered
    row[18] = mean
    row[19] = _row_quantile(0.99, row)
    out_op[Y_MEAN, o] = mean
    out_op[Y_P50, o] = _row_quantile(0.5, row)
    out_op[Y_P99, o] = row[19]


@inlined
def _evaluate_calm(
    o: int,
    p: int,
    code_start: I64,
    code_kind: I64,
    code_a: I64,
    code_b: I64,
    edge_callee: I64,
    edge_probability: F64,
    edge_publish: I64,
    visit_station: I64,
    visit_mean_s: F64,
    visit_cv2: F64,
    pool_speed: F64,
    edge_timeout_s: F64,
    edge_delay_s: F64,
    queue_start: I64,
    queues: F64,
    edges: F64,
    rows: F64,
    out_edge: F64,
    out_op: F64,
) -> bool:
    """The outcome row of a flat program where all goes well; False, and nothing decided, where it may not."""
    k1 = 0.0
    k2 = 0.0
    k3 = 0.0
    marginal = 0.0
    pc = code_start[o]
    calm = True
    while calm:
        kind = code_kind[pc]
        if kind == CALLS:
            for e in range(code_a[pc], code_b[pc]):
                callee = edge_callee[e]
                delay = edge_delay_s[e]
                if not edge_timeout_s[e] - delay > rows[callee, 17] or edges[E_HOT, e] != 0.0:
                    calm = False
                    break
                r1 = rows[callee, 1]
                r2 = rows[callee, 2]
                r3 = rows[callee, 3]
                if delay != 0.0:
                    r3 += 3.0 * r2 * delay + 3.0 * r1 * delay * delay + delay * delay * delay
                    r2 += 2.0 * r1 * delay + delay * delay
                    r1 += delay
                edges[E_MEAN, e] = r1
                edges[E_FAIL, e] = 0.0
                out_edge[X_CALL_MEAN, e] = r1
                out_edge[X_CALL_P99, e] = rows[callee, 19] + delay
                if edge_publish[e] == 0:
                    prob = edge_probability[e]
                    m1 = prob * r1
                    m2 = prob * r2
                    k1 += m1
                    k2 += m2 - m1 * m1
                    k3 += prob * r3 - m1 * (3.0 * m2 - 2.0 * m1 * m1)
                    marginal += prob * rows[callee, 16]
        elif kind == WORK:
            visit = code_a[pc]
            q = queue_start[visit_station[visit]]
            if queues[q, Q_BLOCK] != 0.0 or queues[q, Q_LEAD] != 0.0:
                calm = False
            s = visit_mean_s[visit] / pool_speed[p]
            variance = s * s * visit_cv2[visit]
            k1 += queues[q, Q_WAIT] + s
            k2 += queues[q, Q_WAIT + 1] + variance
            k3 += queues[q, Q_WAIT + 2] + 2.0 * variance * s * visit_cv2[visit]
            marginal += queues[q, Q_MARGINAL]
        else:
            break
        pc += 1
    if calm:
        rows[o, 0] = 1.0
        rows[o, 1] = k1
        rows[o, 2] = k2 + k1 * k1
        rows[o, 3] = k3 + 3.0 * k1 * k2 + k1 * k1 * k1
        for i in range(4, 16):
            rows[o, i] = 0.0
        rows[o, 16] = marginal
        rows[o, 17] = k1 + CERTAIN_SIGMAS * sqrt(k2)
        rows[o, 18] = k1
        p99 = quantile(Z_P99, k1, k2, k3)
        rows[o, 19] = p99
        out_op[Y_MEAN, o] = k1
        out_op[Y_P50, o] = quantile(0.0, k1, k2, k3)
        out_op[Y_P99, o] = p99
    return calm
