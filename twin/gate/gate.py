"""The gate: six stages, cheapest first, and a verdict for each candidate of an incident.

All candidates come in one request. They are rehearsed in the same replications, so that they differ by
nothing but themselves. Seeds follow from the base, so that nobody can fish for a kind one by asking again. What was
best of several looks better than it is: whatever would be called effective is rehearsed once more, on fresh
replications, and only these decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Protocol

import numpy as np

from chaos.catalogue import fault_types
from policies import Policy
from twin.change.base import base_of
from twin.change.compile import compile_change
from twin.change.owners import refuse_reverted
from twin.change.questions import policy_questions
from twin.change.webhooks import refuse_unanswered
from twin.fit.reproduce import Reproduction, Scene, reproduce, set_scene
from twin.fleet.world import World
from twin.gate.admission import try_admission
from twin.gate.judge import Judgement, Measure, judge
from twin.gate.rehearsal import HORIZON_S, rehearse, user_journeys
from twin.gate.rivals import rivals_of
from twin.gate.shadow import rehearse_mechanics
from twin.gate.trial import Trial, try_on_shadow
from twin.ports.plant import Plant
from twin.ports.services import Judged, Verification, VerifyRequest
from twin.ports.shadow import Shadow
from twin.spec.change import Change, Reversibility
from twin.spec.errors import NotFound, TwinError
from twin.spec.fault import Fault, FaultType, fault_text
from twin.spec.fleet import Fleet
from twin.spec.plan import Plan, workload_ref
from twin.spec.receipt import BaseObject, EvidenceLevel, base_digest
from twin.spec.units import counted
from twin.spec.verdict import Outcome, Prediction, StageName, StageResult, StageVerdict, Suspect, Verdict

__all__ = ["Evidence", "Gate", "Issuer", "Progress", "Settings"]

REPLICATIONS: Final = 16
RIVAL_REPLICATIONS: Final = 6
FRESH_FROM: Final = 1_000_000  # Replications that confirm begin so far above those that chose.
MODELLED_FIT_S: Final = 1.0  # What the stages cost in the target's time, for the benchmark's clock.
MODELLED_CANDIDATE_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`fleet` False leaves out stages 3, 4 and 6: the benchmark's "policy" gate. `mechanics` is stage 6."""

    replications: int = REPLICATIONS
    horizon_s: float = HORIZON_S
    jobs: int = 1
    fleet: bool = True
    mechanics: bool = True


