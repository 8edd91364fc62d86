"""A World as bytes: magic, version, a JSON header, then arrays, all compressed, with a digest.

Frozen records travel as JSON by their class names; only classes that are listed here are ever made from a
file, so a file can make a World wrong but not run anything.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import types
import zlib
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from twin.fleet import perturbation as perturbations
from twin.fleet.state import ActivePerturbation, HeldSession, State, Template
from twin.fleet.telemetry.history import History, Scrape
from twin.fleet.traffic.engine import Conditions, TrafficEngine
from twin.spec import config as configs
from twin.spec import fleet as fleets
from twin.spec import gitops as sources
from twin.spec import program as programs
from twin.spec import signal as signals
from twin.spec import webhooks
from twin.spec.errors import BadInput
from twin.spec.fleet import Fleet

__all__ = ["FORMAT_VERSION", "UNREADABLE", "no_world_in", "pack", "unpack"]

MAGIC: Final = b"TWINWRLD"
FORMAT_VERSION: Final = 6  # Raise it with the layout; a test knows what each version holds.
UNREADABLE: Final = "cannot read the world file"
SIZE_MAX: Final = 2 * 2**30
_DTYPE: Final = re.compile(r"[<>|][biuf][1248]")

_RECORDS: Final[dict[str, type]] = {
    cls.__name__: cls
    for module in (configs, fleets, programs, signals, sources, webhooks, perturbations)
    for cls in vars(module).values()
    if isinstance(cls, type) and (dataclasses.is_dataclass(cls) or issubclass(cls, Enum))
} | {cls.__name__: cls for cls in (ActivePerturbation, HeldSession, Template)}


def pack(fleet: Fleet, state: State, engine: TrafficEngine, history: History) -> bytes:
    """Bytes that depend on nothing but their arguments' values."""
    arrays: dict[str, NDArray[Any]] = {f"state.{name}": array for name, array in state.arrays()}
    arrays |= {f"engine.{name}": array for name, array in sorted(engine.save().items())}
    running = history.running
    for name in ("operations", "edges", "station_busy", "station_capacity"):
        arrays[f"running.{name}"] = getattr(running, name)
    if history.scrapes:
        arrays["history.at_ns"] = np.array([scrape.at_ns for scrape in history.scrapes], dtype=np.int64)
        for name in ("services", "edges", "operations"):
            arrays[f"history.{name}"] = np.stack([getattr(scrape, name) for scrape in history.scrapes])
    plain_fields = {
        field.name: _to_json(getattr(state, field.name))
        for field in dataclasses.fields(state)
        if not isinstance(getattr(state, field.name), np.ndarray | Conditions)
    }
    header = {
        "version": FORMAT_VERSION,
        "engine": engine.name,
        "fleet": _to_json(fleet),
        "state": plain_fields,
        "ticks": running.ticks,
        "arrays": [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()],
    }
    head = json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=True).encode()
    body = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays.values())
    payload = len(head).to_bytes(8, "big") + head + body
    return MAGIC + FORMAT_VERSION.to_bytes(4, "big") + hashlib.sha256(payload).digest() + zlib.compress(payload, 1)


