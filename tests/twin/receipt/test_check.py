"""A receipt is believed only whole, from a trusted gate, in its time. Everything else is refused by its name."""

from __future__ import annotations

import base64
import copy
import dataclasses
import json
import math
import random  # noqa: TID251 # Samples of a test, not a model's draws.
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as LibraryEnvelope
from securesystemslib.signer import CryptoSigner

from tests.twin.receipt.samples import BASE, NOW_S, RECEIPT, Keys, changed, new_keys
from twin.receipt import KeyRole, TrustedKey, check, issue, read
from twin.receipt.envelope import sign
from twin.receipt.statement import EXTENSION, PAYLOAD_TYPE, payload
from twin.spec.canonical import canonical_bytes, plain
from twin.spec.change import Reversibility, Risk
from twin.spec.errors import BadInput, ReceiptInvalid
from twin.spec.receipt import EvidenceLevel, Receipt, base_digest, receipt_digest
from twin.spec.verdict import Interval, Outcome, StageResult, StageVerdict

pytestmark = [pytest.mark.requirement("R13")]


@pytest.fixture(scope="module")
def keys() -> Keys:
    return new_keys()


@pytest.fixture(scope="module")
def envelope(keys: Keys) -> dict[str, Any]:
    return issue(RECEIPT, keys.gate)


def refused(raw: bytes | dict[str, Any], keys: Keys, at_s: float = NOW_S, **options: bool) -> str:
    with pytest.raises(ReceiptInvalid) as caught:
        check(raw, keys.trusted, at_s, **options)
    assert caught.value.next_step
    return caught.value.why


# --- round trip --------------------------------------------------------------------------------------------------


def test_what_was_issued_is_read_back_whole(keys: Keys, envelope: dict[str, Any]) -> None:
    seen = check(envelope, keys.trusted, NOW_S + 1)
    assert seen.receipt == RECEIPT
    assert seen.digest == receipt_digest(RECEIPT)
    assert seen.gate == "gate"
    assert seen.seconds_left == 899
    assert read(json.dumps(envelope, indent=2).encode()) == RECEIPT


def test_issuing_twice_gives_the_same_bytes(keys: Keys, envelope: dict[str, Any]) -> None:
    assert issue(RECEIPT, keys.gate) == envelope


def test_others_tools_can_read_it(keys: Keys, envelope: dict[str, Any]) -> None:
    """The library's own DSSE verifies it, and the statement says what in-toto's SVR asks for."""
    theirs = LibraryEnvelope.from_dict(copy.deepcopy(envelope))
    theirs.verify([keys.gate.public_key], 1)
    statement = json.loads(theirs.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/svr/v0.2"
    assert statement["subject"] == [{"name": "plan", "digest": {"sha256": RECEIPT.plan_digest}}]
    predicate = statement["predicate"]
    assert predicate["timeCreated"] == "2026-12-01T12:00:00Z"
    assert predicate["verifier"]["policies"] == [{"digest": {"sha256": RECEIPT.policy_revision}}]
    assert predicate["properties"] == ["TWIN_STAGE_FORM", "TWIN_OUTCOME_EFFECTIVE", "TWIN_EVIDENCE_STAND_INS"]


def test_what_did_not_hold_is_no_property(keys: Keys) -> None:
    rejected = issue(changed(outcome=Outcome.REJECTED), keys.gate)
    assert "REJECTED" not in str(json.loads(base64.b64decode(rejected["payload"]))["predicate"]["properties"])


finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
plain_json = st.dictionaries(
    st.text(max_size=4),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | finite | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
        max_leaves=5,
    ),
    max_size=3,
)


