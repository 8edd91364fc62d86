"""Move every request by one tick: callers before callees, queue by queue, edge by edge.

A service is done in four steps. Its operations take in what has come; each flow walks its program up to
the next station and joins what waits there; each station's queue advances, and whoever leaves walks on;
at last every edge's ledger is settled, and the attempts go to their callees.

Letters of shapes: as in network.py, and (P,) pools, (Q,) queues (one a pool and station, or one a
service and station), (M,) contents (one a pool and visit).
"""

from __future__ import annotations

from math import sqrt
from typing import Final

import numpy as np

from twin.fleet.traffic.engine import F64, I64
from twin.fleet.traffic.erlang import POINTS
from twin.fleet.traffic.jit import inlined, kernel
from twin.fleet.traffic.ledger import settle_calm_edge, settle_edge
from twin.fleet.traffic.network import CACHED, CALLS, END, END_CACHED, END_HOLD, GROUP, PUBLISHES
from twin.fleet.traffic.queues import (
    CALM_UTILISATION,
    PASS_MAX,
    PASS_MIN,
    Q_AGE,
    Q_ARRIVAL,
    Q_BLOCK,
    Q_BUSY,
    Q_FLOW,
    Q_IMPATIENT,
    Q_LEAD,
    Q_LET_IN,
    Q_MARGINAL,
    Q_NUMBER,
    Q_PASS,
    Q_SCV,
    Q_SERVICE,
    Q_TAKEN,
    Q_VARIANCE,
    Q_WAIT,
    Q_Y,
    STATIONARY,
    step_queue,
)
from twin.fleet.traffic.state import (
    C_MEAN,
    E_FAIL,
    E_FLIGHT,
    E_HOT,
    E_MEAN,
    E_PASS,
    E_ZOMBIE,
    I32,
    M_CAME,
    M_DOOMED,
    M_HOLD,
    M_HOLD_MARGINAL,
    M_LATE,
    M_NUMBER,
    O_CALLING,
    O_CAME,
    O_CANCEL,
    O_CUT,
    O_HOT,
    O_LOST,
    RESIDUE,
    T_CALL_OK,
    V_CV2,
    V_MEAN,
    V_TIMEOUT,
    Y_CAME,
    Y_FAILED,
    Y_OK,
    Y_REJECTED,
)

__all__ = ["sweep_forward"]

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
def _flow_calm(
    at: int,
    plan: I64,
    plan_figures: F64,
    dt_s: float,
    pool_error_ratio: F64,
    op_shed_ratio: F64,
    edge_callee: I32,
    edge_probability: F64,
    tables: F64,
    contents: F64,
    queues: F64,
    ops: F64,
    out_op: F64,
    out_busy: F64,
    out_capacity: F64,
    out_queue: F64,
) -> bool:
    """The short cut for a service of one operation (one Work, then calls) and one pool, in calm.

    False, and nothing done, where anything else is the case: then the long way is gone.
    """
    o = plan[at, 0]
    calm = False
    sound = pool_error_ratio[plan[at, 6]] == 0.0 and op_shed_ratio[o] == 0.0
    if sound and ops[o, O_HOT] == 0.0 and ops[o, O_CUT] == 0.0 and ops[o, O_CANCEL] == 0.0:
        q = plan[at, 1]
        s = plan_figures[at, 0]
        g = plan_figures[at, 1]
        c = plan_figures[at, 2]
        rate = plan_figures[at, 3]
        expected = ops[o, O_CAME]
        drawn = ops[o, O_CAME + 1]
        flow = expected / dt_s
        rho = flow * s * plan_figures[at, 4]
        before = queues[q, Q_NUMBER]
        if rho < CALM_UTILISATION:
            rest = 1.0 / (1.0 - rho)
            x = rho * (POINTS - 1.0)
            i = int(x)
            low = tables[plan[at, 7], 0, i]
            chance = low + (tables[plan[at, 7], 0, i + 1] - low) * (x - i)
            stationary = c * rho + g * chance * rho * rest
            off = before - stationary
            if abs(off) < 0.1 * (1.0 + stationary):
                calm = True
                # Relaxation as in step_queue: off / (1 + dt·rate/slope).
                slope = c + g * chance * rest * rest
                after = min(stationary + off * slope / (slope + dt_s * rate), before + drawn)
                given = g * rest / rate
                queues[q, Q_NUMBER] = after
                queues[q, Q_Y] = rho * rest
                queues[q, Q_FLOW] = flow
                queues[q, Q_WAIT] = chance * given
                queues[q, Q_WAIT + 1] = chance * (2.0 - chance) * given * given
                queues[q, Q_WAIT + 2] = chance * (6.0 - chance * (6.0 - 2.0 * chance)) * given * given * given
                queues[q, Q_MARGINAL] = chance * given * rest / rate
                queues[q, Q_BUSY] = c * rho
                queues[q, Q_ARRIVAL] = flow
                queues[q, Q_AGE] = chance * given
                if queues[q, Q_VARIANCE] != STATIONARY:
                    queues[q, Q_PASS] = 1.0
                    queues[q, Q_VARIANCE] = STATIONARY
                    queues[q, Q_SERVICE] = s
                    queues[q, Q_SCV] = 2.0 * g - 1.0
                    queues[q, Q_BLOCK] = 0.0
                    queues[q, Q_LEAD] = 0.0
                    queues[q, Q_IMPATIENT] = 0.0
                contents[plan[at, 2], M_NUMBER] = after
                expected = max(before + expected - after, 0.0)
                out_op[Y_CAME, o] = drawn
                drawn = before + drawn - after
                out_op[Y_OK, o] = drawn
                out_op[Y_FAILED, o] = 0.0
                out_op[Y_REJECTED, o] = 0.0
                ops[o, O_CAME] = 0.0
                ops[o, O_CAME + 1] = 0.0
                out_busy[plan[at, 5]] = c * rho
                out_capacity[plan[at, 5]] = c
                out_queue[plan[at, 5]] = max(after - c * rho, 0.0)
                # The calls are on their way. The backward sweep, which learns how long they take, settles
                # them.
                ops[o, O_CALLING] = expected
                ops[o, O_CALLING + 1] = drawn
                for e in range(plan[at, 3], plan[at, 4]):
                    p = edge_probability[e]
                    callee = edge_callee[e]
                    ops[callee, O_CAME] += expected * p
                    ops[callee, O_CAME + 1] += drawn * p
    return calm


