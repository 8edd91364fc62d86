"""A page is written down before it is sent, and sent until somebody has it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from agent.pager import ConsoleSink, FileSink, Pager, WebhookSink, render_page
from twin.spec.incident import Page


def a_page(number: int = 1, **texts: str) -> Page:
    told = {"impact": "payments: 12 % errors", "likely": "unknown", "tried": "nothing was written", "in_flight": "none"}
    return Page(id=f"p{number}", incident="2", at_s=100.0, next_command="twin agent trace 2", **{**told, **texts})


class Deaf:
    """A sink that takes nothing until it is mended."""

    def __init__(self) -> None:
        self.tries = 0
        self.mended = False
        self.got: list[str] = []

    def send(self, page: Page) -> bool:
        self.tries += 1
        if not self.mended and self.tries % 2:
            raise OSError("no route to host")
        if self.mended:
            self.got.append(page.id)
        return self.mended


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """Takes pages on the loopback; its first answer to each is 503."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = self.server.seen  # type: ignore[attr-defined]
            known.append((body["id"], self.headers["Idempotency-Key"], body["text"]))
            self.send_response(503 if len([k for k in known if k[0] == body["id"]]) == 1 else 202)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.requirement("R19")
def test_a_page_survives_restarts_until_it_is_taken(tmp_path: Path) -> None:
    path, sink = tmp_path / "pages.db", Deaf()
    Pager(path, [sink]).page(a_page(), now_s=100.0)
    for at_s in (101.0, 103.0, 107.0):
        assert Pager(path, [sink]).pump(now_s=at_s) == 1  # Another process each time.
    assert sink.tries == 4
    sink.mended = True
    assert Pager(path, [sink]).pump(now_s=200.0) == 0
    assert sink.got == ["p1"]
    assert Pager(path, [sink]).pump(now_s=1e6) == 0
    assert sink.got == ["p1"]


@pytest.mark.requirement("R19")
def test_one_sink_does_not_make_up_for_another(tmp_path: Path) -> None:
    deaf = Deaf()
    pager = Pager(tmp_path / "pages.db", [FileSink(tmp_path / "pages.jsonl"), deaf])
    pager.page(a_page(), now_s=100.0)
    assert pager.pump(now_s=300.0) == 1
    deaf.mended = True
    assert pager.pump(now_s=600.0) == 0
    assert deaf.got == ["p1"]
    lines = (tmp_path / "pages.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["p1"]  # Once: it had been taken there.


def test_a_page_that_cannot_be_delivered_does_not_hold_up_the_next(tmp_path: Path) -> None:
    class Picky(Deaf):
        def send(self, page: Page) -> bool:
            if page.id == "p1":
                raise OSError("not this one")
            self.got.append(page.id)
            return True

    sink = Picky()
    pager = Pager(tmp_path / "pages.db", [sink])
    pager.page(a_page(1), now_s=100.0)
    pager.page(a_page(2), now_s=100.0)
    assert sink.got == ["p2"]


def test_the_same_page_is_one_page(tmp_path: Path) -> None:
    pager = Pager(tmp_path / "pages.db", [FileSink(tmp_path / "out")])
    pager.page(a_page(), now_s=100.0)
    pager.page(a_page(), now_s=101.0)
    assert len(pager.pages()) == 1
    assert len((tmp_path / "out").read_text().splitlines()) == 1


def test_a_delivered_page_is_repeated_until_a_human_acknowledges(tmp_path: Path) -> None:
    out = tmp_path / "out"
    pager = Pager(tmp_path / "pages.db", [FileSink(out)], repeat_s=300.0)
    pager.page(a_page(), now_s=100.0)
    pager.pump(now_s=399.0)
    assert len(out.read_text().splitlines()) == 1
    pager.pump(now_s=401.0)
    assert len(out.read_text().splitlines()) == 2
    assert pager.acknowledge("p1", now_s=410.0)
    assert pager.pump(now_s=1e6) == 0
    assert not pager.acknowledge("p9", now_s=410.0)


def test_a_webhook_is_tried_until_it_answers_2xx(tmp_path: Path, server: HTTPServer) -> None:
    sink = WebhookSink(f"http://127.0.0.1:{server.server_port}/page")
    pager = Pager(tmp_path / "pages.db", [sink])
    pager.page(a_page(), now_s=100.0)
    assert len(pager.waiting()) == 1
    assert pager.pump(now_s=102.0) == 0
    seen = server.seen  # type: ignore[attr-defined]
    assert [(i, k) for i, k, _ in seen] == [("p1", "p1"), ("p1", "p1")]
    assert seen[0][2].startswith("┌ PAGE")


def test_nobody_there_is_not_taken() -> None:
    assert WebhookSink("http://127.0.0.1:9/", timeout_s=0.5).send(a_page()) is False


@pytest.mark.requirement("R19")
def test_a_page_is_one_screen_of_at_most_100_columns() -> None:
    text = render_page(a_page(impact="very " * 300, likely="likely " * 300, tried="tried " * 300, in_flight="x" * 900))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 30
    for label in ("PAGE", "likely", "tried", "in flight", "next", "twin takeover"):
        assert label in text


def test_a_pages_commands_are_never_wrapped() -> None:
    command = "twin takeover --home " + "a-long-folder/" * 12
    assert f"│ stop it   {command}" in render_page(a_page(stop_command=command)).splitlines()


def test_the_console_prints_the_box(capsys: pytest.CaptureFixture[str]) -> None:
    assert ConsoleSink().send(a_page())
    assert capsys.readouterr().err.startswith("┌ PAGE  payments: 12 % errors")
