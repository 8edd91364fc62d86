"""DSSE: a payload, what it is, and a signature over both. One signature, strict base64, verified offline.

The signature covers the payload's *type*, so an approval is never taken for a receipt. Base64 is taken in its one
canonical form: decoders that ignore stray bits would let a changed file pass as the signed one.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from twin.receipt.strict import Malformed, load_json

__all__ = ["SIZE_MAX_BYTES", "Envelope", "read_envelope", "sign", "verified"]

SIZE_MAX_BYTES = 32 * 1024 * 1024
_SIGNATURE_BYTES = 64  # Ed25519


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    payload: bytes
    payload_type: str
    key_id: str
    signature: bytes

    def to_json(self) -> dict[str, Any]:
        return {
            "payload": base64.b64encode(self.payload).decode("ascii"),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": self.key_id, "sig": base64.b64encode(self.signature).decode("ascii")}],
        }


def sign(payload: bytes, payload_type: str, signer: CryptoSigner) -> Envelope:
    signature = signer.sign(_pre_authentication(payload, payload_type))
    return Envelope(
        payload=payload,
        payload_type=payload_type,
        key_id=signature.keyid,
        signature=bytes.fromhex(signature.signature),
    )


def verified(envelope: Envelope, key: SSlibKey) -> bool:
    """Whether this key signed exactly this payload as exactly this type."""
    try:
        key.verify_signature(
            Signature(envelope.key_id, envelope.signature.hex()),
            _pre_authentication(envelope.payload, envelope.payload_type),
        )
    except UnverifiedSignatureError:
        return False
    return True


def read_envelope(raw: bytes | Mapping[str, Any]) -> Envelope:
    """An envelope from a file's bytes, or from its JSON. Checks no signature. Raises Malformed."""
    value = load_json(raw, SIZE_MAX_BYTES) if isinstance(raw, bytes) else raw
    outer = _object(value, "the envelope", ("payload", "payloadType", "signatures"))
    if not isinstance(outer["payloadType"], str):
        raise Malformed("payloadType: a word is wanted")
    signatures = outer["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise Malformed("signatures: exactly one is wanted")
    one = _object(signatures[0], "signatures[0]", ("keyid", "sig"))
    if not isinstance(one["keyid"], str):
        raise Malformed("signatures[0].keyid: a word is wanted")
    signature = _base64(one["sig"], "signatures[0].sig")
    if len(signature) != _SIGNATURE_BYTES:
        raise Malformed(f"signatures[0].sig: {_SIGNATURE_BYTES} bytes are wanted, not {len(signature)}")
    return Envelope(
        payload=_base64(outer["payload"], "payload"),
        payload_type=outer["payloadType"],
        key_id=one["keyid"],
        signature=signature,
    )


def _pre_authentication(payload: bytes, payload_type: str) -> bytes:
    """DSSE's PAE: lengths first, so that no two (type, payload) pairs give the same bytes."""
    kind = payload_type.encode("utf-8", "surrogatepass")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _object(value: Any, where: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Malformed(f"{where}: an object is wanted, not {type(value).__name__}")
    for key in keys:
        if key not in value:
            raise Malformed(f"{where}: {key} is missing")
    for key in value:
        if key not in keys:
            raise Malformed(f"{where}: {str(key)[:40]} is unknown")
    return value


def _base64(value: Any, where: str) -> bytes:
    if not isinstance(value, str):
        raise Malformed(f"{where}: base64 is wanted, not {type(value).__name__}")
    try:
        decoded = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{where}: no base64") from error
    if base64.b64encode(decoded).decode("ascii") != value:
        raise Malformed(f"{where}: base64 in another form than the canonical one")
    return decoded
