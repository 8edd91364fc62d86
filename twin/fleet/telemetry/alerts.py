"""Alert rules, evaluated on every scrape for all services at once.

They are what a careful platform team would have: symptoms of users and of pods, each for long enough not
to flap. "Usual" is a slow average that stands still while something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from twin.fleet.blueprint import Blueprint
from twin.fleet.signals import push
from twin.fleet.state import NEVER_NS, Bool, State
from twin.fleet.telemetry.history import SERVICE_METRICS, Scrape
from twin.fleet.traffic.engine import F64
from twin.ports.plant import Metric
from twin.spec.signal import SignalKind, Symptom, SymptomKind
from twin.spec.units import NS_PER_S

__all__ = ["RULES", "evaluate"]

MEMORY_SHARE: Final = 0.9
USUAL_WEIGHT: Final = 0.05
WARM_UP_NS: Final = 60 * NS_PER_S


@dataclass(frozen=True, slots=True)
class _Rule:
    """`fires(metrics, state, limits)` gives (S,) flags; `usual` and `value` fill the symptom."""

    name: str
    symptom: SymptomKind
    wait_ns: int
    metric: Metric
    fires: Callable[[dict[Metric, F64], State, F64], Bool]
    usual: Callable[[State, int], float]


def _errors(metrics: dict[Metric, F64], state: State, limits: F64) -> Bool:
    return (metrics[Metric.ERROR_RATIO] > 0.02) & (metrics[Metric.REQUESTS_RPS] > 0.5)


def _slow(metrics: dict[Metric, F64], state: State, limits: F64) -> Bool:
    usual = state.usual_latency_s
    return (usual > 0.0) & (metrics[Metric.LATENCY_P99_S] > np.maximum(3.0 * usual, usual + 0.05))


def _saturated(metrics: dict[Metric, F64], state: State, limits: F64) -> Bool:
    return (metrics[Metric.CPU_UTILISATION_RATIO] > 0.95) | (metrics[Metric.POOL_UTILISATION_RATIO] > 0.95)


def _restarting(metrics: dict[Metric, F64], state: State, limits: F64) -> Bool:
    return metrics[Metric.RESTARTS] > 0


def _unready(metrics: dict[Metric, F64], state: State, limits: F64) -> Bool:
    return metrics[Metric.READY_REPLICAS] < metrics[Metric.WANTED_REPLICAS]


def _swollen(metrics: dict[Metric, F64], state: State, limits: F64) -> Bool:
    return metrics[Metric.MEMORY_BYTES] > MEMORY_SHARE * limits


def _crowded(metrics: dict[Metric, F64], state: State, limits: F64) -> Bool:
    usual, rate = state.usual_rate_rps, metrics[Metric.REQUESTS_RPS]
    return (usual > 0.0) & (rate > 1.5 * usual + 3.0 * np.sqrt(usual / 15.0) + 0.5)


def _nothing(state: State, service: int) -> float:
    return 0.0


RULES: Final = (
    _Rule("ErrorBudgetBurn", SymptomKind.ERRORS, 30 * NS_PER_S, Metric.ERROR_RATIO, _errors, _nothing),
    _Rule("LatencyHigh", SymptomKind.LATENCY, 30 * NS_PER_S, Metric.LATENCY_P99_S, _slow,
          lambda state, i: float(state.usual_latency_s[i])),
    _Rule("Saturated", SymptomKind.SATURATION, 45 * NS_PER_S, Metric.POOL_UTILISATION_RATIO, _saturated, _nothing),
    _Rule("ContainersRestarting", SymptomKind.RESTARTS, 0, Metric.RESTARTS, _restarting, _nothing),
    _Rule("ReplicasMissing", SymptomKind.UNREADY, 60 * NS_PER_S, Metric.READY_REPLICAS, _unready,
          lambda state, i: float(state.wanted[i])),
    _Rule("MemoryNearLimit", SymptomKind.MEMORY, 15 * NS_PER_S, Metric.MEMORY_BYTES, _swollen, _nothing),
    _Rule("TrafficUnusual", SymptomKind.TRAFFIC, 30 * NS_PER_S, Metric.REQUESTS_RPS, _crowded,
          lambda state, i: float(state.usual_rate_rps[i])),
)  # fmt: skip


def evaluate(blueprint: Blueprint, state: State, scrape: Scrape, now_ns: int) -> None:
    """Raise and resolve alerts by this scrape."""
    metrics = {metric: scrape.services[i].astype(np.float64) for i, metric in enumerate(SERVICE_METRICS)}
    limits = state.template_memory_limit[state.template]
    quiet = np.ones(state.wanted.size, dtype=np.bool_)
    warm = now_ns >= WARM_UP_NS
    for row, rule in enumerate(RULES):
        firing = rule.fires(metrics, state, limits) & warm
        fired = state.alert_since_ns[row] != NEVER_NS
        if not (firing.any() or fired.any() or state.alert_on[row].any()):
            continue  # As nearly always: nothing fires, nothing has to be resolved.
        quiet &= ~firing
        new = firing & ~fired
        state.alert_since_ns[row, new] = now_ns
        raised = firing & ~state.alert_on[row] & (now_ns - state.alert_since_ns[row] >= rule.wait_ns)
        over = ~firing & state.alert_on[row]
        state.alert_since_ns[row, ~firing] = NEVER_NS
        state.alert_on[row] = (state.alert_on[row] | raised) & firing
        for kind, services in ((SignalKind.ALERT, np.flatnonzero(raised)), (SignalKind.RESOLVED, np.flatnonzero(over))):
            for service in services:
                _announce(blueprint, state, rule, kind, int(service), float(metrics[rule.metric][service]), now_ns)
    if not warm:
        return  # The first minute is no example of anything.
    latency, rate = metrics[Metric.LATENCY_P99_S], metrics[Metric.REQUESTS_RPS]
    for usual, seen in ((state.usual_latency_s, latency), (state.usual_rate_rps, rate)):
        weight = np.where(usual == 0.0, 1.0, USUAL_WEIGHT) * quiet
        usual += weight * (seen - usual)


def _announce(
    blueprint: Blueprint, state: State, rule: _Rule, kind: SignalKind, service: int, value: float, now_ns: int
) -> None:
    name = blueprint.fleet.services[service].id
    usual = rule.usual(state, service)
    push(
        blueprint, state, kind=kind, service=service, reason=rule.name, now_ns=now_ns,
        text=f"{name}: {rule.symptom} {value:.3g}" + (f" (usually {usual:.3g})" if usual else ""),
        symptom=Symptom(service=name, kind=rule.symptom, value=value, usual=usual),
    )  # fmt: skip
