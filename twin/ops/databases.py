"""Which services are databases, and how they are reached: the file that --ops names.

    databases:
      - service: shop/orders-db
        dsn_env: ORDERS_DB_DSN      # a variable of the environment that holds the connection string
      - service: shop/ledger-db
        dsn_file: ledger.dsn        # or a file beside this one that its owner alone may read
        station: row-lock           # what the twin calls the thing that its sessions hold; this is the default

The file itself holds no secret, so that it can be kept with the code. A connection string that somebody writes into it
all the same is refused, and the refusal does not repeat it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from twin.ops.redaction import redact_dsn
from twin.spec.edge import FileModel, Name, first_problem, validated
from twin.spec.errors import BadInput
from twin.spec.ids import ServiceId
from twin.spec.yaml_reader import Problem, read_file_text, single_document

__all__ = ["Database", "read_databases"]

DSN_MAX_BYTES: Final = 8192
OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_SERVICE: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECRET_KEY: Final = re.compile(r"dsn|url|uri|conn|pass|secret", re.IGNORECASE)
_WHERE_SECRETS_GO: Final = "name a variable that holds it (dsn_env), or a file of mode 0600 (dsn_file)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A service that is a database. `dsn` is secret: it is shown nowhere, and no error repeats it."""

    service: ServiceId
    dsn: str = field(repr=False)
    station: str = "row-lock"


def read_databases(path: Path, environment: Mapping[str, str] | None = None) -> tuple[Database, ...]:
    """The databases that a file names, with their connection strings. `environment`: the process's own by default.

    Raises BadInput, with the line, for whatever is wrong with it; a secret is never part of that.
    """
    failure: BadInput
    try:
        return _read(path, os.environ if environment is None else environment)
    except BadInput as error:
        failure = BadInput(redact_dsn(error.what), redact_dsn(error.why), redact_dsn(error.next_step))
    raise failure  # Outside: else what it was raised for would hang on to it, unredacted.


def _read(path: Path, environment: Mapping[str, str]) -> tuple[Database, ...]:
    document = single_document(read_file_text(path), str(path))
    file = validated(_OpsFile, document, str(path))
    found: dict[str, Database] = {}
    for index, entry in enumerate(file.databases):
        if entry.service in found:
            line = document.line(("databases", index))
            raise first_problem(str(path), [Problem(line, f"{entry.service} is named twice", "keep one of the two")])
        if entry.dsn_env is not None:
            dsn = _from_environment(entry.service, entry.dsn_env, environment)
        else:
            dsn = _from_file(entry.service, path.parent / str(entry.dsn_file))
        found[entry.service] = Database(service=ServiceId(entry.service), dsn=dsn, station=entry.station)
    return tuple(found.values())


def _service(value: str) -> str:
    return _fitting(_SERVICE, value, "is no service", "write namespace/name, as shop/orders-db")


def _variable(value: str) -> str:
    return _fitting(_VARIABLE, value, "is no variable's name", "write the name of the variable, never what it holds")


def _file_name(value: str) -> str:
    if "://" in value or "=" in value or not value.isprintable():
        raise PydanticCustomError("twin", "{text}", {"text": "is no file's name", "next": _WHERE_SECRETS_GO})
    return value


def _fitting(pattern: re.Pattern[str], value: str, text: str, next_step: str) -> str:
    """What does not fit may be a connection string in the wrong place: it is not shown."""
    if pattern.fullmatch(value) is None:
        raise PydanticCustomError("twin", "{text}", {"text": text, "next": next_step})
    return value


class _DatabaseFile(FileModel):
    service: Annotated[str, Field(max_length=253), AfterValidator(_service)]
    dsn_env: Annotated[str, Field(max_length=253), AfterValidator(_variable)] | None = None
    dsn_file: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_file_name)] | None = None
    station: Name = "row-lock"

    insists: ClassVar[bool] = True

    @classmethod
    def advice_on_unknown(cls, key: str, value: object) -> str:
        """Connection strings belong elsewhere, under whatever key."""
        looks_secret = isinstance(value, str) and ("://" in value or "=" in value)
        return _WHERE_SECRETS_GO if looks_secret or _SECRET_KEY.search(key) else ""

    @model_validator(mode="after")
    def _one_source(self) -> _DatabaseFile:
        if (self.dsn_env is None) == (self.dsn_file is None):
            text = f"{self.service} names no place where its connection string is"
            if self.dsn_env is not None:
                text = f"{self.service} names two places where its connection string is: keep dsn_env or dsn_file"
            raise PydanticCustomError("twin", "{text}", {"text": text, "next": _WHERE_SECRETS_GO})
        return self


class _OpsFile(FileModel):
    databases: list[_DatabaseFile] = Field(min_length=1, max_length=1000)


def _from_environment(service: str, variable: str, environment: Mapping[str, str]) -> str:
    dsn = environment.get(variable, "").strip()
    if not dsn:
        raise BadInput(
            f"cannot reach the database {service}", f"the variable {variable} is not set",
            f"export {variable} with its connection string",
        )  # fmt: skip
    return dsn


def _from_file(service: str, path: Path) -> str:
    """Looked at and read through one handle, so that it is not exchanged in between."""
    what, data, problem = f"cannot reach the database {service}", b"", ""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise BadInput(what, f"{path} is no file", "name a file that holds its connection string")
            if status.st_mode & OTHERS:
                mode = f"{stat.S_IMODE(status.st_mode):04o}"
                raise BadInput(what, f"others may use {path} (mode {mode})", f"chmod 600 {path}")
            data = file.read(DSN_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or "it cannot be opened"
    if problem:
        raise BadInput(what, f"{path}: {problem}", "check dsn_file; it is looked for beside the file that names it")
    text: str | None
    try:
        text = data.decode("utf-8").strip()
    except UnicodeDecodeError:
        text = None
    if not text or len(data) > DSN_MAX_BYTES or not text.isprintable():
        raise BadInput(what, f"{path} holds no connection string", "write it there, on one line")
    return text
