"""ResourceQuotas of manifests and clusters: what a World counts of them, and notes on the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twin.spec.errors import BadInput
from twin.spec.fleet import QUOTA_RESOURCES, Quota
from twin.spec.importers.manifests import Manifest, as_map
from twin.spec.importers.notes import Note, NoteKind, Severity
from twin.spec.units import parse_bytes, parse_cores

__all__ = ["bounds_of", "is_scoped", "quota_of"]

_ALIASES: Final = {"cpu": "requests.cpu", "memory": "requests.memory", "count/pods": "pods"}
_PODS_MAX: Final = 1e6
_CORES_MAX: Final = 1e6
_BYTES_MAX: Final = 2.0**50


def is_scoped(spec: Mapping[str, Any]) -> bool:
    """Whether a quota is for some of the pods only, by priority or by kind."""
    return bool(spec.get("scopes") or spec.get("scopeSelector"))


def quota_of(manifest: Manifest, notes: list[Note]) -> Quota | None:
    """Pods, cpu and memory of a quota; what else it bounds is noted and left out. None if it is for some pods only."""
    spec = as_map(manifest.data.get("spec"))
    if is_scoped(spec):
        text = f'left out: ResourceQuota "{manifest.id}" is for some pods only'
        notes.append(manifest.note(Severity.WARNING, NoteKind.IGNORED, text, "spec"))
        return None
    hard = {str(key): value for key, value in as_map(spec.get("hard")).items()}
    for key in sorted(hard):
        name = _ALIASES.get(key, key)
        if name not in QUOTA_RESOURCES:
            text = f'ResourceQuota "{manifest.id}" bounds {key}, which is not modelled'
            notes.append(manifest.note(Severity.INFO, NoteKind.IGNORED, text, "spec", "hard", key))
        elif _amount(name, hard[key]) is None:
            text = f'ResourceQuota "{manifest.id}" bounds {key} by {hard[key]!r:.60}, which is no amount'
            notes.append(manifest.note(Severity.WARNING, NoteKind.BROKEN, text, "spec", "hard", key))
    return bounds_of(manifest.name, manifest.namespace, hard)


def bounds_of(name: str, namespace: str, hard: Mapping[str, Any]) -> Quota:
    """A Quota from a ResourceQuota's spec.hard. Of two names for one thing the smaller figure counts."""
    amounts: dict[str, float] = {}
    for key in hard:
        resource = _ALIASES.get(key, key)
        amount = _amount(resource, hard[key]) if resource in QUOTA_RESOURCES else None
        if amount is not None:
            amounts[resource] = min(amount, amounts.get(resource, amount))

    def whole(resource: str) -> int | None:
        return round(amounts[resource]) if resource in amounts else None

    return Quota(
        name=name, namespace=namespace, pods=whole("pods"),
        cpu_request_cores=amounts.get("requests.cpu"), memory_request_bytes=whole("requests.memory"),
        cpu_limit_cores=amounts.get("limits.cpu"), memory_limit_bytes=whole("limits.memory"),
    )  # fmt: skip


def _amount(resource: str, quantity: Any) -> float | None:
    """Pods, cores or bytes; None for what is none."""
    if isinstance(quantity, bool) or not isinstance(quantity, int | float | str):
        return None
    try:
        if resource.endswith("memory"):
            amount, most = float(parse_bytes(quantity)), _BYTES_MAX
        else:
            amount, most = parse_cores(quantity), _CORES_MAX if resource.endswith("cpu") else _PODS_MAX
    except (BadInput, OverflowError, ValueError):
        return None
    return amount if 0.0 <= amount <= most and (resource != "pods" or amount == int(amount)) else None