@settings(max_examples=100, deadline=None)
@given(
    change=plain_json,
    reason=st.text(max_size=20),
    target=st.text(min_size=1, max_size=9),
    error_ratio=st.none() | finite,
    level=st.sampled_from(EvidenceLevel),
    seeds=st.lists(st.integers(0, 2**64).map(str), max_size=3).map(tuple),
)
def test_any_receipt_comes_back_as_it_was(
    change: dict[str, Any],
    reason: str,
    target: str,
    error_ratio: float | None,
    level: EvidenceLevel,
    seeds: tuple[str, ...],
) -> None:
    calibration = dataclasses.replace(RECEIPT.calibration, median_error_ratio=error_ratio)
    receipt = changed(
        change=change, reason=reason, target=target, calibration=calibration, evidence_level=level, seeds=seeds
    )
    assert read(issue(receipt, SIGNER)) == receipt


SIGNER = CryptoSigner.generate_ed25519()


# --- altered -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["payload", "signature"])
def test_every_flipped_bit_is_refused_as_tampered_or_malformed(
    field: str, keys: Keys, envelope: dict[str, Any]
) -> None:
    encoded = envelope["payload"] if field == "payload" else envelope["signatures"][0]["sig"]
    raw = bytearray(base64.b64decode(encoded))
    draw = random.Random(7)  # Samples of a test, not a model's draw.
    places = range(len(raw)) if field == "signature" else sorted(draw.sample(range(len(raw)), 300))
    for place in places:
        altered = bytearray(raw)
        altered[place] ^= 1 << draw.randrange(8)
        copied = copy.deepcopy(envelope)
        text = base64.b64encode(bytes(altered)).decode()
        if field == "payload":
            copied["payload"] = text
        else:
            copied["signatures"][0]["sig"] = text
        assert refused(copied, keys) == "tampered with: the signature by gate does not fit"


def test_every_altered_character_of_the_file_is_refused(keys: Keys, envelope: dict[str, Any]) -> None:
    """Of the file as it lies on a disk, base64 and all. Only white space between tokens may differ."""
    raw = json.dumps(envelope, separators=(",", ":")).encode()
    draw = random.Random(8)
    places = {*draw.sample(range(len(raw)), 300), *range(40), *range(len(raw) - 200, len(raw))}
    for place in sorted(places):
        altered = bytearray(raw)
        altered[place] = draw.choice([one for one in range(33, 127) if one != raw[place]])
        refused(bytes(altered), keys)


def test_a_signature_with_stray_bits_in_its_base64_is_refused(keys: Keys, envelope: dict[str, Any]) -> None:
    copied = copy.deepcopy(envelope)
    sig = copied["signatures"][0]["sig"]
    assert sig.endswith("==")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".index(sig[-3])
    stray = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[last ^ 1]
    copied["signatures"][0]["sig"] = sig[:-3] + stray + "=="
    assert base64.b64decode(copied["signatures"][0]["sig"]) == base64.b64decode(sig)  # A lax reader sees no change.
    assert "canonical" in refused(copied, keys)


def test_a_file_cut_off_anywhere_says_so(keys: Keys, envelope: dict[str, Any]) -> None:
    raw = json.dumps(envelope).encode()
    for length in sorted({*range(0, len(raw), 37), *range(len(raw) - 40, len(raw))}):
        why = refused(raw[:length], keys)
        assert "cut off" in why, (length, why)


# --- not to be believed ------------------------------------------------------------------------------------------


def test_an_unknown_key_is_refused_by_its_id(keys: Keys) -> None:
    stranger = CryptoSigner.generate_ed25519()
    why = refused(issue(RECEIPT, stranger), keys)
    assert why == f"unknown key {stranger.public_key.keyid[:12]}: nobody trusts it here"
    assert "unknown key" in refused(issue(RECEIPT, keys.gate), dataclasses.replace(keys, trusted={}))


def test_an_approvers_key_signs_no_receipt(keys: Keys) -> None:
    assert refused(issue(RECEIPT, keys.ana), keys) == ("wrong role: ana is trusted as approver, not to sign receipts")


def test_a_strangers_signature_under_the_gates_key_id_is_refused(keys: Keys) -> None:
    forged = issue(RECEIPT, CryptoSigner.generate_ed25519())
    forged["signatures"][0]["keyid"] = keys.gate.public_key.keyid
    assert "tampered with" in refused(forged, keys)


