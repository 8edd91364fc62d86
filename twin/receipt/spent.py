"""Spent marks: a receipt is used once. The mark lies in the target, so that a second laptop sees it too.

Marks are entries of a ConfigMap in the target (for a saved World, of the world file). A key holds the first 40 digits
of the digest, and nothing that Kubernetes refuses in a key; the value holds the whole. A mark is kept until its receipt
has expired; after that the expiry refuses the receipt, and the mark only takes room.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twin.receipt.receipt import invalid
from twin.receipt.strict import Malformed, load_json, read_as
from twin.spec.canonical import canonical_bytes
from twin.spec.ids import Sha256

__all__ = ["PREFIX", "SpentMark", "find_spent", "keep_unexpired", "refuse_spent", "spent_annotation"]

PREFIX = "spent."
SIZE_MAX_BYTES = 1024
KEEP_AFTER_EXPIRY_S = 3600.0  # For clocks that disagree.


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentMark:
    receipt_digest: Sha256
    promotion: str
    at_s: int
    expires_s: int  # the receipt's


def spent_annotation(mark: SpentMark) -> dict[str, str]:
    """What to write into the target, before the first step."""
    return {_key(mark.receipt_digest): canonical_bytes(mark).decode("utf-8")}


def find_spent(annotations: Mapping[str, str], receipt: Sha256) -> SpentMark | None:
    """The receipt's mark. Raises ReceiptInvalid for a mark that cannot be read: it counts as spent."""
    value = annotations.get(_key(receipt))
    if value is None:
        return None
    mark = _read(value)
    if mark is None or mark.receipt_digest != receipt:
        raise invalid("spent: the target holds a mark for it that cannot be read")
    return mark


def refuse_spent(annotations: Mapping[str, str], receipt: Sha256, promotion: str | None = None) -> None:
    """Raises ReceiptInvalid if the receipt was used, except by this very promotion, which may be resumed."""
    mark = find_spent(annotations, receipt)
    if mark is not None and mark.promotion != promotion:
        raise invalid(f"spent by promotion {mark.promotion}")


def keep_unexpired(annotations: Mapping[str, str], at_s: float) -> dict[str, str]:
    """The annotations without marks of receipts that expired long ago. What cannot be read is kept."""
    kept = {}
    for key, value in annotations.items():
        mark = _read(value) if key.startswith(PREFIX) else None
        if mark is None or mark.expires_s + KEEP_AFTER_EXPIRY_S > at_s:
            kept[key] = value
    return kept


def _key(receipt: Sha256) -> str:
    return f"{PREFIX}{receipt[:40]}"


def _read(value: str) -> SpentMark | None:
    try:
        return read_as(SpentMark, load_json(value.encode("utf-8", "surrogatepass"), SIZE_MAX_BYTES))
    except Malformed:
        return None
