"""Read Kubernetes manifests from files, folders and streams, one object at a time; what is broken is noted."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twin.spec.errors import BadInput
from twin.spec.importers.notes import Note, NoteKind, Severity
from twin.spec.yaml_reader import Document, KeyPath, Problem, parse_document, read_file_text, split_documents

__all__ = ["Manifest", "ManifestText", "as_list", "as_map", "as_text", "read_manifests", "read_sources"]

_SUFFIXES: Final = (".yaml", ".yml", ".json")
_FILES_MAX: Final = 20_000
_TEMPLATE: Final = re.compile(r"\{\{.*?\}\}|\{\{-|\{%")
# What Helm would fill in and the model needs. Elsewhere (a dashboard in a ConfigMap) braces are just text.
_NEEDED: Final = (
    ("kind",),
    ("metadata", "name"),
    ("metadata", "namespace"),
    ("spec", "replicas"),
    ("spec", "selector"),
)


@dataclass(frozen=True, slots=True)
class ManifestText:
    """The text of one file, and what to call it in messages."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """One Kubernetes object. `at` is its place in the document: () or ("items", 3) in a List."""

    kind: str
    namespace: str
    name: str
    data: dict[str, Any]
    file: str
    document: Document
    at: KeyPath

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"

    def line(self, *path: str | int) -> int:
        """The line of a part of the object, or of the nearest part above it that exists."""
        return self.document.line((*self.at, *path))

    def note(self, severity: Severity, kind: NoteKind, text: str, *path: str | int) -> Note:
        return Note(severity=severity, kind=kind, text=text, file=self.file, line=self.line(*path))


def as_map(value: Any) -> dict[str, Any]:
    """`value` if it is a mapping, else an empty one: manifests hold anything anywhere."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """`value` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """`value` as text; empty for what is no scalar. Truths are written as YAML writes them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


def read_sources(paths: Sequence[Path]) -> tuple[list[ManifestText], list[Note]]:
    """The texts of files and of every manifest below folders, in a fixed order, and notes on what is unreadable.

    Raises BadInput if a path does not exist, or if there are too many files.
    """
    texts: list[ManifestText] = []
    notes: list[Note] = []
    for path in paths:
        if not path.exists():
            raise BadInput(f"cannot read {path}", "there is no such file or folder", "check the name")
        files = list(_files_below(path)) if path.is_dir() else [path]
        if len(files) > _FILES_MAX:
            raise BadInput(f"cannot read {path}", f"more than {_FILES_MAX:,} files", "name the folders that matter")
        for file in files:
            try:
                texts.append(ManifestText(str(file), read_file_text(file)))
            except BadInput as error:
                notes.append(
                    Note(severity=Severity.ERROR, kind=NoteKind.BROKEN, text=f"left out: {error.why}", file=str(file))
                )
    return texts, notes


def read_manifests(texts: Sequence[ManifestText], default_namespace: str) -> tuple[list[Manifest], list[Note]]:
    """Every object of every document; broken and templated documents become notes and the rest goes on."""
    found: list[Manifest] = []
    notes: list[Note] = []
    for text in texts:
        for first_line, chunk in split_documents(text.text):
            document = parse_document(chunk, first_line)
            if document is None:
                continue
            if isinstance(document, Problem):
                notes.append(_note_of_problem(document, chunk, first_line, text.name))
                continue
            for at, data in _objects(document):
                _take(found, notes, document, at, data, text.name, default_namespace)
    return found, notes


def _files_below(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.endswith(_SUFFIXES) and not name.startswith("."):
                yield Path(root) / name


def _objects(document: Document) -> Iterator[tuple[KeyPath, Any]]:
    value = document.value
    if isinstance(value, dict) and as_text(value.get("kind")).endswith("List") and isinstance(value.get("items"), list):
        for index, item in enumerate(value["items"]):
            yield ("items", index), item
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield (index,), item
    else:
        yield (), value


def _take(
    found: list[Manifest],
    notes: list[Note],
    document: Document,
    at: KeyPath,
    data: Any,
    file: str,
    default_namespace: str,
) -> None:
    def note(severity: Severity, kind: NoteKind, text: str, path: KeyPath = ()) -> None:
        notes.append(Note(severity=severity, kind=kind, text=text, file=file, line=document.line((*at, *path))))

    metadata = as_map(as_map(data).get("metadata"))
    kind, name = as_text(as_map(data).get("kind")), as_text(metadata.get("name"))
    for path in _NEEDED:
        if _TEMPLATE.search(_all_text(_at(data, path))):
            note(Severity.ERROR, NoteKind.TEMPLATED, "left out: a template, not yet filled in; run helm template", path)
            return
    if not kind or not name:
        missing = "kind" if not kind else "metadata.name"
        note(Severity.WARNING, NoteKind.IGNORED, f"left out: no Kubernetes object (it has no {missing})")
        return
    if "/" in name or ":" in name or " " in name:
        note(Severity.ERROR, NoteKind.BROKEN, f'left out: "{name}" is no name of an object', ("metadata", "name"))
        return
    namespace = as_text(metadata.get("namespace")) or default_namespace
    if "/" in namespace or ":" in namespace or " " in namespace:
        note(Severity.ERROR, NoteKind.BROKEN, f'left out: "{namespace}" is no namespace', ("metadata", "namespace"))
        return
    found.append(Manifest(kind, namespace, name, data, file, document, at))


def _at(data: Any, path: KeyPath) -> Any:
    for step in path:
        data = as_map(data).get(str(step))
    return data


def _all_text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_all_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(_all_text(item) for item in value)
    return as_text(value)


def _note_of_problem(problem: Problem, chunk: str, first_line: int, file: str) -> Note:
    """Templates are the commonest reason why a manifest is no YAML: then say so, at the template's line."""
    for offset, row in enumerate(chunk.splitlines()):
        if _TEMPLATE.search(row) and not row.lstrip().startswith("#"):
            text = "left out: a template, not yet filled in; run helm template"
            return Note(
                severity=Severity.ERROR, kind=NoteKind.TEMPLATED, text=text, file=file, line=first_line + offset
            )
    text = f"left out: {problem.message}; {problem.next_step}"
    return Note(severity=Severity.ERROR, kind=NoteKind.BROKEN, text=text, file=file, line=problem.line)
