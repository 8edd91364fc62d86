"""Real components for tests marked `real`.

A laptop without OPA skips such a test and says how to get OPA. In CI (`CI` is set) a missing component fails:
a check that silently stops running is worse than a red one.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

__all__ = ["require_tool"]


def require_tool(name: str) -> Path:
    """The path of a tool that deploy/tools knows; otherwise fails in CI and skips elsewhere."""
    tools = _tools()
    path = tools.find(name)
    if path is not None:
        return Path(path)
    told = f"{name} is missing; get it: {tools.HOW_TO_GET[name]}"
    if os.environ.get("CI"):
        pytest.fail(told, pytrace=False)
    pytest.skip(told)


def _tools() -> ModuleType:
    """deploy/tools/check.py is a script in no package: one place knows where tools lie."""
    path = Path(__file__).parents[1] / "deploy" / "tools" / "check.py"
    spec = importlib.util.spec_from_file_location("twin_tools_check", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
