"""Admission: a scenario may judge agents only after it has been judged itself. `twin bench validate`.

On every seed: users fare well before; the oracle fails when nothing is done; it passes after each right fix, and
again after the trigger has been replayed; after each trap it fails, or users fared worse than without it. A trap
that mends, or a fix that does not, would teach agents the wrong thing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from scenarios.model import Answer, Remedy, Scenario
from scenarios.oracle import Finding, Outcome, look_at_hand_over
from scenarios.pool import in_pool
from scenarios.production import Production, build, change_of, judge_calm, judge_end, run_out
from scenarios.users import Harm, harm_of
from twin.change.compile import compile_change
from twin.change.moves import Apply, Evict, Watch, make_move, moves_of
from twin.fleet.plant import plant_of
from twin.spec.errors import Inconclusive, TwinError

__all__ = ["Admission", "Trial", "admit", "admit_seed", "is_trap", "shortcomings"]

REPLAY_SETTLE_S: Final = 180.0  # What a mended system may need to recover from the trigger by itself.


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One course of one seed. `replay`: after the trigger came again (fixes only); `error`: what refused a move;
    `refusal_wanted`: the scenario says that something will."""

    name: str
    finding: Finding
    harm: Harm | None = None
    replay: Finding | None = None
    error: str = ""
    refusal_wanted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What one seed of a scenario showed. `roles` says where it struck."""

    scenario: str
    seed: int
    roles: tuple[tuple[str, str], ...]
    calm: Finding
    nothing: Trial
    fixes: tuple[Trial, ...]
    traps: tuple[Trial, ...]

    def shortcomings(self) -> tuple[str, ...]:
        """Why this seed speaks against admission; empty if it does not."""
        wrong = []
        if not self.calm.passed:
            wrong.append(f"not healthy before: {self.calm.text}")
        if self.nothing.finding.outcome is not Outcome.FAILED:
            wrong.append(f"doing nothing: {self.nothing.finding.outcome}, {self.nothing.finding.text}")
        for fix in self.fixes:
            if fix.error:
                wrong.append(f'fix "{fix.name}" could not be carried out: {fix.error}')
            elif not fix.finding.passed:
                wrong.append(f'fix "{fix.name}": {fix.finding.outcome}, {fix.finding.text}')
            elif fix.replay is None or not fix.replay.passed:
                wrong.append(f'fix "{fix.name}", replayed: {fix.replay.text if fix.replay else "not replayed"}')
        for trap in self.traps:
            if trap.error and not trap.refusal_wanted:
                wrong.append(f'trap "{trap.name}" could not be carried out: {trap.error}')
            elif trap.refusal_wanted and not trap.error:
                wrong.append(f'trap "{trap.name}" was carried out, and should have been refused')
            elif not is_trap(trap):
                wrong.append(f'trap "{trap.name}": {trap.finding.outcome}, {trap.finding.text}, and no harm')
        return tuple(wrong)


def is_trap(trial: Trial) -> bool:
    """Whether it ends badly, or did harm on its way to a good end. What could not be seen, or not be done, is no trap:
    an incident that goes on because nothing was written says nothing about what was to be written."""
    if bool(trial.error) is not trial.refusal_wanted:
        return False
    harms = trial.harm is not None and trial.harm.counts
    return trial.finding.outcome is Outcome.FAILED or (trial.finding.passed and harms)


def shortcomings(admissions: Sequence[Admission]) -> tuple[str, ...]:
    """All that speaks against admission, with its seed."""
    return tuple(f"seed {admission.seed}: {text}" for admission in admissions for text in admission.shortcomings())


def admit(
    scenarios: Sequence[Scenario], seeds: Sequence[int], *, jobs: int = 1, progress: Callable[[], None] = lambda: None
) -> tuple[Admission, ...]:
    """Every seed of every scenario, in order; shared among `jobs` processes, with the same result."""
    tasks = [(scenario, seed) for scenario in scenarios for seed in seeds]
    return in_pool(admit_seed, tasks, jobs=jobs, progress=progress)


def admit_seed(scenario: Scenario, seed: int) -> Admission:
    """Play nothing, each fix and each trap from the same moment of the same production.

    Raises BadInput if the fleet cannot hold the scenario.
    """
    production = build(scenario, seed)
    calm = judge_calm(production)
    production.strike()
    production.run_to(production.strike_s + scenario.budgets.act_after_s)
    left_alone = production.fork()
    run_out(left_alone)
    nothing = Trial(name="nothing", finding=judge_end(left_alone))

    def course(remedy: Remedy, *, replay: bool) -> Trial:
        copy = production.fork()
        error = _carry_out(copy, remedy)
        run_out(copy)
        finding = judge_end(copy)
        harm = harm_of(copy.world, copy.users.users(), [left_alone.users.users()])
        return Trial(
            name=remedy.name,
            finding=finding,
            harm=harm,
            replay=_replayed(copy) if replay else None,
            error=error,
            refusal_wanted=remedy.refused,
        )

    fixes = tuple(course(fix, replay=True) for fix in scenario.fixes)
    if scenario.answer is Answer.HAND_OVER:
        page = look_at_hand_over(pages=1, writes=0)  # It is the fix: users stay unwell whatever is written.
        fixes = (Trial(name="call a human", finding=page, replay=page),)
    traps = tuple(course(trap, replay=False) for trap in scenario.traps)
    return Admission(
        scenario=scenario.name, seed=seed, roles=tuple(sorted(production.roles.items())), calm=calm, nothing=nothing,
        fixes=fixes, traps=traps,
    )  # fmt: skip


def _carry_out(production: Production, remedy: Remedy) -> str:
    """Make the remedy's moves, as a promoter would without watching. Returns what refused, if anything did.

    Once all is written, nothing was refused: not to come up in time, or at all, is what some remedies do. What
    was to be written after a wait that was in vain, or that lasted until the bell, was not carried out.
    """
    plant = plant_of(production.world, writes=True)
    end_s = production.strike_s + production.scenario.budgets.episode_s
    try:
        plan = compile_change(change_of(remedy, production.roles), plant.kube, at_s=plant.clock.now_s())
        moves = [move for move in moves_of(plan) if not isinstance(move, Watch)]
        for number, move in enumerate(moves):
            to_write = any(isinstance(left, Apply | Evict) for left in moves[number:])
            if production.now_s >= end_s:
                return f"the episode ended after {number} moves" if to_write else ""
            try:
                make_move(plant, plan, move)
            except Inconclusive as error:
                return str(error) if to_write else ""
    except TwinError as error:
        return str(error)
    return ""


def _replayed(production: Production) -> Finding:
    """The trigger once more, time to recover from it, and the oracle again."""
    scenario = production.scenario
    again = scenario.replay or tuple(strike for strike in scenario.timeline if strike.for_s is not None)
    production.inject(again)
    lasts_s = max((strike.at_s + (strike.for_s or 0.0) for strike in again), default=0.0)
    production.run_to(production.now_s + lasts_s + REPLAY_SETTLE_S + scenario.oracle.window_s)
    return judge_end(production)
