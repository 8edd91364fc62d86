"""No shadow can be made: without Docker, without room on the disk. It is told, and nothing is left behind.

With the real kind; scripts in its place try the rest (tests/twin/kube/test_kind.py).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clusters.kind import node_image
from tests.real import require_tool
from twin.kube.kind import clusters
from twin.kube.pool import ShadowPool

pytestmark = [pytest.mark.real, pytest.mark.kind, pytest.mark.requirement("R13")]
UP = [sys.executable, "-m", "twin.cli.main", "shadow", "up", "--name", "none", "--json"]
GATE = "InPlacePodVerticalScaling=false"


def run(command: list[str], home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    programs = require_tool("kind-node").parent
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "TWIN_HOME": str(home), **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=240.0, check=False)


def test_without_docker_that_is_said(tmp_path: Path) -> None:
    done = run(UP, tmp_path, DOCKER_HOST=f"unix://{tmp_path}/nobody.sock")
    assert done.returncode == 11, done.stderr
    assert "Docker does not answer" in done.stderr
    assert [path.name for path in (tmp_path / "shadows").iterdir()] == ["none.lock"]


@pytest.mark.timeout(300)
def test_without_room_for_its_files_the_cluster_is_taken_away_again(shadows: ShadowPool, tmp_path: Path) -> None:
    """The home lies on a file system of 64 KiB: the kubeconfig fits, and the stand-in's image does not."""
    assert shadows.records()
    home = tmp_path / "home"
    (home / "shadows").mkdir(parents=True)
    small = f'mount -t tmpfs -o size=64k none "{home}/shadows" && "$@"; code=$?; ls -A "{home}/shadows"; exit $code'
    done = run(
        ["unshare", "--mount", "sh", "-c", small, "sh", *UP], home,
        TWIN_NODE_IMAGE=node_image(require_tool("kind-node")), TWIN_FEATURE_GATES=GATE,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr
    assert "make room" in done.stderr
    assert done.stdout.split() == ["none.lock"]
    assert "twin-none" not in clusters()