def unpack(
    data: bytes,
) -> tuple[Fleet, State, str, dict[str, NDArray[Any]], Callable[[History], None]]:
    """Fleet, state, engine's name and arrays, and a function that fills a History.

    Raises BadInput for bytes that are not a whole saved World of this version.
    """
    if data[:8] != MAGIC:
        raise _unreadable("it is not a saved World", "make one with: twin world new fleet.yaml -o prod.world")
    version = int.from_bytes(data[8:12], "big")
    if version != FORMAT_VERSION:
        raise _unreadable(
            f"it has format {version}, this program reads {FORMAT_VERSION}", "use the version that wrote it"
        )
    try:
        expander = zlib.decompressobj()
        payload = expander.decompress(data[44:], SIZE_MAX)
        if expander.unconsumed_tail or not expander.eof:
            raise _unreadable("it is truncated or too large", "restore it from a copy")
        if expander.unused_data:
            raise _unreadable("something stands after its end", "restore it from a copy")
        if hashlib.sha256(payload).digest() != data[12:44]:
            raise _unreadable("its digest does not match", "restore it from a copy")
        size = int.from_bytes(payload[:8], "big")
        header = json.loads(payload[8 : 8 + size])
        arrays = _read_arrays(header["arrays"], payload, 8 + size)
        fleet = _from_json(header["fleet"])
        state = _read_state(header["state"], arrays)
        engine_arrays = {n.removeprefix("engine."): a for n, a in arrays.items() if n.startswith("engine.")}
        return fleet, state, str(header["engine"]), engine_arrays, lambda history: _fill(history, header, arrays)
    except (zlib.error, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise no_world_in(error) from error


def no_world_in(error: Exception) -> BadInput:
    """What a file is told that somebody wrote who is no World: its digest fits, and its contents do not."""
    return _unreadable(f"it holds no World: {type(error).__name__}: {error}"[:200], "restore it from a copy")


def _unreadable(why: str, next_step: str) -> BadInput:
    return BadInput(UNREADABLE, why, next_step)


def _read_arrays(listed: list[list[Any]], payload: bytes, offset: int) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype, shape in listed:
        if not _DTYPE.fullmatch(dtype):
            raise ValueError(f"{name} is no array of numbers")
        kind = np.dtype(dtype)
        if not all(type(length) is int and 0 <= length <= SIZE_MAX for length in shape):
            raise ValueError(f"{name} has no shape")
        count = math.prod(shape)
        arrays[name] = np.frombuffer(payload, kind, count, offset).reshape(shape).copy()
        offset += count * kind.itemsize
    return arrays


def _read_state(plain_fields: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> State:
    conditions = Conditions(**{f.name: arrays[f"state.conditions.{f.name}"] for f in dataclasses.fields(Conditions)})
    values: dict[str, Any] = {name: _from_json(value) for name, value in plain_fields.items()}
    values["conditions"] = conditions
    values["signals"] = [(int(cursor), signal) for cursor, signal in values["signals"]]
    for field in dataclasses.fields(State):
        if f"state.{field.name}" in arrays:
            values[field.name] = arrays[f"state.{field.name}"]
    return State(**values)


def _fill(history: History, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    running = history.running
    for name in ("operations", "edges", "station_busy", "station_capacity"):
        setattr(running, name, arrays[f"running.{name}"])
    running.ticks = int(header["ticks"])
    if "history.at_ns" in arrays:
        history.scrapes = [
            Scrape(
                at_ns=int(at_ns),
                services=arrays["history.services"][i].copy(),
                edges=arrays["history.edges"][i].copy(),
                operations=arrays["history.operations"][i].copy(),
            )
            for i, at_ns in enumerate(arrays["history.at_ns"])
        ]


def _to_json(value: Any) -> Any:
    if isinstance(value, Enum):
        return {"#": type(value).__name__, "=": value.value}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"#": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {"#": "map", "=": [[key, _to_json(value[key])] for key in sorted(value)]}
    if isinstance(value, tuple):
        return {"#": "tuple", "=": [_to_json(item) for item in value]}
    if isinstance(value, list):
        return [_to_json(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value["#"]
    if kind == "tuple":
        return tuple(_from_json(item) for item in value["="])
    if kind == "map":
        return {key: _from_json(item) for key, item in value["="]}
    cls = _RECORDS[kind]
    if issubclass(cls, Enum):
        return cls(value["="])
    # A frozen record's mapping is frozen too; plain dicts are the State's own and read elsewhere.
    fields = {name: _from_json(item) for name, item in value.items() if name != "#"}
    return cls(**{n: types.MappingProxyType(v) if isinstance(v, dict) else v for n, v in fields.items()})