@pytest.mark.parametrize(
    ("at_s", "why"),
    [
        (NOW_S + 900, "expired 0 s ago"),
        (NOW_S + 1000, "expired 100 s ago"),
        (NOW_S - 31, "not yet valid: issued 31 s from now"),
        (math.nan, "not yet valid"),
        (math.inf, "expired"),
        (-math.inf, "not yet valid"),
    ],
)
def test_a_receipt_is_refused_outside_its_time(at_s: float, why: str, keys: Keys, envelope: dict[str, Any]) -> None:
    assert refused(envelope, keys, at_s).startswith(why)


@pytest.mark.parametrize("at_s", [NOW_S - 30, NOW_S, NOW_S + 899.9])
def test_a_receipt_is_in_force_within_its_time(at_s: float, keys: Keys, envelope: dict[str, Any]) -> None:
    assert check(envelope, keys.trusted, at_s).receipt == RECEIPT


@pytest.mark.parametrize("outcome", [one for one in Outcome if not one.promotable])
def test_what_was_not_promotable_is_read_but_not_checked_for_promotion(outcome: Outcome, keys: Keys) -> None:
    raw = issue(changed(outcome=outcome, reason="14 of 16 runs"), keys.gate)
    assert refused(raw, keys) == f"its outcome is {outcome}: 14 of 16 runs"
    assert check(raw, keys.trusted, NOW_S, promotable=False).receipt.outcome is outcome


# --- signed, and wrong all the same ------------------------------------------------------------------------------


def signed(keys: Keys, alter: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """What a gate with a bug, or a stolen key, might sign."""
    statement = json.loads(payload(RECEIPT))
    alter(statement)
    return sign(
        json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(),
        PAYLOAD_TYPE,
        keys.gate,
    ).to_json()


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def alter(statement: dict[str, Any]) -> None:
        at: Any = statement["predicate"][EXTENSION]
        *folders, last = path.split(".")
        for folder in folders:
            at = at[int(folder)] if folder.isdigit() else at[folder]
        if value is Ellipsis:
            del at[last]
        else:
            at[last] = value

    return alter


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("expires_s", ..., "receipt.expires_s: missing"),
        ("free", 1, "receipt.free: unknown"),
        ("issued_s", "now", "receipt.issued_s: a whole number is wanted, not str"),
        ("issued_s", True, "receipt.issued_s: a whole number is wanted, not bool"),
        ("issued_s", 1.5, "receipt.issued_s: a whole number is wanted, not float"),
        ("expires_s", NOW_S, "expires before it is issued"),
        ("expires_s", 2**52, "at no time at all"),
        ("issued_s", -1, "at no time at all"),
        ("plan_digest", "C" * 64, "receipt.plan_digest: no SHA-256 digest"),
        ("plan_digest", "c" * 63, "receipt.plan_digest: no SHA-256 digest"),
        ("outcome", "fine", "is none of effective"),
        ("evidence_level", 3, "a word is wanted"),
        ("stages.0.verdict", "PASS", "is none of pass"),
        ("stages", [], "without a single stage"),
        ("stages.0.verdict", "fail", "with a failed stage"),
        ("base", [], "base digest"),
        ("base.0.uid", "other", "base digest"),
        ("base.0.ranges.0.low", None, "a finite number is wanted, not NoneType"),
        ("effect.high", 1.1, "effect: no probability"),
        ("harm.low", 0.5, "harm: no probability"),
        ("effect.value", 10**400, "a finite number is wanted"),
        ("risk", "high", "it needs 2 approvals, not fewer"),
        ("approvals_needed", -1, "approvals, not fewer"),
        ("target", "", "no target"),
        ("requester", "", "no requester"),
        ("symptom_envelope.0.points.1.t_s", 0, "no band over time"),
        ("symptom_envelope.0.points.1.low", 9, "no band over time"),
        ("prediction.usual", [0.1, 0.1, 0.1], "no usual share for each of its journeys"),
        ("change", [], "an object is wanted, not list"),
        ("plan.more", 2**53 + 1, "digest"),
        ("plan.more", 10**400, "what JSON cannot"),
        ("seeds", [7], "a word is wanted, not int"),
        ("policy_revision", "f" * 64, "not what the receipt says"),
        ("plan_digest", "0" * 64, "not the digest of its plan"),
        ("plan.steps", [], "not the digest of its plan"),
        ("change.reason", "other", "another change"),
        ("requester", "ana", "differ between receipt and plan"),
        ("risk", "medium", "none of low"),
        ("reversibility", "reversible", "differ between receipt and plan"),
    ],
)
def test_a_signed_receipt_that_says_nonsense_is_refused_by_its_field(
    path: str, value: Any, why: str, keys: Keys
) -> None:
    assert why in refused(signed(keys, put(path, value)), keys)


