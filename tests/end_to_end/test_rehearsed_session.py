"""A session of a real PostgreSQL as the gate's suspect: found, played in the twin under its name, its end rehearsed.

Kubernetes, metrics and users are a World's, in which a lock is held; who holds it, the real server tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

import policies
from chaos.catalogue import compile_fault
from tests.clusters.postgres import GATE, Postgres, waiting
from tests.small_shop import small_shop
from twin.cli.commands.verify import incident_now
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.gate import Evidence, Gate, Settings
from twin.kube.plant import NoOps
from twin.ops import Database, PostgresOps
from twin.ports.plant import OpsApi, Plant
from twin.ports.services import Judged, VerifyRequest
from twin.spec.change import Action, Change
from twin.spec.fault import parse_fault
from twin.spec.ids import ServiceId
from twin.spec.units import NS_PER_S
from twin.spec.verdict import Outcome

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("postgres"), pytest.mark.requirement("R13")]
DB = ServiceId("shop/db")
SHOP = small_shop(rate_rps=30.0)  # Busier, it would not recover from what has piled up behind the lock.


@dataclass(frozen=True)
class _WithDatabase:
    """A World's Plant whose sessions are a real server's."""

    inner: Plant
    ops: OpsApi

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@cache
def _locked() -> bytes:
    world = World.build(SHOP, seed=3)
    world.run(400 * NS_PER_S)
    fault = parse_fault("held_slots(shop/db, session=only-the-worlds)")
    world.inject(compile_fault(fault, world.fleet, start_ns=world.now_ns))
    world.run_for(60 * NS_PER_S)
    return world.save()


def _judged(dsn: str, session: str, *, station: str = "row-lock") -> Judged:
    ops = PostgresOps([Database(service=DB, dsn=dsn, station=station)], beyond=NoOps(), writes=False)
    plant = _WithDatabase(plant_of(World.restore(_locked())), ops)
    end = Change(
        actions=(Action(kind="terminate_session", target=str(DB), parameters={"session": session}),),
        reason="it holds a row that everybody wants", requester="agent",
    )  # fmt: skip
    gate = Gate(SHOP, plant, policies.load(), settings=Settings(replications=8), issue=_issue)
    (judged,) = gate.verify(VerifyRequest(incident=incident_now(plant), hypotheses=(), candidates=(end,))).judged
    return judged


def _seen(server: Postgres) -> str:
    (session,) = PostgresOps([Database(service=DB, dsn=server.dsn(GATE))], beyond=NoOps(), writes=False).sessions(DB)
    return session.id


def _issue(evidence: Evidence) -> Mapping[str, Any]:
    return {"outcome": evidence.verdict.outcome}


def test_its_end_is_rehearsed_under_its_own_name(postgres: Postgres) -> None:
    with waiting(postgres, 3) as queue:
        session = _seen(postgres)
        judged = _judged(postgres.dsn(GATE), session)
        assert judged.verdict.outcome is Outcome.EFFECTIVE, judged.verdict.reason
        assert judged.receipt is not None
        suspect = judged.verdict.suspects[0].fault
        assert suspect is not None
        assert suspect.parameters["session"] == session
        other = _judged(postgres.dsn(GATE), "4711-1764245333123456")
        assert other.verdict.outcome is not Outcome.EFFECTIVE
        assert other.receipt is None
        assert queue.holds()


def test_a_database_that_cannot_be_asked_makes_the_verdict_inconclusive() -> None:
    judged = _judged("postgresql://gate:hush-hush@127.0.0.1:9/orders", "4711-1764245333123456")
    assert judged.verdict.outcome is Outcome.INCONCLUSIVE
    assert judged.receipt is None
    assert "cannot see the sessions of shop/db" in judged.verdict.reason
    assert "hush-hush" not in repr(judged)


def test_a_station_that_the_twin_does_not_know_is_no_suspect_and_no_pass(postgres: Postgres) -> None:
    with waiting(postgres, 1):
        judged = _judged(postgres.dsn(GATE), _seen(postgres), station="max_connections")
    assert judged.verdict.outcome is not Outcome.EFFECTIVE
    assert judged.receipt is None
    assert "held_slots" not in {suspect.fault.kind for suspect in judged.verdict.suspects if suspect.fault is not None}
