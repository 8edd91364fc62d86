"""Read YAML (and JSON) that a stranger may have written: plain values, a line for each of them, no surprises.

PyYAML's own constructors are not used, for four reasons. They take the last of two equal keys. They read
`on` as a truth and `1:30` as ninety. They follow aliases without counting, so that ten lines can become a
billion nodes. And libyaml's composer recurses in C: deep nesting ends the process, not the call. Here its
flat stream of events is built up in a loop with a bound on size, depth and expansion.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from twin.spec.errors import BadInput

__all__ = [
    "BYTES_MAX",
    "Document",
    "KeyPath",
    "Problem",
    "bad_file",
    "parse_document",
    "read_bytes_as_text",
    "read_file_text",
    "single_document",
    "split_documents",
]

BYTES_MAX: Final = 32 * 2**20  # A fleet of 10,000 services takes about 12 MB.
DEPTH_MAX: Final = 64
ALIASED_MAX: Final = 200_000  # Values that come from aliases; written out ones are bounded by BYTES_MAX.

KeyPath = tuple[str | int, ...]  # Keys and indexes from the root, as ("services", 0, "id").


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong in a text: at which line (from 1), what, and what to do about it."""

    line: int
    message: str
    next_step: str


class Document:
    """One YAML document: `value` in plain dicts, lists and scalars (keys are always text), lines on demand."""

    __slots__ = ("_find_lines", "_lines", "first_line", "value")

    def __init__(self, value: Any, first_line: int, find_lines: Callable[[], Mapping[int, Any]]) -> None:
        self.value = value
        self.first_line = first_line
        self._find_lines = find_lines
        self._lines: Mapping[int, Any] | None = None

    def line(self, path: Sequence[str | int]) -> int:
        """The line, from 1, of the deepest part of `path` that exists: of a key, or of a list's item."""
        if self._lines is None:
            self._lines = self._find_lines()
        lines, line, here = self._lines, self.first_line, self.value
        for step in path:
            if isinstance(here, dict) and isinstance(step, str) and step in here:
                line = lines.get(id(here), {}).get(step, line)
            elif isinstance(here, list) and isinstance(step, int) and 0 <= step < len(here):
                line = lines[id(here)][step] if id(here) in lines else line
            else:
                break
            here = here[step]
        return line


def bad_file(name: str, problem: Problem, more_count: int = 0) -> BadInput:
    """The three lines that a person gets for `problem` in the file `name`."""
    more = f" (and {more_count} more)" if more_count else ""
    return BadInput(f"cannot read {name}", f"line {problem.line}: {problem.message}{more}", problem.next_step)