def _wrong_subject(statement: dict[str, Any]) -> None:
    statement["subject"][0]["digest"]["sha256"] = "0" * 64


def _wrong_properties(statement: dict[str, Any]) -> None:
    statement["predicate"]["properties"].append("TWIN_EVIDENCE_REAL_IMAGES")


def _wrong_kind(statement: dict[str, Any]) -> None:
    statement["predicateType"] = "https://in-toto.io/attestation/svr/v0.1"


def _no_extension(statement: dict[str, Any]) -> None:
    del statement["predicate"][EXTENSION]


@pytest.mark.parametrize(
    ("alter", "why"),
    [
        (_wrong_subject, "not what the receipt says"),
        (_wrong_properties, "not what the receipt says"),
        (_wrong_kind, "no in-toto Statement"),
        (_no_extension, "no receipt of ours"),
    ],
)
def test_a_statement_that_says_something_else_than_its_receipt_is_refused(
    alter: Callable[[dict[str, Any]], None], why: str, keys: Keys
) -> None:
    assert why in refused(signed(keys, alter), keys)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (payload(RECEIPT).replace(b'"value":0.97', b'"value":NaN'), "NaN is no JSON"),
        (payload(RECEIPT).replace(b'"value":0.97', b'"value":1e999'), "a finite number"),
        (payload(RECEIPT).replace(b'"value":0.97', b'"value":0.970'), "its form"),
        (payload(RECEIPT) + b"\n", "its form"),
        (payload(RECEIPT).replace(b'"uid":"6f1c"', b'"uid":"6f1c","uid":"6f1c"'), "a key is given twice"),
        (payload(RECEIPT).replace(b'"uid":"6f1c"', b'"uid":"\\ud800"'), "JSON"),
        (b"[" * 100_000, "nested|cut off"),
        (b'{"a":' * 100_000 + b"}", "nested"),
        (b"\xff", "not UTF-8"),
        (b"null", "no receipt of ours"),
        (b"9" * 5000 + b"}", "."),
        (b"", "cut off"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_signed_payload_in_another_form_is_refused(raw: bytes, why: str, keys: Keys) -> None:
    assert re.search(why, refused(sign(raw, PAYLOAD_TYPE, keys.gate).to_json(), keys))


def test_another_type_of_payload_signed_by_the_gate_is_no_receipt(keys: Keys) -> None:
    raw = sign(payload(RECEIPT), "application/json", keys.gate).to_json()
    assert refused(raw, keys) == 'payloadType is "application/json", not that of a receipt'
    raw["payloadType"] = PAYLOAD_TYPE
    assert "tampered with" in refused(raw, keys)


# --- the file's outside ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alter", "why"),
    [
        ({"signatures": []}, "exactly one"),
        ({"signatures": [{"keyid": "a", "sig": "AA=="}] * 2}, "exactly one"),
        ({"signatures": [{"keyid": "a"}]}, "sig is missing"),
        ({"signatures": [{"keyid": "a", "sig": "AA==", "cert": ""}]}, "cert is unknown"),
        ({"signatures": [{"keyid": 1, "sig": "AA=="}]}, "a word is wanted"),
        ({"signatures": [{"keyid": "a", "sig": "AA=="}]}, "64 bytes are wanted, not 1"),
        ({"signatures": [{"keyid": "a", "sig": 1}]}, "base64 is wanted"),
        ({"payload": "A A A A="}, "no base64"),
        ({"payload": "é"}, "no base64"),
        ({"payload": None}, "base64 is wanted, not NoneType"),
        ({"payloadType": 1}, "a word is wanted"),
        ({"extra": 1}, "extra is unknown"),
    ],
)
def test_an_envelope_of_another_shape_is_refused(
    alter: dict[str, Any], why: str, keys: Keys, envelope: dict[str, Any]
) -> None:
    assert why in refused({**envelope, **alter}, keys)
    assert why in refused(json.dumps({**envelope, **alter}).encode(), keys)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "replace")))