class Progress(Protocol):
    """Told what the gate is doing, for people who wait."""

    def stage(self, name: str, total: int) -> None: ...
    def advance(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a receipt is made from. `level`: the best that a stage which passed stands for."""

    change: Change
    plan: Plan
    verdict: Verdict
    scene: Scene | None
    level: EvidenceLevel = EvidenceLevel.SIMULATED


Issuer = Callable[[Evidence], Mapping[str, Any]]


class _Role(StrEnum):
    """What a rehearsal is for: to choose under the best suspect, to try a rival, to confirm."""

    BEST = "best"
    RIVAL = "rival"
    FRESH = "fresh"


@dataclass(slots=True)
class _Candidate:
    change: Change
    plan: Plan | None = None
    stages: list[StageResult] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)  # first replication of each rehearsal
    outcome: Outcome | None = None
    judgement: Judgement | None = None
    decisive: StageResult | None = None  # the stage that made the outcome what it is
    level: EvidenceLevel = EvidenceLevel.SIMULATED


class Gate:
    """Implements Verifier on a twin. It reads production through a read-only Plant and writes nothing."""

    def __init__(
        self,
        twin: Fleet,
        production: Plant,
        policy: Policy,
        *,
        settings: Settings = Settings(),
        issue: Issuer | None = None,
        progress: Progress | None = None,
        shadow: Shadow | None = None,
    ) -> None:
        """`shadow`: a real cluster, loaded with this production and this twin, for stages 5 and 6; without one, stage 6
        is played on a simulated cluster."""
        self._twin = twin
        self._production = production
        self._policy = policy
        self._settings = settings
        self._issue = issue
        self._progress = progress
        self._shadow = shadow
        self.last_reproduction: Reproduction | None = None
        self.last_trial: Trial | None = None

    def fault_types(self) -> Sequence[FaultType]:
        return fault_types()

    def verify(self, request: VerifyRequest) -> Verification:
        """Reproduce, rehearse, judge. Never raises for a bad candidate: its verdict says so.

        Raises ApiError if production's objects cannot be read: then there is no base that a verdict could be about.
        """
        candidates = [_Candidate(change) for change in request.candidates]
        for candidate in candidates:
            self._check_form(candidate)
            if candidate.plan is not None:
                self._check_policy(candidate, candidate.plan)
        open_ones = [c for c in candidates if c.outcome is None]
        scene: Scene | None = None
        suspects: tuple[Suspect, ...] = ()
        if self._settings.fleet:
            seed = _seed(request, self._twin, self._production)
            scene, reproduction = self._reproduce(request, open_ones)
            suspects = reproduction.suspects if reproduction else ()
            if scene is not None and reproduction is not None:
                self._rehearse(scene, reproduction, open_ones, seed=seed)
        else:
            for candidate in open_ones:
                candidate.outcome = Outcome.EFFECTIVE  # This gate asks policy only, and says so.
        judged = []
        for candidate in candidates:
            verdict = _verdict(candidate, suspects)
            receipt = None
            if self._issue is not None and candidate.plan is not None and verdict.outcome.promotable:
                receipt = self._issue(
                    Evidence(
                        change=candidate.change, plan=candidate.plan, verdict=verdict, scene=scene,
                        level=candidate.level,
                    )
                )  # fmt: skip
            judged.append(Judged(change=candidate.change, verdict=verdict, receipt=receipt))
        cost_s = MODELLED_FIT_S * len(suspects) + MODELLED_CANDIDATE_S * len(open_ones) * self._settings.fleet
        return Verification(suspects=suspects, judged=tuple(judged), modelled_s=cost_s)

    def _advance(self) -> None:
        if self._progress is not None:
            self._progress.advance()

    def _check_form(self, candidate: _Candidate) -> None:
        started = time.perf_counter()
        try:
            plan = compile_change(candidate.change, self._production.kube, at_s=self._production.clock.now_s())
            candidate.plan = plan
            refuse_reverted(self._production.kube, plan)
            refuse_unanswered(self._production.kube, plan)
            back = "it cannot be undone" if plan.reversibility is Reversibility.IRREVERSIBLE else plan.reversibility
            result = StageResult(
                stage=StageName.FORM, verdict=StageVerdict.PASS,
                reason=f"{counted(len(plan.steps), 'write')}; {back}", wall_s=time.perf_counter() - started,
            )  # fmt: skip
        except TwinError as error:
            result = StageResult(stage=StageName.FORM, verdict=StageVerdict.FAIL, reason=str(error))
            candidate.outcome, candidate.decisive = Outcome.REJECTED, result
        candidate.stages.append(result)

    def _check_policy(self, candidate: _Candidate, plan: Plan) -> None:
        started = time.perf_counter()
        questions = policy_questions(
            self._production, plan, identity="gate", purpose="rehearse", live=False, terminations_last_minute=0
        )
        refusal = next((d.reason for d in map(self._policy.decide, questions) if not d.allow), None)
        result = StageResult(
            stage=StageName.POLICY,
            verdict=StageVerdict.PASS if refusal is None else StageVerdict.FAIL,
            reason=refusal or "allowed",
            wall_s=time.perf_counter() - started,
        )
        candidate.stages.append(result)
        if refusal is not None:
            candidate.outcome, candidate.decisive = Outcome.DENIED, result

    def _reproduce(
        self, request: VerifyRequest, candidates: Sequence[_Candidate]
    ) -> tuple[Scene | None, Reproduction | None]:
        """Stage 3. Also without candidates: the suspects are wanted all the same."""
        started = time.perf_counter()
        try:
            rivals = rivals_of(request.incident, self._twin, self._production, request.hypotheses)
            hypotheses = [*request.hypotheses, *rivals]
            targets = [fault.target for fault in hypotheses]
            targets += [action.target for candidate in candidates for action in candidate.change.actions]
            scene = set_scene(self._twin, self._production, request.incident, targets=targets)
            if self._progress is not None:
                self._progress.stage("reproducing the incident on the twin", len(hypotheses))
            reproduction = reproduce(scene, hypotheses, jobs=self._settings.jobs, progress=self._advance)
        except TwinError as error:
            result = StageResult(stage=StageName.REPRODUCTION, verdict=StageVerdict.INCONCLUSIVE, reason=str(error))
            for candidate in candidates:
                candidate.stages.append(result)
                candidate.outcome, candidate.decisive = Outcome.INCONCLUSIVE, result
            return None, None
        self.last_reproduction = reproduction
        best = reproduction.best
        if best.fault is None:
            verdict, reason = StageVerdict.INCONCLUSIVE, "nothing that the twin knows looks like this"
            if scene.calm:
                reason = "production is well: no alert fires"
        else:
            verdict = StageVerdict.PASS
            reason = f"{fault_text(best.fault)} explains {1.0 - best.residual:.0%} of it, weight {best.weight:.2f}"
        for candidate in candidates:
            candidate.stages.append(
                StageResult(
                    stage=StageName.REPRODUCTION, verdict=verdict, reason=reason,
                    wall_s=time.perf_counter() - started,
                )
            )  # fmt: skip
        return scene, reproduction

    def _rehearse(
        self, scene: Scene, reproduction: Reproduction, candidates: Sequence[_Candidate], *, seed: int
    ) -> None:
        """Stages 4 and 6, under the best suspect and every rival that explains nearly as much; then whatever is
        effective so far once more, on fresh replications."""
        if not candidates:
            return
        suspects = reproduction.rivals() if reproduction.best.fault is not None else ()
        best: World | None = None
        for rank, suspect in enumerate(suspects or (reproduction.best,)):
            situation = scene.play(suspect.fault, watched=False)
            count = self._settings.replications if rank == 0 else RIVAL_REPLICATIONS
            role = _Role.RIVAL if rank else _Role.BEST
            reproduced = suspect.fault is not None
            # A rival can only make it worse: who has failed already needs none.
            tried = [c for c in candidates if rank == 0 or _may_go_on(c)]
            if not tried:
                break
            self._play(scene, situation, tried, _replications(seed, count), role=role, reproduced=reproduced)
            if rank == 0:
                best = situation
                if self._shadow is None:
                    self._try_mechanics(situation, candidates)
        effective = [candidate for candidate in candidates if candidate.outcome is Outcome.EFFECTIVE]
        if effective and best is not None:
            fresh = _replications(seed + FRESH_FROM, self._settings.replications)
            self._play(scene, best, effective, fresh, role=_Role.FRESH, reproduced=True)
        self._try_clusters(reproduction.best.fault, candidates)

    def _try_clusters(self, fault: Fault | None, candidates: Sequence[_Candidate]) -> None:
        """Stages 5 and 6 on real clusters, for what may still go on: the dearest come last. A live production is asked
        itself what it would admit; for another one the shadow answers, if there is one."""
        shadow, live = self._shadow, self._production.live is not False
        for candidate in candidates:
            plan = candidate.plan
            if plan is None or not _may_go_on(candidate) or not (live or shadow is not None):
                continue
            if self._progress is not None:
                self._progress.stage("asking the API server" if shadow is None else f"trying it on {shadow.name}", 2)
            started = time.perf_counter()
            if live:
                admitted = try_admission(self._production.kube, plan, where="production, dry run")
                self._settle_stage(candidate, admitted, started=started, level=EvidenceLevel.CONTROL_PLANE)
            elif shadow is not None:
                admitted = try_admission(shadow.kube, shadow.fit(plan), where=f"shadow {shadow.name}")
                self._settle_stage(candidate, admitted, started=started, level=EvidenceLevel.CONTROL_PLANE)
            self._advance()
            if shadow is not None and _may_go_on(candidate):
                started = time.perf_counter()
                seen, self.last_trial = try_on_shadow(shadow, self._twin, plan, fault)
                self._settle_stage(candidate, seen, started=started, level=shadow.level)
            self._advance()

    def _settle_stage(
        self, candidate: _Candidate, result: StageResult, *, started: float, level: EvidenceLevel
    ) -> None:
        result = replace(result, wall_s=time.perf_counter() - started)
        candidate.stages.append(result)
        if result.verdict is StageVerdict.PASS:
            candidate.level = level
        else:
            failed = result.verdict is StageVerdict.FAIL
            candidate.outcome = Outcome.REJECTED if failed else Outcome.INCONCLUSIVE
            candidate.decisive = result

    def _play(
        self,
        scene: Scene,
        situation: World,
        candidates: Sequence[_Candidate],
        replications: Sequence[int],
        *,
        role: _Role,
        reproduced: bool,
    ) -> None:
        started = time.perf_counter()
        plans = [candidate.plan for candidate in candidates if candidate.plan is not None]
        if self._progress is not None:
            what = "confirming" if role is _Role.FRESH else "rehearsing"
            told = f"{what} {counted(len(plans), 'candidate')}, {len(replications)} paired runs"
            self._progress.stage(told, len(replications))
        rehearsal = rehearse(
            situation, plans, replications=replications, horizon_s=self._settings.horizon_s, jobs=self._settings.jobs,
            progress=self._advance,
        )  # fmt: skip
        wall_s = time.perf_counter() - started
        services = [service.id for service in scene.fleet.services]
        journeys = user_journeys(scene.fleet)
        measure = Measure(
            usual=np.array([scene.usual.get(journey, 0.0) for journey in journeys]),
            short=np.array([service in scene.short for service in services]),
            failing=np.array([service in scene.failing for service in services]),
            usual_failing=np.array([scene.usual_failing.get(service, 0.0) for service in services]),
        )
        for candidate, arms in zip(candidates, rehearsal.arms, strict=True):
            found = judge(services, rehearsal.nothing, arms, measure=measure, journeys=journeys)
            _settle(candidate, found, role=role, reproduced=reproduced, calm=scene.calm, wall_s=wall_s)
            candidate.seeds.append(replications[0])

    def _try_mechanics(self, situation: World, candidates: Sequence[_Candidate]) -> None:
        """Stage 6, for what may still go on; where it is left out, the receipt says so."""
        for candidate in candidates:
            if not _may_go_on(candidate):
                continue
            if not self._settings.mechanics:
                reason = "left out: nobody tried whether it can be applied and taken back"
                candidate.stages.append(
                    StageResult(stage=StageName.SHADOW, verdict=StageVerdict.INCONCLUSIVE, reason=reason)
                )
                continue
            result = _mechanics(situation, candidate)
            candidate.stages.append(result)
            if result.verdict is not StageVerdict.PASS:
                candidate.outcome, candidate.decisive = Outcome.REJECTED, result


def _mechanics(situation: World, candidate: _Candidate) -> StageResult:
    started = time.perf_counter()
    assert candidate.plan is not None
    result = rehearse_mechanics(situation, candidate.plan)
    return replace(result, wall_s=time.perf_counter() - started)


def _may_go_on(candidate: _Candidate) -> bool:
    return candidate.outcome is not None and candidate.outcome.promotable


_ROLE_TEXT: Final = {_Role.BEST: "", _Role.RIVAL: "under a rival: ", _Role.FRESH: "on fresh replications: "}
_STAGE_OF: Final = {
    Outcome.EFFECTIVE: StageVerdict.PASS,
    Outcome.HARMLESS: StageVerdict.PASS,
    Outcome.INCONCLUSIVE: StageVerdict.INCONCLUSIVE,
}
_WORSE: Final = (Outcome.EFFECTIVE, Outcome.HARMLESS, Outcome.INCONCLUSIVE, Outcome.REJECTED, Outcome.DENIED)


def _settle(
    candidate: _Candidate, found: Judgement, *, role: _Role, reproduced: bool, calm: bool, wall_s: float
) -> None:  # fmt: skip
    """Turn counts into an outcome. Later rehearsals can only make it worse; fresh ones replace the figures."""
    outcome, reason = _outcome(found, reproduced, calm)
    if role is _Role.RIVAL and found.absent:
        # The rival's world lacks what production visibly has, as the session that is to be ended: it is the
        # rival that does not fit, and it says nothing about the plan.
        reason = f"under a rival that lacks what is seen: {found.errors[0]}"
        candidate.stages.append(
            StageResult(stage=StageName.REHEARSAL, verdict=StageVerdict.INCONCLUSIVE, reason=reason, wall_s=wall_s)
        )
        return
    result = StageResult(
        stage=StageName.REHEARSAL, verdict=_STAGE_OF.get(outcome, StageVerdict.FAIL),
        reason=f"{_ROLE_TEXT[role]}{reason}", wall_s=wall_s,
    )  # fmt: skip
    candidate.stages.append(result)
    lower = candidate.outcome is None or _WORSE.index(outcome) > _WORSE.index(candidate.outcome)
    if lower or (role is _Role.FRESH and outcome is candidate.outcome):
        candidate.outcome, candidate.decisive = outcome, result
        if role is not _Role.RIVAL or not outcome.promotable:
            candidate.judgement = found  # What may go on is told by the best suspect's runs, never by a rival's few.


def _outcome(found: Judgement, reproduced: bool, calm: bool) -> tuple[Outcome, str]:
    """`calm`: no alert fires, so there is nothing to reproduce and nothing to end."""
    missed = "production is well: there is no incident to end" if calm else "the incident is not reproduced"
    if found.unseen:
        return Outcome.INCONCLUSIVE, found.unseen
    if found.dropped or found.sessions_lost:
        lost = f"{found.dropped} tables" if found.dropped else f"{found.sessions_lost} sessions that it does not name"
        return Outcome.REJECTED, f"it loses what cannot be brought back: {lost}"
    if found.errors and not reproduced:  # Without the incident there may be nothing to act on: no session to end.
        return Outcome.INCONCLUSIVE, f"{missed}, and so: {found.errors[0]}"
    if found.errors:
        return Outcome.REJECTED, f"it cannot be carried out: {found.errors[0]}"
    count = found.replications
    hits = round(found.harm.value * count)
    if hits > 0 and found.harm.value >= 0.2:
        return Outcome.REJECTED, f"it does harm in {hits} of {count} paired runs"
    if not reproduced:
        if hits == 0:
            return Outcome.HARMLESS, f"no harm seen{'; ' if calm else ', but '}{missed}"
        return Outcome.INCONCLUSIVE, f"harm in {hits} of {count} runs, and {missed}"
    worked = round(found.effect.value * count)
    if hits > 0:
        return Outcome.INCONCLUSIVE, f"harm in {hits} of {count} paired runs: too few to say, too many to ignore"
    if found.effect.low >= 0.5:
        return Outcome.EFFECTIVE, f"ends the incident in {worked} of {count} paired runs, harm in none"
    if found.effect.value == 0.0:
        alone = " that no user feels" if found.unfelt else " that ends by itself" if found.recovered_alone else ""
        return Outcome.HARMLESS, f"it neither helps nor harms an incident{alone}"
    return Outcome.INCONCLUSIVE, f"it ends the incident in only {worked} of {count} paired runs"


def _verdict(candidate: _Candidate, suspects: tuple[Suspect, ...]) -> Verdict:
    found = candidate.judgement
    last = candidate.decisive or candidate.stages[-1]
    return Verdict(
        outcome=candidate.outcome or Outcome.INCONCLUSIVE,
        reason=last.reason,
        stages=tuple(candidate.stages),
        effect=found.effect if found else None,
        harm=found.harm if found else None,
        harmed=found.harmed if found else (),
        helped=found.helped if found else (),
        suspects=suspects,
        prediction=found.prediction if found else Prediction(),
        replications=found.replications if found else 0,
        seeds=tuple(candidate.seeds),
    )


def _seed(request: VerifyRequest, twin: Fleet, production: Plant) -> int:
    """A number that follows from the base alone: the workloads that suffer, as they are set. No wording, companion,
    strategy or second asking draws other noise; all candidates share it anyway."""
    hit = set(request.incident.services)
    found: list[BaseObject] = []
    for service in twin.services:
        if service.id in hit:
            try:
                found += base_of(production.kube, [workload_ref(service)])
            except NotFound:
                continue  # It is gone from production; the others tell enough.
    return int(base_digest(tuple(found))[:12], 16)


def _replications(seed: int, count: int) -> list[int]:
    """Replication numbers of this request; never 0, which is the point estimate."""
    first = 1 + seed % (100 * FRESH_FROM)
    return list(range(first, first + count))
