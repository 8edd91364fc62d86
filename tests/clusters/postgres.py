"""A real PostgreSQL for tests, with a shop's database, its own users and those of deploy/postgres/roles.sql.

It listens on loopback, on a port that was free a moment ago, and keeps its files in one folder. It refuses to run as
root, so there it runs as Debian's user for it. Ended by the pid with which it was started, however the test ends.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.clusters.shop import await_that

__all__ = [
    "BLIND", "DATABASE", "GATE", "OTHER_DATABASE", "PROMOTES", "SHOP", "SUPERUSER", "Postgres", "Queue", "deaf_port",
    "falling_silent", "postgres_server", "stuck", "waiting",
]  # fmt: skip

SUPERUSER: Final = "postgres"
SHOP: Final = "shop"  # The application: owns the tables.
GATE: Final = "gate"  # a twin_observer
PROMOTES: Final = "promotes"  # a twin_promoter
BLIND: Final = "blind"  # nothing but a login
DATABASE: Final = "orders"
OTHER_DATABASE: Final = "ledger"
ROLES: Final = Path(__file__).parents[2] / "deploy" / "postgres" / "roles.sql"
START_MAX_S: Final = 60.0
STOP_MAX_S: Final = 30.0


@dataclass(slots=True)
class Postgres:
    """Where it is, and who may speak to it."""

    programs: Path
    folder: Path
    port: int
    passwords: dict[str, str] = field(repr=False)
    server: subprocess.Popen[bytes] | None = None

    def dsn(self, user: str, *, database: str = DATABASE, password: str | None = None) -> str:
        return f"postgresql://{user}:{password or self.passwords[user]}@127.0.0.1:{self.port}/{database}"

    def connect(self, user: str, *, database: str = DATABASE, **parameters: Any) -> psycopg.Connection[Any]:
        return psycopg.connect(self.dsn(user, database=database), connect_timeout=10, **parameters)

    def start(self) -> None:
        """Returns when it takes connections."""
        with (self.folder / "postgres.log").open("ab") as log:
            self.server = subprocess.Popen(
                [
                    self.programs / "postgres", "-D", self.folder / "data", "-c", "listen_addresses=127.0.0.1",
                    "-c", f"port={self.port}", "-c", f"unix_socket_directories={self.folder}",
                    "-c", "fsync=off", "-c", "max_connections=120",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, **_unprivileged(),
            )  # fmt: skip
        await_that("PostgreSQL is ready", self._ready, patience_s=START_MAX_S)

    def stop(self) -> None:
        """As an administrator would: everybody is sent away."""
        assert self.server is not None
        self.server.send_signal(signal.SIGINT)
        try:
            self.server.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait(STOP_MAX_S)

    def _ready(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, (self.folder / "postgres.log").read_text(errors="replace")[-2000:]
        try:
            self.connect(SUPERUSER, database="postgres").close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgres_server(program: Path) -> Iterator[Postgres]:
    """Start one, and stop it in the end. `program`: the server's; its tools lie beside it."""
    folder = Path(tempfile.mkdtemp(prefix="twin-postgres-"))  # pytest's folders are closed to other users.
    users = (SUPERUSER, SHOP, GATE, PROMOTES, BLIND)
    server = Postgres(program.parent, folder, _free_port(), {user: f"pw-{secrets.token_hex(12)}" for user in users})
    try:
        (folder / "pw").touch(mode=0o600)
        (folder / "pw").write_text(server.passwords[SUPERUSER])
        if user := _unprivileged().get("user"):
            for path in (folder, folder / "pw"):
                shutil.chown(path, user)
        subprocess.run(
            [
                server.programs / "initdb", "-D", folder / "data", "-U", SUPERUSER, "--auth=scram-sha-256",
                f"--pwfile={folder / 'pw'}", "--no-sync", "--encoding=UTF8", "--locale=C",
            ],
            check=True, capture_output=True, timeout=120.0, cwd=folder, **_unprivileged(),
        )  # fmt: skip
        server.start()
        _lay_out(server)
        yield server
    finally:
        if server.server is not None and server.server.poll() is None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _lay_out(server: Postgres) -> None:
    with server.connect(SUPERUSER, database="postgres", autocommit=True) as admin:
        admin.execute(ROLES.read_bytes())
        for user, member in ((SHOP, ""), (GATE, "twin_observer"), (PROMOTES, "twin_promoter"), (BLIND, "")):
            admin.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{server.passwords[user]}'".encode())
            if member:
                admin.execute(f"GRANT {member} TO {user}".encode())
        for database in (DATABASE, OTHER_DATABASE):
            admin.execute(f"CREATE DATABASE {database} OWNER {SHOP}".encode())
    for database in (DATABASE, OTHER_DATABASE):
        with server.connect(SHOP, database=database) as shop:
            shop.execute("CREATE TABLE orders (id int PRIMARY KEY, state text)")
            shop.execute("INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 100) n")


