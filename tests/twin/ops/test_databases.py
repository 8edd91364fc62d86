"""The file that --ops names: what it may say, what a person is told of the rest, and that no secret is part of that."""

from __future__ import annotations

import os
import stat
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twin.ops import Database, PostgresOps, read_databases
from twin.ops.postgres import _behind, _refusal
from twin.spec.errors import BadInput, ComponentMissing
from twin.spec.ids import ServiceId

SECRET = "hush-hush"
DSN = f"postgresql://twin:{SECRET}@db.invalid/orders"
ENVIRONMENT = {"ORDERS_DB_DSN": DSN, "EMPTY": " "}
GOOD = "databases:\n  - {service: shop/orders-db, dsn_env: ORDERS_DB_DSN}\n"


def read(folder: Path, text: str | bytes) -> tuple[Database, ...]:
    path = folder / "ops.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_databases(path, ENVIRONMENT)


def refused(folder: Path, text: str | bytes) -> BadInput:
    with pytest.raises(BadInput) as caught:
        read(folder, text)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.args)
    assert SECRET not in told
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


def test_connection_strings_come_from_the_environment_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "ledger.dsn").write_text(DSN + "\n")
    (tmp_path / "ledger.dsn").chmod(0o600)
    text = GOOD + "  - {service: shop/ledger-db, dsn_file: ledger.dsn, station: connections}\n"
    assert read(tmp_path, text) == (
        Database(service=ServiceId("shop/orders-db"), dsn=DSN, station="row-lock"),
        Database(service=ServiceId("shop/ledger-db"), dsn=DSN, station="connections"),
    )


def test_a_database_does_not_show_its_secret() -> None:
    (database,) = (Database(service=ServiceId("shop/orders-db"), dsn=DSN),)
    assert SECRET not in f"{database} {database!r}"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610, 0o644])
def test_a_file_that_others_may_use_is_not_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "orders.dsn"
    path.write_text(DSN)
    path.chmod(mode)
    error = refused(tmp_path, "databases: [{service: shop/db, dsn_file: orders.dsn}]")
    assert f"mode {mode:04o}" in error.why
    assert error.next_step == f"chmod 600 {path}"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"a\nb", b"x\0y", b"x" * 9000])
