"""An approval counts only from a trusted human other than the requester, for this receipt and this target."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from tests.twin.receipt.samples import NOW_S, RECEIPT, Keys, changed, checked, new_keys
from twin.receipt import KeyRole, TrustedKey, approve, check_approvals, is_agent, issue
from twin.receipt.approval import PAYLOAD_TYPE
from twin.receipt.envelope import sign
from twin.spec.canonical import canonical_bytes
from twin.spec.change import Risk
from twin.spec.errors import ApprovalMissing
from twin.spec.receipt import Approval

pytestmark = [pytest.mark.requirement("R13", "R22")]


@pytest.fixture(scope="module")
def keys() -> Keys:
    return new_keys()


def refused(keys: Keys, raws: list[Any], receipt: Any = RECEIPT, at_s: float = NOW_S + 60) -> str:
    with pytest.raises(ApprovalMissing) as caught:
        check_approvals(checked(keys, receipt), raws, keys.trusted, at_s)
    assert "twin approve" in caught.value.next_step
    return caught.value.why


def test_a_human_approves_receipt_and_target(keys: Keys) -> None:
    seen = checked(keys)
    raw = approve(seen, "ana", keys.ana, NOW_S + 30.9)
    (approval,) = check_approvals(seen, [raw], keys.trusted, NOW_S + 60)
    assert approval == Approval(
        receipt_digest=seen.digest,
        target="kube:shop",
        approver="ana",
        key_id=keys.ana.public_key.keyid,
        at_s=NOW_S + 30,
    )


def test_high_risk_needs_two_humans(keys: Keys) -> None:
    receipt = changed(risk=Risk.HIGH, approvals_needed=2)
    seen = checked(keys, receipt)
    ana, ben = (approve(seen, name, key, NOW_S) for name, key in (("ana", keys.ana), ("ben", keys.ben)))
    assert len(check_approvals(seen, [ana, ben], keys.trusted, NOW_S)) == 2
    assert refused(keys, [ana], receipt) == "1 of 2 approvals (high risk)"
    assert refused(keys, [], receipt) == "0 of 2 approvals (high risk)"
    assert refused(keys, [ana, ana], receipt) == "ana approved twice; each approver counts once"


def test_two_keys_of_one_name_are_one_human(keys: Keys) -> None:
    second = CryptoSigner.generate_ed25519()
    trusted = {
        **keys.trusted,
        second.public_key.keyid: TrustedKey(name="ana", role=KeyRole.APPROVER, key=second.public_key),
    }
    receipt = changed(risk=Risk.HIGH, approvals_needed=2)
    seen = checked(keys, receipt)
    raws = [approve(seen, "ana", key, NOW_S) for key in (keys.ana, second)]
    assert "approved twice" in refused(dataclasses.replace(keys, trusted=trusted), raws, receipt)


def test_no_approval_is_needed_where_the_receipt_asks_for_none(keys: Keys) -> None:
    assert check_approvals(checked(keys, changed(approvals_needed=0)), [], keys.trusted, NOW_S) == ()


@pytest.mark.parametrize("requester", ["ana", "Ana", " ANA ", "ａｎａ"])
def test_the_requester_may_not_approve_however_the_name_is_written(requester: str, keys: Keys) -> None:
    receipt = changed(requester=requester)
    with pytest.raises(ApprovalMissing, match="requested the change"):
        approve(checked(keys, receipt), "ana", keys.ana, NOW_S)
    own = forged(keys, receipt, approver="ana")
    assert refused(keys, [own], receipt) == "ana requested the change and may not approve it"


@pytest.mark.parametrize("name", ["agent", "agent:offline", "agent-7", "local-agent@node-3", "Gate", "bot"])
def test_no_program_approves(name: str, keys: Keys) -> None:
    assert is_agent(name)
    trusted = {
        **keys.trusted,
        keys.ana.public_key.keyid: TrustedKey(name=name, role=KeyRole.APPROVER, key=keys.ana.public_key),
    }
    raw = forged(keys, RECEIPT, approver=name)
    receipt = changed(requester="ben")
    why = refused(dataclasses.replace(keys, trusted=trusted), [forged(keys, receipt, approver=name)], receipt)
    assert why == f"{name} is a program; only a human approves"
    assert "program" in refused(dataclasses.replace(keys, trusted=trusted), [raw]) or name == "agent:offline"
    with pytest.raises(ApprovalMissing):
        approve(checked(keys, receipt), name, keys.ana, NOW_S)


@pytest.mark.parametrize("name", ["ana", "agenta", "gates", "robot", "botho", "ana@agent"])
def test_a_human_whose_name_only_looks_like_a_programs_may_approve(name: str) -> None:
    assert not is_agent(name)


def forged(keys: Keys, receipt: Any, signer: CryptoSigner | None = None, **fields: Any) -> dict[str, Any]:
    """An approval whose fields somebody chose, signed by ana's key."""
    signer = signer or keys.ana
    approval = Approval(
        **{
            "receipt_digest": checked(keys, receipt).digest,
            "target": receipt.target,
            "approver": "ana",
            "key_id": signer.public_key.keyid,
            "at_s": NOW_S,
            **fields,
        }
    )
    return sign(canonical_bytes(approval), PAYLOAD_TYPE, signer).to_json()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"receipt_digest": "0" * 64}, "ana approved another receipt"),
        ({"target": "kube:other"}, "ana approved it for another target"),
        ({"approver": "ben"}, "signed by ana in the name of ben"),
        ({"key_id": "0" * 64}, "signed by ana in the name of ana"),
        ({"at_s": NOW_S - 31}, "in force"),
        ({"at_s": NOW_S + 900}, "in force"),
        ({"at_s": NOW_S + 91}, "future"),
        ({"receipt_digest": "none"}, "no SHA-256 digest"),
        ({"at_s": "now"}, "a whole number"),
    ],
)
def test_an_approval_of_something_else_is_none(fields: dict[str, Any], why: str, keys: Keys) -> None:
    assert why in refused(keys, [forged(keys, RECEIPT, **fields)])


