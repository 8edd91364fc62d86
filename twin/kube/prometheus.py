"""Telemetry from a Prometheus server: what a live cluster shows of its services, its calls and its users.

Which series say what is a table that people edit (queries.yaml beside this module is the default): each query gives
rates and ratios over a window, by labels of agreed names. What a query does not give is NaN, a scrape that is missing.
"""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from twin.ports.plant import EdgeId, Metric, OperationStats, Series, TracedEdge
from twin.spec.errors import ApiError, BadInput, Unprocessable
from twin.spec.ids import ServiceId
from twin.spec.signal import Signal, SignalKind, Symptom, SymptomKind
from twin.spec.yaml_reader import Problem, parse_document, read_file_text

__all__ = ["PrometheusTelemetry", "Queries", "read_queries"]

DEFAULT_QUERIES: Final = Path(__file__).parent / "queries.yaml"
STEP_S: Final = 15.0
TIMEOUT_S: Final = 20.0
ANSWER_MAX_BYTES: Final = 256 * 2**20
SEEN_WITHIN_S: Final = 3600.0  # An edge on which nothing was called for so long is no edge any more.
ALERTS_WITHIN_S: Final = 6 * 3600.0
USER: Final = "user"
_EDGE_METRICS: Final = (Metric.REQUESTS_RPS, Metric.ERROR_RATIO, Metric.LATENCY_MEAN_S)


@dataclass(frozen=True, slots=True)
class Queries:
    """PromQL by what it gives. `services`: by label service, one for each Metric; `edges`: by caller, caller_operation,
    callee, callee_operation, position, group, asynchronous; `users`: by journey, for users who came and the share let
    down; `operations`: by service, operation; `alerts`: by alertname, service, symptom."""

    services: Mapping[Metric, str]
    edges: Mapping[Metric, str]
    users: Mapping[Metric, str]
    operations: Mapping[str, str]
    alerts: str


def read_queries(path: Path = DEFAULT_QUERIES) -> Queries:
    """Raises BadInput for a table that cannot be read, lacks a part or has one too many."""
    document = parse_document(read_file_text(path), 1)
    if document is None or isinstance(document, Problem) or not isinstance(document.value, dict):
        raise BadInput(f"cannot read {path}", "it is no table of queries", "see queries.yaml in the documentation")
    data = document.value
    wanted: dict[str, set[str]] = {
        "services": {str(metric) for metric in Metric},
        "edges": {str(metric) for metric in _EDGE_METRICS},
        "users": {str(Metric.REQUESTS_RPS), str(Metric.ERROR_RATIO)},
        "operations": {"rate_rps", "error_ratio", "own_time_s"},
    }
    for part, names in wanted.items():
        found = data.get(part)
        if not isinstance(found, dict) or set(found) - names or not all(isinstance(q, str) for q in found.values()):
            known = ", ".join(sorted(names))
            raise BadInput(f"cannot use {path}", f"{part} has to map some of {known} to queries", "correct it")
    return Queries(
        services={Metric(name): query for name, query in data["services"].items()},
        edges={Metric(name): query for name, query in data["edges"].items()},
        users={Metric(name): query for name, query in data["users"].items()},
        operations=dict(data["operations"]),
        alerts=str(data.get("alerts", "")),
    )


