"""PostgreSQL behind the port OpsApi: who holds what others wait for, and ending that one session.

A session is named by its process and the moment when that process was started. Process numbers are used again, also
after a restart of the server; both together are not. The server compares both, and all else that forbids ending one, in
the very statement that ends it: between looking and ending there is nothing that a client could be late for.

Each call has a connection of its own, so that a server which was restarted in between is no special case. Nothing waits
for ever: the server ends a statement after STATEMENT_MAX_S, and one that has fallen silent is cut off after CALL_MAX_S.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from twin.ops.databases import Database
from twin.ops.redaction import HIDDEN, redact_dsn, redact_sql
from twin.ports.plant import OpsApi, Session
from twin.spec.errors import (
    ApiError,
    BadInput,
    ComponentMissing,
    Forbidden,
    NotFound,
    TwinError,
    Unavailable,
    Unreachable,
)
from twin.spec.ids import ServiceId

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

__all__ = ["PostgresOps"]

CONNECT_MAX_S: Final = 5
STATEMENT_MAX_S: Final = 5
ENDING_MAX_S: Final = 5.0  # A session that was told to end may have to roll back what it did.
CALL_MAX_S: Final = 15.0
POLL_S: Final = 0.1
HELD_MIN_S: Final = 1.0  # Whoever holds something for less is ordinary traffic.
STATEMENT_SHOWN: Final = 160
NAME_SHOWN: Final = 40
_PID_MAX: Final = 2**31 - 1
_ID: Final = re.compile(r"([1-9][0-9]{0,9})-([1-9][0-9]{0,17})")
_SECRETS: Final = ("password", "sslpassword")

_SETTINGS: Final = """
    SELECT pg_catalog.set_config('search_path', 'pg_catalog', false),  -- Nobody's look-alike functions.
           pg_catalog.set_config('default_transaction_read_only', 'on', false),
           pg_catalog.set_config('statement_timeout', %(statement_ms)s, false),
           pg_catalog.set_config('lock_timeout', %(statement_ms)s, false)
"""
_STARTED: Final = "(extract(epoch FROM a.backend_start) * 1000000)::bigint"
_SESSIONS: Final = f"""
    SELECT pg_has_role('pg_read_all_stats', 'USAGE'),
           a.pid, {_STARTED}, a.usename, a.application_name, a.state,
           extract(epoch FROM coalesce(a.xact_start, a.backend_start))::float8,
           extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.backend_start))::float8,
           left(a.query, 4096),
           CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{{}}' END
      FROM pg_stat_activity a
     WHERE a.datname = current_database() AND a.backend_type = 'client backend'
