"""What stands between a client and its API server, and has troubles of its own: slow, busy, unavailable, cut off."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from tests.clusters.control_plane import ControlPlane

__all__ = ["Gateway", "Trouble", "gateway"]

SLOW_S = 1.0
HOP_BY_HOP = frozenset({"connection", "transfer-encoding", "content-length", "host", "accept-encoding"})


class Trouble(StrEnum):
    SLOW = "slow"  # answers late
    BUSY = "429"  # refuses to begin
    UNAVAILABLE = "503"  # may or may not have begun; this one has not
    ELECTING = "500"  # likewise: its store has no leader just then
    CUT = "cut"  # the connection ends before the request is carried on
    LOST = "lost"  # carried out, but nobody hears of it


@dataclass(slots=True)
class Gateway:
    """Each request meets `trouble` with probability `ratio`, drawn from `seed`; `loses` is asked of each that was
    carried out, by method and path, whether nobody shall hear of it. `made` counts the writes that were, by path."""

    url: str
    trouble: Trouble | None = None
    ratio: float = 0.0
    seed: int = 1
    loses: Callable[[str, str], bool] = lambda method, path: False
    met: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)
    _asked: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def trouble_for(self, method: str) -> Trouble | None:
        with self._guard:
            self._asked += 1
            draw = zlib.crc32(f"{self.seed}/{self._asked}".encode()) / 2**32
            if self.trouble is None or draw >= self.ratio:
                return None
            self.met[method] += 1
            return self.trouble

    def kubeconfig(self, plane: ControlPlane, user: str, folder: Path) -> Path:
        """That user's kubeconfig, through this gateway."""
        document = json.loads(plane.kubeconfig(user).read_text())
        document["clusters"][0]["cluster"] = {"server": self.url}
        path = folder / f"{user}.gateway.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
        return path


@contextmanager
def gateway(plane: ControlPlane) -> Iterator[Gateway]:
    """One on loopback, in front of this control plane; in plain HTTP, for nobody else listens there."""
    trusted = ssl.create_default_context(cafile=str(plane.ca_file))
    server_name = urlsplit(plane.server).netloc

    class Handler(BaseHTTPRequestHandler):
        def _carry(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            trouble = here.trouble_for(self.command)
            match trouble:
                case Trouble.CUT:
                    self.connection.close()
                    return
                case Trouble.BUSY | Trouble.UNAVAILABLE | Trouble.ELECTING:
                    self._answer(int(trouble), b"{}")
                    return
                case Trouble.SLOW:
                    time.sleep(SLOW_S)
            try:
                status, answer = self._ask(body)
            except (OSError, http.client.HTTPException) as error:  # Behind us nobody answers.
                self._answer(502, json.dumps({"message": str(error)}).encode())
                return
            path, _, query = self.path.partition("?")
            if self.command != "GET" and status < 300 and "dryRun" not in query:
                here.made[path] += 1
            if trouble is Trouble.LOST or here.loses(self.command, path):
                self.connection.close()
                return
            self._answer(status, answer)

        def _ask(self, body: bytes) -> tuple[int, bytes]:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
            connection = http.client.HTTPSConnection(server_name, context=trusted, timeout=20.0)
            try:
                connection.request(self.command, self.path, body=body or None, headers=headers)
                response = connection.getresponse()
                return response.status, response.read()
            finally:
                connection.close()

        def _answer(self, status: int, body: bytes) -> None:
            with suppress(OSError):  # The client may have gone.
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _carry

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Gateway(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
