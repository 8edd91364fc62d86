"""A real OPA server on a loopback port, for as long as a test needs one."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

__all__ = ["OpaServer"]

READY_WITHIN_S = 30.0


class OpaServer:
    def __init__(self, opa: Path, bundle: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        sources = [path.name for path in sorted(bundle.glob("*.rego")) if not path.name.endswith("_test.rego")]
        command = [
            str(opa),
            "run",
            "--server",
            "--disable-telemetry",
            "--log-level",
            "error",
            "--addr",
            f"127.0.0.1:{port}",
            *sources,
        ]
        self._process = subprocess.Popen(command, cwd=bundle, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __enter__(self) -> OpaServer:
        deadline_s = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline_s:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=1.0):
                    return self
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        self.__exit__(None, None, None)
        raise AssertionError("the OPA server did not start")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=10)
