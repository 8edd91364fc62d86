"""Find how requests end and how long they take: callees before callers.

Every operation becomes an outcome row (moments.py); every edge the shares and times that its ledger uses
in the next tick. Where all goes well a short cut adds cumulants; elsewhere the program is walked with
frames, one for each Hold or Cached that is open.

An operation's row stands while its service is at rest (forward.py) and no callee's row has moved. A row that
comes out within REST_TOLERANCE of what stands has not moved, and what stands is kept.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import numpy as np

from twin.fleet.traffic.engine import F64, I64
from twin.fleet.traffic.groups import group_outcome, recall_longest
from twin.fleet.traffic.jit import inlined, kernel
from twin.fleet.traffic.moments import (
    CERTAIN_SIGMAS,
    ROW,
    SKEW_MAX,
    SKEW_MIN,
    add_step,
    attempt_outcome,
    call_outcome,
    close_frame,
    compose,
    leave,
    open_frame,
    truncate,
    two_part_quantile,
)
from twin.fleet.traffic.network import CACHED, CALLS, END_CACHED, END_HOLD, GROUP, HOLD, PUBLISHES, WORK
from twin.fleet.traffic.queues import (
    Q_BLOCK,
    Q_FLOW,
    Q_IMPATIENT,
    Q_LEAD,
    Q_MARGINAL,
    Q_PASS,
    Q_SERVICE,
    Q_WAIT,
)
from twin.fleet.traffic.state import (
    C_CERTAIN,
    C_MARGINAL,
    C_MEAN,
    C_P99,
    CALL_MEAN,
    CALL_P99,
    CALM_SHARE,
    E_FAIL,
    E_FLIGHT,
    E_HOT,
    E_MEAN,
    E_OK,
    E_PASS,
    E_ZOMBIE_S,
    I8,
    I32,
    M_HOLD,
    M_HOLD_MARGINAL,
    M_LATE,
    O_HOT,
    O_STALE,
    TIME_MEAN,
    TIME_P50,
    TIME_P99,
    V_CV2,
    V_MEAN,
    V_TIMEOUT,
    X_ISSUED,
)

__all__ = ["sweep_backward"]

Z_P99: Final = 2.3263478740408408
STEADY: Final = 0.02  # coming and leaving requests are alike, to within this ratio


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
    calm: F64,
    edges: F64,
    attempt: F64,
    out_row: F64,
    out_edge: F64,
    out_call: F64,
) -> float:
    """How attempts and calls on an edge end now; returns how far that is from what the tick assumed.

    out_row: (ROW,). attempt: (24,) work space.
    """
    if timeout_s - delay_s > calm[callee, C_CERTAIN] and edges[E_HOT, e] == 0.0:
        _calm_call(callee, delay_s, calm, out_row)
        edges[E_MEAN, e] = out_row[1]
        edges[E_FAIL, e] = 0.0
        edges[E_PASS, e] = 1.0
        out_call[CALL_MEAN, e] = out_row[1]
        out_call[CALL_P99, e] = calm[callee, C_P99] + delay_s
        return 0.0
    assumed_ok = 1.0
    assumed_mean = edges[E_MEAN, e]
    if edges[E_HOT, e] != 0.0:
        assumed_ok = edges[E_OK, e]
    marginal = rows[callee, 16]
    if calm[callee, C_CERTAIN] < np.inf:  # Calm, but we are impatient, or in trouble's aftermath.
        marginal = calm[callee, C_MARGINAL]
        _calm_call(callee, 0.0, calm, out_row)
        attempt_outcome(out_row, timeout_s, delay_s, attempt)
    else:
        attempt_outcome(rows[callee], timeout_s, delay_s, attempt)
    call_outcome(attempt, retries, backoff_s, marginal * (1.0 - attempt[3]), out_row)
    edges[E_HOT, e] = 1.0
    edges[E_MEAN, e] = attempt[4]
    edges[E_OK, e] = attempt[0]
    edges[E_OK + 1, e] = attempt[1]
    edges[E_OK + 2, e] = attempt[2]
    edges[E_OK + 3, e] = attempt[3]
    edges[E_ZOMBIE_S, e] = attempt[5]
    edges[E_FAIL, e] = out_row[18] if failing else 0.0
    edges[E_PASS, e] = out_row[17] if failing else out_row[17] + out_row[18]
    out_call[CALL_MEAN, e] = out_row[0] * out_row[1] + out_row[4] * out_row[5] + out_row[9]
    out_call[CALL_P99, e] = _row_quantile(0.99, out_row)
    if out_edge[X_ISSUED, e] + edges[E_FLIGHT, e] < 1e-6:
        return 0.0
    off: float = max(abs(attempt[0] - assumed_ok), 0.1 * abs(attempt[4] - assumed_mean) / (attempt[4] + 0.1))
    return off


@inlined
def _calm_call(callee: int, delay_s: float, calm: F64, out_row: F64) -> None:
    """The outcome row of a call on a calm operation, with `delay_s` on the way."""
    r1 = calm[callee, C_MEAN]
    r2 = calm[callee, C_MEAN + 1]
    r3 = calm[callee, C_MEAN + 2]
    for i in range(ROW):
        out_row[i] = 0.0
    out_row[0] = 1.0
    out_row[17] = 1.0
    out_row[1] = r1 + delay_s
    out_row[2] = r2 + delay_s * (2.0 * r1 + delay_s)
    out_row[3] = r3 + delay_s * (3.0 * r2 + delay_s * (3.0 * r1 + delay_s))
    out_row[16] = calm[callee, C_MARGINAL]


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
        frame[17] *= 1.0 - share


@kernel
def sweep_backward(
    tolerance: float,
    # The network.
    service_order: I64,
    op_start: I64,
    edge_start: I64,
    edge_callee: I32,
    edge_probability: F64,
    edge_required: I64,
    edge_publish: I64,
    station_shared: I64,
    visit_station: I64,
    visits: F64,
    code_start: I64,
    codes: I64,
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
    calm: F64,
    groups: F64,
    rest: I8,
    moved: I8,
    frames: F64,
    calls: F64,
    attempt: F64,
    # What happened.
    out_edge: F64,
    out_call: F64,
    out_time: F64,
    journeys: int,
) -> tuple[float, bool, int]:
    """Find how requests end and how long they take, callees before callers.

    rows: (O, ROW) outcomes; calm: (O, C_WIDTH) instead, where an operation is calm. groups: (C, G_WIDTH).
    rest: (S,), moved: (O,) whether a row is another than after the last sweep. frames: (D, ROW). calls:
    (n, ROW) for the widest operation, and one spare at the end. Other shapes as in sweep_forward.
    out_call: (CALL_ROWS, E), out_time: (TIME_ROWS, O), left as they are where nothing moved.
    Returns how far the forward sweep's assumptions were off, whether any edge is in trouble, and how many
    rows moved.
    """
    spare = calls.shape[0] - 1
    unsettled = 0.0
    hot = False
    moves = 0
    for at in range(service_order.shape[0] - 1, -1, -1):
        service = service_order[at]
        first_pool = pool_start[service]
        pools = pool_start[service + 1] - first_pool
        ready = 0.0
        for p in range(first_pool, first_pool + pools):
            ready += pool_ready[p]
        resting = rest[service] != 0
        for o in range(op_start[service + 1] - 1, op_start[service] - 1, -1):
            first = edge_start[o]
            last = edge_start[o + 1]
            if resting and ops[O_STALE, o] == 0.0 and ops[O_HOT, o] == 0.0:
                stands = True
                for e in range(first, last):
                    if moved[edge_callee[e]] != 0:
                        stands = False
                        break
                if stands:
                    moved[o] = 0
                    continue
            ops[O_STALE, o] = 0.0
            plain = pools == 1 and ready > 0.0 and ops[O_HOT, o] == 0.0 and op_shed_ratio[o] == 0.0
            if plain and pool_error_ratio[first_pool] == 0.0:
                fine, holds_moved = _evaluate_calm(
                    o, first_pool, tolerance, code_start, codes, code_x, edge_callee, edge_probability,
                    visit_station, visits, pool_speed,
                    edge_timeout_s, edge_delay_s, queue_start, content_start, queues, edges, contents, calm,
                    groups, moved, frames, calls, out_call, out_time,
                )  # fmt: skip
                if holds_moved or not fine:
                    rest[service] = 0
                if fine:
                    moves += moved[o]
                    continue
            row = rows[o]
            certain_before = calm[o, C_CERTAIN]
            calm[o, C_CERTAIN] = np.inf
            holds_moved = False
            ops[O_HOT, o] = 0.0
            for e in range(first, last):
                failing = edge_required[e] != 0 and edge_publish[e] == 0
                off = _evaluate_edge(
                    e, edge_callee[e], edge_timeout_s[e], edge_delay_s[e], edge_retries[e], edge_backoff_s[e],
                    failing, rows, calm, edges, attempt, calls[e - first], out_edge, out_call,
                )  # fmt: skip
                if edges[E_HOT, e] != 0.0:
                    ops[O_HOT, o] = 1.0
                    unsettled = max(unsettled, off)
                    hot = True
            for i in range(ROW):
                row[i] = 0.0
            if ready <= 0.0:
                row[12] = 1.0
                out_time[TIME_MEAN, o] = 0.0
                out_time[TIME_P50, o] = 0.0
                out_time[TIME_P99, o] = 0.0
                moved[o] = 1
                moves += 1
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
                frame[18] += broken
                frame[17] -= broken
                pc = code_start[o]
                while True:
                    kind = codes[pc, 0]
                    if kind == CALLS:
                        for e in range(codes[pc, 1], codes[pc, 2]):
                            compose(frame, edge_probability[e], calls[e - first], edge_required[e] != 0)
                    elif kind == PUBLISHES:
                        pass
                    elif kind == GROUP:
                        group_outcome(
                            pc,
                            codes[pc, 1],
                            codes[pc, 2],
                            first,
                            edge_probability,
                            edge_required,
                            calls,
                            groups,
                            calls[spare],
                        )
                        compose(frame, 1.0, calls[spare], True)
                    elif kind in (WORK, HOLD):
                        visit = codes[pc, 1]
                        k = visit_station[visit]
                        q = queue_start[k] + (pool if station_shared[k] == 0 else 0)
                        _lose(frame, queues[q, Q_BLOCK], 0.0)
                        frame[16] += (frame[0] + frame[4]) * queues[q, Q_MARGINAL]
                        frame[20] += (frame[0] + frame[4]) * queues[q, Q_LEAD]
                        frame[17] *= queues[q, Q_PASS]
                        w1 = queues[q, Q_WAIT]
                        w2 = queues[q, Q_WAIT + 1]
                        w3 = queues[q, Q_WAIT + 2]
                        if kind == WORK:
                            s = visits[visit, V_MEAN] / pool_speed[p]
                            variance = s * s * visits[visit, V_CV2]
                            third = 2.0 * variance * s * visits[visit, V_CV2]
                            add_step(frame, w1 + s, w2 + variance, w3 + third)
                        else:
                            m = content_start[visit] + pool
                            limit_s = visits[visit, V_TIMEOUT]
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
                        m = content_start[codes[pc, 1]] + pool
                        close_frame(frame, calls[spare])
                        body = calls[spare]
                        mean = body[0] * body[1] + body[4] * body[5] + body[9] + body[13]
                        second = body[0] * body[2] + body[4] * body[6] + body[10] + body[14]
                        held_s = max(mean + body[20], 0.1 * mean)
                        if queues[queue_start[visit_station[codes[pc, 1]]], Q_LEAD] != 0.0 or body[20] != 0.0:
                            unsettled = max(unsettled, abs(held_s - contents[m, M_HOLD]) / (held_s + 1e-3))
                            hot = True
                        variance = max(second - mean * mean, 0.0)
                        if _note_hold(m, held_s, variance, body[16], tolerance, contents):
                            holds_moved = True
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
                        compose(frame, 1.0 - code_x[codes[pc, 1]], calls[spare], True)
                    else:
                        break
                    pc += 1
                close_frame(frame, calls[spare])
                _mix_in(row, share, calls[spare])
            moved[o] = _finish_row(o, row, certain_before, tolerance, calm, out_time)
            moves += moved[o]
            if holds_moved or ops[O_HOT, o] != 0.0 or calm[o, C_CERTAIN] == np.inf:
                rest[service] = 0
    for j in range(journeys):
        off = _evaluate_edge(
            j, edge_callee[j], edge_timeout_s[j], edge_delay_s[j], edge_retries[j], edge_backoff_s[j], True,
            rows, calm, edges, attempt, calls[spare], out_edge, out_call,
        )  # fmt: skip
        if edges[E_HOT, j] != 0.0:
            unsettled = max(unsettled, off)
            hot = True
    return unsettled, hot, moves


@inlined
def _mix_in(row: F64, share: float, part: F64) -> None:
    """Add a pool's outcome to the operation's. Slots 1..3, 5..7 stay sums until _finish_row."""
    for at in (0, 4):
        row[at] += share * part[at]
        for i in range(at + 1, at + 4):
            row[i] += share * part[at] * part[i]
    for i in range(8, 17):
        row[i] += share * part[i]
    row[17] += share * part[17]
    row[18] += share * part[18]
    row[20] += share * part[20]


@inlined
def _stands(o: int, r1: float, r2: float, marginal: float, tolerance: float, calm: F64) -> bool:
    """Whether a calm operation's duration is what it was: raw moments, and the marginal duration."""
    return bool(
        abs(r1 - calm[o, C_MEAN]) <= tolerance * r1
        and abs(r2 - calm[o, C_MEAN + 1]) <= tolerance * r2
        and abs(marginal - calm[o, C_MARGINAL]) <= tolerance * (marginal + r1)
    )


