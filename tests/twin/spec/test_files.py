from __future__ import annotations

import contextlib
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.strategies import fleets
from twin.spec.errors import BadInput
from twin.spec.files import fleet_schema, read_fleet, write_fleet, write_fleet_json
from twin.spec.fleet import Belief, Fleet, Journey, Service, Source
from twin.spec.ids import JourneyName, OpId, ServiceId
from twin.spec.program import Call, Hold, Operation, Retry, Scope, Station, Work

SHOP = """\
apiVersion: twin/v1alpha1
kind: Fleet
name: shop
journeys:
  - {name: add, target: shop/cart:add, rate_rps: 4}
services:
  - id: shop/cart
    stations: {pool: {servers: 3}}
    operations:
      add:
        - work: 5ms
        - {call: shop/db:write, timeout: 250ms, retries: 2, backoff: 10ms}
        - hold:
            station: pool
            body: [{call: shop/db:write}]
  - id: shop/db
    stations:
      connections: {servers: 100, scope: service, queue_limit: 50}
    operations: {write: [{work: 2ms, cv: 0.5}]}
beliefs:
  "shop/cart:add work[0].mean_s": {source: prior, spread: 0.5}
"""

SLOW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def test_a_program_reads_as_it_is_written() -> None:
    fleet = read_fleet(SHOP)
    cart = fleet.service(ServiceId("shop/cart"))
    write = OpId("shop/db:write")
    assert cart.operation("add").steps == (
        Work(mean_s=0.005),
        Call(target=write, timeout_s=0.25, retry=Retry(retries=2, backoff_s=0.01)),
        Hold(station="pool", body=(Call(target=write),)),
    )
    db = fleet.service(ServiceId("shop/db"))
    assert db.stations == (Station(name="connections", servers=100, scope=Scope.SERVICE, queue_limit=50),)
    assert fleet.beliefs == {"shop/cart:add work[0].mean_s": Belief(source=Source.PRIOR, spread=0.5)}


@SLOW
@given(fleets(plain=False))
def test_what_is_written_reads_back_equal(fleet: Fleet) -> None:
    text = write_fleet(fleet)
    assert read_fleet(text) == fleet
    assert write_fleet(read_fleet(text)) == text
    assert read_fleet(write_fleet_json(fleet)) == fleet


@SLOW
@given(fleets(plain=False))
def test_the_schema_accepts_what_is_written(fleet: Fleet) -> None:
    data = json.loads(write_fleet_json(fleet))
    jsonschema.Draft202012Validator(fleet_schema()).validate(data)
    assert yaml.safe_load(write_fleet(fleet)).keys() == data.keys()  # Another reader understands it too.


def test_the_schema_is_valid_and_refuses_unknown_keys() -> None:
    schema = fleet_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    data = json.loads(write_fleet_json(read_fleet(SHOP)))
    data["services"][0]["replica"] = 3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(data)


