"""A private key is its owner's alone; trust is what the operator wrote down, and nothing that a signer claims."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from tests.twin.receipt.samples import NOW_S, RECEIPT
from twin.receipt import KeyRole, check, issue, load_signer, load_trusted_keys, new_key, trust_key
from twin.receipt.keys import SIZE_MAX_BYTES
from twin.spec.errors import BadInput

pytestmark = [pytest.mark.requirement("R13")]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_new_key_signs_what_a_target_that_trusts_it_checks(home: Path) -> None:
    public = new_key(home / "gate.pem", "gate")
    trust_key(public, home / "trusted", KeyRole.GATE)
    trusted = load_trusted_keys(home / "trusted")
    signer = load_signer(home / "gate.pem")
    assert [(one.name, one.role, one.key_id) for one in trusted.values()] == [
        ("gate", KeyRole.GATE, signer.public_key.keyid)
    ]
    assert check(issue(RECEIPT, signer), trusted, NOW_S).gate == "gate"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_private_key_is_readable_by_its_owner_only_whatever_the_umask(home: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        new_key(home / "gate.pem", "gate")
    finally:
        os.umask(before)
    assert stat.S_IMODE((home / "gate.pem").stat().st_mode) == 0o600


def test_the_public_file_holds_nothing_private(home: Path) -> None:
    public = new_key(home / "gate.pem", "gate")
    assert set(json.loads(public.read_text())) == {"name", "keyid", "scheme", "public"}
    assert "PRIVATE" not in public.read_text()


def test_no_key_is_overwritten(home: Path) -> None:
    public = new_key(home / "gate.pem", "gate")
    before = (home / "gate.pem").read_bytes(), public.read_bytes()
    with pytest.raises(BadInput, match="it exists"):
        new_key(home / "gate.pem", "gate")
    (home / "gate.pem").unlink()
    with pytest.raises(BadInput, match="it exists"):  # The public half alone is reason enough.
        new_key(home / "gate.pem", "gate")
    assert not (home / "gate.pem").exists()
    assert public.read_bytes() == before[1]


def test_a_key_is_not_written_through_somebody_elses_link(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    (home / "gate.pem").symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(BadInput, match="it exists"):
        new_key(home / "gate.pem", "gate")
    assert not (tmp_path / "elsewhere.pem").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o601])
def test_a_private_key_that_others_can_touch_is_not_used(home: Path, mode: int) -> None:
    new_key(home / "gate.pem", "gate")
    (home / "gate.pem").chmod(mode)
    with pytest.raises(BadInput, match="others can read it"):
        load_signer(home / "gate.pem")


@pytest.mark.parametrize("content", [b"", b"no key", CryptoSigner.generate_rsa().private_bytes, b"\xff" * 100])
def test_a_file_that_holds_no_ed25519_key_is_not_used(home: Path, content: bytes) -> None:
    home.mkdir()
    (home / "k.pem").write_bytes(content)
    (home / "k.pem").chmod(0o600)
    with pytest.raises(BadInput):
        load_signer(home / "k.pem")


def test_a_missing_key_says_how_to_make_one(home: Path) -> None:
    with pytest.raises(BadInput) as caught:
        load_signer(home / "none.pem")
    assert caught.value.next_step == "twin keys new"


@pytest.mark.parametrize("name", ["", "Ana", "../x", "a/b", "ana lopez", "аna", "-a", "a" * 64, "ana\n"])
def test_a_key_bears_a_name_that_cannot_be_mistaken(home: Path, name: str) -> None:
    with pytest.raises(BadInput, match="no name for a key"):
        new_key(home / "k.pem", name)
    assert not home.exists()


def test_an_absent_folder_trusts_nobody(home: Path) -> None:
    assert load_trusted_keys(home / "trusted") == {}


def trusted_file(home: Path, **fields: Any) -> Path:
    public = new_key(home / "ana.pem", "ana")
    path = trust_key(public, home / "trusted", KeyRole.APPROVER)
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return path


@pytest.mark.parametrize(
    "fields",
    [
        {"role": "admin"},
        {"role": 1},
        {"keyid": "0" * 64},
        {"public": "0" * 63},
        {"public": "zz" * 32},
        {"scheme": "rsa"},
        {"name": "../x"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_trusted_file_with_anything_odd_in_it_is_an_error_and_not_skipped(home: Path, fields: dict[str, Any]) -> None:
    trusted_file(home, **fields)
    with pytest.raises(BadInput):
        load_trusted_keys(home / "trusted")


def test_one_key_has_one_role(home: Path) -> None:
    public = new_key(home / "ana.pem", "ana")
    path = trust_key(public, home / "trusted", KeyRole.APPROVER)
    with pytest.raises(BadInput, match="it is trusted as ana"):
        trust_key(public, home / "trusted", KeyRole.GATE)
    copied = json.loads(path.read_text()) | {"role": "gate"}
    (home / "trusted" / "gate-ana.json").write_text(json.dumps(copied))
    with pytest.raises(BadInput, match="the same key"):
        load_trusted_keys(home / "trusted")


def test_one_name_is_one_key_in_a_role(home: Path) -> None:
    trust_key(new_key(home / "a.pem", "ana"), home / "trusted", KeyRole.APPROVER)
    second = new_key(home / "b.pem", "ana")
    with pytest.raises(BadInput, match="it exists"):
        trust_key(second, home / "trusted", KeyRole.APPROVER)
    document = json.loads(second.read_text()) | {"role": "approver"}
    (home / "trusted" / "x.json").write_text(json.dumps(document))
    with pytest.raises(BadInput, match="another approver is called ana"):
        load_trusted_keys(home / "trusted")


def test_a_folder_that_anybody_may_write_to_is_not_used(home: Path) -> None:
    trust_key(new_key(home / "a.pem", "ana"), home / "trusted", KeyRole.APPROVER)
    (home / "trusted").chmod(0o777)
    with pytest.raises(BadInput, match="anybody may write"):
        load_trusted_keys(home / "trusted")


@settings(max_examples=100, deadline=None)
@given(raw=st.binary(max_size=60) | st.just(b" " * (SIZE_MAX_BYTES + 1)) | st.just(b"[" * SIZE_MAX_BYTES))
def test_no_bytes_in_a_trusted_file_bring_anything_but_our_error(
    raw: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("trusted")
    (folder / "x.json").write_bytes(raw)
    with pytest.raises(BadInput):
        load_trusted_keys(folder)
