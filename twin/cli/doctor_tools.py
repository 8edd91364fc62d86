"""Programs that PyPI does not carry: where they are, and how to get them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from twin.spec.errors import ComponentMissing

__all__ = ["HOW_TO_GET", "find_tool", "require_tool"]

HOW_TO_GET: Final = {
    "opa": "make real-tools (builds it from its Go module), or install OPA and put it on the PATH",
    "chromium": "make real-tools, or: apt-get install chromium",
    "kind": "from its own site, or: make real-tools; twin shadow needs it",
    "docker": "your system's package manager; twin shadow needs it",
    "prometheus": "make real-tools, or: apt-get install prometheus",
    "git": "your system's package manager",
}


def find_tool(name: str) -> Path | None:
    """A tool built by `make real-tools`, else one on the PATH, else None."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = Path(os.environ.get("TWIN_TOOLS") or cache / "twin" / "tools")
    for candidate in sorted(built.glob(f"*/{name}"), reverse=True):
        if os.access(candidate, os.X_OK):
            return candidate
    found = shutil.which(name)
    return Path(found) if found else None


def require_tool(name: str) -> Path:
    """Raises ComponentMissing, saying how to get it."""
    path = find_tool(name)
    if path is None:
        raise ComponentMissing(f"{name} is missing", "it is neither built nor on the PATH", HOW_TO_GET[name])
    return path
