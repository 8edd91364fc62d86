"""Invariants 2 and 5 at the gate: one answer on any number of processes, and no pass for what was not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chaos.catalogue import compile_fault
from policies import Decision, Policy, load
from tests.small_shop import small_shop
from tests.twin.gate.world_shadow import WorldShadow
from twin.change.compile import compile_change
from twin.fit.observe import observe
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.gate import Evidence, Gate, Settings, _Candidate, _Role, _settle
from twin.gate.judge import Judgement, clopper_pearson
from twin.gate.receipts import receipt_issuer
from twin.gate.rehearsal import Rehearsal, rehearse
from twin.ports.plant import Metric, Plant, Series, Telemetry
from twin.ports.services import Judged, VerifyRequest
from twin.receipt import KeyRole, load_signer, new_key, trust_key
from twin.spec.change import Action, Change, Strategy
from twin.spec.errors import ApiError, Forbidden, PolicyDenied, TwinError
from twin.spec.fault import parse_fault
from twin.spec.ids import ServiceId
from twin.spec.incident import Incident
from twin.spec.plan import ObjectRef
from twin.spec.receipt import EvidenceLevel
from twin.spec.signal import Symptom, SymptomKind
from twin.spec.units import ns
from twin.spec.verdict import Outcome, Prediction, StageName, StageVerdict

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


def test_a_bad_value_of_a_config_map_is_reproduced_and_setting_the_old_one_with_a_restart_cures_it() -> None:
    world = World.build(small_shop(), seed=3)
    world.run(ns(CALM_S))
    twin = observe(plant_of(world))
    fault = parse_fault("bad_config(shop/cart, config=settings, key=LEVEL, value=loud, ratio=0.5)")
    world.inject(compile_fault(fault, world.fleet, start_ns=ns(CALM_S)))
    world.run(ns(CALM_S + 120.0))
    set_config = Action(kind="set_config", target="shop/settings", parameters={"key": "LEVEL", "value": "info"})
    cure = Change(actions=(set_config,), reason="LEVEL is wrong", requester="agent")
    half = replace(cure, actions=(replace(set_config, parameters={**set_config.parameters, "restart": "no"}),))
    gate = Gate(twin, plant_of(world), _policy(), settings=Settings(replications=8), issue=_issue)
    request = replace(_request(world, cure, half), hypotheses=(fault,))
    cured, left = (judged.verdict for judged in gate.verify(request).judged)
    assert cured.outcome is Outcome.EFFECTIVE, cured.reason
    assert left.outcome is not Outcome.EFFECTIVE, "no pod has read it"


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


def test_neither_words_nor_asking_again_draw_other_seeds() -> None:
    world = _struck()
    gate = Gate(small_shop(), plant_of(world), _policy(), settings=Settings(replications=2))
    first = gate.verify(_request(world)).judged[0].verdict.seeds
    world.run(ns(CALM_S + 121.0))
    strategy = Strategy(watch_s=61.0)
    reworded = Change(actions=UNDO.actions, reason="please", requester="somebody else", strategy=strategy)
    scale = Action(kind="scale", target="shop/web", parameters={"replicas": 4.0})
    companion = Change(actions=(scale,), reason="room", requester="agent")
    again = gate.verify(_request(world, companion, reworded)).judged[1].verdict.seeds
    assert first[0] == again[0]
    plant_of(world, writes=True).kube.patch(
        ObjectRef(kind="Deployment", name="cart", namespace="shop"), {("spec", "replicas"): 4}
    )
    assert gate.verify(_request(world)).judged[0].verdict.seeds[0] != first[0], "another base is another question"


def test_what_is_effective_was_confirmed_on_replications_that_did_not_choose_it() -> None:
    world = _struck()
    verdict = _judge(plant_of(world), world).verdict
    rehearsed = [stage for stage in verdict.stages if stage.stage is StageName.REHEARSAL]
    assert rehearsed[-1].reason.startswith("on fresh replications: ")
    assert verdict.reason == rehearsed[-1].reason
    chose, *_, confirmed = verdict.seeds
    assert abs(confirmed - chose) >= 8, "the two sets of replications overlap"


@pytest.mark.requirement("R13")
def test_nothing_is_signed_that_was_not_rehearsed(tmp_path: Path) -> None:
    world = _struck()
    plant = plant_of(world)
    trust_key(new_key(tmp_path / "gate.key", "gate"), tmp_path / "trusted", KeyRole.GATE)
    issue = receipt_issuer(
        plant, small_shop(), load_signer(tmp_path / "gate.key"), policy_revision="0" * 64, median_error_ratio=None
    )
    for settings in (Settings(fleet=False), Settings(replications=8)):
        gate = Gate(small_shop(), plant, _policy(), settings=settings, issue=issue)
        with pytest.raises(PolicyDenied, match="a receipt needs at least 16"):
            gate.verify(_request(world))


def _judgement(**figures: Any) -> Judgement:
    worked = Judgement(
        effect=clopper_pearson(16, 16), harm=clopper_pearson(0, 16), recovered=16, recovered_alone=0, replications=16,
        harmed=(), helped=(), prediction=Prediction(), sessions_lost=0, dropped=0, errors=(), absent=False,
        unfelt=False, unseen="",
    )  # fmt: skip
    return replace(worked, **figures)


@pytest.mark.parametrize(
    ("role", "figures", "outcome"),
    [
        (_Role.BEST, {}, Outcome.EFFECTIVE),
        (_Role.RIVAL, {"errors": ("no such session",), "absent": True}, Outcome.EFFECTIVE),
        (_Role.RIVAL, {"errors": ("its roll-out is not done after 900 s",)}, Outcome.REJECTED),
        (_Role.RIVAL, {"harm": clopper_pearson(6, 6), "replications": 6}, Outcome.REJECTED),
        (_Role.RIVAL, {"effect": clopper_pearson(0, 6), "replications": 6}, Outcome.HARMLESS),
        (_Role.RIVAL, {"effect": clopper_pearson(5, 6), "replications": 6}, Outcome.INCONCLUSIVE),
        (_Role.FRESH, {"effect": clopper_pearson(9, 16)}, Outcome.INCONCLUSIVE),
        (_Role.FRESH, {"unseen": "figures broke down"}, Outcome.INCONCLUSIVE),
        (_Role.BEST, {"dropped": 1}, Outcome.REJECTED),
        (_Role.BEST, {"sessions_lost": 50}, Outcome.REJECTED),
        (_Role.BEST, {"effect": clopper_pearson(0, 16)}, Outcome.HARMLESS),
    ],
)
def test_each_count_decides_as_it_should(role: _Role, figures: dict[str, Any], outcome: Outcome) -> None:
    candidate = _Candidate(UNDO)
    if role is not _Role.BEST:
        _settle(candidate, _judgement(), role=_Role.BEST, reproduced=True, calm=False, wall_s=0.0)
    _settle(candidate, _judgement(**figures), role=role, reproduced=True, calm=False, wall_s=0.0)
    assert candidate.outcome is outcome
    assert candidate.decisive is not None
    last = candidate.stages[-1 if outcome is not Outcome.EFFECTIVE else 0]
    assert candidate.decisive is last, "the reason that is told is not the one that decided"
    assert candidate.judgement is not None
    if outcome.promotable:
        assert candidate.judgement.replications == 16, "a receipt must not rest on a rival's few runs"


def _on_shadow(plant: Plant, world: World, shadow: WorldShadow | None) -> tuple[Judged, list[EvidenceLevel]]:
    levels: list[EvidenceLevel] = []

    def issue(evidence: Evidence) -> Mapping[str, Any]:
        levels.append(evidence.level)
        return {}

    gate = Gate(
        small_shop(), plant, _policy(), settings=Settings(replications=8), issue=issue,
        shadow=shadow,  # type: ignore[arg-type]
    )  # fmt: skip
    (judged,) = gate.verify(_request(world)).judged
    return judged, levels


def test_what_a_shadow_saw_is_a_stage_and_gives_the_receipt_its_level() -> None:
    world = _struck()
    judged, levels = _on_shadow(plant_of(world), world, WorldShadow(world.save()))
    assert judged.verdict.outcome is Outcome.EFFECTIVE
    assert levels == [EvidenceLevel.STAND_INS]
    stages = [stage.stage for stage in judged.verdict.stages]
    assert stages[-2:] == [StageName.CONTROL_PLANE, StageName.SHADOW]


@pytest.mark.parametrize(
    ("why", "outcome"),
    [(Forbidden("cannot patch", "exceeded quota", "x"), Outcome.REJECTED),
     (ApiError("cannot patch", "etcd is away", "x"), Outcome.INCONCLUSIVE)],
)  # fmt: skip
def test_what_works_on_the_twin_and_not_on_the_shadow_is_no_pass(why: TwinError, outcome: Outcome) -> None:
    world = _struck()
    judged, levels = _on_shadow(plant_of(world), world, WorldShadow(world.save(), breaks={"patch": why}))
    assert (judged.verdict.outcome, judged.receipt, levels) == (outcome, None, [])
    assert why.why in judged.verdict.reason


@dataclass(frozen=True)
class _Live:
    """A Plant that says that users depend on it."""

    plant: Plant
    live: bool | None = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plant, name)


def test_a_live_production_is_asked_itself_what_it_admits() -> None:
    world = _struck()
    judged, levels = _on_shadow(_Live(plant_of(world)), world, None)  # type: ignore[arg-type]
    result = next(stage for stage in judged.verdict.stages if stage.stage is StageName.CONTROL_PLANE)
    # A World takes no pods, not even by a dry run: so this production refuses.
    assert (result.verdict, "production, dry run" in result.reason) == (StageVerdict.FAIL, True)
    assert (judged.verdict.outcome, levels) == (Outcome.REJECTED, [])