def test_a_file_without_a_connection_string_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "orders.dsn"
    path.write_bytes(content)
    path.chmod(0o600)
    assert "holds no connection string" in refused(tmp_path, "databases: [{service: a/b, dsn_file: orders.dsn}]").why


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    for name, says in (("pipe", "is no file"), (".", "Is a directory"), ("nowhere", "No such file")):
        assert says in refused(tmp_path, f"databases: [{{service: a/b, dsn_file: {name}}}]").why


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("[]", "the file is a list"),
        ("databases: []", "databases is empty"),
        ("databases: {}", "databases is a mapping"),
        ("database: []", 'unknown key "database"'),
        ("databases: [{service: shop/db}]", "line 1: shop/db names no place"),
        ("databases: [{servce: shop/db, dsn_env: ORDERS_DB_DSN}]", 'unknown key "servce"'),
        ("databases: [{dsn_env: ORDERS_DB_DSN}]", '"service" is missing'),
        ("databases: [{service: shop/db, dsn_env: ORDERS_DB_DSN, dsn_file: x}]", "line 1: shop/db names two places"),
        ("databases: [{service: db, dsn_env: ORDERS_DB_DSN}]", "is no service"),
        ("databases: [{service: Shop/Db, dsn_env: ORDERS_DB_DSN}]", "is no service"),
        ("databases: [{service: shop/db, dsn_env: 7}]", "dsn_env is 7"),
        ("databases: [{service: shop/db, dsn_env: NOT_SET}]", "NOT_SET is not set"),
        ("databases: [{service: shop/db, dsn_env: EMPTY}]", "EMPTY is not set"),
        ("databases: [{service: shop/db, dsn_env: ORDERS_DB_DSN, port: 1}]", 'unknown key "port"'),
        (GOOD + GOOD.partition("\n")[2], "named twice"),
        ("databases: [\n", "not YAML"),
        (b"\xff", "UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_three_lines(tmp_path: Path, text: str | bytes, says: str) -> None:
    error = refused(tmp_path, text)
    assert says in f"{error.what} {error.why}"
    assert error.next_step


@pytest.mark.parametrize(
    "text",
    [
        f"databases: [{{service: shop/db, dsn: '{DSN}'}}]",
        f"databases: [{{service: shop/db, dsn_env: '{DSN}'}}]",
        f"databases: [{{service: shop/db, dsn_file: '{DSN}'}}]",
        f"databases: [{{service: shop/db, dsn_env: 'host=db password={SECRET}'}}]",
        f"databases: [{{service: shop/db, dsn_file: \"host=db password='a {SECRET}'\"}}]",
        f"databases: [{{service: '{DSN}', dsn_env: ORDERS_DB_DSN}}]",
        f"databases: [{{service: shop/db, dsn_env: ORDERS_DB_DSN, password: {SECRET}}}]",
        f"databases: [{{service: shop/db, '{DSN}': 1}}]",
        f"databases: '{DSN}'",
        f"databases: ['{DSN}']",
        f"{{'{DSN}': 1, '{DSN}': 2}}",
        f"'{DSN}'",
        f"databases: 'postgresql://{'long' * 20}:{SECRET}@db/orders'",
        f"databases: 'postgresql://u:{SECRET}{'long' * 20}@db/orders'",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path, text: str) -> None:
    refused(tmp_path, text)


NAMES = st.sampled_from(["databases", "service", "dsn_env", "dsn_file", "station", "dsn", "password", DSN, "x"])
LEAVES = st.one_of(
    st.sampled_from([DSN, f"host=db password={SECRET}", "shop/db", "ORDERS_DB_DSN", "orders.dsn", "", "..", "/", "~"]),
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
)  # fmt: skip
ENTRIES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
FILES = st.one_of(
    st.fixed_dictionaries({"databases": st.lists(st.dictionaries(NAMES, LEAVES, max_size=4), max_size=3)}), ENTRIES
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(FILES.map(lambda value: repr(value).replace("None", "null")), st.text(), st.binary()))
def test_whatever_a_file_says_it_is_read_or_refused(tmp_path: Path, text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    found: tuple[Database, ...] = ()
    with suppress(BadInput):
        found = read(tmp_path, data)
    if not found:
        told = refused(tmp_path, data)
        assert all((told.what, told.why, told.next_step))
    assert all(one.dsn == DSN for one in found)


def test_without_its_library_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    database = Database(service=ServiceId("shop/db"), dsn=DSN)
    with pytest.raises(ComponentMissing) as caught:
        PostgresOps([database], beyond=_Nobody(), writes=True)
    assert "pip install 'psycopg[binary]" in caught.value.next_step


@pytest.mark.parametrize("text", [f"server says {SECRET}", f"x {DSN} y", f"password={SECRET}", f"\n{SECRET}\t"])
def test_what_a_server_says_is_told_without_the_secret(text: str) -> None:
    """Servers and libraries are not known to repeat one; that is their word, and not ours."""
    error = _refusal(psycopg.OperationalError(text), "cannot", {"password": SECRET}, silent=False)
    assert SECRET not in "".join(traceback.format_exception(error)) + repr(error.args)


def test_nor_with_another_connections() -> None:
    for text in (f"x {DSN} y", f"password={SECRET}"):
        assert SECRET not in str(_refusal(psycopg.OperationalError(text), "cannot", {}, silent=False))


class _Nobody:
    def sessions(self, service: ServiceId) -> tuple[()]:
        return ()

    def call(self, operation: str, arguments: Any, *, dry_run: bool = False) -> Any:
        raise AssertionError(operation)


@given(
    st.integers(1, 12).flatmap(lambda n: st.lists(st.lists(st.integers(0, n + 2), max_size=4), min_size=n, max_size=n))
)
def test_who_waits_behind_whom_is_what_a_walk_finds(waits_for: list[list[int]]) -> None:
    """Processes are called 1, 2, …; 0 and those beyond stand for what is no session."""
    blockers = dict(enumerate(waits_for, start=1))

    def behind(head: int) -> set[int]:
        found: set[int] = set()
        while True:
            more = {pid for pid in blockers if {head, *found} & (set(blockers[pid]) - {pid})} - found
            if not more:
                return found
            found |= more

    assert _behind(blockers) == {head: len(behind(head)) for head in blockers if not blockers[head] and behind(head)}
