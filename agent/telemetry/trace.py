"""One OpenTelemetry trace an incident: Trigger → Retrieval → Reasoning → Gate → Rehearsal → Action → Result.

Spans are made from the driver's Moments, with the target's times and ids that follow from what they say: a
worker that takes over continues the same trace, and a replay gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.context import Context as OtelContext
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from agent.driver import Moment
from agent.telemetry import attributes as names

__all__ = ["IncidentTracer", "JsonlExporter", "otlp_exporter", "read_spans"]

NS_PER_S = 1_000_000_000

TRIGGER_S = 60.0  # Alerts from before that were an earlier incident's.


class JsonlExporter(SpanExporter):
    """One line a span, appended to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._path.open("a", encoding="utf-8") as file:
            for span in spans:
                file.write(json.dumps(_span_to_json(span), sort_keys=True) + "\n")
        return SpanExportResult.SUCCESS


def otlp_exporter(endpoint: str) -> SpanExporter:
    """Spans over OTLP/HTTP, as "http://localhost:4318/v1/traces"."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint)


def read_spans(path: Path, *, incident: str | None = None) -> list[dict[str, Any]]:
    """Spans that JsonlExporter wrote; of one incident, if it is named. A span written twice counts once."""
    spans: dict[str, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        span = json.loads(line)
        if incident is None or span["attributes"].get(names.INCIDENT) == incident:
            spans[span["span_id"]] = span
    return list(spans.values())


class _StatedIds(IdGenerator):
    """The next span gets the id that was stated: ids follow from content, not from chance."""

    def __init__(self) -> None:
        self.span_id = 1
        self.trace_id = 1

    def generate_span_id(self) -> int:
        return self.span_id

    def generate_trace_id(self) -> int:
        return self.trace_id


@dataclass(slots=True)
class _Open:
    started_s: float
    title: str
    numbers: dict[str, int] = field(default_factory=dict)
    root_written: bool = False


class IncidentTracer:
    """Give `observe` to the driver. `fleet` tells incidents of different targets apart."""

    def __init__(self, exporters: Sequence[SpanExporter], *, agent: str = "offline", fleet: str = "") -> None:
        self._ids = _StatedIds()
        self._provider = TracerProvider(
            resource=Resource({"service.name": "twin-agent", "service.namespace": fleet}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        for exporter in exporters:
            self._provider.add_span_processor(SimpleSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("agent")
        self._agent, self._fleet = agent, fleet
        self._open: dict[str, _Open] = {}
        self._alerts_s: list[float] = []

    def observe(self, moment: Moment) -> None:
        """Turn a Moment into spans, if it is one that a trace shows."""
        if moment.kind == "signal" and moment.data.get("kind") == "alert":
            self._alerts_s.append(moment.at_s)
        if not moment.incident:
            return
        incident = moment.incident
        known = self._open.setdefault(incident, _Open(moment.at_s, moment.text))
        match moment.kind:
            case "incident":
                recent = [at_s for at_s in self._alerts_s if at_s >= moment.at_s - TRIGGER_S]
                self._alerts_s = []
                known.started_s = min([*recent, moment.at_s])
                self._span(incident, "Trigger", known.started_s, moment.at_s, {names.TEXT: moment.text})
            case "routed":
                self._span(incident, "Route", moment.at_s, moment.at_s, {names.OUTCOME: moment.text})
            case "recalled":
                documents = moment.data.get("documents", ())
                self._span(
                    incident, "Retrieval", moment.at_s, moment.at_s,
                    {
                        names.OPERATION: names.RETRIEVAL,
                        names.DOCUMENTS: [d["title"] for d in documents],
                        names.DOCUMENT_RELEVANCES: [float(d["relevance"]) for d in documents],
                        names.TEXT: moment.text,
                    },
                )  # fmt: skip
            case "diagnosed":
                self._span(
                    incident, "Reasoning", moment.at_s, moment.at_s + float(moment.data.get("latency_s", 0.0)),
                    {
                        names.OPERATION: names.THINK, names.REQUEST_MODEL: self._agent, names.TEXT: moment.text,
                        names.REASON: str(moment.data.get("thoughts", "")),
                    },
                )  # fmt: skip
            case "verified":
                self._on_verified(incident, moment)
            case "promoted":
                outcome = {names.OUTCOME: str(moment.data.get("outcome", "")), names.TEXT: moment.text}
                start_s = float(moment.data.get("started_s", moment.at_s))
                self._tool(incident, "Action", "promote", start_s, moment.at_s, outcome)
            case "page":
                self._span(incident, "Page", moment.at_s, moment.at_s, {names.TEXT: moment.text})
            case "failed":
                self._span(incident, "Failure", moment.at_s, moment.at_s, {names.REASON: moment.text})
            case "closed":
                self._span(incident, "Result", moment.at_s, moment.at_s, {names.OUTCOME: moment.text})
                self._root(incident, moment.at_s, moment.text)

    def flush(self, *, now_s: float) -> None:
        """Write the roots of incidents that are still open, as far as they have come."""
        for incident in list(self._open):
            self._root(incident, now_s, "open")
        self._provider.force_flush()

    def _on_verified(self, incident: str, moment: Moment) -> None:
        start_s = moment.at_s - float(moment.data.get("modelled_s", 0.0))
        verdicts = moment.data.get("verdicts", ())
        gate = self._tool(incident, "Gate", "verify", start_s, moment.at_s, {names.TEXT: moment.text})
        for verdict in verdicts:
            stage = "Policy" if verdict["outcome"] == "denied" else "Rehearsal"
            told = {names.TEXT: verdict["change"], names.OUTCOME: verdict["outcome"], names.REASON: verdict["reason"]}
            self._span(incident, stage, start_s, moment.at_s, told, parent=gate)

    def _tool(self, incident: str, stage: str, tool: str, start_s: float, end_s: float, told: Mapping[str, Any]) -> int:
        return self._span(
            incident, stage, start_s, end_s, {names.OPERATION: names.EXECUTE_TOOL, names.TOOL_NAME: tool, **told}
        )

    def _span(
        self, incident: str, stage: str, start_s: float, end_s: float, told: Mapping[str, Any],
        *, parent: int | None = None,
    ) -> int:  # fmt: skip
        known = self._open[incident]
        number = known.numbers[stage] = known.numbers.get(stage, 0) + 1
        span_id = self._id(incident, f"{stage}/{number}/{start_s:.3f}")
        self._write(incident, stage, span_id, parent or self._id(incident, "root"), start_s, end_s, told)
        return span_id

    def _root(self, incident: str, end_s: float, outcome: str) -> None:
        known = self._open[incident]
        if not known.root_written:
            told = {names.OPERATION: names.INVOKE_AGENT, names.AGENT_NAME: self._agent, names.OUTCOME: outcome,
                    names.TEXT: known.title}  # fmt: skip
            self._write(incident, "Incident", self._id(incident, "root"), None, known.started_s, end_s, told)
            known.root_written = outcome != "open"

    def _write(
        self, incident: str, stage: str, span_id: int, parent: int | None, start_s: float, end_s: float,
        told: Mapping[str, Any],
    ) -> None:  # fmt: skip
        trace_id = int(hashlib.sha256(f"{self._fleet}/{incident}".encode()).hexdigest()[:32], 16)
        self._ids.span_id, self._ids.trace_id = span_id, trace_id
        context = OtelContext()
        if parent is not None:
            above = SpanContext(trace_id, parent, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
            context = set_span_in_context(NonRecordingSpan(above), context)
        span = self._tracer.start_span(stage, context=context, start_time=round(start_s * NS_PER_S))
        span.set_attributes(
            {names.STAGE: stage, names.INCIDENT: incident, names.CONVERSATION_ID: incident, names.SYSTEM: "twin",
             **told}
        )  # fmt: skip
        span.end(end_time=round(end_s * NS_PER_S))

    def _id(self, incident: str, what: str) -> int:
        return int(hashlib.sha256(f"{self._fleet}/{incident}/{what}".encode()).hexdigest()[:16], 16) or 1


def _span_to_json(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    assert context is not None
    return {
        "name": span.name,
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
        "start_ns": span.start_time,
        "end_ns": span.end_time,
        "attributes": {k: list(v) if isinstance(v, tuple) else v for k, v in (span.attributes or {}).items()},
    }
