"""Issue a receipt, and read one without believing it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securesystemslib.signer import CryptoSigner

from twin.receipt.envelope import read_envelope, sign
from twin.receipt.statement import PAYLOAD_TYPE, faults, payload, read_payload
from twin.receipt.strict import Malformed
from twin.spec.errors import BadInput, ReceiptInvalid
from twin.spec.receipt import Receipt

__all__ = ["invalid", "issue", "read"]


def issue(receipt: Receipt, signer: CryptoSigner) -> dict[str, Any]:
    """The signed envelope as JSON. Raises BadInput for a receipt that contradicts itself or that JSON cannot hold."""
    found = faults(receipt)
    if found:
        raise BadInput("cannot issue the receipt", found[0], "this is the gate's mistake; report it")
    raw = payload(receipt)
    try:
        again = read_payload(raw)
    except Malformed as error:  # Whoever signs what its own reader refuses learns it at promotion.
        raise BadInput("cannot issue the receipt", str(error), "this is the gate's mistake; report it") from error
    assert payload(again) == raw
    return sign(raw, PAYLOAD_TYPE, signer).to_json()


def read(raw: bytes | Mapping[str, Any]) -> Receipt:
    """The receipt inside an envelope, to show it. Its signature is NOT checked: `check` does that.

    Raises ReceiptInvalid.
    """
    try:
        envelope = read_envelope(raw)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise Malformed(f'payloadType is "{envelope.payload_type[:60]}", not that of a receipt')
        return read_payload(envelope.payload)
    except Malformed as error:
        raise invalid(str(error)) from error


def invalid(why: str) -> ReceiptInvalid:
    return ReceiptInvalid("the receipt is not valid", why, "verify the change again: twin verify")