@inlined
def _note_hold(m: int, mean: float, variance: float, marginal: float, tolerance: float, contents: F64) -> bool:
    """Write down for how long a Hold is kept, if it moved; says whether it did."""
    moved = bool(
        abs(mean - contents[m, M_HOLD]) > tolerance * mean
        or abs(variance - contents[m, M_HOLD + 1]) > tolerance * (variance + mean * mean)
        or abs(marginal - contents[m, M_HOLD_MARGINAL]) > tolerance * (marginal + mean)
    )
    if moved:
        contents[m, M_HOLD] = mean
        contents[m, M_HOLD + 1] = variance
        contents[m, M_HOLD_MARGINAL] = marginal
    return moved


@kernel
def _finish_row(o: int, row: F64, certain_before: float, tolerance: float, calm: F64, out_time: F64) -> int:
    """Shares and conditional moments, the certain time-out, and what the sample says of the operation.

    Returns 1 if the row has moved.
    """
    for at in (0, 4):
        if row[at] > 1e-12:
            for i in range(at + 1, at + 4):
                row[i] /= row[at]
    answered = row[0] + row[4] + row[8]
    mean = 0.0
    if answered > 1e-12:
        mean = (row[0] * row[1] + row[4] * row[5] + row[9]) / answered
    p50 = _row_quantile(0.5, row)
    p99 = max(_row_quantile(0.99, row), p50)
    steady = abs(row[17] - 1.0) <= STEADY and abs(row[20]) <= STEADY * row[1]
    if row[0] >= 1.0 - CALM_SHARE and steady:
        if certain_before < np.inf and _stands(o, row[1], row[2], row[16], tolerance, calm):
            calm[o, C_CERTAIN] = certain_before
            return 0
        calm[o, C_CERTAIN] = row[1] + CERTAIN_SIGMAS * sqrt(max(row[2] - row[1] * row[1], 0.0))
        calm[o, C_MEAN] = row[1]
        calm[o, C_MEAN + 1] = row[2]
        calm[o, C_MEAN + 2] = row[3]
        calm[o, C_MARGINAL] = row[16]
        calm[o, C_P99] = p99
    out_time[TIME_MEAN, o] = mean
    out_time[TIME_P50, o] = p50
    out_time[TIME_P99, o] = p99
    return 1


