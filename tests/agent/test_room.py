"""The incident room: bounded, durable, and there until 24 h after the incident closed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.room import EXPIRES_S, MemoryRoom, Room, SqliteRoom

Make = Callable[[int], Room]


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """A room's factory; for the file, each call is another worker on the same file."""
    kept = MemoryRoom(entries_max=5)
    return lambda size: kept if request.param == "memory" else SqliteRoom(tmp_path / "rooms.db", entries_max=size)


@pytest.mark.requirement("R3")
def test_another_worker_finds_what_one_left(make: Make) -> None:
    make(5).put("1", "context", {"phase": "gate", "figures": [1, 2.5, None]})
    make(5).append("1", "actions", {"change": "undo"}, entry_id="a")
    assert make(5).get("1", "context") == {"phase": "gate", "figures": [1, 2.5, None]}
    assert make(5).entries("1", "actions") == [{"change": "undo"}]
    assert make(5).get("2", "context") is None


@pytest.mark.requirement("R3")
def test_lists_are_bounded_and_what_falls_out_is_counted(make: Make) -> None:
    room = make(5)
    for number in range(8):
        room.append("1", "logs", {"n": number}, entry_id=str(number))
    assert [entry["n"] for entry in room.entries("1", "logs")] == [3, 4, 5, 6, 7]
    assert room.dropped("1", "logs") == 3
    assert room.entries("1", "hypotheses") == []


def test_an_entry_comes_in_once_by_its_id(make: Make) -> None:
    room = make(5)
    room.append("1", "actions", {"n": 1}, entry_id="x")
    room.append("1", "actions", {"n": 2}, entry_id="x")
    assert room.entries("1", "actions") == [{"n": 1}]


def test_a_huge_entry_is_cut_and_says_so(make: Make) -> None:
    room = make(5)
    room.append("1", "tool_outputs", {"text": "x" * 100_000}, entry_id="x")
    assert room.entries("1", "tool_outputs")[0]["cut"] is True


def test_there_are_four_lists(make: Make) -> None:
    with pytest.raises(ValueError, match="logs, hypotheses, actions, tool_outputs"):
        make(5).append("1", "secrets", {}, entry_id="x")


@pytest.mark.requirement("R3")
def test_a_room_expires_24_hours_after_its_incident_closed_and_never_before(make: Make) -> None:
    room = make(5)
    for name in ("open", "closed"):
        room.put(name, "context", {})
        room.append(name, "logs", {}, entry_id="x")
    room.close("closed", at_s=1000.0)
    room.close("closed", at_s=9e9)  # Closing again does not put it off.
    assert room.expire(now_s=1000.0 + EXPIRES_S - 1.0) == []
    assert room.expire(now_s=1000.0 + EXPIRES_S) == ["closed"]
    assert room.expire(now_s=1e12) == []
    assert room.incidents() == ["open"]
    assert room.get("closed", "context") is None
    assert room.entries("closed", "logs") == []
    assert room.get("open", "context") == {}


def test_open_incidents_are_told_from_closed_ones(make: Make) -> None:
    room = make(5)
    room.put("1", "context", {})
    room.put("2", "context", {})
    room.close("1", at_s=5.0)
    assert list(room.incidents(open_only=True)) == ["2"]
