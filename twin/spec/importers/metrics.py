"""Figures that somebody measured, in place of priors.

A CSV file with the columns `service`, `to`, `operation`, `rate_rps`, `work`, `cpu_cores` (any order; a row
with `to` is a call from `service` to it), or the same as JSON:

    {"services": [{"service": "shop/cart", "rate_rps": 36, "cpu_cores": 0.66}],
     "calls": [{"from": "shop/cart", "to": "shop/cart-cache", "rate_rps": 36}]}

`work` is the mean service time as text ("8ms"); `cpu_cores` is what all replicas together use, which gives
the same when the rate is known.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import Field

from twin.spec.edge import FileModel, Name, PositiveDuration, Rate, validated
from twin.spec.errors import BadInput
from twin.spec.fleet import Belief, Fleet, Service, Source
from twin.spec.ids import OpId, ServiceId, op_id, service_of
from twin.spec.importers.kubernetes import core_share, op_rates, op_work_s
from twin.spec.importers.notes import ImportResult, Note, NoteKind, Severity
from twin.spec.importers.priors import PRIORS, Role
from twin.spec.parameters import journey_path, op_path, parameters_of, with_parameters
from twin.spec.program import Call, Hold, Operation, Publish, Step, calls_of
from twin.spec.units import parse_duration_s
from twin.spec.yaml_reader import Problem, bad_file, read_file_text, single_document

__all__ = ["CallFigures", "Metrics", "ServiceFigures", "apply_metrics", "read_metrics"]

_SPREAD: Final = 0.05  # of what was measured over minutes
_COLUMNS: Final = ("service", "to", "operation", "rate_rps", "work", "cpu_cores")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFigures:
    """What was seen at one service, or at one of its operations. None: not measured."""

    service: str
    operation: str = ""
    rate_rps: float | None = None
    work_s: float | None = None
    cpu_cores: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFigures:
    source: str
    target: str
    rate_rps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    name: str
    services: tuple[ServiceFigures, ...] = ()
    calls: tuple[CallFigures, ...] = ()


class _ServiceRow(FileModel):
    service: Name
    operation: str = ""
    rate_rps: Rate | None = None
    work: PositiveDuration | None = None
    cpu_cores: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None


class _CallRow(FileModel):
    source: Name = Field(alias="from")
    to: Name
    rate_rps: Rate


class _MetricsFile(FileModel):
    services: list[_ServiceRow] = Field(default=[])
    calls: list[_CallRow] = Field(default=[])


def read_metrics(path: Path) -> Metrics:
    """The figures in a CSV or JSON file. Raises BadInput with the line for what is no figure."""
    text = read_file_text(path)
    return _from_csv(text, str(path)) if path.suffix.lower() == ".csv" else _from_json(text, str(path))


def apply_metrics(result: ImportResult, metrics: Metrics) -> ImportResult:
    """The same fleet with measured figures, and notes on what could not be placed.

    Raises BadInput if none of the services is in the fleet: then it is the wrong file.
    """
    names = _Names(result.fleet)
    rows = [(names.find(row.service), row) for row in metrics.services]
    calls = [(names.find(row.source), names.find(row.target), row) for row in metrics.calls]
    placed = [row for service, row in rows if service] + [row for source, target, row in calls if source and target]
    if not placed:
        raise BadInput(f"cannot use {metrics.name}", "none of its services is in the fleet", "check the names")
    notes = [_unplaced(metrics.name, row.service) for service, row in rows if not service]
    notes += [_unplaced(metrics.name, f"{r.source} to {r.target}") for s, t, r in calls if not (s and t)]
    known_rows = [(service, row) for service, row in rows if service]
    known_calls = [(source, target, row) for source, target, row in calls if source and target and source != target]
    editor = _Editor(result.fleet, notes, metrics.name)
    editor.set_calls(known_calls, known_rows)
    editor.set_journeys(known_calls, known_rows)
    editor.set_work(known_rows)
    return ImportResult(fleet=editor.fleet, notes=(*result.notes, *notes))


def _from_json(text: str, name: str) -> Metrics:
    file = validated(_MetricsFile, single_document(text, name), name)
    return Metrics(
        name=name,
        services=tuple(
            ServiceFigures(
                service=row.service,
                operation=row.operation,
                rate_rps=row.rate_rps,
                work_s=row.work,
                cpu_cores=row.cpu_cores,
            )
            for row in file.services
        ),
        calls=tuple(CallFigures(source=row.source, target=row.to, rate_rps=row.rate_rps) for row in file.calls),
    )


def _from_csv(text: str, name: str) -> Metrics:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    services: list[ServiceFigures] = []
    calls: list[CallFigures] = []
    try:
        header = [column.strip() for column in reader.fieldnames or ()]
        unknown = [column for column in header if column not in _COLUMNS]
        if "service" not in header or unknown:
            what = f'unknown column "{unknown[0]}"' if unknown else 'the column "service" is missing'
            raise bad_file(name, Problem(1, what, "use the columns " + ", ".join(_COLUMNS)))
        reader.fieldnames = header
        for row in reader:
            if None in row:
                problem = Problem(reader.line_num, "more fields than columns", "quote what holds a comma")
                raise bad_file(name, problem)
            cells = {key: (value or "").strip() for key, value in row.items()}
            if not cells["service"]:
                raise bad_file(name, Problem(reader.line_num, "no service is named", "fill in the service"))
            rate_rps = _cell(cells, "rate_rps", name, reader.line_num)
            if cells.get("to"):
                if rate_rps is None:
                    raise bad_file(name, Problem(reader.line_num, "a call without rate_rps", "fill in rate_rps"))
                calls.append(CallFigures(source=cells["service"], target=cells["to"], rate_rps=rate_rps))
            else:
                services.append(
                    ServiceFigures(
                        service=cells["service"],
                        operation=cells.get("operation", ""),
                        rate_rps=rate_rps,
                        work_s=_work_cell(cells, name, reader.line_num),
                        cpu_cores=_cell(cells, "cpu_cores", name, reader.line_num),
                    )
                )
    except csv.Error as error:
        raise bad_file(
            name, Problem(max(1, reader.line_num), f"this is not CSV: {error}", "correct the line")
        ) from error
    return Metrics(name=name, services=tuple(services), calls=tuple(calls))


def _cell(cells: dict[str, str], column: str, name: str, line: int) -> float | None:
    text = cells.get(column, "")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1e9:  # NaN fails too.
        raise bad_file(name, Problem(line, f'{column} "{text}" is no figure', "write a number of 0 or more"))
    return value


def _work_cell(cells: dict[str, str], name: str, line: int) -> float | None:
    text = cells.get("work", "")
    if not text:
        return None
    try:
        return parse_duration_s(text)
    except BadInput as error:
        raise bad_file(name, Problem(line, f"work {error.what}", error.next_step)) from error


def _unplaced(name: str, what: str) -> Note:
    return Note(severity=Severity.WARNING, kind=NoteKind.METRIC, text=f"{what}: not in the fleet, left out", file=name)


class _Names:
    """Services by full name, or by short name where that is clear."""

    def __init__(self, fleet: Fleet) -> None:
        self._ids: dict[str, ServiceId | None] = {}
        for service in fleet.services:
            self._ids[service.name] = None if service.name in self._ids else service.id
        for service in fleet.services:
            self._ids[service.id] = service.id

    def find(self, name: str) -> ServiceId | None:
        return self._ids.get(name)


class _Editor:
    """Puts measured figures into a fleet, one kind after the other."""

    def __init__(self, fleet: Fleet, notes: list[Note], file: str) -> None:
        self.fleet = fleet
        self._notes = notes
        self._file = file

    def set_calls(
        self,
        calls: Sequence[tuple[ServiceId, ServiceId, CallFigures]],
        rows: Sequence[tuple[ServiceId, ServiceFigures]],
    ) -> None:
        """Calls a request, from the rates of call and caller; calls that nobody had named are added."""
        for source, target, _ in calls:
            if not any(service_of(call.target) == target for _, _, call in self._calls(source)):
                self._add_call(source, target)
        seen_rps = self._seen_rps(rows)
        for source, target, row in calls:
            rates = op_rates(self.fleet.services, self.fleet.journeys)
            service = self.fleet.service(source)
            modelled = {op_id(source, o.name): rates[op_id(source, o.name)] for o in service.operations}
            total = sum(modelled.values())
            caller_rps = seen_rps.get(source, total)
            if caller_rps <= 0.0:
                self._warn(f"{source} to {target}: the caller's rate is not known, left out")
                continue
            paths = [(op, path, call) for op, path, call in self._calls(source) if service_of(call.target) == target]
            weights = {op: (rate / total if total else 1.0 / len(modelled)) for op, rate in modelled.items()}
            expected = sum(weights[op] * call.probability for op, _, call in paths)
            wanted = row.rate_rps / caller_rps
            if wanted > 1.0 and len(paths) == 1:
                self._warn(f"{source} calls {target} {wanted:.2g} times a request: taken as once")
            values = {
                f"{path}probability": min(1.0, call.probability * wanted / expected if expected else wanted)
                for _, path, call in paths
            }
            self._set(values)

    def set_journeys(
        self,
        calls: Sequence[tuple[ServiceId, ServiceId, CallFigures]],
        rows: Sequence[tuple[ServiceId, ServiceFigures]],
    ) -> None:
        """What reaches an entry and comes from nobody inside comes from users."""
        for service, rate_rps in self._seen_rps(rows).items():
            journeys = [journey for journey in self.fleet.journeys if service_of(journey.target) == service]
            now = sum(journey.rate_rps for journey in journeys)
            inside = sum(row.rate_rps for _, target, row in calls if target == service)
            if journeys and now > 0.0:
                factor = max(0.0, rate_rps - inside) / now
                self._set({journey_path(j.name, "rate_rps"): j.rate_rps * factor for j in journeys})

    def set_work(self, rows: Sequence[tuple[ServiceId, ServiceFigures]]) -> None:
        """Service times; where only a whole service was measured, its operations keep their proportions."""
        rates = op_rates(self.fleet.services, self.fleet.journeys)
        for service_id, row in rows:
            service = self.fleet.service(service_id)
            operations = [o for o in service.operations if row.operation in ("", o.name)]
            if not operations:
                self._warn(f'{service_id} has no operation "{row.operation}", left out')
                continue
            mean_s = _mean_work_s(service, row)
            weights = [rates[op_id(service_id, o.name)] or 1e-9 for o in operations]
            now_s = sum(w * op_work_s(o.steps) for w, o in zip(weights, operations)) / sum(weights)
            if mean_s is not None and now_s > 0.0:
                self._scale_work(service_id, operations, mean_s / now_s)

    def _scale_work(self, service: ServiceId, operations: Sequence[Operation], factor: float) -> None:
        prefixes = tuple(f"{op_id(service, o.name)} work[" for o in operations)
        figures = parameters_of(Fleet(name="", services=(self.fleet.service(service),)))
        self._set({p: v * factor for p, v in figures if p.startswith(prefixes) and p.endswith(".mean_s")})

    def _calls(self, source: ServiceId) -> list[tuple[OpId, str, Call | Publish]]:
        """Every call of a service with its operation and the beginning of its parameters' paths."""
        found: list[tuple[OpId, str, Call | Publish]] = []
        for operation in self.fleet.service(source).operations:
            op = op_id(source, operation.name)
            counts = {"call": 0, "publish": 0}
            for call in calls_of(operation.steps):
                kind = "call" if isinstance(call, Call) else "publish"
                found.append((op, op_path(op, kind, counts[kind], ""), call))
                counts[kind] += 1
        return found

    def _add_call(self, source: ServiceId, target: ServiceId) -> None:
        callee = self.fleet.service(target)
        if not callee.operations or not self.fleet.service(source).operations:
            return
        prior = PRIORS[Role.APP].timeout_s
        call = Call(target=op_id(target, callee.operations[0].name), timeout_s=prior.value)
        self.fleet = replace(
            self.fleet,
            services=tuple(
                replace(s, operations=tuple(replace(o, steps=_with_call(o.steps, call)) for o in s.operations))
                if s.id == source
                else s
                for s in self.fleet.services
            ),
        )
        added = {f"{path}timeout_s" for _, path, other in self._calls(source) if other == call}
        beliefs = dict.fromkeys(added, Belief(source=Source.PRIOR, spread=prior.spread))
        self.fleet = replace(self.fleet, beliefs=MappingProxyType({**self.fleet.beliefs, **beliefs}))

    def _set(self, values: dict[str, float]) -> None:
        beliefs = dict(self.fleet.beliefs)
        beliefs.update(dict.fromkeys(values, Belief(source=Source.MEASURED, spread=_SPREAD)))
        self.fleet = replace(with_parameters(self.fleet, values), beliefs=MappingProxyType(beliefs))

    def _seen_rps(self, rows: Sequence[tuple[ServiceId, ServiceFigures]]) -> dict[ServiceId, float]:
        seen: dict[ServiceId, float] = {}
        for service, row in rows:
            if row.rate_rps is not None:
                seen[service] = seen.get(service, 0.0) + row.rate_rps
        return seen

    def _warn(self, text: str) -> None:
        self._notes.append(Note(severity=Severity.WARNING, kind=NoteKind.METRIC, text=text, file=self._file))


def _mean_work_s(service: Service, row: ServiceFigures) -> float | None:
    """Time at the CPU station. CPU seconds are fewer where a limit below a whole core slows the work down."""
    if row.work_s is not None:
        return row.work_s
    if row.cpu_cores is not None and row.rate_rps:
        return row.cpu_cores / row.rate_rps / core_share(service.resources)
    return None


def _with_call(steps: tuple[Step, ...], call: Call) -> tuple[Step, ...]:
    """At the end of the program, inside the thread that it holds."""
    if len(steps) == 1 and isinstance(steps[0], Hold):
        return (replace(steps[0], body=(*steps[0].body, call)),)
    return (*steps, call)
