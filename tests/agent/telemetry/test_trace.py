"""One trace an incident, readable in the terminal, the same whoever writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.driver import Moment
from agent.telemetry import attributes as names
from agent.telemetry.render import render_trace
from agent.telemetry.trace import IncidentTracer, JsonlExporter, read_spans

STORY = (
    Moment(at_s=100.0, kind="signal", text="alert shop/cart: errors 0.4", data={"kind": "alert"}),
    Moment(at_s=105.0, kind="incident", text="#1 shop/cart", incident="1"),
    Moment(at_s=120.0, kind="routed", text="workload 0.83", incident="1"),
    Moment(
        at_s=120.0, kind="recalled", text="…", incident="1",
        data={"documents": [{"title": "cart architecture", "relevance": 0.83}]},
    ),
    Moment(
        at_s=120.0, kind="diagnosed", text="bad_rollout(shop/cart)", incident="1",
        data={"thoughts": "rolled out 45 s before the onset", "latency_s": 5.0},
    ),
    Moment(
        at_s=135.0, kind="verified", text="…", incident="1",
        data={
            "modelled_s": 10.0,
            "verdicts": [
                {"change": "rollout undo shop/cart", "outcome": "effective", "reason": "in 16 of 16 paired runs"},
                {"change": "drop table", "outcome": "denied", "reason": "never drop a table"},
            ],
        },
    ),
    Moment(
        at_s=300.0, kind="promoted", text="rollout undo shop/cart: done", incident="1",
        data={"outcome": "done", "started_s": 135.0},
    ),
    Moment(at_s=345.0, kind="closed", text="resolved", incident="1"),
)  # fmt: skip


def written(path: Path, *parts: slice) -> list[dict[str, object]]:
    for part in parts:
        tracer = IncidentTracer([JsonlExporter(path)], fleet="shop")  # Each part by another worker.
        for moment in STORY[part]:
            tracer.observe(moment)
    return read_spans(path, incident="1")


@pytest.mark.requirement("R9")
def test_the_stages_follow_each_other_in_one_trace(tmp_path: Path) -> None:
    spans = written(tmp_path / "trace.jsonl", slice(None))
    by_name = {str(span["name"]): span for span in spans}
    assert list(by_name) == [
        "Trigger", "Route", "Retrieval", "Reasoning", "Gate", "Rehearsal", "Policy", "Action", "Result", "Incident",
    ]  # fmt: skip
    assert len({span["trace_id"] for span in spans}) == 1
    root = by_name["Incident"]
    assert root["parent_id"] is None
    assert (root["start_ns"], root["end_ns"]) == (100_000_000_000, 345_000_000_000)
    assert by_name["Rehearsal"]["parent_id"] == by_name["Gate"]["span_id"]
    assert {by_name[n]["parent_id"] for n in ("Trigger", "Retrieval", "Reasoning", "Gate", "Action", "Result")} == {
        root["span_id"]
    }
    told = by_name["Retrieval"]["attributes"]
    assert told[names.DOCUMENTS] == ["cart architecture"]  # type: ignore[index]
    assert told[names.DOCUMENT_RELEVANCES] == [0.83]  # type: ignore[index]
    assert by_name["Gate"]["attributes"][names.TOOL_NAME] == "verify"  # type: ignore[index]
    assert root["attributes"][names.OPERATION] == "invoke_agent"  # type: ignore[index]


@pytest.mark.requirement("R9", "R2")
def test_a_worker_that_takes_over_continues_the_same_trace(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.jsonl", slice(None))
    torn = written(tmp_path / "b.jsonl", slice(0, 5), slice(5, None))
    assert {s["trace_id"] for s in torn} == {s["trace_id"] for s in whole}
    assert {(s["name"], s["span_id"]) for s in torn} == {(s["name"], s["span_id"]) for s in whole}


@pytest.mark.requirement("R9")
def test_the_tree_is_readable(tmp_path: Path) -> None:
    text = render_trace(written(tmp_path / "trace.jsonl", slice(None)))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert "Incident 245 s" in lines[0]
    assert "0.83  cart architecture" in text
    assert any("Rehearsal" in line and "effective" in line for line in lines)
    assert [n for n in ("Trigger", "Retrieval", "Reasoning", "Gate", "Action", "Result") if n not in text] == []
    positions = [text.index(n) for n in ("Trigger", "Retrieval", "Reasoning", "Gate", "Action", "Result")]
    assert positions == sorted(positions)


def test_an_open_incident_can_be_looked_at(tmp_path: Path) -> None:
    tracer = IncidentTracer([JsonlExporter(tmp_path / "t.jsonl")])
    for moment in STORY[:4]:
        tracer.observe(moment)
    tracer.flush(now_s=130.0)
    assert "open" in render_trace(read_spans(tmp_path / "t.jsonl"))


def test_a_second_incident_that_is_still_open_begins_with_its_own_alert(tmp_path: Path) -> None:
    tracer = IncidentTracer([JsonlExporter(tmp_path / "t.jsonl")])
    late = Moment(at_s=150.0, kind="signal", text="alert shop/web: errors 0.2", data={"kind": "alert"})
    thoughts = {"thoughts": "a thought of many words " * 10 + "and its end", "latency_s": 5.0}
    second = (
        Moment(at_s=900.0, kind="signal", text="alert shop/pay: errors 0.4", data={"kind": "alert"}),
        Moment(at_s=905.0, kind="incident", text="#2 shop/pay", incident="2"),
        Moment(at_s=920.0, kind="diagnosed", text="slow(shop/pay)", incident="2", data=thoughts),
    )
    for moment in (*STORY, late, *second):
        tracer.observe(moment)
    lines = render_trace(read_spans(tmp_path / "t.jsonl", incident="2")).splitlines()
    assert lines[0].startswith("      0 s  Trigger 5 s  #2")
    assert lines[1].startswith("     20 s  Reasoning 5 s")
    assert "and its end" in " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= 100
