"""Move every request by one tick: callers before callees, queue by queue, edge by edge.

A service is done in four steps. Its operations take in what has come; each flow walks its program up to
the next station and joins what waits there; each station's queue advances, and whoever leaves walks on;
at last every edge's ledger is settled, and the attempts go to their callees.

In calm most services stand still: as much is expected as in the last tick, and their queues are where
such a flow keeps them. Only the draws differ, and they pass straight through. Such a service is *at rest*
and takes a short cut (`_flow_at_rest`) until something moves. If nothing moves in the whole fleet, a tick
is `drift`: every service at rest, without looking.

Letters of shapes: as in network.py, and (P,) pools, (Q,) queues (one a pool and station, or one a
service and station), (M,) contents (one a pool and visit).
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import numpy as np

from twin.fleet.traffic.engine import F64, I64
from twin.fleet.traffic.jit import inlined, kernel
from twin.fleet.traffic.ledger import settle_calm_edge, settle_edge
from twin.fleet.traffic.network import CACHED, CALLS, END, END_CACHED, END_HOLD, GROUP, PUBLISHES
from twin.fleet.traffic.queues import (
    PASS_MAX,
    PASS_MIN,
    Q_ARRIVAL,
    Q_BUSY,
    Q_IMPATIENT,
    Q_LET_IN,
    Q_NUMBER,
    Q_OFF,
    Q_PASS,
    Q_SCV,
    Q_SERVICE,
    Q_TAKEN,
    Q_VARIANCE,
    STATIONARY,
    step_queue,
)
from twin.fleet.traffic.state import (
    C_MEAN,
    E_EXPECTED,
    E_FAIL,
    E_FLIGHT,
    E_HOT,
    E_MEAN,
    E_PASS,
    E_ZOMBIE,
    I8,
    I32,
    M_CAME,
    M_DOOMED,
    M_HOLD,
    M_HOLD_MARGINAL,
    M_LATE,
    M_NUMBER,
    O_CAME,
    O_CANCEL,
    O_CUT,
    O_HOT,
    O_KNOWN,
    O_LOST,
    RESIDUE,
    REST_NUMBER,
    STATION_BUSY,
    STATION_CAPACITY,
    STATION_QUEUE,
    T_CALL_OK,
    V_CV2,
    V_MEAN,
    V_TIMEOUT,
    X_ISSUED,
    X_OK,
    Y_CAME,
    Y_FAILED,
    Y_OK,
    Y_REJECTED,
)

__all__ = ["drift", "sweep_forward"]

NOBODY: Final = 1e-30  # requests: too few to take an average over
TAKEN_MAX: Final = 0.9  # of an operation's requests, by cancellation in one tick


@inlined
def _take_in(
    o: int,
    first_pool: int,
    pools: int,
    ready: float,
    pool_ready: F64,
    pool_error_ratio: F64,
    shed: float,
    staying: float,
    ops: F64,
    out_op: F64,
    stack: F64,
    depth: int,
    code: int,
) -> int:
    """Let an operation's arrivals in at the door; pushes one flow a pool."""
    expected = ops[O_CAME, o]
    drawn = ops[O_CAME + 1, o]
    ops[O_CAME, o] = 0.0
    ops[O_CAME + 1, o] = 0.0
    out_op[Y_CAME, o] = drawn
    out_op[Y_OK, o] = 0.0
    failed = 0.0
    if ready <= 0.0:
        out_op[Y_FAILED, o] = 0.0
        out_op[Y_REJECTED, o] = drawn
        return depth
    out_op[Y_REJECTED, o] = drawn * shed
    expected *= (1.0 - shed) * staying
    drawn *= (1.0 - shed) * staying
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


@inlined
def _pass_through(
    first_op: int,
    last_op: int,
    edge_start: I64,
    edge_callee: I32,
    edge_visit_ratio: F64,
    ops: F64,
    out_edge: F64,
    out_op: F64,
) -> None:
    """A service at rest: what was drawn goes through and makes its calls, to be settled by the caller."""
    for o in range(first_op, last_op):  # All take in first: between themselves, calls arrive a tick late.
        drawn = ops[O_CAME + 1, o]
        ops[O_CAME + 1, o] = 0.0
        out_op[Y_CAME, o] = drawn
        out_op[Y_OK, o] = drawn
    for o in range(first_op, last_op):
        drawn = out_op[Y_OK, o]
        for e in range(edge_start[o], edge_start[o + 1]):
            first = drawn * edge_visit_ratio[e]
            ops[O_CAME + 1, edge_callee[e]] += first
            out_edge[X_ISSUED, e] = first


