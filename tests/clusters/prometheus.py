"""A real Prometheus, and somebody for it to scrape: users whose fate a test decides."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.clusters.shop import await_that
from tests.real import require_tool

__all__ = ["Users", "exporter", "prometheus"]

START_MAX_S = 30.0


@dataclass
class Users:
    """Users of one journey who come at a steady rate; `let_down_ratio` of them, from now on, in vain."""

    journey: str = "browse"
    rate_rps: float = 100.0
    _ratio: float = 0.0
    _came: float = 0.0
    _let_down: float = 0.0
    _at_s: float = field(default_factory=time.monotonic)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def fare(self, let_down_ratio: float) -> None:
        with self._guard:
            self._go_on()
            self._ratio = let_down_ratio

    def text(self) -> str:
        """What they did so far, as Prometheus reads it."""
        with self._guard:
            self._go_on()
            edge = {"caller": "user", "caller_operation": self.journey, "callee": "shop/web"}
            edge["callee_operation"] = "serve"
            labels = ",".join(f'{name}="{value}"' for name, value in edge.items())
            ok = self._came - self._let_down
            return "".join(
                f'twin_users_total{{{labels},outcome="{name}"}} {value:.3f}\n'
                for name, value in (("ok", ok), ("error", self._let_down))
            )

    def _go_on(self) -> None:
        now_s = time.monotonic()
        came = self.rate_rps * (now_s - self._at_s)
        self._came, self._let_down, self._at_s = self._came + came, self._let_down + came * self._ratio, now_s


@contextmanager
def exporter(users: Users) -> Iterator[str]:
    """Serve their figures on loopback; yields host:port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = users.text().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silence: a scrape a second is no news."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def prometheus(folder: Path, targets: Sequence[str], *, scrape_s: float = 1.0) -> Iterator[str]:
    """A server that scrapes them; yields its URL. Ended by its pid. In CI a missing program fails."""
    require_tool("prometheus")
    program = shutil.which("prometheus") or "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "global": {"scrape_interval": f"{scrape_s:g}s", "evaluation_interval": f"{scrape_s:g}s"},
        "scrape_configs": [{"job_name": "users", "static_configs": [{"targets": list(targets)}]}],
    }
    (folder / "prometheus.json").write_text(json.dumps(config))  # JSON is YAML.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [
                program, f"--config.file={folder / 'prometheus.json'}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        assert server.poll() is None, (folder / "prometheus.log").read_text(errors="replace")[-2000:]
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=2.0):
                return True
        except (urllib.error.URLError, OSError):
            return False

    try:
        await_that("Prometheus is ready", ready, patience_s=START_MAX_S)
        yield url
    finally:
        server.terminate()
        try:
            server.wait(15.0)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(15.0)
