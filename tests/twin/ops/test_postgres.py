"""The adapter on a real PostgreSQL: whom it names, whom it ends, whom it never ends, what it says when it cannot."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.clusters.postgres import (
    BLIND,
    DATABASE,
    GATE,
    OTHER_DATABASE,
    PROMOTES,
    SHOP,
    SUPERUSER,
    Postgres,
    deaf_port,
    falling_silent,
    stuck,
    waiting,
)
from twin.kube.plant import NoOps, WallClock
from twin.ops import Database, PostgresOps
from twin.ops import postgres as adapter
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

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("postgres"), pytest.mark.requirement("R13")]
DB = ServiceId("shop/db")


def ops_at(dsn: str, *, writes: bool = True) -> PostgresOps:
    return PostgresOps([Database(service=DB, dsn=dsn)], beyond=NoOps(), writes=writes)


def ops_as(server: Postgres, user: str, *, writes: bool = True) -> PostgresOps:
    return ops_at(server.dsn(user), writes=writes)


def end(ops: PostgresOps, session: str, *, dry_run: bool = False) -> Any:
    return ops.call("terminate_session", {"service": str(DB), "session": session}, dry_run=dry_run)


def id_of(server: Postgres, pid: int) -> str:
    """What the adapter calls a process, by another way than its own."""
    with server.connect(SUPERUSER) as admin:
        row = admin.execute("SELECT backend_start FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone()
    assert row is not None
    started = row[0]
    return f"{pid}-{int(started.timestamp()) * 1_000_000 + started.microsecond}"


# Whom it names


def test_who_holds_what_others_wait_for_is_named_and_ending_it_frees_them(postgres: Postgres) -> None:
    ops = ops_as(postgres, PROMOTES)
    with waiting(postgres, 3) as queue:
        (session,) = ops.sessions(DB)
        assert session.id == id_of(postgres, queue.holder_pid)
        assert (session.service, session.station, session.held_slots) == (DB, "row-lock", 3)
        assert session.since_s == pytest.approx(WallClock().now_s(), abs=30.0)
        assert "idle in transaction" in session.text
        assert "of shop" in session.text
        assert end(ops, session.id, dry_run=True) == {}
        assert queue.holds()
        assert queue.through == []
        assert end(ops, session.id) == {}
        for thread in queue.threads:
            thread.join(10.0)
        assert sorted(queue.through) == [0, 1, 2]
        assert not queue.holds()
        assert ops.sessions(DB) == []
        with pytest.raises(NotFound):
            end(ops, session.id)


def test_a_chain_is_laid_at_the_door_of_its_head(postgres: Postgres) -> None:
    """The table is asked for behind the holder of a row, and a reader waits behind that: ending the one in the middle
    would leave the others where they are."""
    with (
        waiting(postgres, 1) as queue,
        stuck(postgres, "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"),
        stuck(postgres, "SELECT count(*) FROM orders"),
    ):
        (session,) = ops_as(postgres, GATE).sessions(DB)
        assert session.id == id_of(postgres, queue.holder_pid)
        assert session.held_slots == 3


def test_the_oldest_comes_first(postgres: Postgres) -> None:
    with waiting(postgres, 1, row=5) as older, waiting(postgres, 2, row=6) as younger:
        found = ops_as(postgres, GATE).sessions(DB)
        assert [one.id for one in found] == [id_of(postgres, queue.holder_pid) for queue in (older, younger)]
        assert [one.held_slots for one in found] == [1, 2]


def test_ordinary_traffic_is_not_named(postgres: Postgres) -> None:
    with waiting(postgres, 1, aged_s=0.0):
        assert ops_as(postgres, GATE).sessions(DB) == []


def test_a_storm_on_one_row_is_counted_whole(postgres: Postgres) -> None:
    with waiting(postgres, 60) as queue:
        began_s = time.monotonic()
        (session,) = ops_as(postgres, GATE).sessions(DB)
        assert time.monotonic() - began_s < 5.0
        assert (session.id, session.held_slots) == (id_of(postgres, queue.holder_pid), 60)


def test_what_a_statement_says_in_its_literals_is_not_shown(postgres: Postgres) -> None:
    statement = (
        "SELECT 'geheim-1', E'geheim\\'2', $$geheim-3$$, 4711123 /* geheim-4 */, " + "repeat('x', 9), " * 60 + "1"
    )
    with waiting(postgres, 1, statement=statement):
        (session,) = ops_as(postgres, GATE).sessions(DB)
        assert "geheim" not in session.text
        assert "4711123" not in session.text
        assert "SELECT ?" in session.text
        assert len(session.text) < 400


def test_other_databases_of_the_server_are_not_touched(postgres: Postgres) -> None:
    with waiting(postgres, 1, database=OTHER_DATABASE) as queue:
        ops = ops_as(postgres, PROMOTES)
        assert ops.sessions(DB) == []
        with pytest.raises(NotFound):
            end(ops, id_of(postgres, queue.holder_pid))
        assert queue.holds()


def test_services_that_are_no_databases_are_left_to_others(postgres: Postgres) -> None:
    ops = ops_as(postgres, PROMOTES)
    assert ops.sessions(ServiceId("shop/cart")) == ()
    with pytest.raises(ComponentMissing, match="no such database"):
        ops.call("terminate_session", {"service": "shop/cart", "session": "1-1"})
    for operation in ("shed_load", "drop_table", "set_firewall_rule", "rm -rf"):
        with pytest.raises(ComponentMissing, match="no adapter"):
            ops.call(operation, {"service": str(DB), "table": "orders"})


# Whom it never ends


def test_a_process_number_that_is_used_again_is_another_session(postgres: Postgres) -> None:
    ops = ops_as(postgres, PROMOTES)
    with waiting(postgres, 1) as queue:
        pid, _, started = id_of(postgres, queue.holder_pid).partition("-")
        for wrong in (int(started) - 1, int(started) + 1):
            for dry_run in (True, False):
                with pytest.raises(NotFound):
                    end(ops, f"{pid}-{wrong}", dry_run=dry_run)
        assert queue.holds()


@pytest.mark.parametrize("session", ["", "4711", "4711-", "-1", "0-1", "9999999999-1", "1-2; DROP TABLE orders", "١-١"])
def test_what_is_no_sessions_name_is_not_asked_about(postgres: Postgres, session: str) -> None:
    with pytest.raises(BadInput, match="process and start"):
        end(ops_as(postgres, PROMOTES), session)


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize(("user", "says"), [(GATE, "pg_signal_backend"), (BLIND, "pg_monitor"), (SHOP, "pg_monitor")])
def test_a_role_that_may_not_is_told_so(postgres: Postgres, user: str, says: str, dry_run: bool) -> None:
    with waiting(postgres, 1) as queue:
        with pytest.raises(Forbidden) as caught:
            end(ops_as(postgres, user), id_of(postgres, queue.holder_pid), dry_run=dry_run)
        assert says in caught.value.next_step
        assert queue.holds()


def test_a_role_that_sees_nothing_is_no_sign_of_calm(postgres: Postgres) -> None:
    with waiting(postgres, 1), pytest.raises(Forbidden, match="does not see"):
        ops_as(postgres, BLIND).sessions(DB)


@pytest.mark.parametrize("user", [PROMOTES, SUPERUSER])
@pytest.mark.parametrize("dry_run", [True, False])
def test_superusers_and_replication_are_never_ended(postgres: Postgres, user: str, dry_run: bool) -> None:
    ops = ops_as(postgres, user)
    with (
        postgres.connect(SUPERUSER) as human,
        psycopg.connect(postgres.dsn(SUPERUSER), replication="database", autocommit=True) as replica,
    ):
        for connection in (human, replica):
            with pytest.raises(Forbidden, match="superuser's, or the server's own"):
                end(ops, id_of(postgres, connection.info.backend_pid), dry_run=dry_run)
        assert human.execute("SELECT 1").fetchone() == (1,)
        assert replica.execute("SELECT 1").fetchone() == (1,)


def test_replication_by_an_ordinary_role_is_never_ended(postgres: Postgres) -> None:
    with postgres.connect(SUPERUSER, autocommit=True) as admin:
        admin.execute(f"ALTER ROLE {SHOP} REPLICATION")
        try:
            with psycopg.connect(postgres.dsn(SHOP), replication="database", autocommit=True) as replica:
                with pytest.raises(Forbidden, match="server's own"):
                    end(ops_as(postgres, PROMOTES), id_of(postgres, replica.info.backend_pid))
                assert replica.execute("SELECT 1").fetchone() == (1,)
        finally:
            admin.execute(f"ALTER ROLE {SHOP} NOREPLICATION")


def test_sessions_of_our_own_role_are_never_ended(postgres: Postgres) -> None:
    with postgres.connect(PROMOTES) as colleague:
        with pytest.raises(Forbidden, match="we use ourselves"):
            end(ops_as(postgres, PROMOTES), id_of(postgres, colleague.info.backend_pid))
        assert colleague.execute("SELECT 1").fetchone() == (1,)


def test_who_may_only_read_asks_and_does_not_end(postgres: Postgres) -> None:
    ops = ops_as(postgres, PROMOTES, writes=False)
    with waiting(postgres, 1) as queue:
        (session,) = ops.sessions(DB)
        assert end(ops, session.id, dry_run=True) == {}
        with pytest.raises(Forbidden, match="only read"):
            end(ops, session.id)
        assert queue.holds()


@pytest.mark.parametrize("user", [GATE, PROMOTES])
@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE orders", "TRUNCATE orders", "DELETE FROM orders", "UPDATE orders SET state = ''",
        "SELECT * FROM orders", "DROP DATABASE ledger", "CREATE ROLE friend LOGIN", "ALTER SYSTEM SET fsync = off",
        "GRANT pg_monitor TO blind", "SELECT pg_read_file('postgresql.conf')",
    ],
)  # fmt: skip
def test_the_roles_that_ship_can_do_nothing_else(postgres: Postgres, user: str, statement: str) -> None:
    """They are enough, as every test above shows; that they are not more, the server says."""
    with (
        postgres.connect(user, autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement.encode())


# When it cannot


def test_a_server_that_is_down_and_one_that_was_restarted(postgres: Postgres) -> None:
    ops = ops_as(postgres, PROMOTES)
    with waiting(postgres, 1):
        (session,) = ops.sessions(DB)
        postgres.stop()
        try:
            for ask in (
                lambda: ops.sessions(DB),
                lambda: end(ops, session.id),
                lambda: end(ops, session.id, dry_run=True),
            ):
                with pytest.raises(Unavailable, match="refused"):
                    ask()
        finally:
            postgres.start()
    assert ops.sessions(DB) == []
    with pytest.raises(NotFound):
        end(ops, session.id)
    with waiting(postgres, 1) as queue:
        (session,) = ops.sessions(DB)
        end(ops, session.id)
        assert not queue.holds()


def test_a_server_that_never_says_a_word_is_not_waited_for(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "CONNECT_MAX_S", 2)
    with deaf_port() as port:
        ops = ops_at(postgres.dsn(PROMOTES).replace(f":{postgres.port}/", f":{port}/"))
        with pytest.raises(Unreachable, match="no connection within 2 s"):
            ops.sessions(DB)


@pytest.mark.parametrize("word", [b"set_config", b"pg_blocking_pids"])
def test_a_server_that_falls_silent_is_cut_off(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, word: bytes
) -> None:
    monkeypatch.setattr(adapter, "CALL_MAX_S", 1.0)
    with falling_silent(postgres, word) as port:
        ops = ops_at(postgres.dsn(PROMOTES).replace(f":{postgres.port}/", f":{port}/"))
        began_s = time.monotonic()
        with pytest.raises(Unreachable, match="has not answered for 1 s"):
            ops.sessions(DB)
        assert time.monotonic() - began_s < 10.0
    assert caplog.records == []  # One error in three lines is all that a person gets.


@pytest.mark.parametrize("delivered", [True, False])
def test_an_answer_that_is_lost_says_nothing_and_what_is_there_does(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, delivered: bool
) -> None:
    monkeypatch.setattr(adapter, "CALL_MAX_S", 1.0)
    with (
        waiting(postgres, 1) as queue,
        falling_silent(postgres, b"pg_terminate_backend", delivered=delivered, times=1) as port,
    ):
        ops = ops_at(postgres.dsn(PROMOTES).replace(f":{postgres.port}/", f":{port}/"))
        session = id_of(postgres, queue.holder_pid)
        if delivered:
            assert end(ops, session) == {}
        else:
            with pytest.raises(Unreachable):
                end(ops, session)
        assert queue.holds() is not delivered


def test_a_lost_answer_that_nobody_can_look_after_is_told(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "CALL_MAX_S", 1.0)
    with waiting(postgres, 1) as queue, falling_silent(postgres, b"pg_terminate_backend", delivered=True) as port:
        ops = ops_at(postgres.dsn(PROMOTES).replace(f":{postgres.port}/", f":{port}/"))
        with pytest.raises(Unreachable):
            end(ops, id_of(postgres, queue.holder_pid))


def test_a_statement_that_takes_too_long_is_ended_by_the_server(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "STATEMENT_MAX_S", 1)
    monkeypatch.setattr(adapter, "_SESSIONS", "SELECT pg_sleep(60)")
    with pytest.raises(Unreachable, match="within 1 s"):
        ops_as(postgres, PROMOTES).sessions(DB)


def test_a_session_that_does_not_end_in_time_is_told_so(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process stands still, and hears of it only later."""
    monkeypatch.setattr(adapter, "ENDING_MAX_S", 0.3)
    with waiting(postgres, 1) as queue:
        session = id_of(postgres, queue.holder_pid)
        os.kill(queue.holder_pid, signal.SIGSTOP)
        try:
            with pytest.raises(Unreachable, match="told to end"):
                end(ops_as(postgres, PROMOTES), session)
        finally:
            os.kill(queue.holder_pid, signal.SIGCONT)
        assert not queue.holds()


