"""Telemetry over HTTP: grids, gaps, edges, alerts; and whatever a server may answer."""

from __future__ import annotations

import json
import math
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.kube.prometheus import PrometheusTelemetry, read_queries
from twin.ports.plant import EdgeId, Metric
from twin.spec.errors import ApiError, BadInput, TwinError, Unprocessable
from twin.spec.ids import ServiceId
from twin.spec.signal import SignalKind

NOW_S = 10_000.0
Answer = Callable[[dict[str, str]], tuple[int, bytes]]


class Server:
    """A Prometheus that answers what a test says."""

    def __init__(self) -> None:
        self.answer: Answer = lambda _: (200, result())
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                asked = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode()))
                status, body = outer.answer(asked)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Silence."""

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def telemetry(self) -> PrometheusTelemetry:
        url = f"http://127.0.0.1:{self.http.server_port}"
        return PrometheusTelemetry(url, read_queries(), now_s=lambda: NOW_S)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def result(*rows: tuple[dict[str, str], list[tuple[float, str]]]) -> bytes:
    found = [{"metric": labels, "values": [[at_s, value] for at_s, value in values]} for labels, values in rows]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": found}}).encode()


def test_a_missing_scrape_is_nan_and_times_are_whole_steps(server: Server) -> None:
    server.answer = lambda _: (200, result(({"service": "shop/cart"}, [(30.0, "2.5"), (60.0, "NaN")])))
    series = server.telemetry.series(
        Metric.REQUESTS_RPS, [ServiceId("shop/web"), ServiceId("shop/cart")], start_s=17.0, end_s=61.0
    )
    assert series.times_s.tolist() == [30.0, 45.0, 60.0]
    assert series.values[0].tolist()[1] == 2.5
    assert np.isnan(series.values).sum() == 5


def test_edges_users_and_their_share_are_told_apart(server: Server) -> None:
    edge = {"caller": "shop/web", "caller_operation": "serve", "callee": "shop/cart", "callee_operation": "add",
            "position": "1", "group": "2", "asynchronous": "false"}  # fmt: skip
    journey = {"journey": "browse", "callee": "shop/web", "callee_operation": "serve"}

    def answer(asked: dict[str, str]) -> tuple[int, bytes]:
        of_users = "twin_users_total" in asked["query"]
        value = "0.25" if "error" in asked["query"] else "40"
        return 200, result((journey if of_users else edge, [(9990.0, value)]))

    server.answer = answer
    edges = server.telemetry.edges()
    assert [(one.id.caller, one.id.position, one.group) for one in edges] == [("shop/web", 1, 2), ("user", 0, None)]
    bad = server.telemetry.edge_series(Metric.ERROR_RATIO, [one.id for one in edges], start_s=9980.0, end_s=9991.0)
    assert bad.values.tolist() == [[0.25, 0.25]]
    stranger = EdgeId(caller="a", caller_operation="b", callee="c", callee_operation="d")
    with pytest.raises(BadInput):
        server.telemetry.edge_series(Metric.ERROR_RATIO, [stranger], start_s=0.0, end_s=1.0)
    with pytest.raises(BadInput):
        server.telemetry.edge_series(Metric.CPU_CORES, [], start_s=0.0, end_s=1.0)


def test_an_alert_begins_and_ends_and_cursors_go_on(server: Server) -> None:
    samples = [(9000.0 + 15.0 * n, "1") for n in range(4)] + [(9600.0, "1")]
    labels = {"alertname": "ErrorBudgetBurn", "service": "shop/cart", "symptom": "errors"}
    server.answer = lambda _: (200, result((labels, samples), ({"alertname": "X"}, samples)))
    told = server.telemetry.signals(after=0)
    assert [(one.kind, one.at_s) for _, one in told] == [
        (SignalKind.ALERT, 9000.0), (SignalKind.RESOLVED, 9045.0), (SignalKind.ALERT, 9600.0),
        (SignalKind.RESOLVED, 9600.0),
    ]  # fmt: skip
    cursors = [cursor for cursor, _ in told]
    assert cursors == sorted(set(cursors))
    assert [one.at_s for _, one in server.telemetry.signals(after=cursors[1])] == [9600.0, 9600.0]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [(400, b'{"status": "error", "error": "parse error"}', Unprocessable), (503, b"busy", ApiError),
     (200, b"<html>", ApiError), (200, b'{"status": "error", "error": "no"}', ApiError)],
)  # fmt: skip
def test_what_is_no_answer_is_our_error(server: Server, status: int, body: bytes, error: type[TwinError]) -> None:
    server.answer = lambda _: (status, body)
    with pytest.raises(error):
        server.telemetry.services()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["metric", "values", "result", "data", "x"]), inner, max_size=4),
    max_leaves=10,
))  # fmt: skip
def test_nonsense_is_an_error_or_nothing(server: Server, content: Any) -> None:
    server.answer = lambda _: (200, json.dumps({"status": "success", "data": content}).encode())
    try:
        series = server.telemetry.series(Metric.REQUESTS_RPS, [ServiceId("shop/cart")], start_s=0.0, end_s=60.0)
    except ApiError:
        return
    assert all(math.isnan(value) or math.isfinite(value) for value in series.values.ravel())


def test_nobody_there_is_an_error_of_ours() -> None:
    telemetry = PrometheusTelemetry("http://127.0.0.1:9", read_queries(), now_s=lambda: NOW_S)
    with pytest.raises(ApiError, match="does not answer"):
        telemetry.services()


@pytest.mark.parametrize("text", ["", "- a", "services: 3", "services: {requests_rps: 3}", "services: {speed: up}"])
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "queries.yaml"
    path.write_text(text)
    with pytest.raises(BadInput):
        read_queries(path)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(BadInput):
        PrometheusTelemetry("file:///etc/passwd", read_queries(), now_s=lambda: NOW_S)
