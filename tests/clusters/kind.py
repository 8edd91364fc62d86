"""A real kind cluster for tests, from a node image made here: no registry, no internet.

A Docker engine that answers is used; otherwise one is started, in a folder of its own, and ended by its pid.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

__all__ = ["GATES", "docker_engine", "node_image"]

ENGINE: Final = Path(__file__).parents[2] / "deploy" / "test-clusters" / "kind" / "engine.sh"
START_MAX_S: Final = 60.0
STOP_MAX_S: Final = 30.0
# In-place resizing needs the cgroups of quality classes, which the node image runs without.
GATES: Final = {"InPlacePodVerticalScaling": False}


@contextmanager
def docker_engine(programs: Path) -> Iterator[None]:
    """A Docker engine in DOCKER_HOST, and `programs` (kind, kubectl) first on the PATH, while the block runs.

    Raises RuntimeError, with the end of its log, if it does not come up.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(programs), prepend=os.pathsep)
        if _answers():
            yield
            return
        # Paths of sockets may be 107 characters long: not below a test's folder.
        with tempfile.TemporaryDirectory(prefix="twin-engine-") as name:
            folder = Path(name)
            patch.setenv("DOCKER_HOST", f"unix://{folder}/docker.sock")
            with (folder / "engine.log").open("wb") as log:
                engine = subprocess.Popen(
                    ["sh", ENGINE, folder], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
                )
            try:
                _await(engine, folder / "engine.log")
                yield
            finally:
                engine.terminate()
                try:
                    engine.wait(STOP_MAX_S)
                except subprocess.TimeoutExpired:
                    engine.kill()
                    engine.wait(STOP_MAX_S)


def node_image(archive: Path) -> str:
    """The name of the node image, given to Docker if it does not have it."""
    name = f"twin.local/kind-node:{archive.stem.removeprefix('node-')}"
    if subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode != 0:
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        changes = ["--change", 'ENTRYPOINT ["/usr/local/bin/node-init"]', "--change", f"ENV container=docker {path}"]
        subprocess.run(["docker", "import", *changes, str(archive), name], check=True, capture_output=True)
    return name


def _answers() -> bool:
    try:
        return subprocess.run(["docker", "version"], capture_output=True, check=False, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _await(engine: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + START_MAX_S
    while time.monotonic() < end_s and engine.poll() is None:
        if _answers():
            return
        time.sleep(0.2)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise RuntimeError(f"no Docker engine comes up (exit code {engine.poll()})\n{tail}")