@inlined
def _settle(first: int, last: int, dt_s: float, edges: F64, out_edge: F64) -> None:
    """The ledgers of edges in a row whose callers are at rest."""
    for e in range(first, last):
        issued = out_edge[X_ISSUED, e]
        settle_calm_edge(e, edges[E_MEAN, e], edges[E_EXPECTED, e], issued, dt_s, edges, out_edge)


@inlined
def _flow_at_rest(
    first_op: int,
    last_op: int,
    dt_s: float,
    tolerance: float,
    troubled: bool,
    edge_start: I64,
    edge_callee: I32,
    edge_visit_ratio: F64,
    edges: F64,
    ops: F64,
    out_edge: F64,
    out_trouble: F64,
    out_op: F64,
) -> bool:
    """The short cut through a service at rest; False, and nothing done, if it is at rest no longer."""
    resting = True
    for o in range(first_op, last_op):
        known = ops[O_KNOWN, o]
        if abs(ops[O_CAME, o] - known) > tolerance * known + RESIDUE:
            resting = False
        if ops[O_CANCEL, o] != 0.0 or ops[O_CUT, o] != 0.0 or ops[O_HOT, o] != 0.0:
            resting = False
    if resting:
        for o in range(first_op, last_op):
            ops[O_CAME, o] = 0.0
            out_op[Y_FAILED, o] = 0.0
            out_op[Y_REJECTED, o] = 0.0
        for e in range(edge_start[first_op], edge_start[last_op]):
            ops[O_CAME, edge_callee[e]] += edges[E_EXPECTED, e]
        _pass_through(first_op, last_op, edge_start, edge_callee, edge_visit_ratio, ops, out_edge, out_op)
        _settle(edge_start[first_op], edge_start[last_op], dt_s, edges, out_edge)
        if troubled:
            for e in range(edge_start[first_op], edge_start[last_op]):
                out_trouble[T_CALL_OK, e] = out_edge[X_OK, e]
    return resting


@kernel
def drift(
    dt_s: float,
    journey_drawn: F64,
    service_order: I64,
    op_start: I64,
    edge_start: I64,
    edge_callee: I32,
    edge_visit_ratio: F64,
    edges: F64,
    ops: F64,
    out_edge: F64,
    out_op: F64,
) -> None:
    """A tick in which every service is at rest, and stays so: `sweep_forward` without looking.

    Shapes as there. What is expected stands still, so it is neither taken in nor handed on; rows of
    failures are left alone. Twin: plain.drift.
    """
    for j in range(journey_drawn.shape[0]):
        ops[O_CAME + 1, edge_callee[j]] += journey_drawn[j]
        out_edge[X_ISSUED, j] = journey_drawn[j]
    for at in range(service_order.shape[0]):
        service = service_order[at]
        _pass_through(
            op_start[service], op_start[service + 1], edge_start, edge_callee, edge_visit_ratio, ops, out_edge,
            out_op,
        )  # fmt: skip
    _settle(0, edge_callee.shape[0], dt_s, edges, out_edge)