@example(b"[" * 100_000)
@example(b'{"payload":' * 50_000 + b"}")
@example(b'{"payload":"","payload":""}')
@example(b"null")
def test_no_bytes_bring_anything_but_our_error(raw: bytes) -> None:
    with pytest.raises(ReceiptInvalid):
        read(raw)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, item in items for deeper in paths(item, (*path, key)))]


STATEMENT = json.loads(payload(RECEIPT))
PATHS = paths(STATEMENT)[1:]


@settings(max_examples=400, deadline=None)
@given(path=st.sampled_from(PATHS), value=json_values, drop=st.booleans())
def test_no_signed_statement_brings_anything_but_a_receipt_or_our_error(
    path: tuple[Any, ...], value: Any, drop: bool
) -> None:
    statement = copy.deepcopy(STATEMENT)
    at = statement
    for key in path[:-1]:
        at = at[key]
    if drop:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    raw = json.dumps(statement, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    try:
        receipt = read(sign(raw, PAYLOAD_TYPE, SIGNER).to_json())
    except ReceiptInvalid:
        return
    assert payload(receipt) == raw


# --- issuing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"effect": Interval(value=math.nan, low=0.0, high=1.0)},
        {"change": {"a": math.inf}},
        {"change": {"a": 2**60}},
        {"plan": {"a": "\ud800"}},
        {"base": BASE[:1]},
        {"base": (*BASE, BASE[0]), "base_digest": base_digest((*BASE, BASE[0]))},
        {"risk": Risk.HIGH},
        {"reversibility": Reversibility.IRREVERSIBLE, "approvals_needed": 0},
        {"stages": ()},
        {"expires_s": NOW_S},
        {"issued_s": NOW_S + 0.5},
        {"plan_digest": "none"},
        {"seeds": (7,)},
    ],
    ids=str,
)
def test_the_gate_cannot_sign_what_a_promoter_would_refuse(fields: dict[str, Any], keys: Keys) -> None:
    with pytest.raises(BadInput, match=r"cannot issue the receipt|canonical form"):
        issue(changed(**fields), keys.gate)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_risk_and_irreversibility_set_the_least_number_of_approvals(number: int, keys: Keys) -> None:
    for risk, reversibility, least in (
        (Risk.LOW, Reversibility.REVERSIBLE, 0),
        (Risk.LOW, Reversibility.IRREVERSIBLE, 1),
        (Risk.HIGH, Reversibility.REVERSIBLE, 2),
    ):
        receipt = changed(risk=risk, reversibility=reversibility, approvals_needed=number)
        if number >= least:
            assert read(issue(receipt, keys.gate)).approvals_needed == number
        else:
            with pytest.raises(BadInput):
                issue(receipt, keys.gate)


# --- names -------------------------------------------------------------------------------------------------------


