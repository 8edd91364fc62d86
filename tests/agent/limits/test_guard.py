"""The write guard: counts pods, stops on failures, stays stopped, and is one for all processes."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.limits import MemoryWriteGuard, SqliteWriteGuard
from twin.spec.errors import PolicyDenied


def admit(guard: SqliteWriteGuard, pods: int, at_s: float, *, kind: str = "restart", scope: str = "shop/cart") -> None:
    guard.admit(kind=kind, scope=scope, pod_terminations=pods, now_s=at_s)


@pytest.mark.requirement("R10")
def test_what_counts_is_pods_not_calls_over_all_kinds_and_scopes(tmp_path: Path) -> None:
    guard = SqliteWriteGuard(tmp_path / "guard.db", terminations_max=5)
    admit(guard, 3, 100.0)
    admit(guard, 2, 101.0, kind="scale", scope="shop/web")
    with pytest.raises(PolicyDenied, match=r"1 pod terminations after 5 in the last 60 s"):
        admit(guard, 1, 102.0, scope="shop/orders")
    admit(guard, 0, 102.0)  # A write that ends no pod is not slowed.
    admit(guard, 3, 160.5)  # The first three have left the window.


@pytest.mark.requirement("R10")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 300), st.integers(0, 7)), max_size=40))
def test_no_window_ever_holds_more_than_the_limit(asked: list[tuple[float, int]]) -> None:
    guard = MemoryWriteGuard(terminations_max=10, window_s=60.0)
    given_out: list[tuple[float, int]] = []
    for at_s, pods in sorted(asked):
        try:
            admit(guard, pods, at_s)
        except PolicyDenied:
            continue
        given_out.append((at_s, pods))
    for end_s, _ in given_out:
        assert sum(pods for at_s, pods in given_out if end_s - 60.0 < at_s <= end_s) <= 10


def test_a_clock_that_was_set_back_frees_nothing() -> None:
    guard = MemoryWriteGuard(terminations_max=5)
    admit(guard, 5, 1000.0)
    with pytest.raises(PolicyDenied):
        admit(guard, 1, 500.0)


@pytest.mark.requirement("R11")
def test_three_failures_in_a_row_open_the_breaker_until_a_human_resets_it(tmp_path: Path) -> None:
    path = tmp_path / "guard.db"
    for at_s in (1.0, 2.0, 3.0):
        SqliteWriteGuard(path).record(kind="restart", scope="shop/cart", ok=False, now_s=at_s)
    guard = SqliteWriteGuard(path, terminations_max=5)  # Another process, after a restart.
    with pytest.raises(PolicyDenied, match="failed 3 times in a row"):
        admit(guard, 0, 1e9)
    guard.record(kind="restart", scope="shop/cart", ok=True, now_s=4.0)  # A straggler's success closes nothing.
    with pytest.raises(PolicyDenied):
        admit(guard, 0, 1e9)
    admit(guard, 1, 5.0, scope="shop/web")
    admit(guard, 1, 5.0, kind="scale")
    guard.reset(kind="restart", scope="shop/cart")
    admit(guard, 1, 6.0)


@pytest.mark.requirement("R10", "R11")
def test_each_target_has_a_clock_and_a_count_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "guard.db"
    one, other = (SqliteWriteGuard(path, target=target, terminations_max=5) for target in ("one", "other"))
    admit(one, 5, 100_000.0)
    admit(other, 5, 700.0)  # An earlier clock: what happened in another World lies not in this one's future.
    assert (one.terminations(now_s=100_001.0), other.terminations(now_s=701.0)) == (5, 5)
    for at_s in (1.0, 2.0, 3.0):
        one.record(kind="restart", scope="shop/cart", ok=False, now_s=at_s)
    admit(other, 0, 800.0)
    with pytest.raises(PolicyDenied, match="failed 3 times in a row"):
        admit(one, 0, 100_100.0)
    assert [breaker.target for breaker in other.open_breakers()] == ["one"]
    one.engage(by="ana", reason="stop", now_s=1.0)
    with pytest.raises(PolicyDenied, match="kill switch"):
        admit(other, 0, 801.0)  # The switches are one for all.


@pytest.mark.requirement("R10")
def test_a_guard_that_was_told_no_limit_lets_no_pod_be_ended() -> None:
    guard = MemoryWriteGuard()
    admit(guard, 0, 1.0)
    with pytest.raises(PolicyDenied, match="at most 0"):
        admit(guard, 1, 1.0)


@pytest.mark.requirement("R11")
def test_a_success_ends_the_row() -> None:
    guard = MemoryWriteGuard(terminations_max=5)
    for ok in (False, False, True, False, False):
        guard.record(kind="restart", scope="shop/cart", ok=ok, now_s=1.0)
    admit(guard, 1, 2.0)


@pytest.mark.parametrize(("engage", "release"), [("engage", "release"), ("fence", "unfence")])
@pytest.mark.requirement("R19")
def test_kill_switch_and_fence_stop_every_write_over_restarts(tmp_path: Path, engage: str, release: str) -> None:
    path = tmp_path / "guard.db"
    getattr(SqliteWriteGuard(path), engage)(by="ana", reason="it frightens me", now_s=1.0)
    guard = SqliteWriteGuard(path)
    with pytest.raises(PolicyDenied, match="by ana: it frightens me"):
        admit(guard, 0, 1e9)
    getattr(guard, release)()
    admit(guard, 0, 1e9)


def test_the_two_switches_are_released_one_by_one() -> None:
    guard = MemoryWriteGuard(terminations_max=5)
    guard.engage(by="ana", reason="stop", now_s=1.0)
    guard.fence(by="watchdog", reason="hung", now_s=2.0)
    guard.release()
    with pytest.raises(PolicyDenied, match="fence is engaged by watchdog"):
        admit(guard, 0, 3.0)
    assert [switch.name for switch in guard.switches()] == ["fence"]


def test_a_guard_that_cannot_be_read_refuses(tmp_path: Path) -> None:
    path = tmp_path / "guard.db"
    guard = SqliteWriteGuard(path)
    with sqlite3.connect(path) as db:
        db.execute("drop table switches")
    with pytest.raises(PolicyDenied, match="cannot be asked"):
        admit(guard, 0, 1.0)


def _take(path: str, wins: multiprocessing.Queue[int]) -> None:
    guard = SqliteWriteGuard(path, terminations_max=10)
    won = 0
    for _ in range(10):
        try:
            admit(guard, 1, 100.0)
            won += 1
        except PolicyDenied:
            pass
    wins.put(won)


@pytest.mark.requirement("R10")
def test_two_processes_together_get_no_more_than_the_limit(tmp_path: Path) -> None:
    path = str(tmp_path / "guard.db")
    SqliteWriteGuard(path)
    context = multiprocessing.get_context("spawn")
    wins: multiprocessing.Queue[int] = context.Queue()
    workers = [context.Process(target=_take, args=(path, wins)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert wins.get(timeout=5) + wins.get(timeout=5) == 10


def test_a_file_from_before_there_were_targets_still_stops_everybody(tmp_path: Path) -> None:
    path = tmp_path / "guard.db"
    with sqlite3.connect(path) as db:
        db.execute("create table admissions (at_s real, kind text, scope text, terminations integer)")
        db.execute("create table breakers (kind text, scope text, failures integer, opened_s real)")
        db.execute("create table switches (name text primary key, at_s real, by text, reason text)")
        db.execute("insert into switches values ('kill switch', 1.0, 'ana', 'stop')")
    guard = SqliteWriteGuard(path, target="prod", terminations_max=5)
    with pytest.raises(PolicyDenied, match="kill switch"):
        admit(guard, 1, 2.0)
    guard.release()
    admit(guard, 5, 2.0)