"""
_END: Final = f"""
    SELECT asked.finding, CASE WHEN asked.finding = 'ready' AND %(end)s THEN pg_terminate_backend(asked.pid) END
      FROM (
        SELECT a.pid,
               CASE WHEN NOT pg_has_role('pg_read_all_stats', 'USAGE') THEN 'blind'
                    WHEN a.pid IS NULL THEN 'gone'
                    WHEN a.backend_type <> 'client backend' OR r.rolsuper IS NOT FALSE THEN 'protected'
                    WHEN a.pid = pg_backend_pid() OR a.usename IN (session_user, current_user) THEN 'ours'
                    WHEN NOT (pg_has_role(a.usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'))
                      THEN 'forbidden'
                    ELSE 'ready'
               END AS finding
          FROM (SELECT) AS always
          LEFT JOIN pg_stat_activity a
            ON a.pid = %(pid)s AND {_STARTED} = %(started)s AND a.datname = current_database()
          LEFT JOIN pg_roles r ON r.oid = a.usesysid
      ) AS asked
"""
_STILL_THERE: Final = f"SELECT count(*) FROM pg_stat_activity a WHERE a.pid = %(pid)s AND {_STARTED} = %(started)s"

T = TypeVar("T")


class _Finding(StrEnum):
    """What the server says of a session that is to be ended; each but READY is a refusal."""

    BLIND = "blind"
    GONE = "gone"
    PROTECTED = "protected"
    OURS = "ours"
    FORBIDDEN = "forbidden"
    READY = "ready"


class PostgresOps:
    """Implements OpsApi. What no database does is left to `beyond`. Without `writes` it looks, and asks by dry run."""

    def __init__(self, databases: Sequence[Database], *, beyond: OpsApi, writes: bool) -> None:
        """Connects to nothing yet. Raises ComponentMissing without the library, BadInput for what is no connection
        string."""
        self._databases = {database.service: database for database in databases}
        self._parameters = {database.service: _parameters(database) for database in databases}
        self._beyond = beyond
        self._writes = writes

    def sessions(self, service: ServiceId) -> Sequence[Session]:
        """Sessions that hold what others wait for and wait for nobody themselves, oldest first. `held_slots` counts
        the connections that are stuck behind one, however indirectly. Raises ApiError.

        Seen are ordinary connections to the database that the connection string names, not to others of its server.
        """
        if service not in self._databases:
            return self._beyond.sessions(service)
        what = f"cannot see the sessions of {service}"
        rows = self._run(service, what, lambda connection: connection.execute(_SESSIONS.encode()).fetchall())
        if not all(row[0] for row in rows):
            raise _blind(what)
        behind = _behind({row[1]: row[9] for row in rows})
        held = sorted(
            (row for row in rows if behind.get(row[1]) and row[7] >= HELD_MIN_S), key=lambda row: (row[6], row[1])
        )
        return [
            Session(
                id=f"{row[1]}-{row[2]}", service=service, station=self._databases[service].station,
                held_slots=behind[row[1]], since_s=row[6], text=_text(row, behind[row[1]]),
            )
            for row in held
        ]  # fmt: skip

    def call(self, operation: str, arguments: Mapping[str, Any], *, dry_run: bool = False) -> Mapping[str, Any]:
        """End a session; there is no way back. A dry run asks whether it is there and may be ended, and ends nothing.

        Raises BadInput, NotFound, Forbidden, Unavailable, Unreachable; ComponentMissing for what no database does.
        """
        if operation != "terminate_session":
            return self._beyond.call(operation, arguments, dry_run=dry_run)
        service, session = ServiceId(str(arguments["service"])), str(arguments["session"])
        what = f"cannot end session {_clean(session, NAME_SHOWN)} on {service}"
        if service not in self._databases:
            raise ComponentMissing(what, "the file that --ops names knows no such database", "add it there")
        if not self._writes and not dry_run:
            raise Forbidden(what, "this identity may only read", "promote a receipt: twin promote")
        named = _ID.fullmatch(session)
        if named is None or int(named[1]) > _PID_MAX:
            raise BadInput(
                what, "sessions are called by process and start, as 4711-1764245333123456",
                "list its sessions again",
            )  # fmt: skip
        key, asked = {"pid": int(named[1]), "started": int(named[2])}, threading.Event()
        try:
            self._run(service, what, lambda connection: _end(connection, key, what, dry_run=dry_run, asked=asked))
        except (Unreachable, Unavailable):  # An answer that was lost says nothing: look what is there.
            if dry_run or not (asked.is_set() and self._is_gone(service, key, what)):
                raise
        return {}

    def _is_gone(self, service: ServiceId, key: Mapping[str, int], what: str) -> bool:
        """Whether a session is known to be there no more."""
        try:
            self._run(service, what, lambda connection: _end(connection, key, what, dry_run=True))
        except NotFound:
            return True
        except ApiError:
            return False
        return False

    def _run(self, service: ServiceId, what: str, work: Callable[[Connection], T]) -> T:
        """Something on a connection of its own. Raises what `work` raises, and ApiError for what the server does."""
        import psycopg

        parameters, cut = self._parameters[service], threading.Event()
        failure: TwinError
        try:
            with closing(psycopg.connect(**parameters, autocommit=True)) as connection, _cut_off(connection, cut):
                connection.execute(_SETTINGS.encode(), {"statement_ms": f"{STATEMENT_MAX_S * 1000}"})
                return work(connection)
        except (psycopg.Error, OSError, UnicodeError) as error:
            failure = _refusal(error, what, parameters, silent=cut.is_set())
        raise failure  # Outside: else the library's error, which may quote a secret, would hang on to it.


def _end(
    connection: Connection, key: Mapping[str, int], what: str, *, dry_run: bool, asked: threading.Event | None = None
) -> None:
    """`asked` is set once the server may have been asked, whatever it answers."""
    if asked is not None:
        asked.set()
    row = connection.execute(_END.encode(), {**key, "end": not dry_run}).fetchone()
    assert row is not None
    _refuse(_Finding(row[0]), what)
    if dry_run:
        return
    patience_s = time.monotonic() + ENDING_MAX_S
    while _count(connection.execute(_STILL_THERE.encode(), key).fetchone()):
        if time.monotonic() > patience_s:
            raise Unreachable(
                what,
                f"it was told to end, and after {ENDING_MAX_S:g} s it has not",
                "look at the server; it may still end",
            )
        time.sleep(POLL_S)


def _refuse(finding: _Finding, what: str) -> None:
    match finding:
        case _Finding.READY:
            return
        case _Finding.BLIND:
            raise _blind(what)
        case _Finding.GONE:
            raise NotFound(what, "there is no such session, or no longer", "list its sessions again")
        case _Finding.PROTECTED:
            raise Forbidden(what, "it is a superuser's, or the server's own", "a database administrator may")
        case _Finding.OURS:
            raise Forbidden(what, "it is of the role that we use ourselves", "give twin a role of its own")
        case _Finding.FORBIDDEN:
            raise Forbidden(what, "the role may not end others' sessions", "grant it pg_signal_backend")


def _blind(what: str) -> Forbidden:
    return Forbidden(what, "the role does not see what others do", "grant it pg_monitor: deploy/postgres/roles.sql")


def _count(row: tuple[Any, ...] | None) -> int:
    return 0 if row is None else int(row[0])


def _behind(blockers: Mapping[int, Sequence[int]]) -> dict[int, int]:
    """How many wait behind each process that itself waits for none, directly or through others.

    `blockers`: by process, whom it waits for. A storm on one row is a queue in which each waits for all before it, so
    sets are kept as the bits of one number: 500 sessions take milliseconds.
    """
    pids = list(blockers)
    index = {pid: position for position, pid in enumerate(pids)}
    waiting = [0] * len(pids)  # directly behind
    for position, pid in enumerate(pids):
        for blocker in blockers[pid]:
            if blocker in index and blocker != pid:  # Prepared transactions are 0.
                waiting[index[blocker]] |= 1 << position
    found = {}
    for position, pid in enumerate(pids):
        if not waiting[position] or blockers[pid]:
            continue
        seen = todo = waiting[position]
        while todo:
            new = waiting[(todo & -todo).bit_length() - 1] & ~seen
            seen, todo = seen | new, (todo & (todo - 1)) | new
        found[pid] = seen.bit_count()
    return found


def _text(row: Sequence[Any], behind: int) -> str:
    """A session for people and agents, of bounded length; none of what its statement's literals say."""
    user, application, state, age_s, statement = row[3], row[4], row[5], row[7], row[8]
    program = f" ({_clean(application, NAME_SHOWN)})" if application else ""
    return (
        f"{state or 'state unknown'}, its transaction {age_s:.0f} s old, of {_clean(user or '?', NAME_SHOWN)}{program}"
        f"; {behind} wait behind it; last statement: {redact_sql(statement or '', length_max=STATEMENT_SHOWN)}"
    )


def _clean(text: str, length_max: int) -> str:
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= length_max else line[: length_max - 1] + "…"


# The library, and what goes wrong with connections


def _parameters(database: Database) -> dict[str, Any]:
    """The connection string taken apart, with our bounds. What is wrong with one is never said by quoting it."""
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        raise ComponentMissing(
            f"cannot reach the database {database.service}", "the library psycopg is not here",
            "pip install 'psycopg[binary]>=3.2'",
        ) from None  # fmt: skip
    what, parameters = f"cannot reach the database {database.service}", None
    with suppress(psycopg.Error, UnicodeError):
        parameters = dict(conninfo_to_dict(database.dsn))
    if parameters is None:
        _refuse_dsn(what, "its connection string cannot be read")
    if not (parameters.get("host") or parameters.get("hostaddr") or parameters.get("service")):
        _refuse_dsn(what, "its connection string names no host")
    if not (parameters.get("dbname") or parameters.get("service")):
        _refuse_dsn(what, "its connection string names no database")
    return {**parameters, "connect_timeout": CONNECT_MAX_S, "application_name": "twin", "client_encoding": "utf8"}


def _refuse_dsn(what: str, why: str) -> NoReturn:
    raise BadInput(what, why, "write postgresql://USER:PASSWORD@HOST:5432/DATABASE, special characters percent-encoded")


@contextmanager
def _cut_off(connection: Connection, cut: threading.Event) -> Iterator[None]:
    """Shut the connection down under whoever waits for it, once CALL_MAX_S are over."""

    def shut() -> None:
        cut.set()
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(CALL_MAX_S, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # The number of a closed connection's socket may soon be another's.


def _refusal(error: Exception, what: str, parameters: Mapping[str, Any], *, silent: bool) -> ApiError:
    """The library's error in our words, without a secret."""
    from psycopg import errors

    told = " ".join(str(error).split())
    for name in _SECRETS:
        if parameters.get(name):
            told = told.replace(str(parameters[name]), HIDDEN)
    why = _clean(redact_dsn(told), 300) or type(error).__name__
    if silent:
        return Unreachable(
            what, f"the server has not answered for {CALL_MAX_S:g} s", "look at the server and the way to it"
        )
    if isinstance(error, errors.ConnectionTimeout):
        return Unreachable(what, f"no connection within {CONNECT_MAX_S} s", "look at the server and the way to it")
    if isinstance(error, errors.QueryCanceled):
        return Unreachable(
            what, f"the server has not answered within {STATEMENT_MAX_S} s", "look at what it is busy with"
        )
    if isinstance(error, errors.InsufficientPrivilege):
        return Forbidden(what, why, "see deploy/postgres/roles.sql")
    if isinstance(error, errors.OperationalError | OSError):
        return Unavailable(what, why, "look whether the server is up, and whether its connection string is right")
    return ApiError(what, why, "look at the server's log")
