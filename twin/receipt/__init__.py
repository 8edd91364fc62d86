"""Signed evidence. Loads beside production's credentials, so it imports no model code.

The gate `issue`s, anybody may `read`, the promoter `check`s: signature, role, time, form. Humans `approve`.
A receipt is used once: `refuse_spent`, and leave `spent_annotation` in the target.
"""

from twin.receipt.approval import approve, check_approvals, is_agent
from twin.receipt.check import CheckedReceipt, check
from twin.receipt.keys import (
    KeyRole,
    TrustedKey,
    TrustedKeys,
    load_signer,
    load_trusted_keys,
    new_key,
    trust_key,
)
from twin.receipt.receipt import issue, read
from twin.receipt.spent import SpentMark, find_spent, keep_unexpired, refuse_spent, spent_annotation

__all__ = [
    "CheckedReceipt",
    "KeyRole",
    "SpentMark",
    "TrustedKey",
    "TrustedKeys",
    "approve",
    "check",
    "check_approvals",
    "find_spent",
    "is_agent",
    "issue",
    "keep_unexpired",
    "load_signer",
    "load_trusted_keys",
    "new_key",
    "read",
    "refuse_spent",
    "spent_annotation",
    "trust_key",
]
