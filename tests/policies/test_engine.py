"""Whatever goes wrong while deciding is a denial that says so; whatever is wrong at start is an error."""

from __future__ import annotations

import hashlib
import http.server
import json
import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import ActionKind, Call, Check, Decision, EndState, EngineError, Facts, Identity, Purpose, Target
from policies.build import LOCK_FILE, WASM_FILE, read_lock, source_digests
from policies.engine import EmbeddedEngine, OpaServerEngine, question_bytes
from policies.model import STANDING_CHECKS, read_decision
from policies.policy import Policy, load
from policies.safety_nets import NETS_FILE, load_nets
from tests.policies.golden import BASE, CASES, NETS, question

pytestmark = [pytest.mark.requirement("R18")]


@pytest.fixture(scope="module")
def embedded() -> EmbeddedEngine:
    return EmbeddedEngine.from_file(WASM_FILE)


def only_reason(decision: Decision) -> str:
    assert not decision.allow
    (check,) = decision.checks
    assert check.name == "engine"
    return check.reason


# --- questions that cannot be asked ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ("call.params", {"a": math.nan}, "Out of range float values|JSON readers"),
        ("call.params", {"a": math.inf}, "JSON readers"),
        ("facts.now_s", 2**53 + 1, "beyond 2\\^53"),
        ("facts.now_s", 1e300, "JSON readers"),
        ("call.params", {"a": {1, 2}}, "a set, which is no JSON"),
        ("call.params", {1: "a"}, "no plain JSON"),
        ("call.params", {"a": "\ud800"}, "surrogates"),
        ("call.params", {"a": "x" * 300_000}, "larger than 256 KiB"),
    ],
)
def test_a_question_that_is_no_plain_json_is_denied(
    path: str, value: object, why: str, embedded: EmbeddedEngine
) -> None:
    reason = only_reason(embedded.decide(question({path: value})))

    assert re.search(why, reason), reason


def test_a_question_nested_without_end_is_denied(embedded: EmbeddedEngine) -> None:
    deep: dict[str, Any] = {}
    deep["self"] = deep
    assert "nested deeper" in only_reason(embedded.decide(question() | {"call": deep}))


@pytest.mark.parametrize(
    "asked",
    [{}, {"call": None}, {"nets": {}}, {"nets": {"never": "all"}}, question() | {"nets": []}],
    ids=lambda asked: json.dumps(asked)[:30],
)
def test_a_question_of_the_wrong_shape_is_denied_by_name(asked: dict[str, Any], embedded: EmbeddedEngine) -> None:
    decision = embedded.decide(asked)
    assert not decision.allow
    assert "nets_form" in {check.name for check in decision.refusals}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
paths = st.sampled_from(
    [f"{part}.{key}" for part in ("call", "facts") for key in BASE[part]]
    + [f"nets.{key}" for key in NETS]
    + ["call", "facts", "nets", "call.target.name", "call.target.kind", "facts.predicted_end_state.nodes"]
)


@settings(max_examples=150, deadline=None)
@given(path=paths, value=json_values)
def test_garbage_anywhere_is_decided_and_allowed_only_with_every_check_passed(path: str, value: Any) -> None:
    decision = _embedded().decide(question({path: value}))
    assert decision.checks
    assert decision.allow is all(check.passed for check in decision.checks)
    if decision.allow:
        assert {check.name for check in decision.checks} >= set(STANDING_CHECKS)
    else:
        assert decision.reason


def _embedded() -> EmbeddedEngine:
    global _shared
    if _shared is None:
        _shared = EmbeddedEngine.from_file(WASM_FILE)
    return _shared


_shared: EmbeddedEngine | None = None


# --- an engine that breaks ---------------------------------------------------------------------------------------


