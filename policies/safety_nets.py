"""Read the safety nets file, strictly, and hand it to Rego as plain integers and words.

A typo here must not switch a net off, so everything unknown is an error with its line: unknown keys, unknown
action kinds, duplicate keys, YAML's odd booleans and sexagesimal numbers. Anchors and aliases are refused, since
a page of them can stand for gigabytes.

Dates become epoch seconds *here*. Rego in WebAssembly has no date functions, and another Rego implementation was
seen to parse RFC 3339 into "undefined" without a word, so that a freeze never came.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationError, model_validator

from policies.errors import NetsFileError
from policies.model import ActionKind

__all__ = ["NETS_FILE", "SafetyNets", "load_nets", "parse_nets"]

NETS_FILE = Path(__file__).with_name("safety_nets.yaml")
SIZE_MAX_BYTES = 64 * 1024
DEPTH_MAX = 8
WEEK_S = 7 * 86_400

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip # Spelled out: strftime would follow the machine's language.


@dataclass(frozen=True, slots=True)
class SafetyNets:
    """The nets as Rego's `input.nets`. `revision_json` is the same without line numbers: a moved line is no change."""

    data: dict[str, Any]

    @property
    def revision_json(self) -> Any:
        return _without_sources(self.data)


def load_nets(path: Path = NETS_FILE) -> SafetyNets:
    """The nets in a file. Raises NetsFileError."""
    try:
        with path.open("rb") as file:
            raw = file.read(SIZE_MAX_BYTES + 1)
    except OSError as error:
        raise NetsFileError(
            f"cannot read {path.name}", error.strerror or str(error), "name an existing safety nets file"
        ) from error
    return parse_nets(raw, path.name)


def parse_nets(raw: bytes, file: str = "safety_nets.yaml") -> SafetyNets:
    """The nets in a file's bytes. Raises NetsFileError, with the line when there is one."""
    if len(raw) > SIZE_MAX_BYTES:
        raise _refused(file, f"larger than {SIZE_MAX_BYTES // 1024} KiB", "keep only nets in it")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(file, f"not UTF-8 at byte {error.start}", "save it as UTF-8") from error
    lines: dict[tuple[str | int, ...], int] = {}
    value = _plain_yaml(text, file, lines)
    try:
        parsed = _File.model_validate(value)
    except ValidationError as error:
        raise _refused(file, *_told(error, lines)) from error
    return SafetyNets(_to_input(parsed, file, lines))


def _to_input(parsed: _File, file: str, lines: dict[tuple[str | int, ...], int]) -> dict[str, Any]:
    def source(*path: str | int) -> str:
        return f"{file}:{lines[path]}"

    return {
        "never": [
            {
                "name": net.name,
                "any_action": net.actions == "any",
                "actions": [] if net.actions == "any" else [str(kind) for kind in net.actions],
                "namespaces": net.namespaces,
                "subnets": net.subnets,
                "labels": net.labels,
                "phrases": net.phrases,
                "source": source("never", index),
            }
            for index, net in enumerate(parsed.never)
        ],
        "nodes": {"max": parsed.nodes_max, "source": source("nodes_max")},
        "restart_rate": {
            "per_minute_max": parsed.pod_terminations_per_minute_max,
            "source": source("pod_terminations_per_minute_max"),
        },
        "freezes": [one.to_input() | {"source": source("freezes", index)} for index, one in enumerate(parsed.freezes)],
        "evidence": {"levels": list(parsed.live_evidence_levels), "source": source("live_evidence_levels")},
        "harmless": {"promote": parsed.promote_harmless, "source": source("promote_harmless")},
    }


# --- what the file may say ---------------------------------------------------------------------------------------


def _name(value: object) -> object:
    if isinstance(value, str) and (not value.strip() or not value.isprintable()):
        raise ValueError("must be printable words")
    return value


def _phrase(value: object) -> object:
    if isinstance(value, str) and not any(mark.isalnum() for mark in value):
        raise ValueError("must say something")  # Punctuation is dropped before comparing: it would match anything.
    return _name(value)


def _actions(value: object) -> object:
    """By hand: pydantic's word on a union names every branch that a typo is not."""
    known = sorted(kind for kind in ActionKind if kind is not ActionKind.READ)
    if value == "any":
        return value
    if not isinstance(value, list) or not value:
        raise ValueError('give "any" or a list of actions')
    unknown = [item for item in value if item not in known]
    if unknown:
        raise ValueError(f"no such action: {unknown[0]}; known: {', '.join(known)}")
    return [ActionKind(item) for item in value]