@kernel
def sweep_forward(
    dt_s: float,
    tolerance: float,
    troubled: bool,
    journey_drawn: F64,
    # The network.
    service_order: I64,
    op_start: I64,
    edge_start: I64,
    edge_callee: I32,
    edge_probability: F64,
    edge_visit_ratio: F64,
    edge_cancel: I64,
    station_start: I64,
    station_order: I64,
    station_visit_start: I64,
    station_visits: I64,
    visit_op: I64,
    visit_code: I64,
    visit_hold: I64,
    visits: F64,
    code_start: I64,
    codes: I64,
    code_x: F64,
    # The conditions.
    pool_start: I64,
    pool_ready: F64,
    pool_speed: F64,
    pool_error_ratio: F64,
    edge_retries: I64,
    edge_backoff_s: F64,
    edge_delay_s: F64,
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
    calm: F64,
    rest: I8,
    stack: F64,
    first: F64,
    # What happened.
    out_edge: F64,
    out_trouble: F64,
    out_op: F64,
    out_station: F64,
) -> int:
    """Move every request by one tick of `dt_s` seconds; returns how many services were not at rest.

    tolerance: see REST_TOLERANCE; below zero nothing is ever at rest.
    troubled: some edge may be hot or some request lost; otherwise out_trouble is left alone.
    journey_drawn: (J,) new users. queue_start: (K+1,), queue_servers, queue_limit, queue_table: (Q,).
    content_start: (V,) first of a visit's contents, one a pool. rest: (S,) whether a service is at rest.
    edges: (E_WIDTH, E), contents: (M, M_WIDTH), queues: (Q, Q_WIDTH), ops: (O_WIDTH, O). stack: (D, 5)
    flows to be followed. first: (2, n) first attempts of one service's edges. out_edge: (X_ROWS, E),
    out_trouble: (T_ROWS, E), out_op: (Y_ROWS, O). out_station: (STATION_ROWS, K), left as it is at rest.
    """
    awake = 0
    for j in range(journey_drawn.shape[0]):
        expected = journey_rate_rps[j] * dt_s
        edges[E_EXPECTED, j] = expected
        if edges[E_HOT, j] == 0.0 and not troubled:
            ops[O_CAME, edge_callee[j]] += expected
            ops[O_CAME + 1, edge_callee[j]] += journey_drawn[j]
            settle_calm_edge(j, edges[E_MEAN, j], expected, journey_drawn[j], dt_s, edges, out_edge)
        else:
            # A user who gives up tells nobody: no cancel.
            settle_edge(
                j, edge_callee[j], expected, journey_drawn[j], 0, edge_retries[j], edge_backoff_s[j], 0.0,
                dt_s, edges, ops, out_edge, out_trouble,
            )  # fmt: skip
    for at in range(service_order.shape[0]):
        service = service_order[at]
        first_op = op_start[service]
        last_op = op_start[service + 1]
        if rest[service] != 0 and _flow_at_rest(
            first_op, last_op, dt_s, tolerance, troubled, edge_start, edge_callee, edge_visit_ratio, edges,
            ops, out_edge, out_trouble, out_op,
        ):  # fmt: skip
            continue
        awake += 1
        first_pool = pool_start[service]
        pools = pool_start[service + 1] - first_pool
        ready = 0.0
        for p in range(first_pool, first_pool + pools):
            ready += pool_ready[p]
        first_edge = edge_start[first_op]
        last_edge = edge_start[last_op]
        for i in range(last_edge - first_edge):
            first[0, i] = 0.0
            first[1, i] = 0.0
        depth = 0
        still = ready > 0.0 and tolerance >= 0.0
        for o in range(first_op, last_op):
            came = ops[O_CAME, o]
            if abs(came - ops[O_KNOWN, o]) > tolerance * came + RESIDUE:
                still = False
            if ops[O_CANCEL, o] != 0.0 or ops[O_CUT, o] != 0.0 or ops[O_HOT, o] != 0.0 or op_shed_ratio[o] != 0.0:
                still = False
            ops[O_KNOWN, o] = came
            staying = 1.0
            if ops[O_CANCEL, o] > 0.0:
                staying -= _take_out_cancelled(
                    o, pools, station_start[service], station_start[service + 1], station_visit_start,
                    station_visits, visit_op, visit_hold, queue_start, content_start, edge_start, edges,
                    contents, queues, ops,
                )  # fmt: skip
            depth = _take_in(
                o, first_pool, pools, ready, pool_ready, pool_error_ratio, op_shed_ratio[o], staying, ops,
                out_op, stack, depth, code_start[o],
            )  # fmt: skip
        for p in range(first_pool, first_pool + pools):
            if pool_error_ratio[p] != 0.0:
                still = False
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
                hot = ops[O_HOT, o] != 0.0
                while True:
                    kind = codes[pc, 0]
                    if kind in (CALLS, PUBLISHES):
                        if hot:
                            for e in range(codes[pc, 1], codes[pc, 2]):
                                first[0, e - first_edge] += expected * edge_probability[e]
                                first[1, e - first_edge] += drawn * edge_probability[e]
                                p = edge_probability[e]
                                out_op[Y_FAILED, o] += drawn * p * edges[E_FAIL, e]
                                passing = 1.0 - p + p * edges[E_PASS, e]
                                expected *= passing
                                drawn *= passing
                                if drawn < NOBODY:  # What rounding leaves must not be divided by later.
                                    out_op[Y_FAILED, o] += drawn
                                    drawn = 0.0
                                if expected < NOBODY:
                                    expected = 0.0
                        else:
                            for e in range(codes[pc, 1], codes[pc, 2]):
                                first[0, e - first_edge] += expected * edge_probability[e]
                                first[1, e - first_edge] += drawn * edge_probability[e]
                        pc += 1
                    elif kind == GROUP:
                        alive = 1.0
                        passing = 1.0
                        for e in range(codes[pc, 1], codes[pc, 2]):
                            first[0, e - first_edge] += expected * edge_probability[e]
                            first[1, e - first_edge] += drawn * edge_probability[e]
                            if hot:
                                alive *= 1.0 - edge_probability[e] * edges[E_FAIL, e]
                                through = 1.0 + edge_probability[e] * (edges[E_PASS, e] - 1.0)
                                passing = through if e == codes[pc, 1] else min(passing, through)
                        out_op[Y_FAILED, o] += drawn * (1.0 - alive)
                        expected *= passing
                        drawn *= passing
                        pc += 1
                    elif kind == END:
                        out_op[Y_OK, o] += drawn
                        break
                    elif kind == CACHED:
                        hit = code_x[pc]
                        stack[depth, 0] = codes[pc, 2] + 1
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
                        m = content_start[codes[pc, 1]] + pool
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
                holds = False
                doomed = 0.0
                present = 0.0
                for w in range(station_visit_start[k], station_visit_start[k + 1]):
                    visit = station_visits[w]
                    hold = visit_hold[visit] != 0
                    for pool in range(from_pool, to_pool):
                        m = content_start[visit] + pool
                        if hold:
                            holds = True
                            mean = contents[m, M_HOLD]
                            second = contents[m, M_HOLD + 1] + mean * mean
                            limit_s = visits[visit, V_TIMEOUT]
                            if limit_s < 1e300:
                                patience = min(patience, limit_s)
                                late = contents[m, M_LATE]
                                pot = contents[m, M_DOOMED] + contents[m, M_CAME + 1] * late
                                gone = pot * dt_s / (limit_s + dt_s) if pot > RESIDUE else pot
                                contents[m, M_DOOMED] = pot - gone
                                doomed += pot - gone
                                out_op[Y_REJECTED, visit_op[visit]] += gone
                                contents[m, M_CAME] *= 1.0 - late
                                contents[m, M_CAME + 1] *= 1.0 - late
                        else:
                            mean = visits[visit, V_MEAN] / pool_speed[first_pool + pool]
                            second = mean * mean * (1.0 + visits[visit, V_CV2])
                        came_expected += contents[m, M_CAME]
                        came_drawn += contents[m, M_CAME + 1]
                        here = contents[m, M_NUMBER] + contents[m, M_CAME]
                        present += contents[m, M_NUMBER] + contents[m, M_CAME + 1]
                        weight += here
                        service1 += here * mean
                        service2 += here * second
                        if hold:
                            marginal += here * contents[m, M_HOLD_MARGINAL]
                if weight <= NOBODY:
                    s = queues[q, Q_SERVICE]
                    scv = queues[q, Q_SCV]
                else:
                    s = service1 / weight
                    scv = max(service2 / weight / (s * s) - 1.0, 0.0) if s > 0.0 else 0.0
                c = queue_servers[q]
                busy_before = queues[q, Q_BUSY]
                service_before = queues[q, Q_SERVICE]
                scv_before = queues[q, Q_SCV]
                let_in_before = queues[q, Q_LET_IN]
                if marginal > 0.0 and c > 0.0 and weight > NOBODY:
                    # A Hold is kept for longer the more are inside: solve for the flow that it lets in.
                    s = _holding_time(
                        s, marginal / weight, c, queues[q, Q_LET_IN], came_expected, queues[q, Q_NUMBER],
                        busy_before, dt_s,
                    )  # fmt: skip
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
                if holds and queues[q, Q_VARIANCE] != STATIONARY and c > 0.0:
                    accepted = max(came_expected - turned_away, 1e-9)
                    queues[q, Q_PASS] = min(max(let_in_expected / accepted, PASS_MIN), PASS_MAX)
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
                # In calm the expectation alone says who is left of whom, as it says how many are left.
                settled = queues[q, Q_VARIANCE] == STATIONARY and impatient == 0.0
                share_staying = queues[q, Q_NUMBER] / weight if settled and weight > 0.0 else 0.0
                share_more_busy = more_busy / weight if weight > 0.0 else 0.0
                staying_all = 0.0
                if (
                    not settled
                    or doomed != 0.0
                    or abs(queues[q, Q_OFF]) > tolerance * queues[q, Q_NUMBER] + REST_NUMBER
                    or abs(queues[q, Q_SERVICE] - service_before) > tolerance * service_before
                    or abs(queues[q, Q_SCV] - scv_before) > tolerance * (1.0 + scv_before)
                    or abs(queues[q, Q_LET_IN] - let_in_before) > tolerance * let_in_before + RESIDUE
                ):
                    still = False
                for w in range(station_visit_start[k], station_visit_start[k + 1]):
                    visit = station_visits[w]
                    for pool in range(from_pool, to_pool):
                        m = content_start[visit] + pool
                        here = contents[m, M_NUMBER] + contents[m, M_CAME + 1]
                        came = contents[m, M_CAME + 1]
                        away = came * share_away + here * share_impatient
                        contents[m, M_DOOMED] += came * share_doomed
                        out_op[Y_REJECTED, visit_op[visit]] += away - came * share_doomed
                        expected_here = contents[m, M_NUMBER] + contents[m, M_CAME]
                        expected = expected_here * share_expected
                        if visit_hold[visit] != 0:
                            expected = expected_here * share_let_in_expected
                        if settled:
                            after = min(expected_here * share_staying, here)
                            if abs(after - contents[m, M_NUMBER]) > tolerance * after + RESIDUE:
                                still = False
                            staying_all += after
                            contents[m, M_NUMBER] = after
                            going = here - after
                            if visit_hold[visit] != 0:
                                going = max(going + expected_here * share_more_busy, 0.0)
                        else:
                            going = here * share_left
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
                if settled:
                    if abs(queues[q, Q_NUMBER] - staying_all) > tolerance * staying_all + REST_NUMBER:
                        still = False
                    queues[q, Q_NUMBER] = staying_all
            out_station[STATION_BUSY, k] = busy
            out_station[STATION_CAPACITY, k] = capacity
            out_station[STATION_QUEUE, k] = waiting
        for o in range(first_op, last_op):
            cut = ops[O_CUT, o]
            for e in range(edge_start[o], edge_start[o + 1]):
                callee = edge_callee[e]
                expected = first[0, e - first_edge]
                drawn = first[1, e - first_edge]
                calm_edge = edges[E_HOT, e] == 0.0
                if abs(expected - edges[E_EXPECTED, e]) > tolerance * expected + RESIDUE:
                    still = False
                edges[E_EXPECTED, e] = expected
                if calm_edge:
                    edges[E_MEAN, e] = calm[callee, C_MEAN] + edge_delay_s[e]
                if calm_edge and cut == 0.0 and ops[O_LOST, callee] == 0.0:
                    ops[O_CAME, callee] += expected
                    ops[O_CAME + 1, callee] += drawn
                    done = settle_calm_edge(e, edges[E_MEAN, e], expected, drawn, dt_s, edges, out_edge)
                    if troubled:
                        out_trouble[T_CALL_OK, e] = done
                else:
                    still = False
                    settle_edge(
                        e, callee, expected, drawn, edge_cancel[e], edge_retries[e], edge_backoff_s[e], cut,
                        dt_s, edges, ops, out_edge, out_trouble,
                    )  # fmt: skip
            ops[O_CUT, o] = 0.0
        rest[service] = 1 if still else 0
    if troubled:
        for o in range(ops.shape[1]):
            ops[O_LOST, o] = 0.0
    return awake


