"""Shared fixtures: the seed of a run, printed when a test fails, and the small shop."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

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
