"""What manifests cannot say: who comes, how long things take, who else is called. A small YAML file.

    apiVersion: twin/v1alpha1
    kind: Hints
    journeys:
      - {name: browse, target: shop/frontend:browse, rate_rps: 60}
    services:
      shop/cart: {work: 8ms, workers: 32}
    calls:
      - {from: shop/cart, to: shop/cart-cache, timeout: 200ms, retries: 1}

A service's `operations` and `stations` are written as in a Fleet file and replace what would be guessed.
Names may leave out the namespace where that is clear.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from twin.spec.edge import (
    Bytes,
    Count,
    Duration,
    Figure,
    FileModel,
    Name,
    PositiveDuration,
    Share,
    schema_of,
    validated,
)
from twin.spec.file_models import AnyStep, JourneyFile, NodePoolFile, StationFile, steps_of
from twin.spec.fleet import Journey, NodePool
from twin.spec.program import Operation, Retry, Station
from twin.spec.yaml_reader import read_file_text, single_document

__all__ = ["CallHint", "Hints", "ServiceHint", "hints_schema", "read_hints"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHint:
    """`workers` 0: requests hold no thread. None anywhere: keep what the manifests or the priors say."""

    line: int
    work_s: float | None = None
    cv: float | None = None
    workers: int | None = None
    start_s: float | None = None
    memory_base_bytes: int | None = None
    owner: str | None = None
    stateful: bool | None = None
    stations: tuple[Station, ...] | None = None
    operations: tuple[Operation, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallHint:
    """An edge that the manifests do not show, or figures for one that they do. None: keep the prior."""

    line: int
    source: str
    target: str
    probability: float | None = None
    timeout_s: float | None = None
    retry: Retry | None = None
    cancel: bool = False
    required: bool = True
    publish: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """`journey_lines` are the places of the journeys in the file `name`."""

    name: str = "hints"
    journeys: tuple[Journey, ...] = ()
    journey_lines: tuple[int, ...] = ()
    node_pools: tuple[NodePool, ...] = ()
    services: Mapping[str, ServiceHint] = field(default_factory=lambda: MappingProxyType({}))
    calls: tuple[CallHint, ...] = ()


class _ServiceHintFile(FileModel):
    work: PositiveDuration | None = None
    cv: Figure | None = None
    workers: Count | None = None
    start: Duration | None = None
    memory_base: Bytes | None = None
    owner: str | None = None
    stateful: bool | None = None
    stations: dict[Name, StationFile] | None = None
    operations: dict[Name, list[AnyStep]] | None = None

    def to_hint(self, line: int) -> ServiceHint:
        stations = None
        if self.stations is not None:
            stations = tuple(station.to_station(name) for name, station in self.stations.items())
        operations = None
        if self.operations is not None:
            operations = tuple(Operation(name=name, steps=steps_of(items)) for name, items in self.operations.items())
        return ServiceHint(
            line=line,
            work_s=self.work,
            cv=self.cv,
            workers=self.workers,
            start_s=self.start,
            memory_base_bytes=self.memory_base,
            owner=self.owner,
            stateful=self.stateful,
            stations=stations,
            operations=operations,
        )


class _CallHintFile(FileModel):
    source: Name = Field(alias="from")
    to: Name
    probability: Share | None = None
    timeout: PositiveDuration | None = None
    retries: Annotated[int, Field(ge=0, le=1_000)] | None = None
    backoff: Duration = 0.0
    cancel: bool = False
    required: bool = True
    publish: bool = False

    def to_hint(self, line: int) -> CallHint:
        retry = None if self.retries is None else Retry(retries=self.retries, backoff_s=self.backoff)
        return CallHint(
            line=line,
            source=self.source,
            target=self.to,
            probability=self.probability,
            timeout_s=self.timeout,
            retry=retry,
            cancel=self.cancel,
            required=self.required,
            publish=self.publish,
        )


class _HintsFile(FileModel):
    api_version: Literal["twin/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["Hints"]
    journeys: list[JourneyFile] = Field(default=[])
    node_pools: list[NodePoolFile] = Field(default=[])
    services: dict[Name, _ServiceHintFile] = Field(default={})
    calls: list[_CallHintFile] = Field(default=[])


def read_hints(path_or_text: Path | str, name: str | None = None) -> Hints:
    """The hints in a file, or in a text (a `str` with a line break). Raises BadInput with the line."""
    if isinstance(path_or_text, str) and "\n" in path_or_text:
        called = name or "the hints"
        document = single_document(path_or_text, called)
    else:
        called = name or str(path_or_text)
        document = single_document(read_file_text(Path(path_or_text)), called)
    file = validated(_HintsFile, document, called)
    services = {key: hint.to_hint(document.line(("services", key))) for key, hint in file.services.items()}
    return Hints(
        name=called,
        journeys=tuple(journey.to_journey() for journey in file.journeys),
        journey_lines=tuple(document.line(("journeys", index)) for index in range(len(file.journeys))),
        node_pools=tuple(pool.to_pool() for pool in file.node_pools),
        services=MappingProxyType(services),
        calls=tuple(call.to_hint(document.line(("calls", index))) for index, call in enumerate(file.calls)),
    )


def hints_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a Hints file."""
    return schema_of(_HintsFile, "Hints")