@inlined
def _holding_time(
    s: float,
    marginal: float,
    c: float,
    last_flow: float,
    came: float,
    number: float,
    busy: float,
    dt_s: float,
) -> float:
    """How long a Hold is kept, given that its inside slows down by `marginal` for each request a second.

    If x a second are let in, it is kept for s + marginal·(x - last_flow). Of these, `fill` find a free
    server; the rest wait for one to be given back, y = c / (that time) a second: a quadratic in y. This
    is the implicit step that keeps a pool of threads and the queue behind it from overshooting each other.
    """
    fill = max(c - busy, 0.0) / dt_s
    base = s + marginal * (fill - last_flow)
    root = sqrt(base * base + 4.0 * marginal * c)
    # Either form of the root, whichever does not cancel.
    given_back = 2.0 * c / (root + base) if base > 0.0 else (root - base) / (2.0 * marginal)
    wanted = came / dt_s + max(number - c, 0.0) / dt_s
    if wanted >= fill + given_back:
        return c / given_back
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
) -> float:
    """Remove the requests of operation o whose callers cancelled: from its queues, and from its calls.

    They are spread over both, and over those who come in this tick, in proportion. Returns the share of
    the latter.
    """
    cancelled = ops[O_CANCEL, o]
    ops[O_CANCEL, o] = 0.0
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
    total = queued + calling + ops[O_CAME + 1, o]
    if total <= RESIDUE:
        return 0.0
    share = min(cancelled / total, TAKEN_MAX)
    ops[O_CUT, o] = 1.0 - (1.0 - ops[O_CUT, o]) * (1.0 - share)
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
                    queues[q, Q_TAKEN] += removed
    return float(share)
