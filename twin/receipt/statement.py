"""A receipt as an in-toto Statement with a Simple Verification Result, and back.

Anybody's in-toto tools can read who verified what, when, and which properties held. Everything else is ours and
stands in one extension field, named by a URI as in-toto asks. All that is said twice is derived from the receipt,
and reading compares the whole statement byte for byte: there is one form of a receipt, and no room to hide in.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from twin.receipt.strict import Malformed, load_json, read_as
from twin.spec.canonical import canonical_bytes, digest, plain
from twin.spec.change import Reversibility, Risk
from twin.spec.errors import BadInput
from twin.spec.receipt import Receipt, base_digest
from twin.spec.verdict import StageVerdict

__all__ = ["EXTENSION", "PAYLOAD_TYPE", "PREDICATE_TYPE", "STATEMENT_TYPE", "faults", "payload", "read_payload"]

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/svr/v0.2"
EXTENSION = "urn:twin-testbed:receipt:v1alpha1"
VERIFIER = "urn:twin-testbed:gate:v1alpha1"

SIZE_MAX_BYTES = 24 * 1024 * 1024
_YEAR_10000_S = 253_402_300_800


def payload(receipt: Receipt) -> bytes:
    """The bytes that are signed. Raises BadInput for what JSON cannot hold."""
    return canonical_bytes(_statement(receipt))


def read_payload(raw: bytes) -> Receipt:
    """The receipt in a payload. Raises Malformed for anything that `payload` would not have written."""
    statement = load_json(raw, SIZE_MAX_BYTES)
    try:
        document = statement["predicate"][EXTENSION]
        kinds = statement["_type"], statement["predicateType"]
    except (KeyError, TypeError, IndexError) as error:
        raise Malformed("no receipt of ours in it") from error
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise Malformed("no in-toto Statement v1 with a verification result v0.2")
    receipt = read_as(Receipt, document, "receipt")
    try:
        found = faults(receipt)
        again = payload(receipt)
    except (BadInput, RecursionError) as error:  # A lone surrogate, an integer beyond 2^53.
        raise Malformed(f"it holds what JSON cannot: {error}") from error
    if found:
        raise Malformed(found[0])
    if again != raw:
        raise Malformed("the statement around the receipt, or its form, is not what the receipt says")
    return receipt


def faults(receipt: Receipt) -> list[str]:
    """What contradicts itself in a receipt, whoever signed it. Raises BadInput for what JSON cannot hold."""
    found: list[str] = []
    if not 0 <= receipt.issued_s < receipt.expires_s < _YEAR_10000_S:
        found.append("it expires before it is issued, or at no time at all")
    if receipt.base_digest != base_digest(receipt.base):
        found.append("its base digest is not the digest of its base")
    if len({one.ref for one in receipt.base}) != len(receipt.base):
        found.append("its base names an object twice")
    if not receipt.target or not receipt.requester:
        found.append("it names no target or no requester")
    least = 2 if receipt.risk is Risk.HIGH else 1 if receipt.reversibility is Reversibility.IRREVERSIBLE else 0
    if receipt.approvals_needed < least:
        found.append(f"{receipt.risk} risk, {receipt.reversibility}: it needs {least} approvals, not fewer")
    for name, interval in (("effect", receipt.effect), ("harm", receipt.harm)):
        if interval is not None and not 0.0 <= interval.low <= interval.value <= interval.high <= 1.0:
            found.append(f"{name}: no probability within its interval")
    for curve in receipt.symptom_envelope:
        times = [point.t_s for point in curve.points]
        if times != sorted(set(times)) or any(point.low > point.high for point in curve.points):
            found.append(f"symptom envelope of {curve.service}: no band over time")
    course = receipt.prediction
    if len(course.usual) not in (0, len(course.journeys)) or not all(0.0 <= share <= 1.0 for share in course.usual):
        found.append("prediction: no usual share for each of its journeys")
    if receipt.outcome.promotable:
        if not receipt.stages:
            found.append("promotable without a single stage")
        if any(stage.verdict is StageVerdict.FAIL for stage in receipt.stages):
            found.append("promotable with a failed stage")
    if receipt.plan_digest != digest(receipt.plan):
        found.append("its subject is not the digest of its plan")
    if canonical_bytes(receipt.plan.get("change")) != canonical_bytes(receipt.change):
        found.append("its plan carries out another change")
    said = (receipt.change.get("requester"), receipt.change.get("risk"), receipt.plan.get("reversibility"))
    if said != (receipt.requester, receipt.risk, receipt.reversibility):
        found.append("requester, risk or reversibility differ between receipt and plan")
    return found


def _statement(receipt: Receipt) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "plan", "digest": {"sha256": receipt.plan_digest}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "verifier": {"id": VERIFIER, "policies": [{"digest": {"sha256": receipt.policy_revision}}]},
            "timeCreated": _rfc3339(receipt.issued_s),
            "properties": _properties(receipt),
            EXTENSION: plain(receipt),
        },
    }


def _properties(receipt: Receipt) -> list[str]:
    """Only what held: an SVR has no word for what did not."""
    held = [f"TWIN_STAGE_{stage.stage.upper()}" for stage in receipt.stages if stage.verdict is StageVerdict.PASS]
    if receipt.outcome.promotable:
        held.append(f"TWIN_OUTCOME_{receipt.outcome.upper()}")
    return [*held, f"TWIN_EVIDENCE_{receipt.evidence_level.upper()}"]


def _rfc3339(at_s: int) -> str:
    return (dt.datetime(1970, 1, 1) + dt.timedelta(seconds=at_s)).isoformat() + "Z"
