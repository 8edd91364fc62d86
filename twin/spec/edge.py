"""The edge where files come in: the kinds of figures that they may hold, and what a person is told of the rest."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, ClassVar, Final, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, Tag, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from twin.spec.errors import BadInput
from twin.spec.units import parse_bytes, parse_cores, parse_duration_s
from twin.spec.yaml_reader import Document, KeyPath, Problem, bad_file

__all__ = [
    "STEP_KINDS", "Bytes", "Cores", "Count", "Duration", "Figure", "FigureOrText", "FileModel", "Name", "PositiveCount",
    "PositiveDuration", "Rate", "Share", "context_of", "first_problem", "schema_of", "validated", "words_of_error",
]  # fmt: skip

STEP_KINDS: Final = ("work", "call", "hold", "publish", "cached")
_COUNT_MAX: Final = 1_000_000_000  # Nothing countable here is larger; beyond it arithmetic is in danger.
_RATE_MAX_RPS: Final = 1e9
_BYTES_MAX: Final = 2**60


def _custom(error: BadInput) -> PydanticCustomError:
    return PydanticCustomError("twin", "{text}", {"text": error.what, "next": error.next_step})


def _duration(value: Any) -> float:
    try:
        value_s = parse_duration_s(value)
    except BadInput as error:
        raise _custom(error) from error
    if 0 < value_s < 1e-9:
        raise _custom(BadInput(f'"{value}" is shorter than a nanosecond', "", "write 0s, or at least 1ns"))
    return value_s


def _positive_duration(value: Any) -> float:
    value_s = _duration(value)
    if value_s <= 0:
        raise _custom(BadInput(f'"{value}" is no time at all', "", "write a duration above zero, as 250ms"))
    return value_s


def _cores(value: Any) -> float:
    try:
        return parse_cores(value)
    except BadInput as error:
        raise _custom(error) from error


def _bytes(value: Any) -> int:
    try:
        return parse_bytes(value)
    except BadInput as error:
        raise _custom(error) from error


def _figure_or_text(value: Any) -> float | str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _FIGURE_MAX:  # Nor a NaN.
        raise _custom(
            BadInput(f"{_shown(value)} is neither a figure nor text", "", "write a number, or text in quotes")
        )
    return float(value)


_FIGURE_MAX: Final = 1e300
_DURATION_SCHEMA: Final = WithJsonSchema(
    {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|us|ns|s|m|h|d))+$", "examples": ["250ms", "2s", "1m30s"]}
)
_QUANTITY_SCHEMA: Final = WithJsonSchema({"type": ["string", "number"], "examples": ["250m", "64Mi", 2]})

Duration = Annotated[float, BeforeValidator(_duration), _DURATION_SCHEMA]
PositiveDuration = Annotated[float, BeforeValidator(_positive_duration), _DURATION_SCHEMA]
Cores = Annotated[float, BeforeValidator(_cores), Field(gt=0, le=1e6), _QUANTITY_SCHEMA]
QuotaCores = Annotated[float, BeforeValidator(_cores), Field(ge=0, le=1e6), _QUANTITY_SCHEMA]
Bytes = Annotated[int, BeforeValidator(_bytes), Field(ge=0, le=_BYTES_MAX), _QUANTITY_SCHEMA]
FigureOrText = Annotated[float | str, BeforeValidator(_figure_or_text), WithJsonSchema({"type": ["number", "string"]})]
Count = Annotated[int, Field(ge=0, le=_COUNT_MAX)]
PositiveCount = Annotated[int, Field(ge=1, le=_COUNT_MAX)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Figure = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Rate = Annotated[float, Field(ge=0, le=_RATE_MAX_RPS, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=253)]
ConfigKey = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]{1,253}$")]


class FileModel(BaseModel):
    """The base of everything that a file may hold: unknown keys and look-alike types ("3" for 3) are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)
    insists: ClassVar[bool] = False

    @classmethod
    def advice_on_unknown(cls, key: str, value: object) -> str:
        """Where a key that is unknown here belongs, if the model knows better than "remove it". It comes after a key
        that looks alike, unless the model `insists`."""
        return ""


ModelT = TypeVar("ModelT", bound=BaseModel)


def validated(model: type[ModelT], document: Document, name: str) -> ModelT:
    """`document` as a `model`. Raises BadInput, with the line, for whatever does not fit."""
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        raise _refusal(error, document, name, model) from error


def schema_of(model: type[BaseModel], kind: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the files of a kind."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"https://twin.invalid/schema/v1alpha1/{kind.lower()}.json",
        **model.model_json_schema(by_alias=True),
        "title": kind,
    }


def _refusal(error: ValidationError, document: Document, name: str, model: type[BaseModel]) -> BadInput:
    # A key that nobody knows explains the one that is missing beside it.
    details = sorted(error.errors(include_url=False), key=lambda detail: detail["type"] != "extra_forbidden")
    return first_problem(name, [_problem_of_detail(detail, document, model) for detail in details])


def first_problem(name: str, problems: list[Problem]) -> BadInput:
    """The refusal of the file `name` for the problem that stands first in it."""
    first = min(problems, key=lambda problem: problem.line)  # min keeps the first of equals
    return bad_file(name, first, len(problems) - 1)


def _problem_of_detail(detail: ErrorDetails, document: Document, model: type[BaseModel]) -> Problem:
    path, message, next_step = words_of_error(detail, document.value, model)
    return Problem(document.line(path), message, next_step)


def _without_tags(location: tuple[int | str, ...]) -> KeyPath:
    """pydantic puts the chosen kind of step after its index; the file has no such level."""
    path: list[int | str] = []
    skip = False
    for index, part in enumerate(location):
        if skip:
            skip = False
            if part in STEP_KINDS:
                continue
        if part == "[key]":  # A key that does not fit, rather than its value.
            continue
        path.append(part)
        before = location[index - 1] if index else ""
        in_program = before in ("body", "miss") or (index >= 2 and location[index - 2] == "operations")
        skip = isinstance(part, int) and in_program
    return tuple(path)