@kernel
def sweep_forward(
    dt_s: float,
    troubled: bool,
    journey_drawn: F64,
    # The network.
    service_order: I64,
    op_start: I64,
    edge_start: I64,
    edge_callee: I32,
    edge_probability: F64,
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
    plan: I64,
    plan_figures: F64,
    tables: F64,
    # State, and work space.
    edges: F64,
    contents: F64,
    queues: F64,
    ops: F64,
    calm: F64,
    stack: F64,
    first: F64,
    # What happened.
    out_edge: F64,
    out_trouble: F64,
    out_op: F64,
    out_busy: F64,
    out_capacity: F64,
    out_queue: F64,
) -> None:
    """Move every request by one tick of `dt_s` seconds.

    troubled: some edge may be hot or some request lost; otherwise out_trouble is left alone.
    journey_drawn: (J,) new users. queue_start: (K+1,), queue_servers, queue_limit, queue_table: (Q,).
    content_start: (V,) first of a visit's contents, one a pool. plan, plan_figures: (S, …) short cuts.
    edges: (E_WIDTH, E), contents: (M, M_WIDTH), queues: (Q, Q_WIDTH), ops: (O, O_WIDTH). stack: (D, 5)
    flows to be followed. first: (2, n) first attempts of one service's edges. out_edge: (X_ROWS, E),
    out_trouble: (T_ROWS, E), out_op: (Y_ROWS, O), out_busy, out_capacity, out_queue: (K,).
    """
    for j in range(journey_drawn.shape[0]):
        expected = journey_rate_rps[j] * dt_s
        if edges[E_HOT, j] == 0.0 and not troubled:
            ops[edge_callee[j], O_CAME] += expected
            ops[edge_callee[j], O_CAME + 1] += journey_drawn[j]
            settle_calm_edge(j, edges[E_MEAN, j], expected, journey_drawn[j], dt_s, edges, out_edge)
        else:
            # A user who gives up tells nobody: no cancel.
            settle_edge(
                j, edge_callee[j], expected, journey_drawn[j], 0, edge_retries[j], edge_backoff_s[j], 0.0,
                dt_s, edges, ops, out_edge, out_trouble,
            )  # fmt: skip
    for at in range(service_order.shape[0]):
        if plan[at, 0] >= 0 and _flow_calm(
            at, plan, plan_figures, dt_s, pool_error_ratio, op_shed_ratio, edge_callee,
            edge_probability, tables, contents, queues, ops, out_op, out_busy, out_capacity, out_queue,
        ):  # fmt: skip
            continue
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
        for i in range(last_edge - first_edge):
            first[0, i] = 0.0
            first[1, i] = 0.0
        depth = 0
        for o in range(first_op, last_op):
            staying = 1.0
            if ops[o, O_CANCEL] > 0.0:
                staying -= _take_out_cancelled(
                    o, pools, station_start[service], station_start[service + 1], station_visit_start,
                    station_visits, visit_op, visit_hold, queue_start, content_start, edge_start, edges,
                    contents, queues, ops,
                )  # fmt: skip
            depth = _take_in(
                o, first_pool, pools, ready, pool_ready, pool_error_ratio, op_shed_ratio[o], staying, ops,
                out_op, stack, depth, code_start[o],
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
                                gone = pot * dt_s / (limit_s + dt_s)
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
                expected = first[0, e - first_edge]
                drawn = first[1, e - first_edge]
                calm_edge = edges[E_HOT, e] == 0.0
                if calm_edge:
                    edges[E_MEAN, e] = calm[callee, C_MEAN] + edge_delay_s[e]
                if calm_edge and cut == 0.0 and ops[callee, O_LOST] == 0.0:
                    ops[callee, O_CAME] += expected
                    ops[callee, O_CAME + 1] += drawn
                    done = settle_calm_edge(e, edges[E_MEAN, e], expected, drawn, dt_s, edges, out_edge)
                    if troubled:
                        out_trouble[T_CALL_OK, e] = done
                else:
                    settle_edge(
                        e, callee, expected, drawn, edge_cancel[e], edge_retries[e], edge_backoff_s[e], cut,
                        dt_s, edges, ops, out_edge, out_trouble,
                    )  # fmt: skip
            ops[o, O_CUT] = 0.0
    if troubled:
        for o in range(ops.shape[0]):
            ops[o, O_LOST] = 0.0


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
    total = queued + calling + ops[o, O_CAME + 1]
    if total <= RESIDUE:
        return 0.0
    share = min(cancelled / total, TAKEN_MAX)
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
                    queues[q, Q_TAKEN] += removed
    return float(share)
