"""Which specialist an incident goes to: a linear model on a dozen features, with the weights written out.

The features say which symptoms there are, where (at the deepest suffering services or above), and which
Kubernetes events came with them. Weights are those of a multinomial logistic regression (ridge 0.002) on 3,000
generated incidents with known labels; tests/agent/test_router.py states the accuracy on 1,000 others. What it
is worth on real incidents is not known yet. A margin decides: close calls are "unsure" and go to the
control-plane agent, which looks at everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agent.correlate import Graph
from twin.spec.ids import ServiceId
from twin.spec.incident import Incident
from twin.spec.signal import Signal, SignalKind, SymptomKind

__all__ = ["SPECIALISTS", "UNSURE", "Routing", "features_of", "route"]

UNSURE: Final = "unsure"
SPECIALISTS: Final = ("database", "network", "workload", "capacity", "node")
MARGIN_MIN: Final = 0.15  # between the best and the second-best probability

FEATURES: Final = (
    "errors", "latency", "saturation", "restarts", "unready", "memory",  # share of services with it
    "traffic",  # share of the shallowest sufferers with it: below them, retries look like traffic
    "deep_database",  # a deepest suffering service is stateful (1), or calls one (0.5): who waits is often silent
    "deploy", "crash_events", "node_event", "no_change",
    "deep_quiet",  # the deepest sufferers show latency or errors alone: the way there may be at fault
    "spread",  # suffering services that do not call each other, as a share
)  # fmt: skip

# One row a specialist, with a bias; what is left out is below 0.15. Fitted, see the module's docstring.
_WEIGHTS: Final[dict[str, dict[str, float]]] = {
    "database": {"errors": 0.2, "latency": 1.0, "restarts": -0.3, "unready": -1.9, "traffic": -0.5,
        "deep_database": 3.9, "deploy": -0.8, "crash_events": -0.4, "node_event": -0.7, "no_change": 0.2,
        "deep_quiet": -1.5, "bias": -0.6},
    "network": {"errors": 0.2, "saturation": -1.3, "restarts": 0.3, "unready": -0.8, "deep_database": -1.8,
        "deploy": -0.8, "crash_events": 0.8, "node_event": -0.7, "no_change": 1.0, "deep_quiet": 3.2, "bias":
        -0.3},
    "workload": {"errors": 0.2, "saturation": -1.6, "restarts": 0.5, "unready": 0.6, "traffic": -0.2,
        "deep_database": -1.1, "deploy": 2.9, "crash_events": 0.6, "node_event": -1.0, "no_change": -1.3,
        "deep_quiet": 0.6, "spread": -0.2, "bias": -0.3},
    "capacity": {"errors": -1.0, "saturation": 4.3, "unready": -0.6, "traffic": 1.2, "deep_database": -1.0,
        "deploy": -0.3, "crash_events": -0.4, "node_event": -0.2, "no_change": 0.2, "deep_quiet": -1.4,
        "spread": -0.7, "bias": 0.2},
    "node": {"errors": 0.3, "latency": -0.9, "saturation": -1.3, "restarts": -0.3, "unready": 2.7, "traffic":
        -0.4, "deploy": -1.1, "crash_events": -0.6, "node_event": 2.7, "no_change": -0.2, "deep_quiet": -1.0,
        "spread": 1.0, "bias": 1.0},
}  # fmt: skip

_CRASHES: Final = frozenset({"OOMKilled", "BackOff", "CrashLoopBackOff"})
_NODE_EVENTS: Final = frozenset({"NodeNotReady", "TaintManagerEviction", "NodeNotSchedulable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """`confidence` is the winner's share of belief, `scores` everybody's."""

    specialist: str
    confidence: float
    scores: tuple[tuple[str, float], ...]


def features_of(
    incident: Incident, signals: Sequence[Signal], graph: Graph, databases: frozenset[ServiceId]
) -> dict[str, float]:
    """What the model sees, each 0 to 1. `databases`: stateful services."""
    services = set(incident.services)
    count = max(len(services), 1)
    by_kind = {kind: {s.service for s in incident.symptoms if s.kind is kind} for kind in SymptomKind}
    deepest = {s for s in services if not graph.callees.get(s, set()) & services}
    lone = {s for s in services if not (graph.callees.get(s, set()) | graph.callers.get(s, set())) & services}
    near = services | {c for s in services for c in graph.callees.get(s, ())}
    recent = [s for s in signals if s.at_s >= incident.onset_s - 600.0]
    deploy = any(s.kind is SignalKind.DEPLOY and s.service in near for s in recent)
    crashes = any(s.reason in _CRASHES and s.service in near for s in recent)
    node_event = any(s.reason in _NODE_EVENTS for s in recent)
    loud = {SymptomKind.ERRORS, SymptomKind.LATENCY}
    quiet = {s for s in deepest if {x.kind for x in incident.symptoms if x.service == s} <= loud}
    shallow = {s for s in services if not graph.callers.get(s, set()) & services}
    on_database = bool(deepest & databases)
    above_database = any(graph.callees.get(s, set()) & databases for s in deepest)
    values = {kind.value: len(by_kind[kind]) / count for kind in SymptomKind}
    values["traffic"] = len(by_kind[SymptomKind.TRAFFIC] & shallow) / max(len(shallow), 1)
    values["deep_database"] = 1.0 if on_database else 0.5 if above_database else 0.0
    values["deploy"] = float(deploy)
    values["crash_events"] = float(crashes)
    values["node_event"] = float(node_event)
    values["no_change"] = float(not deploy and not crashes and not node_event)
    values["deep_quiet"] = len(quiet) / max(len(deepest), 1)
    values["spread"] = len(lone) / count if len(services) > 1 else 0.0
    return {name: values[name] for name in FEATURES}


def route(
    incident: Incident, signals: Sequence[Signal], graph: Graph, databases: frozenset[ServiceId] = frozenset()
) -> Routing:
    """The specialist, or "unsure" when two are nearly as likely."""
    features = features_of(incident, signals, graph, databases)
    raw = {
        name: weights["bias"] + sum(weights.get(feature, 0.0) * value for feature, value in features.items())
        for name, weights in _WEIGHTS.items()
    }
    top = max(raw.values())
    odds = {name: math.exp(value - top) for name, value in raw.items()}
    total = math.fsum(odds.values())
    scores = tuple(sorted(((name, odds[name] / total) for name in SPECIALISTS), key=lambda item: (-item[1], item[0])))
    sure = scores[0][1] - scores[1][1] >= MARGIN_MIN
    return Routing(specialist=scores[0][0] if sure else UNSURE, confidence=scores[0][1], scores=scores)