Name = Annotated[str, BeforeValidator(_name), Field(max_length=120)]
Phrase = Annotated[str, BeforeValidator(_phrase), Field(max_length=120)]
Actions = Annotated[Literal["any"] | list[ActionKind], PlainValidator(_actions)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Never(_Strict):
    name: Name
    actions: Actions
    namespaces: list[Name] = []
    subnets: list[Name] = []
    labels: dict[Name, Annotated[str, Field(max_length=120)]] = {}
    phrases: list[Phrase] = []


class _EveryWeek(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=False)
    from_: Annotated[str, Field(alias="from")]
    until: str
    utc_offset: str


class _Freeze(_Strict):
    name: Name
    start: str | None = None
    end: str | None = None
    every_week: _EveryWeek | None = None

    @model_validator(mode="after")
    def _has_one_form(self) -> _Freeze:
        once = self.start is not None and self.end is not None
        if once == (self.every_week is not None) or (self.start is None) != (self.end is None):
            raise ValueError("give start and end, or every_week")
        self.to_input()
        return self

    def to_input(self) -> dict[str, Any]:
        if self.every_week is not None:
            start_s, end_s, until = _weekly(self.every_week)
            return {"name": self.name, "start_s": start_s, "end_s": end_s, "repeat_s": WEEK_S, "until": until}
        assert self.start is not None
        assert self.end is not None
        start, end = _moment(self.start), _moment(self.end)
        if end <= start:
            raise ValueError("ends before it starts")
        return {
            "name": self.name,
            "start_s": _epoch_s(start),
            "end_s": _epoch_s(end),
            "repeat_s": 0,
            "until": _in_words(end),
        }


class _File(_Strict):
    version: Literal[1]
    never: Annotated[list[_Never], Field(min_length=1, max_length=200)]
    nodes_max: Annotated[int, Field(ge=1, le=1_000_000)]
    pod_terminations_per_minute_max: Count
    freezes: Annotated[list[_Freeze], Field(max_length=200)]
    live_evidence_levels: Annotated[list[Literal["control_plane", "stand_ins", "real_images"]], Field(min_length=1)]
    promote_harmless: bool

    @model_validator(mode="after")
    def _names_differ(self) -> _File:
        names = [net.name for net in self.never]
        if len(set(names)) != len(names):
            raise ValueError("two nets bear one name")
        return self


# --- dates -------------------------------------------------------------------------------------------------------

_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_OFFSET = re.compile(r"([+-])(\d\d):(\d\d)", re.ASCII)
_WEEKDAY_TIME = re.compile(r"([A-Za-z]+) (\d\d):(\d\d)", re.ASCII)


def _offset_s(text: str) -> int:
    if text in ("Z", "z"):
        return 0
    found = _OFFSET.fullmatch(text)
    if found is None or int(found[2]) > 14 or int(found[3]) > 59:
        raise ValueError(f'"{text}" is no offset from UTC; write it as +01:00')
    return (1 if found[1] == "+" else -1) * (int(found[2]) * 3600 + int(found[3]) * 60)


def _moment(text: str) -> dt.datetime:
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise ValueError(f'"{text}" is no RFC 3339 time with an offset; write it as 2026-12-24T18:00:00+01:00')
    zone = dt.timezone(dt.timedelta(seconds=_offset_s(found[7])))
    year, month, day, hour, minute, second = (int(found[group]) for group in range(1, 7))
    if not 1971 <= year <= 9998:  # With a day to spare on both sides of what the offsets can move.
        raise ValueError(f"the year {year} is out of range")
    return dt.datetime(year, month, day, hour, minute, second, tzinfo=zone)  # Raises for a 31 June.


def _epoch_s(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(seconds=1)


def _in_words(moment: dt.datetime) -> str:
    day, month = DAYS[moment.weekday()], MONTHS[moment.month - 1]
    return f"{day} {moment.day} {month} {moment.year} {moment:%H:%M} ({_zone_words(moment.utcoffset())})"


def _zone_words(offset: dt.timedelta | None) -> str:
    minutes = (offset or dt.timedelta()) // dt.timedelta(minutes=1)
    return f"UTC{'+' if minutes >= 0 else '-'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _weekly(every_week: _EveryWeek) -> tuple[int, int, str]:
    """The first such window after 1970 began, and its end in words. Summer time is the editor's to mind."""
    offset_s = _offset_s(every_week.utc_offset)
    start_s, end_s = _in_week_s(every_week.from_), _in_week_s(every_week.until)
    duration_s = (end_s - start_s) % WEEK_S
    if duration_s == 0:
        raise ValueError("starts and ends at the same time of the week")
    monday_s = 4 * 86_400  # 1970 began on a Thursday.
    first_s = (monday_s + start_s - offset_s) % WEEK_S
    until = f"{every_week.until.split()[0].capitalize()} {every_week.until.split()[1]}"
    return first_s, first_s + duration_s, f"{until} ({_zone_words(dt.timedelta(seconds=offset_s))})"


def _in_week_s(text: str) -> int:
    found = _WEEKDAY_TIME.fullmatch(text)
    if found is None or found[1].capitalize() not in DAYS or int(found[2]) > 23 or int(found[3]) > 59:
        raise ValueError(f'"{text}" is no time of the week; write it as Monday 06:00')
    return DAYS.index(found[1].capitalize()) * 86_400 + int(found[2]) * 3600 + int(found[3]) * 60


# --- YAML --------------------------------------------------------------------------------------------------------

_INT = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)


def _plain_yaml(text: str, file: str, lines: dict[tuple[str | int, ...], int]) -> Any:
    """One YAML document as plain values; `lines` gets the line of each value by its path."""
    try:
        depth = documents = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                raise _refused(f"{file}:{line}", "anchors and aliases are not read", "write the value out")
            if getattr(event, "tag", None) is not None:
                raise _refused(f"{file}:{line}", "tags are not read", "write the plain value")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            documents += isinstance(event, yaml.DocumentStartEvent)
            if depth > DEPTH_MAX:
                raise _refused(f"{file}:{line}", f"nested deeper than {DEPTH_MAX}", "see policies/README.md")
            if documents > 1:
                raise _refused(f"{file}:{line}", "more than one document", "keep the first")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = file if mark is None else f"{file}:{mark.line + 1}"
        raise _refused(where, error.problem or "not YAML", "correct the line") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # The last two: "\U99999999" is no character.
        raise _refused(file, str(error).splitlines()[0], "correct the file") from error
    if node is None:
        raise _refused(file, "empty", "see policies/README.md")
    return _value(node, file, (), lines)


def _value(node: Any, file: str, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> Any:
    line = node.start_mark.line + 1
    lines[path] = line
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, file, (*path, index), lines) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _refused(f"{file}:{line}", "a key must be a word", "correct the line")
            key = key_node.value
            if key in mapping:
                raise _refused(f"{file}:{key_node.start_mark.line + 1}", f'"{key}" is given twice', "keep one of them")
            mapping[key] = _value(value_node, file, (*path, key), lines)
            lines[(*path, key)] = key_node.start_mark.line + 1
        return mapping
    return _scalar(node)


def _scalar(node: Any) -> str | int | bool | None:
    """YAML 1.1 reads `no` as false, `010` as 8 and `18:00` as 1080. Here they stay words."""
    text: str = node.value
    if node.style is not None:  # Quoted, or a block.
        return text
    if text in ("true", "false"):
        return text == "true"
    if text in ("", "~", "null"):
        return None
    return int(text) if _INT.fullmatch(text) else text


# --- errors ------------------------------------------------------------------------------------------------------


def _refused(where: str, why: str, next_step: str) -> NetsFileError:
    return NetsFileError(f"cannot read {where}", why, next_step)


def _told(error: ValidationError, lines: dict[tuple[str | int, ...], int]) -> tuple[str, str]:
    """Why, for one fault: the line of the closest value that stands in the file, and the path to it."""
    faults = error.errors(include_url=False, include_context=False)
    # A misspelt key is both unknown and missing; the unknown one stands in the file.
    first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
    path: tuple[str | int, ...] = ()
    for part in first["loc"]:
        if (*path, part) in lines:  # A key that is missing has no line of its own.
            path = (*path, part)
    told = ".".join(str(part) for part in first["loc"]) or "the file"
    why = first["msg"].removeprefix("Value error, ")
    return f"line {lines[path]}: {told}: {why}", "correct the line; policies/README.md lists what may stand there"


def _without_sources(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_sources(item) for key, item in value.items() if key != "source"}
    if isinstance(value, list):
        return [_without_sources(item) for item in value]
    return value