def read_file_text(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises BadInput if it is missing, no file, larger than BYTES_MAX (found out before reading) or not UTF-8.
    """
    try:
        if path.is_dir():
            raise BadInput(f"cannot read {path}", "it is a folder", "name a file")
        size = path.stat().st_size
        if size > BYTES_MAX:
            raise _too_large(str(path), size)
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)  # A pipe states no size, and a file may grow while it is read.
    except FileNotFoundError as error:
        raise BadInput(f"cannot read {path}", "there is no such file", "check the name") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read {path}", str(error), "check the name and the file's permissions") from error
    return read_bytes_as_text(data, str(path))


def read_bytes_as_text(data: bytes, name: str) -> str:
    """UTF-8 text of what was read. Raises BadInput if it is larger than BYTES_MAX or not UTF-8."""
    if len(data) > BYTES_MAX:
        raise _too_large(name, len(data))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise bad_file(name, Problem(line, "this is not UTF-8 text", "save the file as UTF-8")) from error


def split_documents(text: str) -> Iterator[tuple[int, str]]:
    """Each document of a multi-document text with its first line, cut at the `---` lines.

    YAML allows no such line inside a document, so a broken document never swallows its neighbours.
    """
    starts = [0, *(match.start() for match in _SEPARATOR.finditer(text) if match.start() > 0)]
    line = 1
    for index, start in enumerate(starts):
        end = starts[index + 1] if index + 1 < len(starts) else len(text)
        chunk = text[start:end]
        yield line, chunk
        line += chunk.count("\n")


def single_document(text: str, name: str) -> Document:
    """The one document of `text`. Raises BadInput if it cannot be read, is empty or has company."""
    if len(text) > BYTES_MAX:
        raise _too_large(name, len(text))
    result = parse_document(text)
    if isinstance(result, Problem):
        raise bad_file(name, result)
    if result is None:
        raise bad_file(name, Problem(1, "the file is empty", "see examples/ for what belongs in it"))
    return result


def parse_document(text: str, first_line: int = 1) -> Document | Problem | None:
    """The document in `text`, which starts at `first_line` of its file; None if there is nothing in it."""
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(text, object_pairs_hook=_json_object)
        except (ValueError, RecursionError):
            pass  # Flow-style YAML, or wrong: the slow way can tell, and names the line.
        else:
            # Lines are wanted only when something is wrong, so they are looked for only then.
            return Document(value, first_line, lambda: _lines_of_json(text, first_line, value))
    try:
        return _Builder(text, first_line).build()
    except _Stop as stop:
        return stop.problem
    except yaml.MarkedYAMLError as error:
        return _problem_of(error, text, first_line)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Problem(first_line, f"this is not YAML: {reason}", "correct the file, or save it as plain UTF-8")


# --- building ---------------------------------------------------------------------------------------------


class _Stop(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(slots=True)
class _Open:
    """A mapping or a list whose end has not come yet."""

    value: Any
    lines: Any  # {key: line} for a mapping, [line] for a list
    anchor: str | None
    start_line: int
    size: int = 1  # nodes, aliases expanded
    key: str | None = None
    key_line: int = 0
    merges: list[dict[str, Any]] | None = None


class _Builder:
    """Turns libyaml's events into values. Refuses a second document."""

    def __init__(self, text: str, first_line: int) -> None:
        self._loader = _loader(text)
        self._first_line = first_line
        self._lines: dict[int, Any] = {}
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._open_anchors: set[str] = set()
        self._aliased = 0
        self._root: Any = _NOTHING
        self._root_line = first_line

    def build(self) -> Document | None:
        documents = 0
        next_event = self._loader.get_event
        while True:
            event = next_event()
            kind = type(event)
            if kind is yaml.ScalarEvent:
                self._scalar(event)
            elif kind is yaml.MappingStartEvent:
                self._start(event, {}, {})
            elif kind is yaml.SequenceStartEvent:
                self._start(event, [], [])
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._end()
            elif kind is yaml.AliasEvent:
                self._alias(event)
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    line = self._line(event)
                    raise _Stop(Problem(line, "a second document begins", "keep one document in this file"))
            elif kind is yaml.StreamEndEvent:
                break
        if self._root is _NOTHING or (self._root is None and documents <= 1):
            return None
        lines = self._lines
        return Document(self._root, self._root_line, lambda: lines)

    def _line(self, event: Any) -> int:
        return int(event.start_mark.line) + self._first_line

    def _scalar(self, event: Any) -> None:
        line = self._line(event)
        top = self._stack[-1] if self._stack else None
        if top is not None and top.key is None and type(top.value) is dict:
            self._key(top, event.value, line, plain=event.implicit[0])
            return
        value = _scalar_value(event, line)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        self._put(value, line, 1)

    def _key(self, top: _Open, key: str, line: int, *, plain: bool) -> None:
        if key == "<<" and plain:
            top.merges = top.merges or []
        elif key in top.value:
            first = top.lines[key]
            text = f'"{_short(key)}" is given twice, first at line {first}'
            raise _Stop(Problem(line, text, "keep one of the two"))
        top.key, top.key_line = key, line

    def _start(self, event: Any, value: Any, lines: Any) -> None:
        line = self._line(event)
        if len(self._stack) >= DEPTH_MAX:
            raise _Stop(Problem(line, f"nested more than {DEPTH_MAX} deep", "flatten the file"))
        if event.tag is not None and event.tag not in _CONTAINER_TAGS:
            raise _Stop(_unknown_tag(event.tag, line))
        if self._stack and type(self._stack[-1].value) is dict and self._stack[-1].key is None:
            hint = 'quote it, as in name: "{{ … }}"' if type(value) is dict else "use text as a key"
            raise _Stop(Problem(line, "a mapping or a list stands where a key belongs", hint))
        if event.anchor is not None:
            self._open_anchors.add(event.anchor)
        self._stack.append(_Open(value, lines, event.anchor, line))

    def _end(self) -> None:
        top = self._stack.pop()
        if top.merges:
            for merged in top.merges:
                for key, value in merged.items():
                    if key not in top.value:
                        top.value[key] = value
                        top.lines[key] = top.start_line
        self._lines[id(top.value)] = top.lines
        if top.anchor is not None:
            self._open_anchors.discard(top.anchor)
            self._anchors[top.anchor] = (top.value, top.size)
        self._put(top.value, top.start_line, top.size)

    def _alias(self, event: Any) -> None:
        line = self._line(event)
        if event.anchor in self._open_anchors:
            raise _Stop(Problem(line, f'"*{event.anchor}" contains itself', "remove the alias"))
        if event.anchor not in self._anchors:
            raise _Stop(Problem(line, f'"*{event.anchor}" names no anchor', f"define &{event.anchor} before it"))
        value, size = self._anchors[event.anchor]
        top = self._stack[-1] if self._stack else None
        if top is not None and top.key is None and type(top.value) is dict:
            raise _Stop(Problem(line, "an alias stands where a key belongs", "write the key out"))
        self._aliased += size
        if self._aliased > ALIASED_MAX:
            text = f"aliases expand to more than {ALIASED_MAX:,} values"
            raise _Stop(Problem(line, text, "write the values out, or use fewer aliases"))
        self._put(value, line, size)

    def _put(self, value: Any, line: int, size: int) -> None:
        if not self._stack:
            self._root, self._root_line = value, line
            return
        top = self._stack[-1]
        top.size += size
        if type(top.value) is list:
            top.value.append(value)
            top.lines.append(line)
            return
        key = top.key
        assert key is not None
        top.key = None
        if key == "<<" and top.merges is not None and key not in top.value:
            top.merges.extend(_mergeable(value, line))
            return
        top.value[key] = value
        top.lines[key] = top.key_line


_NOTHING: Final = object()
_SEPARATOR: Final = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_CONTAINER_TAGS: Final = ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_INT: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*|\.[0-9]+|(?:0|[1-9][0-9]*))(?:[eE][-+]?[0-9]{1,4})?")
_WORDS: Final[Mapping[str, Any]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan"),
    ".Inf": float("inf"), "-.Inf": float("-inf"), ".NaN": float("nan"),
}  # fmt: skip
_NUMBER_START: Final = frozenset("0123456789+-.")


