"""Approvals: a human's signature under a receipt's digest and a target, by a key that is trusted for that.

What fails here is always "the approval is missing", never "perhaps": a bad file is as good as none.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from securesystemslib.signer import CryptoSigner

from twin.receipt.check import CLOCK_SKEW_MAX_S, CheckedReceipt
from twin.receipt.envelope import read_envelope, sign, verified
from twin.receipt.keys import KeyRole, TrustedKeys
from twin.receipt.strict import Malformed, load_json, read_as
from twin.spec.canonical import canonical_bytes
from twin.spec.errors import ApprovalMissing, BadInput
from twin.spec.receipt import Approval

__all__ = ["PAYLOAD_TYPE", "approve", "check_approvals", "is_agent"]

PAYLOAD_TYPE = "application/vnd.twin-testbed.approval+json"
SIZE_MAX_BYTES = 16 * 1024

# Names of programs. An approver key for one of them is a mistake of whoever trusted it.
_PROGRAMS = ("agent", "local-agent", "local_agent", "gate", "promoter", "bot")


def is_agent(name: str) -> bool:
    """Whether a name is a program's: `agent`, `agent:offline`, `local-agent@node-3`."""
    plain = _plain(name)
    return any(plain == one or (plain.startswith(one) and not plain[len(one)].isalnum()) for one in _PROGRAMS)


def approve(checked: CheckedReceipt, approver: str, signer: CryptoSigner, at_s: float) -> dict[str, Any]:
    """Sign a receipt's digest and target. `approver` is the name under which the key is trusted.

    Raises ApprovalMissing at once for what `check_approvals` would refuse later.
    """
    _check_person(checked, approver)
    approval = Approval(
        receipt_digest=checked.digest,
        target=checked.receipt.target,
        approver=approver,
        key_id=str(signer.public_key.keyid),
        at_s=int(at_s),
    )
    return sign(canonical_bytes(approval), PAYLOAD_TYPE, signer).to_json()


def check_approvals(
    checked: CheckedReceipt, raws: Sequence[bytes | Mapping[str, Any]], trusted: TrustedKeys, at_s: float
) -> tuple[Approval, ...]:
    """The approvals, each of a different human, at least as many as the receipt needs. Raises ApprovalMissing.

    One bad approval refuses them all, also when enough good ones are left: somebody tried something.
    """
    approvals: list[Approval] = []
    for raw in raws:
        approval = _check_one(checked, raw, trusted, at_s)
        if approval.approver in {one.approver for one in approvals}:
            raise _missing(f"{approval.approver} approved twice; each approver counts once")
        approvals.append(approval)
    needed = checked.receipt.approvals_needed
    if len(approvals) < needed:
        raise _missing(f"{len(approvals)} of {needed} approvals ({checked.receipt.risk} risk)")
    return tuple(approvals)


def _check_one(checked: CheckedReceipt, raw: bytes | Mapping[str, Any], trusted: TrustedKeys, at_s: float) -> Approval:
    try:
        envelope = read_envelope(raw)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise Malformed(f'payloadType is "{envelope.payload_type[:60]}", not that of an approval')
        key = trusted.get(envelope.key_id)
        if key is None:
            raise Malformed(f"unknown key {envelope.key_id[:12]}: nobody trusts it here")
        if key.role is not KeyRole.APPROVER:
            raise Malformed(f"wrong role: {key.name} is trusted as {key.role}, not to approve")
        if not verified(envelope, key.key):
            raise Malformed(f"tampered with: the signature by {key.name} does not fit")
        approval = read_as(Approval, load_json(envelope.payload, SIZE_MAX_BYTES), "approval")
        if canonical_bytes(approval) != envelope.payload:
            raise Malformed("not in its canonical form")
    except (Malformed, BadInput) as error:
        raise _missing(f"an approval is not valid: {error}") from error
    if approval.key_id != key.key_id or approval.approver != key.name:
        raise _missing(f"signed by {key.name} in the name of {approval.approver}")
    _check_person(checked, approval.approver)
    if approval.receipt_digest != checked.digest:
        raise _missing(f"{approval.approver} approved another receipt ({approval.receipt_digest[:12]})")
    if approval.target != checked.receipt.target:
        raise _missing(f"{approval.approver} approved it for another target ({approval.target[:60]})")
    issued_s = checked.receipt.issued_s - CLOCK_SKEW_MAX_S
    if not issued_s <= approval.at_s < checked.receipt.expires_s or not approval.at_s <= at_s + CLOCK_SKEW_MAX_S:
        raise _missing(f"{approval.approver} approved it at a time when it was not in force, or in the future")
    return approval


def _check_person(checked: CheckedReceipt, approver: str) -> None:
    if _plain(approver) == _plain(checked.receipt.requester):
        raise _missing(f"{approver} requested the change and may not approve it")
    if is_agent(approver):
        raise _missing(f"{approver} is a program; only a human approves")


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _missing(why: str) -> ApprovalMissing:
    return ApprovalMissing("an approval is missing", why, "twin approve receipt.json --prod TARGET --key KEYFILE")
