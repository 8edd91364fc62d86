"""The file that people edit: a typo is an error with its line, and never a net that is quietly off."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies import NetsFileError
from policies.safety_nets import NETS_FILE, SIZE_MAX_BYTES, WEEK_S, load_nets, parse_nets

pytestmark = [pytest.mark.requirement("R12")]

SHIPPED = NETS_FILE.read_text(encoding="utf-8")
WHOLE = """version: 1
never:
  - name: never drop a table
    actions: [drop_table]
nodes_max: 100
pod_terminations_per_minute_max: 5
freezes: []
live_evidence_levels: [stand_ins]
promote_harmless: false
"""


def replaced(old: str, new: str) -> bytes:
    assert old in WHOLE
    return WHOLE.replace(old, new).encode()


def test_the_file_that_ships_holds_the_three_nets_that_were_asked_for() -> None:
    nets = load_nets().data
    assert [(net["name"], net["source"]) for net in nets["never"]] == [
        ("never drop a table", "safety_nets.yaml:4"),
        ("never change a firewall rule on the payment subnet", "safety_nets.yaml:7"),
    ]
    assert nets["nodes"]["max"] == 100
    assert nets["restart_rate"]["per_minute_max"] == 5
    assert nets["harmless"]["promote"] is False


def test_every_source_is_the_line_that_says_so() -> None:
    nets = load_nets().data
    lines = SHIPPED.splitlines()
    for part, key in (
        ("nodes", "nodes_max:"),
        ("restart_rate", "pod_terminations_per_minute_max:"),
        ("evidence", "live_evidence_levels:"),
        ("harmless", "promote_harmless:"),
    ):
        assert lines[int(nets[part]["source"].split(":")[1]) - 1].startswith(key)
    for net in (*nets["never"], *nets["freezes"]):
        assert net["name"] in lines[int(net["source"].split(":")[1]) - 1]


@pytest.mark.parametrize(
    ("raw", "line", "why"),
    [
        (replaced("nodes_max: 100", "node_max: 100"), 5, "node_max"),
        (replaced("nodes_max: 100\n", ""), 1, "nodes_max: Field required"),
        (replaced("nodes_max: 100", "nodes_max: '100'"), 5, "integer"),
        (replaced("nodes_max: 100", "nodes_max: 1_000"), 5, "integer"),
        (replaced("nodes_max: 100", "nodes_max: 0x64"), 5, "integer"),
        (replaced("nodes_max: 100", "nodes_max: 0100"), 5, "integer"),
        (replaced("nodes_max: 100", "nodes_max: 1:40"), 5, "integer"),
        (replaced("nodes_max: 100", "nodes_max: 0"), 5, "greater than or equal to 1"),
        (replaced("nodes_max: 100", "nodes_max: true"), 5, "integer"),
        (replaced("nodes_max: 100", "nodes_max: 100\nnodes_max: 1000"), 6, "given twice"),
        (replaced("promote_harmless: false", "promote_harmless: no"), 9, "boolean"),
        (replaced("promote_harmless: false", "promote_harmless:"), 9, "boolean"),
        (replaced("[drop_table]", "[drop_tabel]"), 4, "no such action: drop_tabel; known: "),
        (replaced("[drop_table]", "[read]"), 4, "no such action"),
        (replaced("[drop_table]", "[]"), 4, "a list of actions"),
        (replaced("[drop_table]", "[[drop_table]]"), 4, "no such action"),
        (replaced("[drop_table]", "all"), 4, "any"),
        (replaced("    actions", "    action"), 4, "action"),
        (replaced("name: never drop a table", "name: ' '"), 3, "printable"),
        (replaced("[drop_table]", "[drop_table]\n    phrases: ['--']"), 5, "must say something"),
        (replaced("[drop_table]", "[drop_table]\n  - {name: never drop a table, actions: any}"), 1, "bear one name"),
        (replaced("[stand_ins]", "[simulated]"), 8, "control_plane"),
        (replaced("[stand_ins]", "[]"), 8, "at least 1"),
        (replaced("version: 1", "version: 2"), 1, "Input should be 1"),
        (replaced("version: 1", "version: &one 1"), 1, "anchors"),
        (replaced("freezes: []", "freezes: *one"), 7, "anchors"),
        (replaced("freezes: []", "freezes: !!python/object/apply:os.system [id]"), 7, "tags"),
        (replaced("freezes: []", "freezes: " + "[" * 50 + "]" * 50), 7, "nested deeper"),
        (replaced("promote_harmless: false\n", "promote_harmless: false\n---\na: 1\n"), 10, "more than one document"),
        (replaced("freezes: []", "freezes: ["), 9, "expected"),
        (replaced("freezes: []", "freezes: []\n? [a]\n: 1"), 1, "a key must be a word"),
        (replaced("freezes: []", "freezes: []\n<<: {nodes_max: 1}"), 8, "<<"),
    ],
)
def test_what_is_not_meant_is_an_error_with_its_line(raw: bytes, line: int, why: str) -> None:
    with pytest.raises(NetsFileError) as caught:
        parse_nets(raw, "nets.yaml")
    told = f"{caught.value.what} {caught.value.why}"
    assert why in told
    assert f"nets.yaml:{line} " in told or f"line {line}:" in told
    assert caught.value.next_step


@pytest.mark.parametrize("raw", [b"", b"# nothing\n", b"\xff\xfe", b"never", b"- 1", b"\x00", b'"\\U99999999"', b"{"])
def test_what_is_no_file_of_nets_is_an_error(raw: bytes) -> None:
    with pytest.raises(NetsFileError):
        parse_nets(raw)


def test_a_file_as_large_as_allowed_is_read_and_one_byte_more_is_not() -> None:
    padding = SIZE_MAX_BYTES - len(WHOLE) - 2
    assert parse_nets(WHOLE.encode() + b"#" * padding + b"\n\n").data["nodes"]["max"] == 100
    with pytest.raises(NetsFileError, match="larger than 64 KiB"):
        parse_nets(WHOLE.encode() + b"#" * padding + b"\n\n\n")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(NetsFileError, match=r"cannot read nets\.yaml"):
        load_nets(tmp_path / "nets.yaml")


def test_yaml_words_that_look_like_something_else_stay_words() -> None:
    raw = replaced("[drop_table]", "[drop_table]\n    subnets: [no, 'on', NO, 1.5]")
    assert parse_nets(raw).data["never"][0]["subnets"] == ["no", "on", "NO", "1.5"]


def freeze(text: str) -> dict[str, object]:
    (one,) = parse_nets(replaced("freezes: []", f"freezes:\n  - {{name: freeze, {text}}}")).data["freezes"]
    return dict(one)


def test_a_freeze_becomes_integers_and_words() -> None:
    one = freeze("start: 2026-12-24T18:00:00+01:00, end: 2027-01-04T06:00:00+01:00")
    assert one["start_s"] == int(dt.datetime(2026, 12, 24, 17, tzinfo=dt.UTC).timestamp())
    assert one["end_s"] == int(dt.datetime(2027, 1, 4, 5, tzinfo=dt.UTC).timestamp())
    assert one["until"] == "Monday 4 January 2027 06:00 (UTC+01:00)"
    assert one["repeat_s"] == 0


@pytest.mark.parametrize(
    ("offset", "hours"), [("+00:00", 0), ("Z", 0), ("+01:00", 1), ("-08:00", -8), ("+14:00", 14), ("+05:30", 5.5)]
)
def test_a_weekly_freeze_falls_on_the_same_local_hours_every_week(offset: str, hours: float) -> None:
    one = freeze(f'every_week: {{from: friday 18:00, until: MONDAY 06:00, utc_offset: "{offset}"}}')
    assert one["repeat_s"] == WEEK_S
    assert str(one["until"]).startswith("Monday 06:00 (UTC")
    zone = dt.timezone(dt.timedelta(hours=hours))
    friday = dt.datetime(2026, 12, 4, 18, tzinfo=zone).timestamp()
    monday = dt.datetime(2026, 12, 7, 6, tzinfo=zone).timestamp()
    start_s, end_s = one["start_s"], one["end_s"]
    assert isinstance(start_s, int)
    assert isinstance(end_s, int)
    assert start_s >= 0
    assert (friday - start_s) % WEEK_S == 0
    assert (monday - end_s) % WEEK_S == 0
    assert end_s - start_s == 60 * 3600


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("start: 2026-12-24T18:00:00+01:00", "give start and end, or every_week"),
        ("start: 2026-12-24", "give start and end"),
        ("start: 2026-12-24, end: 2027-01-04", "no RFC 3339 time"),
        ("start: 2026-12-24T18:00:00, end: 2027-01-04T06:00:00", "no RFC 3339 time"),
        ("start: 2026-12-24T18:00:00Z, end: 2026-12-24T18:00:00Z", "ends before it starts"),
        ("start: 2026-12-24T18:00:00Z, end: 2026-12-24T18:30:00+01:00", "ends before it starts"),
        ("start: 2026-06-31T18:00:00Z, end: 2027-01-04T06:00:00Z", "day"),
        ("start: 2026-12-24T18:00:00+25:00, end: 2027-01-04T06:00:00Z", "no offset"),
        ("start: 0001-01-01T00:00:00+14:00, end: 2027-01-04T06:00:00Z", "out of range"),
        ("start: ١٩٩٩-01-01T00:00:00Z, end: 2027-01-04T06:00:00Z", "no RFC 3339 time"),
        ('every_week: {from: Freitag 18:00, until: Monday 06:00, utc_offset: "+01:00"}', "no time of the week"),
        ('every_week: {from: Friday 24:00, until: Monday 06:00, utc_offset: "+01:00"}', "no time of the week"),
        ('every_week: {from: Friday 18:00, until: Friday 18:00, utc_offset: "+01:00"}', "same time of the week"),
        ("every_week: {from: Friday 18:00, until: Monday 06:00, utc_offset: CET}", "no offset"),
        ("every_week: {from: Friday 18:00, until: Monday 06:00}", "utc_offset"),
        (
            "start: 2026-12-24T18:00:00Z, end: 2026-12-25T18:00:00Z, "
            "every_week: {from: Friday 18:00, until: Monday 06:00, utc_offset: Z}",
            "give start and end, or every_week",
        ),
    ],
)
def test_a_freeze_that_is_no_freeze_is_an_error_and_never_a_freeze_that_does_not_come(text: str, why: str) -> None:
    with pytest.raises(NetsFileError) as caught:
        freeze(text)
    assert why in caught.value.why


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
@example(b"[" * 5000)
@example(b"- " * 5000)
@example(b"? " * 5000)
@example(b"%YAML 9.9\n---\na")
def test_any_bytes_give_nets_or_an_error_of_ours(raw: bytes) -> None:
    with pytest.raises(NetsFileError):
        parse_nets(raw)


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, len(WHOLE)), size=st.integers(0, 12), put=st.text(max_size=6))
def test_a_file_edited_anywhere_gives_nets_or_an_error_of_ours(at: int, size: int, put: str) -> None:
    raw = (WHOLE[:at] + put + WHOLE[at + size :]).encode("utf-8", "replace")
    try:
        nets = parse_nets(raw).data
    except NetsFileError:
        return
    assert nets["never"]
    assert all(isinstance(net["source"], str) for net in nets["never"])
