"""Keys: who signs, and whom this target believes in which role.

A private key is one PEM file that only its owner can read. Its public half lies beside it as JSON, to be sent
around. To trust a key is to copy that file, with a role, into the trusted-keys folder of TWIN_HOME. The role and
the name stand in the *trusted* file, which the operator wrote: what a signer says of itself counts for nothing.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner, SSlibKey

from twin.receipt.strict import Malformed, load_json
from twin.spec.errors import BadInput

__all__ = ["KeyRole", "TrustedKey", "TrustedKeys", "load_signer", "load_trusted_keys", "new_key", "trust_key"]

PUBLIC_SUFFIX = ".pub.json"
SIZE_MAX_BYTES = 16 * 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,62}", re.ASCII)  # ASCII, lower case: no two names look alike.
_PUBLIC = re.compile(r"[0-9a-f]{64}", re.ASCII)


class KeyRole(StrEnum):
    GATE = "gate"  # signs receipts
    APPROVER = "approver"  # signs approvals


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    name: str
    role: KeyRole
    key: SSlibKey

    @property
    def key_id(self) -> str:
        return str(self.key.keyid)


TrustedKeys = Mapping[str, TrustedKey]  # by key id


def new_key(path: Path, name: str) -> Path:
    """Write a new Ed25519 key pair: `path`, readable by its owner only, and `path` + ".pub.json".

    Returns the public file. Raises BadInput rather than overwrite: a lost gate key makes every receipt void.
    """
    _check_name(name)
    signer = CryptoSigner.generate_ed25519()
    public = path.with_name(path.name + PUBLIC_SUFFIX)
    if public.exists():
        raise BadInput(f"cannot write {public}", "it exists", "name another file, or move the old key away")
    _write_new(path, signer.private_bytes, 0o600)
    _write_new(public, _public_json(name, signer.public_key), 0o644)
    return public


def load_signer(path: Path) -> CryptoSigner:
    """The signer in a private key file. Raises BadInput, also for a file that others can read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise BadInput(f"cannot read {path}", error.strerror or str(error), "twin keys new") from error
    with os.fdopen(descriptor, "rb") as file:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:  # The opened file, not the name: no race.
            raise BadInput(f"cannot use {path}", "others can read it", f"chmod 600 {path}; better, a new key")
        raw = file.read(SIZE_MAX_BYTES)
    try:
        private = load_pem_private_key(raw, password=None)
        signer = CryptoSigner(private)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadInput(f"cannot read {path}", "it holds no private key without a password", "twin keys new") from error
    if signer.public_key.keytype != "ed25519":
        raise BadInput(f"cannot use {path}", "it is no Ed25519 key", "twin keys new")
    return signer


def trust_key(public: Path, folder: Path, role: KeyRole) -> Path:
    """Believe this public key in this role. Returns the file written. Raises BadInput if one of that name exists."""
    name, key = _read_public(public)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for known in load_trusted_keys(folder).values():
        if known.key_id == key.keyid:
            raise BadInput(f"cannot trust {public.name}", f"it is trusted as {known.name}", "remove that file first")
    path = folder / f"{role}-{name}.json"
    document = json.loads(_public_json(name, key)) | {"role": str(role)}
    _write_new(path, (json.dumps(document, indent=2) + "\n").encode(), 0o644)
    return path


def load_trusted_keys(folder: Path) -> TrustedKeys:
    """Every key in the folder by its id; an absent folder trusts nobody.

    Raises BadInput for a file that is no trusted key: skipping it would tell the operator "unknown key" later.
    """
    try:
        mode = folder.stat().st_mode
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadInput(f"cannot read {folder}", error.strerror or str(error), "see twin doctor") from error
    if stat.S_IMODE(mode) & 0o002:
        raise BadInput(f"cannot use {folder}", "anybody may write to it", f"chmod 700 {folder}")
    keys: dict[str, TrustedKey] = {}
    for path in paths:
        name, key = _read_public(path, with_role=True)
        role = KeyRole(json.loads(path.read_bytes())["role"])
        if key.keyid in keys:
            raise BadInput(f"cannot use {path}", f"{keys[key.keyid].name} has the same key", "keep one of them")
        if name in {known.name for known in keys.values() if known.role is role}:
            raise BadInput(f"cannot use {path}", f"another {role} is called {name}", "keep one of them")
        keys[key.keyid] = TrustedKey(name=name, role=role, key=key)
    return keys


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise BadInput(
            f'"{name}" is no name for a key', "lower-case letters, digits and . _ @ + - are allowed", "as ana@shop"
        )


def _public_json(name: str, key: SSlibKey) -> bytes:
    document = {"name": name, "keyid": key.keyid, "scheme": "ed25519", "public": key.keyval["public"]}
    return (json.dumps(document, indent=2) + "\n").encode()


def _read_public(path: Path, *, with_role: bool = False) -> tuple[str, SSlibKey]:
    wanted = {"name", "keyid", "scheme", "public"} | ({"role"} if with_role else set())
    try:
        with path.open("rb") as file:
            document: Any = load_json(file.read(SIZE_MAX_BYTES + 1), SIZE_MAX_BYTES)
        if not isinstance(document, dict) or set(document) != wanted:
            raise Malformed(f"fields {', '.join(sorted(wanted))} are wanted")
        if not all(isinstance(value, str) for value in document.values()):
            raise Malformed("every field is a word")
        if document["scheme"] != "ed25519" or not _PUBLIC.fullmatch(document["public"]):
            raise Malformed("no Ed25519 key")
        if with_role and document["role"] not in list(KeyRole):
            raise Malformed(f"role is one of {', '.join(KeyRole)}")
    except OSError as error:
        raise BadInput(f"cannot read {path}", error.strerror or str(error), "twin keys new") from error
    except Malformed as error:
        raise BadInput(f"cannot read {path}", str(error), "copy the file that twin keys new wrote") from error
    _check_name(document["name"])
    key = _key(document["public"])
    if key.keyid != document["keyid"]:  # Else one key could be trusted under the id of another.
        raise BadInput(f"cannot use {path}", "its keyid is not the key's", "copy the file that twin keys new wrote")
    return document["name"], key


def _key(public: str) -> SSlibKey:
    """The key with the id that the library itself gives it."""
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Exclusively, and with its mode from the first byte on: the file is never there readable by others."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except FileExistsError as error:
        raise BadInput(f"cannot write {path}", "it exists", "name another file, or move the old one away") from error
    except OSError as error:
        raise BadInput(f"cannot write {path}", error.strerror or str(error), "choose a folder of your own") from error