@inlined
def _note_calm(
    o: int, k1: float, k2: float, k3: float, marginal: float, tolerance: float, calm: F64, moved: I8, out_time: F64
) -> None:
    """Write down a calm operation's duration, by cumulants, for its callers and for the sample, if it moved."""
    r2 = k2 + k1 * k1
    if calm[o, C_CERTAIN] < np.inf and _stands(o, k1, r2, marginal, tolerance, calm):
        moved[o] = 0
        return
    moved[o] = 1
    # As in `quantile`, with its square root and divisions shared.
    sigma = sqrt(k2)
    p50 = k1
    p99 = k1
    if k2 > 0.0:
        skew = min(max(k3 / (k2 * sigma), SKEW_MIN), SKEW_MAX)
        unit = 2.0 * sigma / skew
        middle = max(1.0 - skew * skew * (1.0 / 36.0), 0.0)
        high = middle + skew * (Z_P99 / 6.0)
        p50 = max(k1 + unit * (middle * middle * middle - 1.0), 0.0)
        p99 = max(k1 + unit * (high * high * high - 1.0), 0.0)
    calm[o, C_MEAN] = k1
    calm[o, C_MEAN + 1] = r2
    calm[o, C_MEAN + 2] = k3 + k1 * (3.0 * k2 + k1 * k1)
    calm[o, C_MARGINAL] = marginal
    calm[o, C_CERTAIN] = k1 + CERTAIN_SIGMAS * sigma
    calm[o, C_P99] = p99
    out_time[TIME_MEAN, o] = k1
    out_time[TIME_P50, o] = p50
    out_time[TIME_P99, o] = p99