_CONTEXTS: Final = {"services": ("service", "id"), "journeys": ("journey", "name"), "node_pools": ("node pool", "name")}


def context_of(path: KeyPath, value: Any) -> str:
    """Whose field it is, for a person: `service "shop/cart": operation "add": `."""
    text = ""
    if len(path) >= 2 and path[0] in _CONTEXTS and isinstance(path[1], int):
        word, key = _CONTEXTS[str(path[0])]
        try:
            name = value[path[0]][path[1]][key]
        except (KeyError, IndexError, TypeError):
            name = None
        text = f'{word} "{name}": ' if isinstance(name, str) else f"{word} {path[1] + 1}: "
    for group, word in (("operations", "operation"), ("stations", "station")):
        if len(path) >= 4 and path[2] == group:
            text += f'{word} "{path[3]}": '
    return text


def words_of_error(detail: ErrorDetails, value: Any, model: type[BaseModel]) -> tuple[KeyPath, str, str]:
    """Where in `value`, which should be a `model`, what is wrong and what to do, in our own words."""
    path = _without_tags(detail["loc"])
    message, next_step = _words(detail, str(path[-1]) if path else "the file", model)
    return path, context_of(path, value) + message, next_step


def _words(detail: ErrorDetails, field: str, model: type[BaseModel]) -> tuple[str, str]:
    kind, context, given = detail["type"], detail.get("ctx", {}), detail["input"]
    shown = _shown(given)
    if kind == "twin":
        of_an_entry = bool(detail["loc"]) and isinstance(detail["loc"][-1], int)  # Which one, the line says.
        return f"{'' if of_an_entry else f'{field} '}{context['text']}", str(context["next"])
    if kind == "too_short" and not given:
        return f"{field} is empty", "write at least one entry"
    if kind == "missing":
        return f'"{field}" is missing', f"add {field}"
    if kind == "extra_forbidden":
        return f'unknown key "{field}"', _advice(field, given, _models_at(model, detail["loc"][:-1]))
    if kind == "union_tag_not_found":
        first = next(iter(given), None) if isinstance(given, dict) else None
        return f"{_shown(first) if first else shown} is no step", "a step is one of: " + ", ".join(STEP_KINDS)
    if kind == "literal_error":
        return f"{field} is {shown}", f"write {context['expected']}"
    if kind == "finite_number":
        return f"{field} is {given}", "write a finite number"
    limits = {"greater_than_equal": ("ge", "at least"), "greater_than": ("gt", "more than")}
    limits |= {"less_than_equal": ("le", "at most"), "less_than": ("lt", "less than")}
    if kind in limits:
        key, word = limits[kind]
        return f"{field} is {shown}", f"write a figure of {word} {_number(context[key])}"
    return f"{field} is {shown}: {detail['msg'][:1].lower()}{detail['msg'][1:]}", _NEXT_BY_TYPE.get(kind, "correct it")


_NEXT_BY_TYPE: Final = {
    "int_type": "write a whole number, without quotes",
    "float_type": "write a number, without quotes",
    "string_type": 'write text; quote what looks like a number or a truth, as "8080"',
    "bool_type": "write true or false",
    "list_type": "write a list, each item after a dash",
    "dict_type": "write keys with values",
    "model_type": "write keys with values",
    "model_attributes_type": "write keys with values",
}


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:59]}…"'
    if value is None:
        return "empty"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def _advice(key: str, value: object, models: list[type[BaseModel]]) -> str:
    """What to do about a key that none of the models which may stand there knows."""
    known = {field.alias or name for model in models for name, field in model.model_fields.items()}
    wise = [model for model in models if issubclass(model, FileModel)]
    told = [model.advice_on_unknown(key, value) for model in wise]
    close = difflib.get_close_matches(key, sorted(known), n=1)
    if close and not any(advice and model.insists for advice, model in zip(told, wise, strict=True)):
        return f'did you mean "{close[0]}"?'
    return next(filter(None, told), "remove it")


def _models_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """The models that a file may hold at this place: more than one where there is a choice."""
    kinds: list[Any] = [model]
    for part in location:
        # What nothing has a place for is pydantic's own: the tag of a choice, or "[key]".
        tagged = [member for kind in kinds for member in _members(kind) if _is_tagged(member, part)]
        kinds = tagged or [inner for kind in kinds for inner in _inner(kind, part)] or kinds
    return [
        one for kind in kinds for one in _alternatives(kind) if isinstance(one, type) and issubclass(one, BaseModel)
    ]


def _inner(kind: Any, part: int | str) -> Iterator[Any]:
    for one in _alternatives(kind):
        if isinstance(one, type) and issubclass(one, BaseModel):
            yield from (f.annotation for name, f in one.model_fields.items() if part in (f.alias or name, name))
        elif get_origin(one) in (list, tuple) and isinstance(part, int):
            yield get_args(one)[0]
        elif get_origin(one) is dict:
            yield get_args(one)[1]


def _members(kind: Any) -> tuple[Any, ...]:
    """The members of a choice that pydantic makes by a tag, each with its tag."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else ()


def _is_tagged(kind: Any, tag: int | str) -> bool:
    return get_origin(kind) is Annotated and any(isinstance(said, Tag) and said.tag == tag for said in get_args(kind))


def _alternatives(kind: Any) -> Iterator[Any]:
    """A type without what it is annotated with, or each member of a union."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for member in get_args(kind):
            yield from _alternatives(member)
    else:
        yield kind