def test_one_bad_approval_spoils_the_good_ones(keys: Keys) -> None:
    seen = checked(keys)
    good = approve(seen, "ana", keys.ana, NOW_S)
    bad = forged(keys, RECEIPT, keys.ben, approver="ben", target="kube:other")
    assert "another target" in refused(keys, [good, bad])


def test_only_an_approvers_key_approves(keys: Keys) -> None:
    assert "wrong role: gate is trusted as gate, not to approve" in refused(
        keys, [forged(keys, RECEIPT, keys.gate, approver="gate")]
    )
    assert "unknown key" in refused(keys, [forged(keys, RECEIPT, CryptoSigner.generate_ed25519())])


def test_a_receipt_is_no_approval_of_itself(keys: Keys) -> None:
    assert "not that of an approval" in refused(keys, [issue(RECEIPT, keys.gate)])


def test_an_altered_approval_is_none(keys: Keys) -> None:
    raw = forged(keys, RECEIPT)
    other = forged(keys, RECEIPT, at_s=NOW_S + 1)
    assert "tampered with: the signature by ana does not fit" in refused(keys, [{**raw, "payload": other["payload"]}])


def test_an_approval_in_another_form_is_none(keys: Keys) -> None:
    body = canonical_bytes(
        Approval(
            receipt_digest=checked(keys).digest,
            target="kube:shop",
            approver="ana",
            key_id=keys.ana.public_key.keyid,
            at_s=NOW_S,
        )
    )
    assert "canonical" in refused(keys, [sign(body + b" ", PAYLOAD_TYPE, keys.ana).to_json()])


@settings(max_examples=150, deadline=None)
@given(raw=st.binary(max_size=80))
def test_no_bytes_bring_anything_but_a_missing_approval(raw: bytes) -> None:
    with pytest.raises(ApprovalMissing):
        check_approvals(SEEN, [raw, sign(raw, PAYLOAD_TYPE, SOME.ana).to_json()], SOME.trusted, NOW_S)
    with pytest.raises(ApprovalMissing):
        check_approvals(SEEN, [sign(raw, PAYLOAD_TYPE, SOME.ana).to_json()], SOME.trusted, NOW_S)


SOME = new_keys()
SEEN = checked(SOME)