def test_a_receipts_name_does_not_move_with_wall_time_and_moves_with_everything_else() -> None:
    slower = tuple(dataclasses.replace(stage, wall_s=stage.wall_s + 1) for stage in RECEIPT.stages)
    assert receipt_digest(changed(stages=slower)) == receipt_digest(RECEIPT)
    other: dict[str, Any] = {
        "plan_digest": "0" * 64, "change": {}, "plan": {}, "base_digest": "0" * 64, "base": (), "target": "x",
        "requester": "x", "risk": Risk.HIGH, "reversibility": Reversibility.REVERSIBLE, "approvals_needed": 9,
        "outcome": Outcome.HARMLESS, "reason": "x", "effect": None, "harm": None, "stages": (),
        "symptom_envelope": (), "prediction": dataclasses.replace(RECEIPT.prediction, times_s=()),
        "evidence_level": EvidenceLevel.SIMULATED,
        "calibration": dataclasses.replace(RECEIPT.calibration, age_s=1.0), "policy_revision": "0" * 64,
        "seeds": (), "fingerprint": "x", "issued_s": 1, "expires_s": 1,
    }  # fmt: skip
    assert set(other) == {field.name for field in dataclasses.fields(Receipt)}
    for name, value in other.items():
        assert receipt_digest(dataclasses.replace(RECEIPT, **{name: value})) != receipt_digest(RECEIPT), name
    failed = dataclasses.replace(RECEIPT.stages[0], verdict=StageVerdict.FAIL)
    assert receipt_digest(changed(stages=(failed, *RECEIPT.stages[1:]))) != receipt_digest(RECEIPT)


def test_a_bases_name_does_not_depend_on_the_order_of_reading() -> None:
    assert base_digest(BASE) == base_digest(BASE[::-1])
    moved = dataclasses.replace(BASE[0], uid="recreated")
    assert base_digest((moved, BASE[1])) != base_digest(BASE)


def test_evidence_levels_are_ordered_by_worth_and_not_by_the_alphabet() -> None:
    assert sorted(EvidenceLevel) == ["simulated", "control_plane", "stand_ins", "real_images"]
    assert max(EvidenceLevel) is EvidenceLevel.REAL_IMAGES
    for low, high in zip(list(EvidenceLevel), list(EvidenceLevel)[1:], strict=False):
        assert low < high
        assert low <= high
        assert high > low
        assert high >= low
        assert not high <= low
    with pytest.raises(ValueError, match="word of mouth"):
        assert EvidenceLevel.SIMULATED < "word of mouth"


def test_every_stage_result_is_signed_with_all_that_it_says() -> None:
    document = json.loads(canonical_bytes(RECEIPT))
    assert set(document["stages"][0]) == {field.name for field in dataclasses.fields(StageResult)}
    assert document == json.loads(json.dumps(plain(RECEIPT)))


# --- beside production's credentials -----------------------------------------------------------------------------


def test_a_receipt_is_checked_without_network_and_without_model_code(keys: Keys, envelope: dict[str, Any]) -> None:
    code = """
import json, socket, sys
def refuse(*a, **k): raise AssertionError("network")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.signer import SSlibKey
from twin.receipt import KeyRole, TrustedKey, check
given = json.load(sys.stdin)
key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(given["public"])))
trusted = {key.keyid: TrustedKey(name="gate", role=KeyRole.GATE, key=key)}
print(check(given["envelope"], trusted, given["at_s"]).receipt.target)
heavy = ("numba", "numpy", "simpy", "pandas", "faiss", "wasmtime", "pydantic", "policies", "agent", "chaos",
         "twin.fleet", "twin.gate", "twin.fit", "twin.ports", "twin.change", "twin.kube")
print([name for name in heavy if name in sys.modules])
"""
    given = {"envelope": envelope, "public": keys.gate.public_key.keyval["public"], "at_s": NOW_S}
    ran = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(given), capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["kube:shop", "[]"]


def test_a_trusted_gate_key_must_be_the_one_that_its_id_names(keys: Keys, envelope: dict[str, Any]) -> None:
    """A map that lists a stranger's key under the gate's id does not help the stranger's receipts."""
    stranger = CryptoSigner.generate_ed25519()
    wrong = {keys.gate.public_key.keyid: TrustedKey(name="gate", role=KeyRole.GATE, key=stranger.public_key)}
    assert "tampered with" in refused(envelope, dataclasses.replace(keys, trusted=wrong))