class PrometheusTelemetry:
    """Implements Telemetry. `now_s` says what "lately" is; `news` gives what the cluster itself tells of."""

    def __init__(
        self,
        url: str,
        queries: Queries,
        *,
        now_s: Callable[[], float],
        news: Callable[[], Sequence[Signal]] = lambda: (),
        step_s: float = STEP_S,
    ) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise BadInput(
                f'cannot use Prometheus at "{url}"', "it is no http or https address", "give --prometheus URL"
            )
        self._url = url.rstrip("/")
        self._queries = queries
        self._now_s = now_s
        self._news = news
        self._step_s = step_s

    def services(self) -> Sequence[ServiceId]:
        query = self._queries.services[Metric.REQUESTS_RPS]
        found = {labels.get("service", "") for labels, _ in self._lately(query, SEEN_WITHIN_S)}
        return [ServiceId(name) for name in sorted(found) if "/" in name]

    def series(self, metric: Metric, services: Sequence[ServiceId], *, start_s: float, end_s: float) -> Series:
        query = self._queries.services.get(metric)
        rows = self._range(query, start_s, end_s) if query else []
        return self._table(
            rows, lambda labels: labels.get("service", ""), [str(one) for one in services], start_s, end_s
        )

    def edges(self) -> Sequence[TracedEdge]:
        found: dict[EdgeId, TracedEdge] = {}
        for labels, _ in self._lately(self._queries.edges[Metric.REQUESTS_RPS], SEEN_WITHIN_S):
            edge = _edge(labels)
            if edge is not None:
                found[edge.id] = edge
        for journey, target in self._journeys():
            edge_id = EdgeId(
                caller=USER, caller_operation=journey, callee=target[0], callee_operation=target[1], position=0
            )
            found[edge_id] = TracedEdge(id=edge_id)
        return [found[edge_id] for edge_id in sorted(found)]

    def edge_series(self, metric: Metric, edges: Sequence[EdgeId], *, start_s: float, end_s: float) -> Series:
        if metric not in _EDGE_METRICS:
            raise BadInput(f"edges have no metric {metric}", "traces show rate, errors and latency", "ask for those")
        known = {edge.id for edge in self.edges()}
        unknown = next((edge for edge in edges if edge not in known), None)
        if unknown is not None:
            raise BadInput(
                f"no traces of {unknown.caller} calling {unknown.callee}", "tracing has never seen this edge",
                "ask for one of edges()",
            )  # fmt: skip
        keys = [_edge_key(edge) for edge in edges]
        inside = self._queries.edges.get(metric)
        table = self._table(self._range(inside, start_s, end_s) if inside else [], _labels_key, keys, start_s, end_s)
        outside = self._queries.users.get(metric)
        if outside is not None and any(edge.caller == USER for edge in edges):
            users = self._table(
                self._range(outside, start_s, end_s), lambda labels: labels.get("journey", ""),
                [edge.caller_operation for edge in edges], start_s, end_s,
            )  # fmt: skip
            of_users = np.array([edge.caller == USER for edge in edges], dtype=np.bool_)
            return Series(table.times_s, np.where(of_users, users.values, table.values))
        return table

    def operations(self, *, start_s: float, end_s: float) -> Sequence[OperationStats]:
        figures: dict[tuple[str, str], dict[str, float]] = {}
        for name, query in self._queries.operations.items():
            for labels, values in self._range(query, start_s, end_s):
                key = (labels.get("service", ""), labels.get("operation", ""))
                seen = [value for _, value in values if math.isfinite(value)]
                if seen:
                    figures.setdefault(key, {})[name] = sum(seen) / len(seen)
        return [
            OperationStats(
                service=ServiceId(service), operation=operation, rate_rps=one["rate_rps"],
                error_ratio=one.get("error_ratio", 0.0), own_time_s=one.get("own_time_s", 0.0),
            )
            for (service, operation), one in sorted(figures.items())
            if one.get("rate_rps", 0.0) > 0.0 and "/" in service
        ]  # fmt: skip

    def signals(self, *, after: int) -> Sequence[tuple[int, Signal]]:
        """Alerts as they began and ended, and the cluster's own news, in the order of their times. A cursor is a time
        in microseconds."""
        now_s = self._now_s()
        found = [(signal.at_s, signal) for signal in self._news()]
        if self._queries.alerts:
            for labels, values in self._range(self._queries.alerts, now_s - ALERTS_WITHIN_S, now_s):
                found += self._alert(labels, [at_s for at_s, _ in values], now_s)
        found.sort(key=lambda one: (one[0], one[1].id))
        numbered: list[tuple[int, Signal]] = []
        last = 0
        for at_s, signal in found:
            last = max(round(at_s * 1e6), last + 1)
            numbered.append((last, signal))
        return [(cursor, signal) for cursor, signal in numbered if cursor > after]

    # What one alert's samples say

    def _alert(self, labels: Mapping[str, str], at_s: Sequence[float], now_s: float) -> list[tuple[float, Signal]]:
        service, name = labels.get("service", ""), labels.get("alertname", "")
        try:
            kind = SymptomKind(labels.get("symptom", ""))
        except ValueError:
            return []  # An alert that says nothing of a service's symptoms.
        found = []
        gap_s = 2.5 * self._step_s
        starts = [one for index, one in enumerate(at_s) if index == 0 or one - at_s[index - 1] > gap_s]
        ends = [one for index, one in enumerate(at_s) if index + 1 == len(at_s) or at_s[index + 1] - one > gap_s]
        for kind_of, moments in ((SignalKind.ALERT, starts), (SignalKind.RESOLVED, ends)):
            for moment in moments:
                if kind_of is SignalKind.RESOLVED and moment > now_s - gap_s:
                    continue  # It still fires.
                symptom = Symptom(service=ServiceId(service), kind=kind, value=math.nan, usual=math.nan)
                found.append(
                    (
                        moment,
                        Signal(
                            id=f"{name}-{service}-{kind_of}-{moment:.0f}", kind=kind_of, at_s=moment,
                            service=ServiceId(service), reason=name, text=f"{service}: {kind}", symptom=symptom,
                        ),
                    )
                )  # fmt: skip
        return found

    def _journeys(self) -> list[tuple[str, tuple[str, str]]]:
        rows = self._lately(self._queries.users[Metric.REQUESTS_RPS], SEEN_WITHIN_S)
        return sorted(
            (labels["journey"], (labels.get("callee", ""), labels.get("callee_operation", "")))
            for labels, _ in rows
            if labels.get("journey")
        )

    def _table(
        self, rows: Sequence[tuple[Mapping[str, str], Sequence[tuple[float, float]]]], key: Any, columns: Sequence[str],
        start_s: float, end_s: float,
    ) -> Series:  # fmt: skip
        times = self._grid(start_s, end_s)
        values: NDArray[np.float64] = np.full((times.size, len(columns)), np.nan)
        places: dict[str, list[int]] = {}
        for number, name in enumerate(columns):
            places.setdefault(name, []).append(number)
        at = {round(float(time_s), 3): number for number, time_s in enumerate(times)}
        for labels, samples in rows:
            for place in places.get(key(labels), ()):
                for time_s, value in samples:
                    row = at.get(round(time_s, 3))
                    if row is not None and math.isfinite(value):
                        values[row, place] = value
        return Series(times, values)

    def _grid(self, start_s: float, end_s: float) -> NDArray[np.float64]:
        """Moments after `start_s` up to `end_s`, at whole steps: the same ones whoever asks."""
        first, last = math.floor(start_s / self._step_s) + 1, math.floor(end_s / self._step_s)
        return np.arange(first, last + 1, dtype=np.float64) * self._step_s

    # Prometheus' HTTP API

    def _lately(self, query: str, window_s: float) -> list[tuple[Mapping[str, str], Sequence[tuple[float, float]]]]:
        now_s = self._now_s()
        found: dict[str, tuple[Mapping[str, str], Sequence[tuple[float, float]]]] = {}
        for labels, values in self._range(query, now_s - window_s, now_s):
            if any(math.isfinite(value) and value > 0.0 for _, value in values):
                found[json.dumps(labels, sort_keys=True)] = (labels, values)
        return list(found.values())

    def _range(
        self, query: str, start_s: float, end_s: float
    ) -> list[tuple[Mapping[str, str], Sequence[tuple[float, float]]]]:
        grid = self._grid(start_s, end_s)
        if not grid.size:
            return []
        asked = {"query": query, "start": f"{grid[0]:.3f}", "end": f"{grid[-1]:.3f}", "step": f"{self._step_s:g}"}
        data = self._ask("query_range", asked)
        try:
            return [
                ({str(k): str(v) for k, v in one["metric"].items()}, [(float(t), float(v)) for t, v in one["values"]])
                for one in data["result"]
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ApiError(
                "cannot read Prometheus' answer", f"{type(error).__name__}: {error}", "see its version"
            ) from error

    def _ask(self, what: str, asked: Mapping[str, str]) -> Any:
        """Raises ApiError if it does not answer, Unprocessable if it cannot answer this query."""
        request = urllib.request.Request(
            f"{self._url}/api/v1/{what}", data=urllib.parse.urlencode(asked).encode(), method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                raw = answer.read(ANSWER_MAX_BYTES + 1)
        except urllib.error.HTTPError as error:
            told = error.read(2000).decode(errors="replace")
            if error.code in (400, 422):
                raise Unprocessable(
                    f"Prometheus refuses the query {asked['query'][:80]}", told, "correct the query"
                ) from error
            raise ApiError(
                "Prometheus does not answer", f"status {error.code}: {told[:200]}", "look at its health"
            ) from error
        except OSError as error:
            raise ApiError("Prometheus does not answer", f"{self._url}: {error}", "check --prometheus") from error
        try:
            body = json.loads(raw)
            if len(raw) > ANSWER_MAX_BYTES or body["status"] != "success":
                raise ValueError(str(body.get("error", "it is too long")))
            return body["data"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ApiError("cannot read Prometheus' answer", str(error)[:200], "check --prometheus") from error


def _edge(labels: Mapping[str, str]) -> TracedEdge | None:
    position, group = labels.get("position", "0"), labels.get("group", "")
    if labels.get("caller", USER) == USER or not labels.get("callee"):
        return None
    return TracedEdge(
        id=EdgeId(
            caller=labels["caller"], caller_operation=labels.get("caller_operation", ""), callee=labels["callee"],
            callee_operation=labels.get("callee_operation", ""), position=int(position) if position.isdigit() else 0,
        ),
        group=int(group) if group.isdigit() else None,
        asynchronous=labels.get("asynchronous") == "true",
    )  # fmt: skip


def _edge_key(edge: EdgeId) -> str:
    return "|".join((edge.caller, edge.caller_operation, edge.callee, edge.callee_operation, str(edge.position)))


def _labels_key(labels: Mapping[str, str]) -> str:
    names = ("caller", "caller_operation", "callee", "callee_operation")
    return "|".join((*(labels.get(name, "") for name in names), labels.get("position") or "0"))
