"""A real production for promotions: one cluster and one Prometheus a process, the shop laid out anew for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.control_plane import ControlPlane
from tests.clusters.production import LiveRig, lay_out_bad_build, watched
from tests.clusters.prometheus import Users


@pytest.fixture(scope="session")
def users() -> Users:
    return Users()


@pytest.fixture(scope="session")
def prometheus_url(users: Users, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with watched(users, tmp_path_factory.mktemp("prometheus")) as url:
        yield url


@pytest.fixture
def rig(kubernetes: ControlPlane, prometheus_url: str, users: Users, tmp_path: Path) -> LiveRig:
    admin = lay_out_bad_build(kubernetes)
    users.fare(0.0)
    return LiveRig(kubernetes, prometheus_url, tmp_path, admin)
