"""Ending a session of a real PostgreSQL by a promotion to a real API server: what receipt and approval let through."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.control_plane import OBSERVER, PROMOTER
from tests.clusters.postgres import GATE, PROMOTES, Postgres, Queue, waiting
from tests.clusters.production import WELL, LiveRig
from tests.clusters.prometheus import Users
from tests.twin.promote.rehearsed import keys
from twin.kube.plant import NoOps
from twin.ops import Database, PostgresOps
from twin.ports.plant import OpsApi, Session
from twin.ports.services import PromotionOutcome
from twin.promote.journal import Journal
from twin.receipt import KeyRole, approve, check, load_signer, new_key, trust_key
from twin.receipt.keys import load_trusted_keys
from twin.spec.change import Action, Change, Strategy
from twin.spec.errors import ApprovalMissing, ReceiptInvalid
from twin.spec.ids import ServiceId

pytestmark = [
    pytest.mark.real, pytest.mark.xdist_group("control-plane"), pytest.mark.requirement("R13", "R22"),
]  # fmt: skip
DB = ServiceId("shop/db")
QUICK = Strategy(watch_s=2.0, settle_s=3.0)


def ops_as(server: Postgres, user: str, *, writes: bool) -> PostgresOps:
    return PostgresOps([Database(service=DB, dsn=server.dsn(user))], beyond=NoOps(), writes=writes)


def ending(session: str) -> Change:
    return Change(
        actions=(Action(kind="terminate_session", target=str(DB), parameters={"session": session}),),
        reason="it holds a row that everybody wants", requester="agent", strategy=QUICK,
    )  # fmt: skip


def seen(server: Postgres) -> str:
    """The one session that an observer sees to be in the way."""
    (session,) = ops_as(server, GATE, writes=False).sessions(DB)
    return session.id


def approved(rig: LiveRig, receipt: Mapping[str, Any]) -> None:
    now_s = rig.plant(OBSERVER).clock.now_s()
    rig.approvals = (approve(check(receipt, keys().trusted, now_s), "ana", keys().ana, now_s),)


def freed(queue: Queue) -> bool:
    for thread in queue.threads:
        thread.join(10.0)
    return sorted(queue.through) == list(range(len(queue.waiters))) and not queue.holds()


@pytest.fixture
def database_rig(rig: LiveRig, postgres: Postgres) -> LiveRig:
    rig.ops = ops_as(postgres, PROMOTES, writes=True)
    return rig


def test_the_session_that_was_rehearsed_is_ended_and_marked(database_rig: LiveRig, postgres: Postgres) -> None:
    rig = database_rig
    with waiting(postgres, 2) as queue:
        receipt = rig.receipt(ending(seen(postgres)))
        with pytest.raises(ApprovalMissing):
            rig.service().attempt(receipt)
        assert queue.holds()
        approved(rig, receipt)
        done = rig.service().promote(receipt)
        assert (done.outcome, done.exit_code) == (PromotionOutcome.DONE, 0), done.reason
        assert freed(queue)
    with pytest.raises(ReceiptInvalid):
        rig.service(home="another-laptop").attempt(receipt)
    assert postgres.passwords[PROMOTES].encode() not in (rig.folder / "home.sqlite").read_bytes()


def test_a_session_of_the_same_number_is_left_alone(database_rig: LiveRig, postgres: Postgres) -> None:
    """The receipt is for a process that was started at another moment."""
    rig = database_rig
    with waiting(postgres, 1) as queue:
        pid, _, started = seen(postgres).partition("-")
        receipt = rig.receipt(ending(f"{pid}-{int(started) - 1}"))
        approved(rig, receipt)
        done = rig.service().promote(receipt)
        assert (done.outcome, done.exit_code) == (PromotionOutcome.ROLLED_BACK, 9), done.reason
        assert "no such session" in done.reason
        assert queue.holds()


@pytest.mark.parametrize("ended", [False, True])
def test_cut_short_at_the_call_itself_it_is_finished(database_rig: LiveRig, postgres: Postgres, ended: bool) -> None:
    """Right before the session was ended, or right after, when no mark tells of it yet."""
    rig = database_rig
    with waiting(postgres, 1) as queue:
        receipt = rig.receipt(ending(seen(postgres)))
        approved(rig, receipt)
        rig.ops = _Killed(rig.ops, after=ended)
        with pytest.raises(_Kill):
            rig.service().promote(receipt)
        assert queue.holds() is not ended
        rig.ops = ops_as(postgres, PROMOTES, writes=True)
        (done,) = rig.service().recover()
        assert (done.outcome, done.exit_code) == (PromotionOutcome.DONE, 0), done.reason
        assert freed(queue)


class _Kill(BaseException):
    """Ends a run as kill -9 would: nothing that it would still have done is done."""


class _Killed:
    def __init__(self, ops: OpsApi, *, after: bool) -> None:
        self._ops, self._after = ops, after

    def sessions(self, service: ServiceId) -> Sequence[Session]:
        return self._ops.sessions(service)

    def call(self, operation: str, arguments: Mapping[str, Any], *, dry_run: bool = False) -> Mapping[str, Any]:
        if dry_run:
            return self._ops.call(operation, arguments, dry_run=True)
        if self._after:
            self._ops.call(operation, arguments)
        raise _Kill


@pytest.mark.parametrize("trouble", ["down", "observer", "not in the file"])
def test_what_cannot_be_ended_is_told_and_nothing_is_written(
    database_rig: LiveRig, postgres: Postgres, trouble: str
) -> None:
    rig = database_rig
    with waiting(postgres, 1) as queue:
        receipt = rig.receipt(ending(seen(postgres)))
        approved(rig, receipt)
        if trouble == "down":
            dsn = f"postgresql://{PROMOTES}:hush-hush@127.0.0.1:9/orders"
            rig.ops = PostgresOps([Database(service=DB, dsn=dsn)], beyond=NoOps(), writes=True)
        elif trouble == "observer":
            rig.ops = ops_as(postgres, GATE, writes=True)
        else:
            rig.ops = NoOps()
        done = rig.service().promote(receipt)
        # Without an adapter nothing is begun; what a database refuses it tells at the write itself.
        ended = (PromotionOutcome.REFUSED, 11) if trouble == "not in the file" else (PromotionOutcome.ROLLED_BACK, 9)
        assert (done.outcome, done.exit_code) == ended, done.reason
        assert {"down": "refused", "observer": "may not end", "not in the file": "no adapter"}[trouble] in done.reason
        assert "hush-hush" not in done.reason
        assert b"hush-hush" not in (rig.folder / "home.sqlite").read_bytes()
        assert queue.holds()


def test_the_commands_themselves(database_rig: LiveRig, postgres: Postgres, users: Users) -> None:
    """`twin promote` as people run it: with a file that names the database, and a variable that holds the secret."""
    rig, home = database_rig, database_rig.folder / "home"
    (home / "keys").mkdir(parents=True)
    for name, role in (("gate", KeyRole.GATE), ("ana", KeyRole.APPROVER)):
        trust_key(new_key(home / "keys" / f"{name}.key", name), home / "trusted", role)
    (rig.folder / "ops.yaml").write_text(f"databases: [{{service: {DB}, dsn_env: SHOP_DB_DSN}}]\n")
    gate, ana = (load_signer(home / "keys" / f"{name}.key") for name in ("gate", "ana"))
    with waiting(postgres, 2) as queue:
        change = dataclasses.replace(ending(seen(postgres)), strategy=Strategy(watch_s=15.0, settle_s=15.0))
        receipt = rig.receipt(change, signer=gate, prediction=WELL)
        now_s = rig.plant(OBSERVER).clock.now_s()
        checked = check(receipt, load_trusted_keys(home / "trusted"), now_s)
        (rig.folder / "receipt.json").write_text(json.dumps(receipt))
        (rig.folder / "ana.json").write_text(json.dumps(approve(checked, "ana", ana, now_s)))
        command = ["promote", "receipt.json", "--prod", "kube:", "--prometheus", rig.url, "--approval", "ana.json"]
        refused = _twin(rig, home, [*command, "--ops", "ops.yaml"], {})
        assert refused.returncode == 2, refused.stderr
        assert "SHOP_DB_DSN is not set" in refused.stderr
        assert queue.holds()
        done = _twin(rig, home, [*command, "--ops", "ops.yaml"], {"SHOP_DB_DSN": postgres.dsn(PROMOTES)})
        assert done.returncode == 0, done.stdout + done.stderr
        assert freed(queue)
    secret = postgres.passwords[PROMOTES]
    assert secret not in done.stdout + done.stderr
    assert all(secret.encode() not in path.read_bytes() for path in rig.folder.rglob("*") if path.is_file())
    (promotion,) = Journal(home / "journal.sqlite").promotions()
    assert promotion.status == "done"


def _twin(
    rig: LiveRig, home: Path, arguments: list[str], variables: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "twin.cli.main", *arguments],
        cwd=rig.folder, capture_output=True, text=True, check=False, timeout=200.0,
        env={
            **os.environ, "KUBECONFIG": str(rig.plane.kubeconfig(PROMOTER)), "TWIN_HOME": str(home),
            "PYTHONPATH": str(Path(__file__).parents[2]), **variables,
        },
    )  # fmt: skip
