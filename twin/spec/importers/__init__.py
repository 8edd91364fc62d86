"""Fleets from what people already have: Kubernetes manifests, hints and metrics."""

from __future__ import annotations

from twin.spec.importers.hints import Hints, hints_schema, read_hints
from twin.spec.importers.kubernetes import import_kubernetes
from twin.spec.importers.manifests import ManifestText, read_sources
from twin.spec.importers.metrics import Metrics, apply_metrics, read_metrics
from twin.spec.importers.notes import ImportResult, Note, NoteKind, Severity

__all__ = [
    "Hints",
    "ImportResult",
    "ManifestText",
    "Metrics",
    "Note",
    "NoteKind",
    "Severity",
    "apply_metrics",
    "hints_schema",
    "import_kubernetes",
    "read_hints",
    "read_metrics",
    "read_sources",
]
