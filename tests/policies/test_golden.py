"""Every rule at both ends of its range, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from policies.build import BUNDLE, WASM_FILE
from policies.engine import EmbeddedEngine, OpaServerEngine
from policies.model import STANDING_CHECKS
from policies.policy import load
from tests.policies.golden import CASES, NETS, NETS_FILE, Case, assert_decided, question
from tests.policies.opa_server import OpaServer
from tests.real import require_tool

pytestmark = [pytest.mark.requirement("R12", "R18")]


@pytest.fixture(scope="module")
def embedded() -> EmbeddedEngine:
    return EmbeddedEngine.from_file(WASM_FILE)


@pytest.fixture(scope="module")
def server() -> Iterator[OpaServer]:
    with OpaServer(require_tool("opa"), BUNDLE) as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_embedded_engine_decides_as_written(case: Case, embedded: EmbeddedEngine) -> None:
    assert_decided(embedded, case)


@pytest.mark.real
def test_a_real_opa_server_decides_as_written(server: OpaServer) -> None:
    engine = OpaServerEngine(server.url, timeout_s=10.0)
    for case in CASES:
        assert_decided(engine, case)


@pytest.mark.real
def test_both_engines_give_the_same_decision_word_for_word(server: OpaServer, embedded: EmbeddedEngine) -> None:
    engine = OpaServerEngine(server.url, timeout_s=10.0)
    for case in CASES:
        assert engine.decide(case.asked) == embedded.decide(case.asked)


@pytest.mark.real
def test_both_engines_name_one_policy_revision(server: OpaServer) -> None:
    assert load(NETS_FILE, opa_url=server.url).revision == load(NETS_FILE, environ={}).revision


def test_there_are_golden_decisions_for_every_check() -> None:
    refused = {name for case in CASES for name, _, _ in case.refused}
    # nets_form needs nets that the loader would never hand over; its cases are in test_engine.py.
    assert refused == {*STANDING_CHECKS, *(net["name"] for net in NETS["never"])} - {"nets_form"}
    assert len(CASES) >= 40


def test_a_decision_lists_every_check_and_every_net_also_when_it_allows(embedded: EmbeddedEngine) -> None:
    decision = embedded.decide(question())
    assert decision.allow
    assert [check.name for check in decision.checks] == [*STANDING_CHECKS, *(net["name"] for net in NETS["never"])]
    assert all(check.reason for check in decision.checks)


def test_eight_threads_decide_as_one(embedded: EmbeddedEngine) -> None:
    asked = [CASES[index % len(CASES)].asked for index in range(50)]
    serial = [embedded.decide(one) for one in asked]
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: [embedded.decide(one) for one in asked], range(8)))
    assert all(run == serial for run in runs)


def test_a_thousand_decisions_leave_nothing_behind_in_the_engine(embedded: EmbeddedEngine) -> None:
    first = embedded.decide(CASES[0].asked)
    for _ in range(10):
        for case in CASES:
            embedded.decide(case.asked)
    assert embedded.decide(CASES[0].asked) == first
    machine = embedded._of_thread.machine
    assert machine._memory.data_len(machine._store) < 2 * 1024 * 1024
