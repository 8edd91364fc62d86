"""Values of ConfigMaps that production has and a twin has not, and which of them its pods have read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from twin.ports.plant import Plant
from twin.spec.errors import NotFound
from twin.spec.fleet import Fleet, Service
from twin.spec.plan import ObjectRef

__all__ = ["NewValue", "new_values", "values_read"]


@dataclass(frozen=True, slots=True)
class NewValue:
    """`value` None: the key is gone."""

    ref: ObjectRef
    key: str
    value: str | None


def new_values(twin: Fleet, plant: Plant) -> list[NewValue]:
    """What differs of the twin's ConfigMaps, in order. One that is gone is left as it was. Raises ApiError."""
    found = []
    for one in twin.config_maps:
        ref = ObjectRef(kind="ConfigMap", name=one.name, namespace=one.namespace)
        try:
            data: Mapping[str, str] = plant.kube.get(ref).get("data") or {}
        except NotFound:
            continue
        for key in sorted({*one.data, *data}):
            if data.get(key) != one.data.get(key):
                found.append(NewValue(ref, key, data.get(key)))
    return found


def values_read(service: Service, changed: list[NewValue]) -> Iterator[NewValue]:
    """Those of the new values that a service's containers read as they start."""
    for one in changed:
        for read in service.reads:
            of_it = not read.secret and (service.namespace, read.source) == (one.ref.namespace, one.ref.name)
            if of_it and read.key in ("", one.key):
                yield one
                break
