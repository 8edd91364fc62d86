"""TWIN_HOME: keys, trusted keys, journal, guard and outbox of one person on one machine."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

__all__ = [
    "ensure_gate_key",
    "home",
    "journal_path",
    "keep_evidence",
    "key_file",
    "keys_folder",
    "program",
    "stop_command",
    "trusted_folder",
]


def home() -> Path:
    """$TWIN_HOME, else ~/.twin; made on first use, readable by its owner only."""
    path = Path(os.environ.get("TWIN_HOME") or Path.home() / ".twin")
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def keys_folder() -> Path:
    return home() / "keys"


def key_file(name_or_file: str) -> Path:
    """A private key's file, or the one that `twin keys new --name` made under this name."""
    named = keys_folder() / f"{name_or_file}.key"
    return (
        named if not Path(name_or_file).exists() and "/" not in name_or_file and named.exists() else Path(name_or_file)
    )


def trusted_folder() -> Path:
    return home() / "trusted"


def journal_path() -> Path:
    return home() / "journal.sqlite"


def program() -> str:
    """What to type for `twin` from here: its name, or its path where the shell would not find it."""
    beside = Path(sys.executable).parent / "twin"
    if shutil.which("twin") or not beside.exists():
        return "twin"
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))


def stop_command(folder: Path) -> str:
    """What stops whoever writes with the guard in this folder, typed in any shell."""
    if folder.resolve() == (Path.home() / ".twin").resolve():
        return "twin takeover"
    return f"twin takeover --home {shlex.quote(str(folder.resolve()))}"


def keep_evidence(seen: object) -> Path:
    """Keep what a stage saw under its digest, which its receipt names."""
    import json

    from twin.spec.atomic import replace_file
    from twin.spec.canonical import digest, plain

    data = plain(seen)
    path = home() / "evidence" / f"{digest(data)}.json"
    replace_file(path, (json.dumps(data, sort_keys=True, indent=1) + "\n").encode())
    return path


def ensure_gate_key() -> Path:
    """The gate's private key, made and trusted on first use: this machine's own gate is believed by itself."""
    from twin.receipt import KeyRole, new_key, trust_key

    private = keys_folder() / "gate.key"
    if not private.exists():
        private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        public = new_key(private, "gate-here")
        trust_key(public, trusted_folder(), KeyRole.GATE)
    return private
