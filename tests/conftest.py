"""Shared fixtures: the seed of a run, printed when a test fails, and the small shop."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.clusters.control_plane import ControlPlane, control_plane
from tests.clusters.postgres import Postgres, postgres_server
from tests.clusters.shadow import shadow_pool
from tests.real import require_tool
from twin.kube.pool import ShadowPool

# In CI every run draws the same examples, so that a change is judged by what it changes; `make fuzz` draws others.
settings.register_profile("ci", derandomize=True)
settings.register_profile("fuzz", max_examples=1000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--twin-seed", default="1", help="seed of tests that draw; a failing one prints its own")


@pytest.fixture
def root_seed(request: pytest.FixtureRequest) -> int:
    seed = int(request.config.getoption("--twin-seed"))
    print(f"replay: pytest '{request.node.nodeid}' --twin-seed={seed}")  # pytest shows it only on failure.
    return seed


@pytest.fixture(scope="session")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One real control plane for all tests of a process that want it. It starts in some five seconds."""
    programs = require_tool("control-plane")
    with control_plane(programs, tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One real PostgreSQL for all tests of a process that want it, with a shop's database; up in some two seconds."""
    with postgres_server(require_tool("postgres")) as server:
        yield server


@pytest.fixture(scope="session")
def shadows(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShadowPool]:
    """One real kind cluster, closed and proved, for all tests of a process that want it: up in half a minute."""
    with shadow_pool(tmp_path_factory.mktemp("kind")) as pool:
        yield pool
