"""Invariants 2 and 5 at the gate: one answer on any number of processes, and no pass for what was not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from chaos.catalogue import compile_fault
from policies import Decision, Policy, load
from tests.small_shop import small_shop
from twin.change.compile import compile_change
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.gate import Evidence, Gate, Settings
from twin.gate.rehearsal import Rehearsal, rehearse
from twin.ports.plant import Metric, Plant, Series, Telemetry
from twin.ports.services import Judged, VerifyRequest
from twin.spec.change import Action, Change
from twin.spec.errors import ApiError
from twin.spec.fault import parse_fault
from twin.spec.ids import ServiceId
from twin.spec.incident import Incident
from twin.spec.signal import Symptom, SymptomKind
from twin.spec.units import ns
from twin.spec.verdict import Outcome, StageVerdict

CALM_S = 400.0
FAULT = parse_fault("bad_rollout(shop/cart, image=cart:v2, ratio=0.5)")
UNDO = Change(
    actions=(Action(kind="rollout_undo", target="shop/cart"),), reason="the new build fails", requester="agent"
)


@cache
def _policy() -> Policy:
    return load()


def _struck() -> World:
    world = World.build(small_shop(), seed=3)
    world.run(ns(CALM_S))
    world.inject(compile_fault(FAULT, world.fleet, start_ns=ns(CALM_S)))
    world.run(ns(CALM_S + 120.0))
    return world


def _request(world: World, *candidates: Change) -> VerifyRequest:
    symptoms = (Symptom(service=ServiceId("shop/cart"), kind=SymptomKind.ERRORS, value=0.5, usual=0.0),)
    incident = Incident(id="1", title="cart fails", onset_s=world.fleet.epoch_s + CALM_S + 20.0, symptoms=symptoms)
    return VerifyRequest(incident=incident, hypotheses=(FAULT,), candidates=candidates or (UNDO,))


def _issue(evidence: Evidence) -> Mapping[str, Any]:
    return {"outcome": evidence.verdict.outcome}


def _judge(plant: Plant, world: World, policy: Any = None) -> Judged:
    gate = Gate(small_shop(), plant, policy or _policy(), settings=Settings(replications=8), issue=_issue)
    (judged,) = gate.verify(_request(world)).judged
    return judged


@dataclass(frozen=True)
class _Blind:
    """A Plant whose telemetry is put through `telemetry`."""

    inner: Plant
    telemetry: Telemetry

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class _Holes:
    """Every value of one metric, or of all, is missing."""

    def __init__(self, inner: Telemetry, only: Metric | None = None) -> None:
        self._inner, self._only = inner, only

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def series(self, metric: Metric, services: Sequence[ServiceId], *, start_s: float, end_s: float) -> Series:
        found = self._inner.series(metric, services, start_s=start_s, end_s=end_s)
        if self._only not in (None, metric):
            return found
        return Series(found.times_s, np.full_like(found.values, np.nan))


class _NoScrapes(_Holes):
    def series(self, metric: Metric, services: Sequence[ServiceId], *, start_s: float, end_s: float) -> Series:
        return Series(np.empty(0), np.empty((0, len(services))))


class _Down(_Holes):
    def series(self, metric: Metric, services: Sequence[ServiceId], *, start_s: float, end_s: float) -> Series:
        raise ApiError("the metrics server answered 503", "it is restarting", "ask again")


def test_the_cure_of_what_is_reproduced_is_effective_and_gets_a_receipt() -> None:
    """Without this, the refusals below could come from anything."""
    world = _struck()
    judged = _judge(plant_of(world), world)
    assert judged.verdict.outcome is Outcome.EFFECTIVE, judged.verdict.reason
    assert judged.receipt is not None


@pytest.mark.requirement("R13")
@pytest.mark.parametrize(
    "break_it",
    [
        _Holes,
        lambda inner: _Holes(inner, Metric.ERROR_RATIO),
        lambda inner: _Holes(inner, Metric.REQUESTS_RPS),
        lambda inner: _Holes(inner, Metric.READY_REPLICAS),
        _NoScrapes,
        _Down,
    ],
)
def test_what_was_not_seen_does_not_pass(break_it: Any) -> None:
    world = _struck()
    plant = plant_of(world)
    judged = _judge(_Blind(plant, break_it(plant.telemetry)), world)
    assert judged.verdict.outcome is Outcome.INCONCLUSIVE
    assert judged.verdict.stages[-1].verdict is StageVerdict.INCONCLUSIVE
    assert judged.receipt is None


@pytest.mark.requirement("R13", "R18")
def test_what_policy_does_not_allow_is_denied_and_never_rehearsed() -> None:
    class _Denies:
        revision = "0" * 64

        def decide(self, _question: Any) -> Decision:
            decision = _policy().decide({})  # No question at all: undefined, and so denied.
            assert not decision.allow
            return decision

    world = _struck()
    judged = _judge(plant_of(world), world, _Denies())
    assert judged.verdict.outcome is Outcome.DENIED
    assert judged.verdict.replications == 0
    assert judged.receipt is None


def test_an_incident_that_the_twin_cannot_reproduce_earns_no_effective() -> None:
    """The hypothesis is about a service that is well: nothing explains what production shows."""
    world = _struck()
    wrong = parse_fault("slow(shop/db, factor=2)")
    gate = Gate(small_shop(), plant_of(world), _policy(), settings=Settings(replications=8), issue=_issue)
    (judged,) = gate.verify(
        VerifyRequest(
            incident=_request(world).incident, hypotheses=(wrong,),
            candidates=(
                Change(
                    actions=(Action(kind="scale", target="shop/web", parameters={"replicas": 4.0}),),
                    reason="room", requester="agent",
                ),
            ),
        )
    ).judged  # fmt: skip
    assert judged.verdict.outcome is not Outcome.EFFECTIVE


def test_one_process_or_two_give_the_same_bits() -> None:
    world = _struck()
    plan = compile_change(UNDO, plant_of(world).kube, at_s=0.0)

    def bits(found: Rehearsal) -> list[bytes]:
        arms = [*found.nothing, *(arm for plan_arms in found.arms for arm in plan_arms)]
        return [part.tobytes() for arm in arms for part in (arm.let_down, arm.users, arm.bad, arm.asked, arm.missing)]

    one, two = (rehearse(world, [plan], replications=range(1, 5), horizon_s=60.0, jobs=jobs) for jobs in (1, 2))
    assert bits(one) == bits(two)
    assert bits(one)[0] != bits(one)[5], "replications that are alike would make the comparison empty"
