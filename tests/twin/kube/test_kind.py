"""A shadow where kind or Docker is missing, fails half-way, or the disk is full: told, and nothing is left.

The programs are scripts here; the real ones are in tests/end_to_end.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from twin.kube import kind
from twin.kube.kind import clusters, create_cluster
from twin.kube.pool import ShadowPool
from twin.spec.errors import ComponentMissing, TwinError

DAEMON = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH, but for the shell's own."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.setattr(kind.shutil, "which", lambda name: str(folder / name) if (folder / name).exists() else None)
    return folder


def script(folder: Path, text: str) -> None:
    """A program `kind` that notes how it is called."""
    path = folder / "kind"
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\n{text}\n')
    path.chmod(0o755)


def calls(folder: Path) -> list[str]:
    return (folder / "calls").read_text().splitlines()


def test_without_kind_it_is_said_what_is_missing(programs: Path, tmp_path: Path) -> None:
    pool = ShadowPool(tmp_path / "shadows", cache=tmp_path)
    with pytest.raises(ComponentMissing, match="no kind here") as told:
        pool.up("main")
    assert told.value.exit_code == 11
    assert pool.records() == []


def test_a_docker_that_does_not_answer_is_missing(programs: Path) -> None:
    script(programs, f'echo "ERROR: failed to list clusters: {DAEMON}" >&2; exit 1')
    with pytest.raises(ComponentMissing, match="Docker does not answer"):
        clusters()


def test_a_cluster_that_does_not_come_up_is_taken_away(programs: Path, tmp_path: Path) -> None:
    script(programs, 'if [ "$1" = create ]; then echo "ERROR: no room" >&2; exit 1; fi')
    with pytest.raises(TwinError, match="no room"):
        create_cluster("main", tmp_path / "shadows")
    assert [call.split()[0] for call in calls(programs)] == ["get", "create", "delete"]
    assert list((tmp_path / "shadows").iterdir()) == []


def test_a_kind_that_hangs_is_ended(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(programs, "exec sleep 60")
    monkeypatch.setattr(kind, "COMMAND_MAX_S", 0.2)
    with pytest.raises(TwinError, match="does not end"):
        kind._run("kind", ["get", "clusters"], max_s=kind.COMMAND_MAX_S)


def test_a_full_disk_is_told_and_leaves_nothing(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    script(programs, ":")

    def full(program: Path, names: Any, archive: Path) -> None:
        archive.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("twin.kube.records.connect", lambda **_: None)
    monkeypatch.setattr("twin.kube.kind.close_nodes", lambda *_: None)
    monkeypatch.setattr("twin.kube.pool.build_program", lambda _: tmp_path)
    monkeypatch.setattr("twin.kube.pool.write_images", full)
    with pytest.raises(TwinError, match="No space left"):
        ShadowPool(tmp_path / "shadows", cache=tmp_path).up("main")
    assert [call.split()[0] for call in calls(programs)] == ["get", "create", "delete"]
    assert [path.name for path in (tmp_path / "shadows").iterdir()] == ["main.lock"]
