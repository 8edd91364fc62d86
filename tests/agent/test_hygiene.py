"""The agent meets the world through ports: nothing of the model, the gate or production's keys is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import importlib, pkgutil, sys
import agent
for info in pkgutil.walk_packages(agent.__path__, "agent."):
    importlib.import_module(info.name)
loaded = sorted(sys.modules)
bad = [m for m in loaded for f in
       ("twin.fleet", "twin.fit", "twin.gate", "twin.promote", "twin.receipt", "twin.kube", "twin.change", "twin.cli",
        "chaos", "scenarios", "reports") if m == f or m.startswith(f + ".")]
heavy = [m for m in ("faiss", "numba", "simpy", "kubernetes", "litellm", "pandas") if m in sys.modules]
print(",".join(bad + heavy))
"""


@pytest.mark.requirement("R13")
def test_importing_all_of_the_agent_loads_no_forbidden_package_and_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
