"""Decide offline whether a receipt may be believed now: who signed it, when, and whether it says so itself.

The signature comes before everything that it covers: nothing of an unsigned payload is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twin.receipt.envelope import read_envelope, verified
from twin.receipt.keys import KeyRole, TrustedKeys
from twin.receipt.receipt import invalid
from twin.receipt.statement import PAYLOAD_TYPE, read_payload
from twin.receipt.strict import Malformed
from twin.spec.ids import Sha256
from twin.spec.receipt import Receipt, receipt_digest

__all__ = ["CLOCK_SKEW_MAX_S", "CheckedReceipt", "check"]

CLOCK_SKEW_MAX_S = 30.0  # The gate's clock may be ahead of the promoter's. An expiry is not stretched by it.


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedReceipt:
    """A receipt that was signed by a trusted gate and is in force. Only `check` makes one."""

    receipt: Receipt
    digest: Sha256
    gate: str  # the name under which its key is trusted
    key_id: str
    seconds_left: float


def check(
    raw: bytes | Mapping[str, Any], trusted: TrustedKeys, at_s: float, *, promotable: bool = True
) -> CheckedReceipt:
    """The receipt in an envelope, believed at `at_s` on the target's Clock. Needs no network.

    `promotable=False` also accepts receipts of rejected and inconclusive changes, to be looked at.
    Raises ReceiptInvalid with the exact reason. Whether it is spent, only the target knows: see `spent`.
    """
    try:
        envelope = read_envelope(raw)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise Malformed(f'payloadType is "{envelope.payload_type[:60]}", not that of a receipt')
        key = trusted.get(envelope.key_id)
        if key is None:
            raise Malformed(f"unknown key {envelope.key_id[:12]}: nobody trusts it here")
        if key.role is not KeyRole.GATE:
            raise Malformed(f"wrong role: {key.name} is trusted as {key.role}, not to sign receipts")
        if not verified(envelope, key.key):
            raise Malformed(f"tampered with: the signature by {key.name} does not fit")
        receipt = read_payload(envelope.payload)
    except Malformed as error:
        raise invalid(str(error)) from error
    if not at_s >= receipt.issued_s - CLOCK_SKEW_MAX_S:  # Also refuses a NaN.
        raise invalid(f"not yet valid: issued {receipt.issued_s - at_s:.0f} s from now")
    if not at_s < receipt.expires_s:
        raise invalid(f"expired {at_s - receipt.expires_s:.0f} s ago")
    if promotable and not receipt.outcome.promotable:
        raise invalid(f"its outcome is {receipt.outcome}: {receipt.reason}")
    return CheckedReceipt(
        receipt=receipt,
        digest=receipt_digest(receipt),
        gate=key.name,
        key_id=key.key_id,
        seconds_left=receipt.expires_s - at_s,
    )
