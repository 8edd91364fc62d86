"""Say which tools that PyPI does not carry are here, and how to get the others.

    python deploy/tools/check.py [TOOL]…     exit 0: all here; 11: something is missing

Standard library only: it has to run before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

HOW_TO_GET = {
    "opa": "sh deploy/tools/build-opa.sh   (needs Go; a few minutes, once)",
    "chromium": "sh deploy/tools/install-debian.sh",
    "chromedriver": "sh deploy/tools/install-debian.sh",
    "control-plane": "sh deploy/test-clusters/control-plane/build.sh   (needs Go; ten minutes, once)",
    "kind-node": "bash deploy/test-clusters/kind/build.sh   (needs Go and root; five minutes more, once)",
    "dockerd": "sh deploy/tools/install-debian.sh",
    "prometheus": "sh deploy/tools/install-debian.sh",
    "postgres": "sh deploy/tools/install-debian.sh",
}
CONTROL_PLANE = HERE.parent / "test-clusters" / "control-plane"
CONTROL_PLANE_PARTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "etcd", "kwok")


def opa_version() -> str:
    """The version that opa/go.mod pins."""
    found = re.search(r"open-policy-agent/opa v([0-9.]+)", (HERE / "opa" / "go.mod").read_text(encoding="utf-8"))
    if found is None:
        raise SystemExit("deploy/tools/opa/go.mod names no version of OPA")
    return found[1]


def control_plane_version() -> str:
    """The versions that the control plane's go.mod files pin, as its folder is named."""
    pins = (("kubernetes", "k8s.io/kubernetes"), ("etcd", "go.etcd.io/etcd/server/v3"), ("kwok", "sigs.k8s.io/kwok"))
    found = []
    for folder, module in pins:
        text = (CONTROL_PLANE / folder / "go.mod").read_text(encoding="utf-8")
        pinned = re.search(rf"^\s*(?:require\s+)?{re.escape(module)} v(\S+)", text, re.MULTILINE)
        if pinned is None:
            raise SystemExit(f"deploy/test-clusters/control-plane/{folder}/go.mod names no version of {module}")
        found.append(pinned[1])
    return "-".join(found)


def tools_folder() -> Path:
    """Where built tools lie: outside the checkout, so that a clean checkout does not build them again."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("TWIN_TOOLS") or cache / "twin" / "tools")


def find(tool: str) -> Path | None:
    """The program, or None. OPA counts in the pinned version only: another may compile other bytes. The control plane
    is a folder of programs, and is there when the last thing that its build writes is."""
    if tool == "control-plane":
        folder = tools_folder() / f"control-plane-{control_plane_version()}"
        parts = [folder / part for part in CONTROL_PLANE_PARTS]
        whole = (folder / "kwok-stages.yaml").is_file() and all(os.access(part, os.X_OK) for part in parts)
        return folder if whole else None
    if tool == "kind-node":  # Its name holds a digest of all that it is made from: its own script knows.
        asked = subprocess.run(
            ["bash", HERE.parent / "test-clusters" / "kind" / "build.sh", "--find"], capture_output=True, text=True,
            check=False, timeout=30, env={**os.environ, "TWIN_TOOLS": str(tools_folder())},
        )  # fmt: skip
        return Path(asked.stdout.strip()) if asked.returncode == 0 else None
    if tool == "postgres":  # Debian keeps servers of several versions, none of them on the PATH.
        servers = Path("/usr/lib/postgresql").glob("*/bin/postgres")
        newest = max(servers, key=lambda path: float(path.parents[1].name), default=None)
        return newest or (Path(found) if (found := shutil.which(tool)) else None)
    if tool != "opa":
        found = shutil.which(tool)
        return Path(found) if found else None
    built = tools_folder() / opa_version() / "opa"
    if os.access(built, os.X_OK):
        return built
    on_path = shutil.which("opa")
    if on_path is None:
        return None
    said = subprocess.run([on_path, "version"], capture_output=True, text=True, check=False, timeout=30).stdout
    return Path(on_path) if f"Version: {opa_version()}\n" in said else None


def main(tools: list[str]) -> int:
    unknown = [tool for tool in tools if tool not in HOW_TO_GET]
    if unknown:
        print(f"no such tool: {', '.join(unknown)}; known: {', '.join(HOW_TO_GET)}", file=sys.stderr)
        return 2
    missing = 0
    for tool in tools or HOW_TO_GET:
        path = find(tool)
        name = f"{tool} {opa_version()}" if tool == "opa" else tool
        print(f"{name:14} {path if path else 'missing; get it: ' + HOW_TO_GET[tool]}")
        missing += path is None
    return 11 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