def _unprivileged() -> dict[str, Any]:
    """Whom a program that refuses root is run as."""
    return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass(slots=True)
class Queue:
    """Connections that wait for one row, and how many of them were let through or sent away."""

    holder: psycopg.Connection[Any]
    waiters: list[psycopg.Connection[Any]]
    threads: list[threading.Thread]
    through: list[int] = field(default_factory=list)

    @property
    def holder_pid(self) -> int:
        return self.holder.info.backend_pid

    def holds(self) -> bool:
        """Whether the holder is still connected."""
        try:
            self.holder.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def waiting(
    server: Postgres, count: int, *, row: int = 1, user: str = SHOP, statement: str = "", database: str = DATABASE,
    aged_s: float = 1.1,
) -> Iterator[Queue]:  # fmt: skip
    """Somebody holds a row in an open transaction and does nothing more; `count` others want it. `statement`: what
    the holder did last. Yields when all wait, and the transaction is `aged_s` old."""
    with ExitStack() as open_ones:
        holder = open_ones.enter_context(_closing(server.connect(user, database=database)))
        begun_s = time.monotonic()
        holder.execute("SELECT id FROM orders WHERE id = %s FOR UPDATE", (row,))
        if statement:
            holder.execute(statement.encode())
        waiters = [
            open_ones.enter_context(_closing(server.connect(SHOP, database=database, autocommit=True)))
            for _ in range(count)
        ]
        queue = Queue(holder, waiters, [])

        def want(number: int) -> None:
            with suppress(psycopg.Error):
                waiters[number].execute("UPDATE orders SET state = 'paid' WHERE id = %s", (row,))
                queue.through.append(number)

        queue.threads += [threading.Thread(target=want, args=(number,), daemon=True) for number in range(count)]
        for thread in queue.threads:
            thread.start()
        with server.connect(SUPERUSER, autocommit=True) as admin:
            pids = [waiter.info.backend_pid for waiter in waiters]
            await_that("all of them wait", lambda: _waiting(admin, pids) == count)
        time.sleep(max(begun_s + aged_s - time.monotonic(), 0.0))
        try:
            yield queue
        finally:
            with suppress(psycopg.Error):
                holder.rollback()
            for thread in queue.threads:
                thread.join(10.0)


@contextmanager
def stuck(server: Postgres, statement: str) -> Iterator[None]:
    """Somebody else who waits for what others hold, until the end."""
    connection = server.connect(SHOP)

    def ask() -> None:
        with suppress(psycopg.Error):
            connection.execute(statement.encode())

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        with server.connect(SUPERUSER, autocommit=True) as admin:
            await_that("it waits", lambda: _waiting(admin, [connection.info.backend_pid]) == 1, patience_s=10.0)
        yield
    finally:
        connection.cancel()
        thread.join(10.0)
        connection.close()


def _waiting(admin: psycopg.Connection[Any], pids: Sequence[int]) -> int:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = ANY(%s)"
    row = admin.execute(asked, (list(pids),)).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def _closing(connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def deaf_port() -> Iterator[int]:
    """Somebody takes connections there, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        yield deaf.getsockname()[1]


@contextmanager
def falling_silent(server: Postgres, word: bytes, *, delivered: bool = False, times: int = 1000) -> Iterator[int]:
    """A way to the server on which nothing is passed on any more once a client has said `word`, the first `times` that
    one says it. Yields its port. `delivered`: the server hears it, and its answer is lost."""
    over, left = threading.Event(), [times]

    def carry(client: socket.socket) -> None:
        cut = threading.Event()
        with client, socket.create_connection(("127.0.0.1", server.port)) as upstream:
            threading.Thread(target=_answers, args=(upstream, client, cut), daemon=True).start()
            with suppress(OSError):
                while data := client.recv(65536):
                    if word in data and left[0]:
                        left[0] -= 1
                        cut.set()
                        if delivered:
                            upstream.sendall(data)
                        over.wait(60.0)
                        return
                    upstream.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=carry, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()


def _answers(upstream: socket.socket, client: socket.socket, cut: threading.Event) -> None:
    with suppress(OSError):
        while data := upstream.recv(65536):
            if not cut.is_set():
                client.sendall(data)
