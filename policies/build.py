"""Compile the Rego bundle to WebAssembly with OPA, and note what it was compiled from.

    python -m policies.build            write bundle.wasm and bundle.lock.json
    python -m policies.build --check    compile again and compare, byte for byte

A wheel cannot run OPA's compiler, so its output is committed. The note beside it holds the digest of every
source: a changed rule whose module was not rebuilt fails a test on any machine, with or without OPA.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from policies.engine import DECISION_PATH
from policies.errors import EngineError

__all__ = ["BUNDLE", "LOCK_FILE", "WASM_FILE", "compile_bundle", "find_opa", "read_lock", "source_digests"]

HERE = Path(__file__).parent
BUNDLE = HERE / "bundle"
WASM_FILE = HERE / "bundle.wasm"
LOCK_FILE = HERE / "bundle.lock.json"


def source_digests(bundle: Path = BUNDLE) -> dict[str, str]:
    """SHA-256 of each rule file by its name; tests are not part of what decides."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(bundle.glob("*.rego"))
        if not path.name.endswith("_test.rego")
    }


def read_lock(path: Path = LOCK_FILE) -> dict[str, Any]:
    """What bundle.wasm was compiled from, and by which OPA. Raises EngineError."""
    try:
        lock = json.loads(path.read_bytes())
        return {"opa": str(lock["opa"]), "sources": dict(lock["sources"]), "wasm": str(lock["wasm"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"cannot read {path.name}", str(error), "python -m policies.build") from error


def find_opa() -> Path | None:
    """OPA as deploy/tools/build-opa.sh leaves it, newest first, or from the PATH."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    tools = Path(os.environ.get("TWIN_TOOLS") or cache / "twin" / "tools")
    built = sorted(tools.glob("*/opa"), key=lambda path: [int(n) for n in path.parent.name.split(".") if n.isdigit()])
    if built:
        return built[-1]
    on_path = shutil.which("opa")
    return Path(on_path) if on_path else None


def compile_bundle(opa: Path, bundle: Path = BUNDLE) -> tuple[bytes, str]:
    """The module's bytes, and OPA's version. Raises EngineError with what OPA says."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "bundle.tar.gz"
        command = [str(opa), "build", "--target", "wasm", "--entrypoint", DECISION_PATH]
        command += ["--output", str(archive), *source_digests(bundle)]
        _run(command, bundle)
        with tarfile.open(fileobj=io.BytesIO(archive.read_bytes())) as tar:
            module = next(member for member in tar if member.name.lstrip("/") == "policy.wasm")
            content = tar.extractfile(module)
            assert content is not None
            wasm = content.read()
    return wasm, _run([str(opa), "version"], bundle).splitlines()[0].removeprefix("Version: ")


def _run(command: list[str], folder: Path) -> str:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    if ran.returncode != 0:
        raise EngineError(
            "OPA cannot compile the bundle", ran.stderr.strip() or ran.stdout.strip(), "correct the rules"
        )
    return ran.stdout


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m policies.build", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with what is committed; write nothing")
    check = parser.parse_args(arguments).check
    opa = find_opa()
    if opa is None:
        print("OPA is missing; build it: sh deploy/tools/build-opa.sh", file=sys.stderr)
        return 11
    wasm, version = compile_bundle(opa)
    lock = {"opa": version, "sources": source_digests(), "wasm": hashlib.sha256(wasm).hexdigest()}
    if check:
        if read_lock() == lock and WASM_FILE.read_bytes() == wasm:
            print(f"bundle.wasm is what OPA {version} makes of the sources")
            return 0
        print("bundle.wasm is not what OPA makes of the sources; run: python -m policies.build", file=sys.stderr)
        return 1
    WASM_FILE.write_bytes(wasm)
    LOCK_FILE.write_text(json.dumps(lock, indent=2) + "\n", encoding="utf-8")
    print(f"bundle.wasm: {len(wasm)} bytes by OPA {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