def test_a_decision_that_takes_too_long_is_denied_and_the_next_one_is_made() -> None:
    probe = EmbeddedEngine.from_file(WASM_FILE)
    probe.decide(question())
    machine = probe._of_thread.machine
    used = machine._fuel - machine._store.get_fuel()
    engine = EmbeddedEngine(WASM_FILE.read_bytes(), fuel=used + used // 2)
    long_words = {"call.kind": "set_env", "call.params": {"words": ["drop it " * 50] * 50}}
    assert only_reason(engine.decide(question(long_words))) == "the policy took too long to decide"
    assert engine.decide(question()).allow


def test_a_trap_is_denied_and_the_next_question_meets_a_fresh_instance(embedded: EmbeddedEngine) -> None:
    assert embedded.decide(question()).allow
    machine = embedded._of_thread.machine
    run = machine._eval
    outside = 0x7FFF_0000  # Where the question is said to lie: beyond its memory.
    machine._eval = lambda store, zero, entry, data, at, size, heap, form: run(
        store, zero, entry, data, outside, size, heap, form
    )
    assert "the policy engine stopped" in only_reason(embedded.decide(question()))
    assert embedded._of_thread.machine is None
    assert embedded.decide(question()).allow


def test_an_abort_inside_the_module_is_denied_with_its_words(embedded: EmbeddedEngine) -> None:
    assert embedded.decide(question()).allow
    machine = embedded._of_thread.machine
    machine._entry = 999
    assert "illegal entrypoint" in only_reason(embedded.decide(question()))


def test_memory_is_bounded(embedded: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.engine.PAGES_MAX", 9)
    small = EmbeddedEngine.from_file(WASM_FILE)
    big = question({"call.params": {str(index): "x" * 1000 for index in range(200)}})
    assert not small.decide(big).allow
    assert small.decide(question()).allow


def test_an_exception_nobody_foresaw_is_a_denial(embedded: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(raw: bytes) -> object:
        raise RuntimeError("cosmic ray")

    monkeypatch.setattr(embedded, "_answer", broken)
    assert only_reason(embedded.decide(question())) == "the policy engine broke: RuntimeError: cosmic ray"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        True,
        {},
        {"allow": True},
        {"allow": True, "checks": []},
        {"allow": "true", "checks": []},
        {"allow": True, "checks": [{"name": "call_form", "pass": True, "reason": "", "source": ""}]},
        {"allow": True, "checks": [{"name": "call_form", "pass": 1, "reason": "", "source": ""}]},
        {"allow": True, "checks": "all"},
        {"allow": False, "checks": []},
    ],
)
def test_half_an_answer_is_no_answer(answer: object) -> None:
    only_reason(read_decision(answer, question()))


def whole_answer(**changed: Any) -> dict[str, Any]:
    names = [*STANDING_CHECKS, *(net["name"] for net in NETS["never"])]
    return {
        "allow": True,
        "checks": [{"name": name, "pass": True, "reason": "", "source": ""} | changed.get(name, {}) for name in names],
    }


def test_an_answer_must_have_looked_at_every_net_that_was_asked_about() -> None:
    answer = whole_answer()
    assert read_decision(answer, question()).allow
    for index, check in enumerate(answer["checks"]):
        less = answer | {"checks": answer["checks"][:index] + answer["checks"][index + 1 :]}
        assert check["name"] in only_reason(read_decision(less, question()))


def test_allowed_with_a_refusal_is_denied() -> None:
    answer = whole_answer(freeze={"pass": False})
    assert "one of its checks refuses" in only_reason(read_decision(answer, question()))


# --- at start ----------------------------------------------------------------------------------------------------


def test_bundle_and_sources_belong_together() -> None:
    """Fails when a rule was edited and `python -m policies.build` not run. Needs no OPA."""

    lock = read_lock()
    assert lock["sources"] == source_digests()
    assert lock["wasm"] == hashlib.sha256(WASM_FILE.read_bytes()).hexdigest()


def test_an_altered_bundle_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    altered = tmp_path / "bundle.wasm"
    altered.write_bytes(WASM_FILE.read_bytes() + b"\x00")
    monkeypatch.setattr("policies.policy.WASM_FILE", altered)
    with pytest.raises(EngineError, match="altered"):
        load(environ={})


@pytest.mark.parametrize("wasm", [b"", b"\x00asm\x01\x00\x00\x00", b"(module", wasmtime.wat2wasm("(module)")])
def test_a_module_that_is_not_opas_does_not_start(wasm: bytes) -> None:
    with pytest.raises(EngineError):
        EmbeddedEngine(bytes(wasm))


class Stub:
    name = "stub"

    def __init__(self, decide: Callable[[Mapping[str, Any]], Decision]) -> None:
        self._decide = decide

    def decide(self, asked: Mapping[str, Any]) -> Decision:
        return self._decide(asked)


def test_an_engine_that_allows_everything_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    lax = Stub(lambda asked: Decision(True, (Check("call_form", True, ""),)))
    monkeypatch.setattr("policies.policy.EmbeddedEngine", lambda wasm: lax)
    with pytest.raises(EngineError, match="does not deny what it must"):
        load(environ={})


def test_an_engine_that_denies_everything_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policies.policy.EmbeddedEngine", lambda wasm: Stub(lambda asked: Decision.denied("down")))
    with pytest.raises(EngineError, match="denies what it must allow: down"):
        load(environ={})


def test_an_engine_that_stops_answering_after_the_first_canary_does_not_start(
    embedded: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Mapping[str, Any]] = []

    def once(one: Mapping[str, Any]) -> Decision:
        asked.append(one)
        return embedded.decide(one) if len(asked) == 1 else Decision.denied("time-out")

    monkeypatch.setattr("policies.policy.EmbeddedEngine", lambda wasm: Stub(once))
    with pytest.raises(EngineError, match="time-out"):
        load(environ={})


@pytest.mark.parametrize("check", sorted(STANDING_CHECKS))
def test_an_engine_blind_to_one_check_does_not_start(
    check: str, embedded: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blind(asked: Mapping[str, Any]) -> Decision:
        seen = [
            Check(one.name, one.passed or one.name == check, one.reason, one.source)
            for one in embedded.decide(asked).checks
        ]
        return Decision(all(one.passed for one in seen), tuple(seen))

    monkeypatch.setattr("policies.policy.EmbeddedEngine", lambda wasm: Stub(blind))
    with pytest.raises(EngineError, match="does not deny what it must"):
        load(environ={})


def test_the_words_load_without_wasmtime_and_pydantic() -> None:

    code = (
        "import sys, policies; policies.Facts(); "
        "print([m for m in ('wasmtime', 'pydantic', 'yaml', 'twin') if m in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# --- the server engine -------------------------------------------------------------------------------------------


class _Handler(http.server.BaseHTTPRequestHandler):
    answer: ClassVar[Callable[[_Handler], None]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        type(self).answer(self)

    def do_GET(self) -> None:
        type(self).answer(self)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def server(answer: Callable[[_Handler], None]) -> Iterator[str]:
    handler = type("Handler", (_Handler,), {"answer": staticmethod(answer)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.daemon_threads = True
        threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{httpd.server_address[1]}"
        finally:
            httpd.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"{}", "the policy gave no decision"),
        (200, b'{"decision_id": "1"}', "the policy gave no decision"),
        (200, b'{"result": null}', "the policy gave no decision"),
        (200, b'{"result": true}', "the policy gave no decision"),
        (200, b"[]", "the OPA server's answer is no object"),
        (200, b"allow", "the OPA server's answer is no JSON"),
        (200, b"[" * 100_000, "the OPA server's answer is no JSON"),
        (200, b"", "the OPA server's answer is no JSON"),
        (500, b'{"result": {"allow": true}}', "the OPA server answered 500"),
        (404, b"{}", "the OPA server answered 404"),
        (302, b"", "the OPA server answered 302"),
        (200, b" " * (5 * 1024 * 1024), "the OPA server's answer is too large"),
    ],
)
def test_an_undefined_or_broken_answer_is_denied(status: int, body: bytes, reason: str) -> None:
    with server(lambda handler: handler.reply(status, body)) as url:
        assert only_reason(OpaServerEngine(url).decide(question())) == reason


def test_the_server_is_asked_as_opas_interface_wants_it() -> None:
    seen: list[str] = []

    def answer(handler: _Handler) -> None:
        seen.append(f"{handler.command} {handler.path}")
        handler.reply(200, json.dumps({"result": whole_answer()}).encode())

    with server(answer) as url:
        assert OpaServerEngine(url).decide(question()).allow
    assert seen == ["POST /v1/data/twin/policy/decision"]


def test_a_server_that_is_not_there_denies() -> None:
    with server(lambda handler: None) as url:
        pass
    assert "cannot be asked" in only_reason(OpaServerEngine(url).decide(question()))


def test_a_server_that_does_not_answer_denies_in_time() -> None:
    release = threading.Event()
    with server(lambda handler: void(release.wait(10))) as url:
        begun_s = time.monotonic()
        reason = only_reason(OpaServerEngine(url, timeout_s=0.2).decide(question()))
        assert time.monotonic() - begun_s < 5.0
        release.set()
    assert reason == "the OPA server did not answer within 0.2 s"


def test_a_server_that_drips_denies_in_time() -> None:
    def drip(handler: _Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        try:
            for _ in range(400):
                handler.wfile.write(b" ")
                time.sleep(0.02)
        except OSError:
            pass

    with server(drip) as url:
        begun_s = time.monotonic()
        reason = only_reason(OpaServerEngine(url, timeout_s=0.3).decide(question()))
        assert time.monotonic() - begun_s < 4.0
    assert reason == "the OPA server did not answer within 0.3 s"


def void(_: object) -> None:
    return None


@pytest.mark.parametrize(
    "url", ["", "opa", "file:///etc/passwd", "http://", "http://u:p@h", "http://h:x", "http://h?q=1"]
)
def test_an_address_that_is_none_does_not_start(url: str) -> None:
    with pytest.raises(EngineError, match="OPA_URL"):
        OpaServerEngine(url)


def test_a_named_server_that_is_down_is_an_error_and_no_silent_change_of_engine() -> None:
    with server(lambda handler: None) as url:
        pass
    with pytest.raises(EngineError, match="does not show its policies"):
        load(environ={"OPA_URL": url})


@pytest.mark.parametrize(
    "modules",
    [
        [],
        ["package twin.policy\ndecision := {}"],
        ["ours", "package twin.policy\nidentity := true"],
        ["ours", "# hi\n  package twin\npolicy := 1"],
        ["ours", 'package twin["policy"]\nx := 1'],
    ],
)
def test_a_server_with_other_rules_does_not_start(modules: list[str]) -> None:
    bundle = LOCK_FILE.parent / "bundle"
    ours = [(bundle / name).read_text(encoding="utf-8") for name in source_digests()]
    raw = [text for one in modules for text in (ours if one == "ours" else [one])]
    listed = json.dumps({"result": [{"raw": text} for text in raw]}).encode()
    with server(lambda handler: handler.reply(200, listed)) as url, pytest.raises(EngineError, match="other rules"):
        load(opa_url=url)


# --- the whole policy --------------------------------------------------------------------------------------------


def restart(**changed: Any) -> Call:
    return Call(
        **{
            "tool": "promote",
            "kind": ActionKind.RESTART,
            "target": Target(kind="Deployment", namespace="shop", name="orders"),
            "identity": Identity.PROMOTER,
            "purpose": Purpose.PROMOTE,
            **changed,
        }
    )


KNOWN = Facts(
    now_s=1_796_126_400,
    predicted_end_state=EndState(nodes=40, max_replicas_nodes=60),
    pod_terminations_predicted=1,
    pod_terminations_last_minute=0,
    subnet="shop",
    labels={},
    verdict="effective",
    evidence_level="stand_ins",
    target_is_live=True,
)


@pytest.mark.requirement("R12")
def test_the_file_that_ships_names_its_line_in_a_denial() -> None:
    policy = load(environ={})
    assert policy.ask(restart(), KNOWN).allow
    decision = policy.ask(restart(kind=ActionKind.DROP_TABLE, target=Target(kind="Table", name="orders_tmp")), KNOWN)
    assert decision.reason == ('safety net "never drop a table": drop_table of Table "orders_tmp" (safety_nets.yaml:4)')


def test_every_kind_that_the_types_know_is_known_to_the_rules(embedded: EmbeddedEngine) -> None:
    policy = Policy(embedded, load_nets(NETS_FILE), revision="r")
    for kind in ActionKind:
        decision = policy.ask(restart(kind=kind), KNOWN)
        assert "call_form" not in {check.name for check in decision.refusals}, kind


def test_a_kind_that_nobody_knows_is_denied_and_raises_nothing(embedded: EmbeddedEngine) -> None:
    decision = Policy(embedded, load_nets(NETS_FILE), revision="r").ask(restart(kind="format_disk"), KNOWN)
    assert '"format_disk" is no action that this policy knows' in decision.reason


def test_facts_that_nobody_gave_fail_every_check_that_needs_them(embedded: EmbeddedEngine) -> None:
    decision = Policy(embedded, load_nets(NETS_FILE), revision="r").ask(restart(), Facts())
    refused = {check.name for check in decision.refusals}
    assert refused == {"nodes", "restart_rate", "freeze", "verdict", "evidence_level"}


def test_a_caller_cannot_bring_its_own_nets(embedded: EmbeddedEngine) -> None:
    policy = Policy(embedded, load_nets(NETS_FILE), revision="r")
    assert "nothing else" in only_reason(policy.decide(BASE | {"nets": NETS}))


def test_comments_and_moved_lines_do_not_change_the_revision_and_a_changed_net_does(tmp_path: Path) -> None:
    moved, changed = tmp_path / "safety_nets.yaml", tmp_path / "other.yaml"
    text = NETS_FILE.read_text(encoding="utf-8")
    moved.write_text("# a comment\n\n" + text, encoding="utf-8")
    changed.write_text(text.replace("nodes_max: 100", "nodes_max: 101"), encoding="utf-8")
    shipped = load(environ={}).revision
    assert load(moved, environ={}).revision == shipped
    assert load(changed, environ={}).revision != shipped


def test_the_decision_log_has_opas_field_names_and_keeps_values_out(embedded: EmbeddedEngine) -> None:
    records: list[dict[str, Any]] = []
    policy = Policy(embedded, load_nets(NETS_FILE), revision="r1", log=records.append)
    params = {"name": "DB_PASSWORD", "value": "hunter2", "more": [{"api-key": "hunter2", "A": ["hunter2"]}]}
    decision = policy.ask(restart(kind=ActionKind.SET_ENV, params=params), KNOWN)
    (record,) = records
    assert set(record) == {
        "decision_id", "labels", "bundles", "path", "input", "erased", "result", "timestamp",
    }  # fmt: skip
    assert record["path"] == "twin/policy/decision"
    assert record["timestamp"] == "2026-12-01T12:00:00Z"
    assert record["bundles"] == {"twin": {"revision": "r1"}}
    assert record["result"] == decision.to_json()
    assert "hunter2" not in json.dumps(record)
    assert record["input"]["call"]["params"]["name"] == "DB_PASSWORD"
    assert record["erased"] == [
        "/input/call/params/value",
        "/input/call/params/more/0/api-key",
        "/input/call/params/more/0/A/0",
    ]


def test_a_password_stays_out_of_the_decision_log_whatever_the_action(embedded: EmbeddedEngine) -> None:
    records: list[dict[str, Any]] = []
    policy = Policy(embedded, load_nets(NETS_FILE), revision="r1", log=records.append)
    policy.ask(restart(params={"replicas": 3, "auth": {"apiKey": "hunter2"}}), KNOWN)
    assert records[0]["input"]["call"]["params"] == {"replicas": 3, "auth": {}}
    assert records[0]["erased"] == ["/input/call/params/auth/apiKey"]


def test_what_cannot_be_recorded_is_not_allowed(embedded: EmbeddedEngine) -> None:
    def full(record: dict[str, Any]) -> None:
        raise OSError("disk full")

    policy = Policy(embedded, load_nets(NETS_FILE), revision="r", log=full)
    assert "cannot be recorded" in only_reason(policy.ask(restart(), KNOWN))


def test_a_denied_question_that_is_no_json_is_recorded_too(embedded: EmbeddedEngine) -> None:
    records: list[dict[str, Any]] = []
    policy = Policy(embedded, load_nets(NETS_FILE), revision="r", log=records.append)
    only_reason(policy.decide({"call": {"params": {"a": object(), "b": "\ud800"}}, "facts": []}))
    assert records[0]["result"]["allow"] is False


def test_a_question_reads_the_same_for_equal_questions() -> None:
    assert question_bytes(CASES[0].asked) == question_bytes(question())