def test_nobodys_look_alike_functions_are_called(postgres: Postgres) -> None:
    with waiting(postgres, 1) as queue, postgres.connect(SUPERUSER, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA odd")
        admin.execute("CREATE FUNCTION odd.pg_blocking_pids(int) RETURNS int[] LANGUAGE sql AS $$SELECT '{}'::int[]$$")
        admin.execute("GRANT USAGE ON SCHEMA odd TO gate")
        admin.execute("ALTER ROLE gate SET search_path = odd, pg_catalog")
        try:
            (session,) = ops_as(postgres, GATE).sessions(DB)
            assert session.id == id_of(postgres, queue.holder_pid)
        finally:
            admin.execute("ALTER ROLE gate RESET search_path")
            admin.execute("DROP SCHEMA odd CASCADE")


def test_we_look_with_bounds_and_cannot_write(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even as a superuser: the connection itself is read-only."""
    monkeypatch.setattr(adapter, "_SESSIONS", "CREATE TABLE mine (id int)")
    with pytest.raises(ApiError, match="read-only"):
        ops_as(postgres, SUPERUSER).sessions(DB)


def _wrong_password(server: Postgres) -> tuple[str, str]:
    return server.dsn(PROMOTES, password="pa%20ss%2Fword"), "pa ss/word"


def _no_database(server: Postgres) -> tuple[str, str]:
    return server.dsn(PROMOTES, database="nowhere"), server.passwords[PROMOTES]


def _nobody_there(server: Postgres) -> tuple[str, str]:
    return f"postgresql://{PROMOTES}:hush-hush@127.0.0.1:9/{DATABASE}", "hush-hush"


def _blind_role(server: Postgres) -> tuple[str, str]:
    return server.dsn(BLIND), server.passwords[BLIND]


def _no_such_host(server: Postgres) -> tuple[str, str]:
    return "host=hush.invalid dbname=orders user=promotes password='hush \\'hush'", "hush 'hush"


def _nonsense(text: str) -> Callable[[Postgres], tuple[str, str]]:
    return lambda server: (text, "hush-hush")


@pytest.mark.parametrize(
    "make",
    [
        _wrong_password, _no_database, _nobody_there, _blind_role, _no_such_host, _nonsense("hush-hush"),
        _nonsense("postgresql://u:hush-hush@[::1/orders"), _nonsense("host=db password=hush-hush nonsense"),
        _nonsense("postgresql://u:p@db/orders?hush-hush=1"), _nonsense("postgresql://u:hush-hush@/orders"),
        _nonsense("host=db password=hush-hush"), _nonsense("postgresql://u:hush-hush@db:port/orders"),
        _nonsense("postgresql://u:hush-hush%zz@db/orders"),
    ],
)  # fmt: skip
def test_no_error_repeats_a_secret(postgres: Postgres, make: Callable[[Postgres], tuple[str, str]]) -> None:
    dsn, secret = make(postgres)
    with pytest.raises(TwinError) as caught:
        ops_at(dsn).sessions(DB)
    with pytest.raises(TwinError):
        end(ops_at(dsn), "4711-1")
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value.args)
    assert secret not in told
    assert dsn not in told
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert caught.value.why
    assert caught.value.next_step
