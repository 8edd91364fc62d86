"""The gate: six stages, cheapest first, and a verdict for each candidate of an incident.

All candidates come in one request. They are rehearsed in the same replications, so that they differ by
nothing but themselves; seeds follow from the request, so that nobody can fish for a kind one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np

from chaos.catalogue import fault_types
from policies import Policy
from twin.change.compile import compile_change
from twin.change.questions import policy_questions
from twin.fit.reproduce import Reproduction, Scene, reproduce, set_scene
from twin.fleet.world import World
from twin.gate.judge import Judgement, judge
from twin.gate.rehearsal import HORIZON_S, rehearse
from twin.gate.rivals import rivals_of
from twin.gate.shadow import rehearse_mechanics
from twin.ports.plant import Plant
from twin.ports.services import Judged, Verification, VerifyRequest
from twin.spec.canonical import digest
from twin.spec.change import Change, Reversibility
from twin.spec.errors import TwinError
from twin.spec.fault import FaultType, fault_text
from twin.spec.fleet import Fleet
from twin.spec.plan import Plan
from twin.spec.verdict import Outcome, Prediction, StageName, StageResult, StageVerdict, Suspect, Verdict

__all__ = ["Evidence", "Gate", "Issuer", "Progress", "Settings"]

REPLICATIONS: Final = 16
RIVAL_REPLICATIONS: Final = 6
REPRODUCED_RESIDUAL: Final = 0.6  # Beyond, "none of these" explains the incident better.
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
    """What a receipt is made from."""

    change: Change
    plan: Plan
    verdict: Verdict
    scene: Scene | None
    seed: int


Issuer = Callable[[Evidence], Mapping[str, Any]]


@dataclass(slots=True)
class _Candidate:
    change: Change
    plan: Plan | None = None
    stages: list[StageResult] = field(default_factory=list)
    outcome: Outcome | None = None
    judgement: Judgement | None = None


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
    ) -> None:
        self._twin = twin
        self._production = production
        self._policy = policy
        self._settings = settings
        self._issue = issue
        self._progress = progress
        self.last_reproduction: Reproduction | None = None

    def fault_types(self) -> Sequence[FaultType]:
        return fault_types()

    def verify(self, request: VerifyRequest) -> Verification:
        """Reproduce, rehearse, judge. Never raises for a bad candidate: its verdict says so."""
        candidates = [_Candidate(change) for change in request.candidates]
        for candidate in candidates:
            self._check_form(candidate)
            if candidate.plan is not None:
                self._check_policy(candidate, candidate.plan)
        open_ones = [c for c in candidates if c.outcome is None]
        scene: Scene | None = None
        suspects: tuple[Suspect, ...] = ()
        if self._settings.fleet:
            scene, reproduction = self._reproduce(request, open_ones)
            suspects = reproduction.suspects if reproduction else ()
            if scene is not None and reproduction is not None:
                self._rehearse(request, scene, reproduction, open_ones)
        else:
            for candidate in open_ones:
                candidate.outcome = Outcome.EFFECTIVE  # This gate asks policy only, and says so.
        judged = []
        for candidate in candidates:
            verdict = _verdict(candidate, suspects, self._settings, _seed(request, candidate.change))
            receipt = None
            if self._issue is not None and candidate.plan is not None and verdict.outcome.promotable:
                evidence = Evidence(
                    change=candidate.change, plan=candidate.plan, verdict=verdict, scene=scene,
                    seed=_seed(request, candidate.change),
                )  # fmt: skip
                receipt = self._issue(evidence)
            judged.append(Judged(change=candidate.change, verdict=verdict, receipt=receipt))
        cost_s = MODELLED_FIT_S * len(suspects) + MODELLED_CANDIDATE_S * len(open_ones) * self._settings.fleet
        return Verification(suspects=suspects, judged=tuple(judged), modelled_s=cost_s)

    def _check_form(self, candidate: _Candidate) -> None:
        started = time.perf_counter()
        try:
            plan = compile_change(candidate.change, self._production.kube, at_s=self._production.clock.now_s())
            candidate.plan = plan
            back = "it cannot be undone" if plan.reversibility is Reversibility.IRREVERSIBLE else plan.reversibility
            result = StageResult(
                stage=StageName.FORM, verdict=StageVerdict.PASS,
                reason=f"{len(plan.steps)} writes; {back}", wall_s=time.perf_counter() - started,
            )  # fmt: skip
        except TwinError as error:
            candidate.outcome = Outcome.REJECTED
            result = StageResult(stage=StageName.FORM, verdict=StageVerdict.FAIL, reason=str(error))
        candidate.stages.append(result)

    def _check_policy(self, candidate: _Candidate, plan: Plan) -> None:
        started = time.perf_counter()
        questions = policy_questions(
            self._production, plan, identity="gate", purpose="rehearse", live=False, terminations_last_minute=0
        )
        refusal = next((d.reason for d in map(self._policy.decide, questions) if not d.allow), None)
        if refusal is not None:
            candidate.outcome = Outcome.DENIED
        candidate.stages.append(
            StageResult(
                stage=StageName.POLICY,
                verdict=StageVerdict.PASS if refusal is None else StageVerdict.FAIL,
                reason=refusal or "allowed",
                wall_s=time.perf_counter() - started,
            )
        )

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
            report = self._progress
            reproduction = reproduce(scene, hypotheses, progress=(lambda _: report.advance()) if report else None)
        except TwinError as error:
            for candidate in candidates:
                candidate.outcome = Outcome.INCONCLUSIVE
                candidate.stages.append(
                    StageResult(stage=StageName.REPRODUCTION, verdict=StageVerdict.INCONCLUSIVE, reason=str(error))
                )
            return None, None
        self.last_reproduction = reproduction
        best = reproduction.best
        if best.fault is None:
            verdict, reason = StageVerdict.INCONCLUSIVE, "nothing that the twin knows looks like this"
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
        self, request: VerifyRequest, scene: Scene, reproduction: Reproduction, candidates: Sequence[_Candidate]
    ) -> None:
        """Stages 4 and 6, under the best suspect and every rival that explains nearly as much."""
        if not candidates:
            return
        plans = [candidate.plan for candidate in candidates if candidate.plan is not None]
        suspects = reproduction.rivals() if reproduction.best.fault is not None else ()
        services = [service.id for service in scene.fleet.services]
        for rank, suspect in enumerate(suspects or (reproduction.best,)):
            started = time.perf_counter()
            situation = scene.play(suspect.fault, watched=False)
            count = self._settings.replications if rank == 0 else RIVAL_REPLICATIONS
            if self._progress is not None:
                self._progress.stage(f"rehearsing {len(plans)} candidates, {count} paired runs each", count)
            rehearsal = rehearse(
                situation, plans, replications=_replications(_seed(request, None), count),
                horizon_s=self._settings.horizon_s, jobs=self._settings.jobs,
                progress=self._progress.advance if self._progress else None,
            )  # fmt: skip
            wall_s = time.perf_counter() - started
            for index, candidate in enumerate(candidates):
                judgement = judge(services, rehearsal.nothing, rehearsal.arms[index], usual_ratio=scene.usual_ratio)
                _settle(candidate, judgement, reproduced=suspect.fault is not None, rival=rank > 0, wall_s=wall_s)
                if (
                    self._settings.mechanics
                    and rank == 0
                    and candidate.outcome is not None
                    and candidate.outcome.promotable
                ):
                    result = _mechanics(situation, candidate)
                    candidate.stages.append(result)
                    if result.verdict is not StageVerdict.PASS:
                        candidate.outcome = Outcome.REJECTED


def _mechanics(situation: World, candidate: _Candidate) -> StageResult:
    started = time.perf_counter()
    assert candidate.plan is not None
    result = rehearse_mechanics(situation, candidate.plan)
    return StageResult(
        stage=result.stage, verdict=result.verdict, reason=result.reason, wall_s=time.perf_counter() - started
    )


def _settle(candidate: _Candidate, found: Judgement, *, reproduced: bool, rival: bool, wall_s: float) -> None:
    """Turn counts into an outcome. A rival can only make it worse."""
    outcome, reason = _outcome(found, reproduced)
    if rival and found.errors:
        # The rival's world lacks what production visibly has, as the session that is to be ended: it is the
        # rival that does not fit, and it says nothing about the plan.
        reason = f"under a rival that lacks what is seen: {found.errors[0]}"
        candidate.stages.append(
            StageResult(stage=StageName.REHEARSAL, verdict=StageVerdict.INCONCLUSIVE, reason=reason, wall_s=wall_s)
        )
        return
    order = (Outcome.EFFECTIVE, Outcome.HARMLESS, Outcome.INCONCLUSIVE, Outcome.REJECTED, Outcome.DENIED)
    if candidate.outcome is None or order.index(outcome) > order.index(candidate.outcome):
        candidate.outcome = outcome
        if candidate.judgement is None or outcome is Outcome.REJECTED:
            candidate.judgement = found
    if candidate.judgement is None:
        candidate.judgement = found
    verdict = {
        Outcome.EFFECTIVE: StageVerdict.PASS,
        Outcome.HARMLESS: StageVerdict.PASS,
        Outcome.INCONCLUSIVE: StageVerdict.INCONCLUSIVE,
    }.get(outcome, StageVerdict.FAIL)
    candidate.stages.append(
        StageResult(
            stage=StageName.REHEARSAL, verdict=verdict,
            reason=f"under a rival: {reason}" if rival else reason, wall_s=wall_s,
        )
    )  # fmt: skip


def _outcome(found: Judgement, reproduced: bool) -> tuple[Outcome, str]:
    if found.errors and not reproduced:  # Without the incident there may be nothing to act on: no session to end.
        return Outcome.INCONCLUSIVE, f"the incident is not reproduced, and so: {found.errors[0]}"
    if found.errors:
        return Outcome.REJECTED, f"it cannot be carried out: {found.errors[0]}"
    count = found.replications
    hits = round(found.harm.value * count)
    if hits > 0 and found.harm.value >= 0.2:
        return Outcome.REJECTED, f"it does harm in {hits} of {count} paired runs"
    if not reproduced:
        if hits == 0:
            return Outcome.HARMLESS, "no harm seen, but the incident is not reproduced"
        return Outcome.INCONCLUSIVE, f"harm in {hits} of {count} runs, and the incident is not reproduced"
    worked = round(found.effect.value * count)
    if hits > 0:
        return Outcome.INCONCLUSIVE, f"harm in {hits} of {count} paired runs: too few to say, too many to ignore"
    if found.effect.low >= 0.5:
        return Outcome.EFFECTIVE, f"ends the incident in {worked} of {count} paired runs, harm in none"
    if found.effect.value == 0.0:
        alone = " that ends by itself" if found.recovered_alone else ""
        return Outcome.HARMLESS, f"it neither helps nor harms an incident{alone}"
    return Outcome.INCONCLUSIVE, f"it ends the incident in only {worked} of {count} paired runs"


def _verdict(candidate: _Candidate, suspects: tuple[Any, ...], settings: Settings, seed: int) -> Verdict:
    found = candidate.judgement
    outcome = candidate.outcome or Outcome.INCONCLUSIVE
    decisive = next((s for s in candidate.stages if s.verdict is StageVerdict.FAIL), candidate.stages[-1])
    rehearsed = [s for s in candidate.stages if s.stage is StageName.REHEARSAL]
    reason = rehearsed[0].reason if outcome.promotable and rehearsed else decisive.reason
    return Verdict(
        outcome=outcome,
        reason=reason,
        stages=tuple(candidate.stages),
        effect=found.effect if found else None,
        harm=found.harm if found else None,
        harmed=found.harmed if found else (),
        helped=found.helped if found else (),
        suspects=tuple(suspects),
        prediction=found.prediction if found else Prediction(),
        replications=found.replications if found else 0,
        seeds=(seed,),
    )


def _seed(request: VerifyRequest, change: Change | None) -> int:
    """A number that follows from what is asked, so that asking again gives the same answer."""
    return int(digest({"incident": request.incident.id, "change": change})[:12], 16)


def _replications(seed: int, count: int) -> list[int]:
    """Replication numbers of this request; never 0, which is the point estimate."""
    first = 1 + seed % 1_000_000
    return [int(n) for n in np.arange(first, first + count)]
