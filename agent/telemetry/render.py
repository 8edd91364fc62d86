"""A trace as a tree for the terminal: when, what, and what came of it. At most 100 columns, and nothing cut."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.telemetry import attributes as names

__all__ = ["render_trace"]

COLUMNS: Final = 100


def render_trace(spans: Sequence[Mapping[str, Any]]) -> str:
    """The spans of one or more traces, children below their parents, in the order of time."""
    ids = {span["span_id"] for span in spans}
    roots = [span for span in spans if span["parent_id"] not in ids]
    zeros: dict[str, int] = {}  # By trace: one that is still open has no root span, and yet one beginning.
    for span in spans:
        zeros[span["trace_id"]] = min(zeros.get(span["trace_id"], int(span["start_ns"])), int(span["start_ns"]))
    lines: list[str] = []
    for root in sorted(roots, key=lambda span: (zeros[span["trace_id"]], *_order(span))):
        _add(root, spans, "", "", zeros[root["trace_id"]], lines)
    return "\n".join(lines)


def _add(
    span: Mapping[str, Any], spans: Sequence[Mapping[str, Any]], head: str, indent: str, zero_ns: int,
    lines: list[str],
) -> None:  # fmt: skip
    start_s = (int(span["start_ns"]) - zero_ns) / 1e9
    took_s = (int(span["end_ns"]) - int(span["start_ns"])) / 1e9
    told = span["attributes"]
    words = " · ".join(
        str(told[name]).replace("\n", " · ") for name in (names.TEXT, names.OUTCOME, names.REASON) if told.get(name)
    )
    took = f" {took_s:.0f} s" if took_s >= 0.5 else ""
    first = f"{start_s:>7.0f} s  {head}{span['name']}{took}  "
    below = f"{'':>9}  {indent}    "
    lines += textwrap.wrap(words, COLUMNS, initial_indent=first, subsequent_indent=below) or [first.rstrip()]
    documents = zip(told.get(names.DOCUMENTS, ()), told.get(names.DOCUMENT_RELEVANCES, ()), strict=True)
    for title, relevance in documents:
        lines += textwrap.wrap(
            f"{relevance:.2f}  {title}", COLUMNS, initial_indent=below, subsequent_indent=below + "  "
        )
    children = sorted((s for s in spans if s["parent_id"] == span["span_id"]), key=_order)
    for number, child in enumerate(children):
        last = number == len(children) - 1
        _add(child, spans, indent + ("└ " if last else "├ "), indent + ("  " if last else "│ "), zero_ns, lines)


_STAGES: Final = (
    "Incident", "Trigger", "Route", "Retrieval", "Reasoning", "Gate", "Policy", "Rehearsal", "Action", "Page",
    "Failure", "Result",
)  # fmt: skip


def _order(span: Mapping[str, Any]) -> tuple[int, int, str]:
    name = str(span["name"])
    return int(span["start_ns"]), _STAGES.index(name) if name in _STAGES else len(_STAGES), str(span["span_id"])