@pytest.mark.parametrize(
    ("good", "bad", "line", "why", "next_step"),
    [
        ("250ms", "2 seconds", 12, 'service "shop/cart": operation "add": timeout "2 seconds" is not a', "write 2s"),
        ("timeout:", "timeuot:", 12, 'unknown key "timeuot"', 'did you mean "timeout"?'),
        ("retries: 2", "retries: -2", 12, "retries is -2", "at least 0"),
        ("retries: 2", "retries: true", 12, "retries is true", "whole number"),
        ("timeout: 250ms", "timeout: 0s", 12, "no time at all", "above zero"),
        ("timeout: 250ms", "timeout: 900000d", 12, "longer than 100 years", "shorter"),
        ("timeout: 250ms", "timeout: -1s", 12, "is not a duration", "write 2s"),
        ("rate_rps: 4", "rate_rps: .nan", 5, 'journey "add": rate_rps is nan', "finite"),
        ("rate_rps: 4", "rate_rps: .inf", 5, "rate_rps is inf", "write"),
        ("rate_rps: 4", "rate_rps: -4", 5, "rate_rps is -4", "at least 0"),
        ("shop/db:write, t", "shop/bd:write, t", 12, '"shop/bd:write" is called', 'did you mean "shop/db:write"?'),
        ("shop/db:write, t", "shop/db:wriet, t", 12, 'has no operation "wriet"', "it has: write"),
        ("station: pool", "station: pol", 14, 'the station "pol" is not declared', 'did you mean "pool"?'),
        ("kind: Fleet", "kind: Change", 2, 'kind is "Change"', "Fleet"),
        ("v1alpha1", "v2", 1, 'apiVersion is "twin/v2"', "twin/v1alpha1"),
        ("work: 5ms", "wrok: 5ms", 11, '"wrok" is no step', "a step is one of: work"),
        ("work[0]", "work[7]", 21, "is about nothing", 'did you mean "shop/cart:add work[0].mean_s"?'),
        ("name: shop\n", "", 1, '"name" is missing', "add name"),
        ("servers: 3", 'servers: "3"', 8, 'station "pool": servers is "3"', "without quotes"),
        ("servers: 3", "servers: 0", 8, "servers is 0", "at least 1"),
        ("work: 2ms, cv: 0.5", "call: 'shop/cart:add'", 19, "it never ends", "probability below 1"),
        ("id: shop/db", "id: shop/cart", 16, '"shop/cart" is there twice', "keep one"),
        ("    stations: {pool", "    id: shop/x\n    stations: {pool", 8, '"id" is given twice', "keep one"),
        ("scope: service", "scope: galaxy", 18, 'scope is "galaxy"', "'replica' or 'service'"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_a_way_out(
    good: str, bad: str, line: int, why: str, next_step: str
) -> None:
    assert good in SHOP
    with pytest.raises(BadInput) as caught:
        read_fleet(SHOP.replace(good, bad, 1), name="fleet.yaml")
    assert caught.value.what == "cannot read fleet.yaml"
    assert caught.value.why.startswith(f"line {line}: ")
    assert why in caught.value.why
    assert next_step in caught.value.next_step


def test_a_mistake_in_json_has_a_line_too() -> None:
    text = write_fleet_json(read_fleet(SHOP)).replace('"timeout": "250ms"', '"timeout": "2 seconds"')
    line = next(i for i, row in enumerate(text.splitlines(), 1) if "2 seconds" in row)
    with pytest.raises(BadInput, match=f"line {line}: "):
        read_fleet(text)


@pytest.mark.parametrize("rate", [float("nan"), float("inf"), -1.0])
def test_a_fleet_that_no_file_can_hold_is_not_written(rate: float) -> None:
    service = Service(id=ServiceId("a/b"), operations=(Operation(name="serve", steps=()),))
    journey = Journey(name=JourneyName("j"), target=OpId("a/b:serve"), rate_rps=rate)
    with pytest.raises(BadInput, match="rate_rps"):
        write_fleet(Fleet(name="f", services=(service,), journeys=(journey,)))


def test_a_file_that_is_not_there_or_too_large_is_refused_before_parsing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_fleet(tmp_path / "none.yaml")
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(50 * 2**20)  # 50 MB of nothing: read and parsed, it would cost seconds.
    with pytest.raises(BadInput, match="it has 50 MB"):
        read_fleet(large)


def test_text_that_another_reader_would_take_for_something_else_is_quoted() -> None:
    env = {"A": "on", "B": "1:30", "C": "0644", "D": "null", "E": "{{ x }}", "F": "a: b", "G": "", "H": "1e3"}
    service = Service(id=ServiceId("a/b"), operations=(), env=env)
    text = write_fleet(Fleet(name="f", services=(service,)))
    assert yaml.safe_load(text)["services"][0]["env"] == env


@SLOW
@given(st.data())
def test_a_damaged_file_is_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    text = SHOP
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 12))
        text = (
            text[:at]
            + data.draw(st.text(max_size=4) | st.sampled_from(["- ", ": ", "{", "[", "&a", "*a", "\t"]))
            + text[at + gone :]
        )
    try:
        fleet = read_fleet(text + "\n")
    except BadInput:
        return
    assert read_fleet(write_fleet(fleet)) == fleet


@SLOW
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["apiVersion", "kind", "name", "services", "id", "operations", "work", "call", "hold", "body", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_refused_or_read_and_nothing_else(value: object) -> None:
    if isinstance(value, dict):
        value = {**value, "apiVersion": "twin/v1alpha1", "kind": "Fleet"}
    with contextlib.suppress(BadInput):
        read_fleet(json.dumps(value) + "\n")