@inlined
def _evaluate_calm(
    o: int,
    p: int,
    tolerance: float,
    code_start: I64,
    codes: I64,
    code_x: F64,
    edge_callee: I32,
    edge_probability: F64,
    visit_station: I64,
    visits: F64,
    pool_speed: F64,
    edge_timeout_s: F64,
    edge_delay_s: F64,
    queue_start: I64,
    content_start: I64,
    queues: F64,
    edges: F64,
    contents: F64,
    calm: F64,
    groups: F64,
    moved: I8,
    frames: F64,
    calls: F64,
    out_call: F64,
    out_time: F64,
) -> tuple[bool, bool]:
    """How an operation with one pool does where all goes well; False, and nothing decided, where it may not.

    With one class of requests, time adds up in cumulants: k1, k2, k3, and the marginal duration. Returns
    also whether it keeps a Hold for another time than before.
    """
    k1 = 0.0
    k2 = 0.0
    k3 = 0.0
    marginal = 0.0
    depth = 0
    pc = code_start[o]
    fine = True
    holds_moved = False
    while fine:
        kind = codes[pc, 0]
        if kind in (CALLS, GROUP, PUBLISHES):
            first = codes[pc, 1]
            for e in range(first, codes[pc, 2]):
                callee = edge_callee[e]
                delay = edge_delay_s[e]
                if not edge_timeout_s[e] - delay > calm[callee, C_CERTAIN] or edges[E_HOT, e] != 0.0:
                    fine = False
                    break
                r1 = calm[callee, C_MEAN]
                r2 = calm[callee, C_MEAN + 1]
                r3 = calm[callee, C_MEAN + 2]
                if delay != 0.0:
                    r3 += delay * (3.0 * r2 + delay * (3.0 * r1 + delay))
                    r2 += delay * (2.0 * r1 + delay)
                    r1 += delay
                prob = edge_probability[e]
                edges[E_MEAN, e] = r1
                out_call[CALL_MEAN, e] = r1
                out_call[CALL_P99, e] = calm[callee, C_P99] + delay
                if kind == GROUP:
                    calls[e - first, 0] = 1.0
                    calls[e - first, 1] = r1
                    calls[e - first, 2] = r2
                    calls[e - first, 3] = r3
                    marginal += prob * calm[callee, C_MARGINAL]
                elif kind == CALLS:
                    m1 = prob * r1
                    m2 = prob * r2
                    k1 += m1
                    k2 += m2 - m1 * m1
                    k3 += prob * r3 - m1 * (3.0 * m2 - 2.0 * m1 * m1)
                    marginal += prob * calm[callee, C_MARGINAL]
            if kind == GROUP and fine:
                r1, r2, r3 = recall_longest(pc, first, codes[pc, 2], edge_probability, calls, groups)
                k1 += r1
                k2 += r2 - r1 * r1
                k3 += r3 - r1 * (3.0 * r2 - 2.0 * r1 * r1)
        elif kind in (WORK, HOLD):
            visit = codes[pc, 1]
            q = queue_start[visit_station[visit]]
            if queues[q, Q_BLOCK] != 0.0 or queues[q, Q_LEAD] != 0.0:
                fine = False
            k1 += queues[q, Q_WAIT]
            k2 += queues[q, Q_WAIT + 1]
            k3 += queues[q, Q_WAIT + 2]
            marginal += queues[q, Q_MARGINAL]
            if kind == WORK:
                s = visits[visit, V_MEAN] / pool_speed[p]
                variance = s * s * visits[visit, V_CV2]
                k1 += s
                k2 += variance
                k3 += 2.0 * variance * s * visits[visit, V_CV2]
            else:
                wait = queues[q, Q_WAIT]
                certain = wait + CERTAIN_SIGMAS * sqrt(queues[q, Q_WAIT + 1])
                if not visits[visit, V_TIMEOUT] > certain or queues[q, Q_IMPATIENT] != 0.0:
                    fine = False
                frames[depth, 0] = k1
                frames[depth, 1] = k2
                frames[depth, 2] = marginal
                depth += 1
        elif kind == END_HOLD:
            depth -= 1
            m = content_start[codes[pc, 1]]
            mean = k1 - frames[depth, 0]
            contents[m, M_LATE] = 0.0
            variance = k2 - frames[depth, 1]
            if _note_hold(m, mean, variance, marginal - frames[depth, 2], tolerance, contents):
                holds_moved = True
        elif kind == CACHED:
            frames[depth, 0] = k1
            frames[depth, 1] = k2
            frames[depth, 2] = marginal
            frames[depth, 3] = k3
            depth += 1
            k1 = 0.0
            k2 = 0.0
            k3 = 0.0
            marginal = 0.0
        elif kind == END_CACHED:
            depth -= 1
            miss = 1.0 - code_x[codes[pc, 1]]
            m1 = miss * k1
            m2 = miss * (k2 + k1 * k1)
            m3 = miss * (k3 + k1 * (3.0 * k2 + k1 * k1))
            k1 = frames[depth, 0] + m1
            k2 = frames[depth, 1] + m2 - m1 * m1
            k3 = frames[depth, 3] + m3 - m1 * (3.0 * m2 - 2.0 * m1 * m1)
            marginal = frames[depth, 2] + miss * marginal
        else:
            break
        pc += 1
    if fine:
        _note_calm(o, k1, k2, k3, marginal, tolerance, calm, moved, out_time)
    return fine, holds_moved
