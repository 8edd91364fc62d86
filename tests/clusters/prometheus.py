"""A real Prometheus, and somebody for it to scrape: users whose fate a test decides."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.clusters.shop import await_that
from tests.real import require_tool
from twin.kube import LiveKubeApi
from twin.spec.errors import TwinError
from twin.spec.yaml_reader import Document, parse_document

__all__ = ["Users", "exporter", "pods_of", "prometheus"]

START_MAX_S = 30.0
FOUND_EVERY_S = 3.0


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
def pods_of(api: LiveKubeApi, kubeconfig: Path, namespaces: Sequence[str], folder: Path) -> Iterator[dict[str, Any]]:
    """A scrape configuration of a cluster's pods, through its API server: from here pods are not reached otherwise.
    Who there is to scrape is written down every few seconds (Debian's Prometheus cannot ask Kubernetes itself)."""
    document = _yaml(kubeconfig)
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    for name, encoded in (
        ("ca.crt", cluster["certificate-authority-data"]), ("me.crt", user["client-certificate-data"]),
        ("me.key", user["client-key-data"]),
    ):  # fmt: skip
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(encoded))
    over = threading.Event()

    def keep() -> None:
        while not over.wait(FOUND_EVERY_S):
            with suppress(TwinError):  # A cluster that does not answer is asked again.
                write()

    def write() -> None:
        found = [
            {
                "targets": [cluster["server"].removeprefix("https://")],
                "labels": {
                    "__metrics_path__": f"/api/v1/namespaces/{name}/pods/{pod['metadata']['name']}:9464/proxy/metrics",
                    "pod": pod["metadata"]["name"],
                },
            }
            for name in namespaces
            for pod in api.list_objects("Pod", name)
            if pod.get("status", {}).get("phase") == "Running"
        ]
        (folder / "pods.json.new").write_text(json.dumps(found))
        (folder / "pods.json.new").replace(folder / "pods.json")

    write()
    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield {
            "job_name": "pods", "scheme": "https",
            "tls_config": {
                "ca_file": str(folder / "ca.crt"), "cert_file": str(folder / "me.crt"),
                "key_file": str(folder / "me.key"),
            },
            "file_sd_configs": [{"files": [str(folder / "pods.json")], "refresh_interval": "2s"}],
        }  # fmt: skip
    finally:
        over.set()
        keeper.join(10.0)


def _yaml(path: Path) -> dict[str, Any]:
    document = parse_document(path.read_text())
    assert isinstance(document, Document)
    value: dict[str, Any] = document.value
    return value


@contextmanager
def prometheus(
    folder: Path, jobs: Sequence[Mapping[str, Any]], *, scrape_s: float = 1.0, rules: Path | None = None
) -> Iterator[str]:
    """A server with these scrape configurations; yields its URL. Ended by its pid. In CI a missing program fails."""
    require_tool("prometheus")
    program = shutil.which("prometheus") or "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "global": {"scrape_interval": f"{scrape_s:g}s", "evaluation_interval": f"{scrape_s:g}s"},
        "scrape_configs": list(jobs),
        "rule_files": [str(rules)] if rules else [],
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