def _loader(text: str) -> Any:
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return loader(text)


def _scalar_value(event: Any, line: int) -> Any:
    text = event.value
    if event.implicit[0]:  # Plain and untagged.
        return _plain_value(text)
    tag = event.tag
    if tag is None or tag == "!" or tag == "tag:yaml.org,2002:str":
        return text
    if tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null"):
        return _plain_value(text)
    raise _Stop(_unknown_tag(tag, line))


def _plain_value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMBER_START:
        if _INT.fullmatch(text):
            return int(text)
        if len(text) <= 40 and _FLOAT.fullmatch(text):
            return float(text)
    return text


def _mergeable(value: Any, line: int) -> list[dict[str, Any]]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in values):
        raise _Stop(Problem(line, '"<<" merges something that is no mapping', "merge mappings only"))
    return values


def _unknown_tag(tag: str, line: int) -> Problem:
    return Problem(line, f'the tag "{_short(tag)}" is not understood', "use plain YAML without tags")


def _problem_of(error: yaml.MarkedYAMLError, text: str, first_line: int) -> Problem:
    mark = error.problem_mark or error.context_mark
    last = text.rstrip().count("\n")  # What is missing at the end is noticed after it: in the next document.
    line = first_line + (min(mark.line, last) if mark is not None else 0)
    reason = error.problem or error.context or "the text breaks off"
    next_step = "correct the indentation or quote the text"
    if "nesting depth" in reason:  # Newer parsers stop by themselves before a bound of ours is reached.
        return Problem(line, f"nested more than {DEPTH_MAX} deep", "flatten the file")
    if "cannot start any token" in reason:
        next_step = "indent with spaces, never with tabs, and quote text that starts with @ or `"
    return Problem(line, f"this is not YAML: {reason}", next_step)


def _json_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")  # The slow way finds the line.
    return result


def _lines_of_json(text: str, first_line: int, value: Any) -> Mapping[int, Any]:
    """Lines for containers that json made: build the same text again as YAML and pair the two up."""
    try:
        builder = _Builder(text, first_line)
        again = builder.build()
    except (_Stop, yaml.YAMLError, ValueError):
        return {}  # JSON that YAML 1.1 refuses (tabs): the first line has to do.
    if again is None:
        return {}
    found: dict[int, Any] = {}
    pairs = [(value, again.value)]
    while pairs:
        ours, theirs = pairs.pop()
        lines = builder._lines.get(id(theirs))
        if type(ours) is not type(theirs) or lines is None:
            continue
        found[id(ours)] = lines
        if isinstance(ours, dict):
            pairs.extend((ours[key], theirs[key]) for key in ours if key in theirs)
        else:
            pairs.extend(zip(ours, theirs))
    return found


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _too_large(name: str, size: int) -> BadInput:
    return BadInput(
        f"cannot read {name}",
        f"it has {size / 2**20:.0f} MB, and {BYTES_MAX / 2**20:.0f} MB is the most that is read",
        "split it, or leave out what is not needed",
    )
