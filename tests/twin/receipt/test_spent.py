"""A receipt is used once, whoever looks at the target."""

from __future__ import annotations

import re

import pytest

from tests.twin.receipt.samples import NOW_S
from twin.receipt import SpentMark, find_spent, keep_unexpired, refuse_spent, spent_annotation
from twin.receipt.spent import KEEP_AFTER_EXPIRY_S, PREFIX
from twin.spec.errors import ReceiptInvalid
from twin.spec.ids import Sha256

pytestmark = [pytest.mark.requirement("R13")]

ONE, OTHER = Sha256("ab" * 32), Sha256("ab" * 31 + "cd")
MARK = SpentMark(receipt_digest=ONE, promotion="p-17", at_s=NOW_S, expires_s=NOW_S + 900)


def test_a_marked_receipt_is_spent_and_another_is_not() -> None:
    annotations = {"app": "shop", **spent_annotation(MARK)}
    assert find_spent(annotations, ONE) == MARK
    with pytest.raises(ReceiptInvalid) as caught:
        refuse_spent(annotations, ONE)
    assert caught.value.why == "spent by promotion p-17"
    refuse_spent(annotations, Sha256("cd" * 32))
    refuse_spent({}, ONE)


def test_the_promotion_that_spent_it_may_be_resumed_and_no_other() -> None:
    annotations = spent_annotation(MARK)
    refuse_spent(annotations, ONE, "p-17")
    with pytest.raises(ReceiptInvalid):
        refuse_spent(annotations, ONE, "p-18")


@pytest.mark.parametrize(
    "value", ["", "p-17", "{}", '{"receipt_digest": "x"}', "[" * 900, "\ud800", "9" * 5000, "NaN", '{"a":1e999}']
)
def test_a_mark_that_cannot_be_read_counts_as_spent(value: str) -> None:
    annotations = dict.fromkeys(spent_annotation(MARK), value)
    with pytest.raises(ReceiptInvalid, match="cannot be read"):
        refuse_spent(annotations, ONE, "p-17")


def test_a_mark_whose_digest_only_begins_alike_counts_as_spent() -> None:
    """The annotation's key holds 40 of 64 digits."""
    assert set(spent_annotation(MARK)) == {f"{PREFIX}{OTHER[:40]}"}
    with pytest.raises(ReceiptInvalid, match="cannot be read"):
        refuse_spent(spent_annotation(MARK), OTHER, "p-17")


def test_a_mark_is_what_kubernetes_takes_in_a_config_map() -> None:
    ((key, value),) = spent_annotation(MARK).items()
    assert re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key)
    assert isinstance(value, str)


def test_marks_of_receipts_that_expired_long_ago_are_dropped_and_nothing_else_is() -> None:
    annotations = {"app": "shop", f"{PREFIX}odd": "?", **spent_annotation(MARK)}
    expired_s = NOW_S + 900 + KEEP_AFTER_EXPIRY_S
    assert keep_unexpired(annotations, expired_s - 1) == annotations
    assert keep_unexpired(annotations, expired_s) == {"app": "shop", f"{PREFIX}odd": "?"}
