"""Plain twins of the kernels, written by another route: sums, integrals and enumerations, no closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from twin.fleet.traffic.engine import F64
from twin.fleet.traffic.network import Network

Outcomes = dict[tuple[float, str], float]  # share of those who (have spent so long, are in this state)


def poisson_quantile(u: float, mean: float) -> int:
    """The least count whose probabilities up to it sum to u or more, each from its logarithm."""
    total, count = 0.0, 0
    while True:
        total += math.exp(count * math.log(mean) - mean - math.lgamma(count + 1.0))
        if total >= u or count > 100_000:
            return count
        count += 1


def birth_and_death(arrival: float, service: float, servers: int, places: int) -> list[float]:
    """Stationary probabilities of the number in system, from the balance of neighbouring states."""
    weights = [1.0]
    for number in range(1, servers + places + 1):
        weights.append(weights[-1] * arrival / (service * min(number, servers)))
    whole = math.fsum(weights)
    return [weight / whole for weight in weights]


def wait_chance(rho: float, servers: int) -> float:
    """Share of arrivals that find all servers busy; a long queue stands for an endless one."""
    return math.fsum(birth_and_death(rho * servers, 1.0, servers, 4000)[servers:])


def number_in_system(rho: float, servers: int) -> float:
    return math.fsum(n * p for n, p in enumerate(birth_and_death(rho * servers, 1.0, servers, 4000)))


def fluid_queue(before: float, arrival: float, servers: int, service_s: float, dt_s: float) -> float:
    """The queue's equation in 20,000 explicit steps; ρ(m) by bisection over a table of m(ρ)."""
    rhos = [i / 400 for i in range(400)] + [1.0 - 0.0025 * 0.8**i for i in range(1, 25)]
    numbers = [number_in_system(rho, servers) for rho in rhos]
    number, steps = before, 20_000
    for _ in range(steps):
        rho = float(np.interp(number, numbers, rhos))
        number += (arrival - servers / service_s * rho) * dt_s / steps
    return number


def gamma_parts(mean: float, variance: float, limit: float) -> tuple[float, float, float]:
    """(P(X > limit), E[X | X <= limit], E[X² | X <= limit]) of a gamma, by summing its density."""
    shape, scale = mean * mean / variance, variance / mean
    x = (np.arange(400_000) + 0.5) * (limit / 400_000)
    density = np.exp((shape - 1) * np.log(x / scale) - x / scale - math.lgamma(shape)) / scale
    mass = density * (limit / 400_000)
    inside = float(mass.sum())
    return 1.0 - inside, float((mass * x).sum()) / inside, float((mass * x * x).sum()) / inside


def longest_exponential(means: Sequence[float], probabilities: Sequence[float]) -> float:
    """E of the longest of independent exponentials, each there with its probability, by a fine sum."""
    step = min(means) / 2000
    total, at = 0.0, 0.5 * step
    while at < 25 * max(means):
        below = 1.0
        for mean, p in zip(means, probabilities, strict=True):
            below *= 1.0 - p * math.exp(-at / mean)
        total += (1.0 - below) * step
        at += step
    return total


def call(ok_share: float, ok_s: float, bad_s: float, retries: int, backoff_s: float) -> Outcomes:
    """Every way in which a call of fixed times can go, attempt by attempt."""
    found: Outcomes = {}
    alive, spent = 1.0, 0.0
    for attempt in range(retries + 1):
        state = "clean" if attempt == 0 else "troubled"
        found[spent + ok_s, state] = found.get((spent + ok_s, state), 0.0) + alive * ok_share
        alive *= 1.0 - ok_share
        spent += bad_s + (backoff_s if attempt < retries else 0.0)
    found[spent, "failed"] = alive
    return found


def follow(outcomes: Outcomes, step: Callable[[str], Outcomes]) -> Outcomes:
    """Let everybody who is alive go through a step."""
    found: Outcomes = {}
    for (spent, state), share in outcomes.items():
        if state in ("failed", "rejected"):
            found[spent, state] = found.get((spent, state), 0.0) + share
            continue
        for (more, end), part in step(state).items():
            new = end if end in ("failed", "rejected") or state == "clean" else state
            key = (spent + more, new)
            found[key] = found.get(key, 0.0) + share * part
    return found


def moment(outcomes: Outcomes, state: str, order: int) -> float:
    return math.fsum(share * spent**order for (spent, end), share in outcomes.items() if end == state)


class Pots:
    """An edge's ledger in steps of a millisecond: each attempt keeps the time at which it ends."""

    def __init__(self, mean_s: float, ok: float, late: float) -> None:
        self.mean_s, self.ok, self.late = mean_s, ok, late

    def run(self, issued_per_tick: float, ticks: int, retries: int, backoff_s: float) -> dict[str, float]:
        """Totals of the last tick, when attempts take exactly their mean."""
        steps = 1000
        issue = [0.0] * int((ticks + 1) * steps + 1)
        totals = {"issued": 0.0, "ok": 0.0, "timed_out": 0.0, "call_failed": 0.0}
        start = (ticks - 1) * steps
        flows = [[issued_per_tick / steps] * (ticks * steps)]
        for attempt in range(retries + 1):
            back = [0.0] * len(issue)
            for at, amount in enumerate(flows[attempt]):
                if at >= start:
                    totals["issued"] += amount
                end = at + round(self.mean_s * steps)
                if start <= end < ticks * steps:
                    totals["ok"] += amount * self.ok
                    totals["timed_out"] += amount * self.late
                    if attempt == retries:
                        totals["call_failed"] += amount * self.late
                again = end + round(backoff_s * steps)
                if again < ticks * steps:
                    back[again] += amount * self.late
            flows.append(back[: ticks * steps])
        return totals


def drift(
    network: Network, drawn: F64, rate_rps: F64, mean_s: F64, in_flight: F64, dt_s: float
) -> tuple[F64, F64, F64, F64]:
    """A calm tick by the flow equations of the whole graph, solved at once instead of caller by caller.

    came = entries + A·came, A[callee, caller] the calls per request. Ledgers by Little's law. Returns
    arrivals (O,) and, by edge, attempts, those ended well, and those in flight.
    """
    ops, journeys = len(network.ops), len(network.journeys)
    calls = np.zeros((ops, ops))
    inner = slice(journeys, None)
    np.add.at(calls, (network.edge_callee[inner], network.edge_caller[inner]), network.edge_visit_ratio[inner])

    def flows(entries: F64) -> tuple[F64, F64]:
        entering = np.bincount(network.edge_callee[:journeys], weights=entries, minlength=ops)
        came = np.linalg.solve(np.eye(ops) - calls, entering)
        return came, np.concatenate([entries, came[network.edge_caller[inner]] * network.edge_visit_ratio[inner]])

    came, issued = flows(drawn)
    _, expected = flows(rate_rps * dt_s)
    whole = in_flight + issued
    after = np.where(mean_s > 0.1 * dt_s, whole * mean_s / (mean_s + dt_s), np.minimum(expected * mean_s / dt_s, whole))
    return came, issued, whole - after, after
