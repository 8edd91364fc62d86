"""Promotion: check everything again, then make the plan's moves, watching; undo if it goes worse.

Crash safety. Each move is written down as an intent (with what undoing it needs) before it is made, marked in
the target when it is made, and written down as done after that. A run that finds an open promotion trusts the
target's mark: moves beyond it did not happen. It finishes if the receipt still holds, and undoes otherwise;
what was being undone is undone to its end.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from policies import Policy
from twin.change.apply import Undo, ends_its_target, undo_from_json, undo_order, undo_step, undo_to_json
from twin.change.evictions import evictions_due
from twin.change.facts import terminations_a_minute, terminations_by_move
from twin.change.moves import Apply, Evict, Hold, Move, Resume, Watch, lift_hold, make_move, moves_of
from twin.ports.plant import Plant
from twin.ports.services import Promoted, PromotionOutcome, WriteGuard
from twin.ports.users import UNSEEN, users_of
from twin.promote.journal import Journal, Kind, Promotion, Status
from twin.promote.lease import Lease
from twin.promote.preconditions import check_guard, check_preconditions, refuse_by_policy
from twin.promote.target import NOTHING, TAKEN_BACK, Target
from twin.promote.watch import Finding, look, recovery_told
from twin.receipt import CheckedReceipt, SpentMark, TrustedKeys, check, read
from twin.spec.canonical import plain
from twin.spec.change import Action, change_digest
from twin.spec.errors import (
    ApiError,
    BadInput,
    Conflict,
    NotFound,
    PolicyDenied,
    PromoterActive,
    ReceiptInvalid,
    TwinError,
    Unreachable,
)
from twin.spec.fields import get_field, path_text
from twin.spec.plan import ObjectRef, Plan, plan_from_json
from twin.spec.verdict import RECOVERED_RATIO

__all__ = ["PromotionService", "ask_to_abort"]

LOOK_S: Final = 15.0
WORSE_IN_A_ROW: Final = 2
UNDO_TRIES: Final = 3
GLASS_S: Final = 600.0
ROOM_LOOK_S: Final = 5.0
ROOM_PATIENCE_S: Final = 120.0
CLOCK_S: Final = 1e-3  # Unix times are floats: a watch that ends within a millisecond is over.


@dataclass(slots=True)
class PromotionService:
    """Implements Promoter on one Plant. `checkpoint` makes the target durable: for a saved World it replaces
    the file; on a live cluster writes are durable by themselves. `say` is told what happens, for people."""

    plant: Plant
    journal: Journal
    policy: Policy
    trusted: TrustedKeys
    guard: WriteGuard
    checkpoint: Callable[[], None] = lambda: None
    say: Callable[[str], None] = lambda _: None
    approvals: Sequence[Mapping[str, Any]] = ()
    holder: str = "promoter"
    where: str = ""  # the target's place, so that another one of the same name is not taken for it
    _lease: Lease = field(init=False)
    _well_since_s: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._lease = Lease(self.plant)

    def promote(self, receipt: Mapping[str, Any]) -> Promoted:
        """Recover what an earlier run left open, then promote. Refusals come back as REFUSED with their code.
        What fails once the receipt is spent is no refusal: it comes back as the journal has it.

        Idempotent: whoever asks again with the same receipt, because he died before he could write the answer
        down, gets the answer again. (`attempt` refuses a receipt that is spent, whoever spent it.)
        """
        try:
            self.recover()
            known = self.known(receipt)
            return self.attempt(receipt) if known is None else self._told(known)
        except TwinError as error:
            return self._failed(receipt, error)

    def _failed(self, receipt: Mapping[str, Any], error: TwinError) -> Promoted:
        """What to tell of a receipt after an error: that it was refused only if nothing can have been written."""
        begun = [p for p in self.journal.promotions(self.plant.name) if p.envelope == receipt]
        try:
            promotion = self.known(receipt)
        except TwinError:  # The target does not say: what is open may be written in part.
            promotion = next((p for p in reversed(begun) if p.status is Status.OPEN), None)
        if promotion is None:
            return Promoted(outcome=PromotionOutcome.REFUSED, reason=str(error), exit_code=error.exit_code)
        if promotion.status is not Status.OPEN:
            return self._told(promotion)
        return Promoted(
            outcome=PromotionOutcome.HELD, exit_code=4, promotion_id=promotion.id,
            reason=f"cut short, and taken up by the next run: {error}",
        )  # fmt: skip

    def known(self, receipt: Mapping[str, Any]) -> Promotion | None:
        """The promotion that this receipt was spent on, if it was begun from here and this target knows of it."""
        target = Target(self.plant)
        for promotion in reversed(self.journal.promotions(self.plant.name)):
            if promotion.envelope == receipt and target.progress(promotion.id) != NOTHING:
                return promotion
        return None

    def attempt(self, receipt: Mapping[str, Any]) -> Promoted:
        """The same, with refusals raised. A run of this very receipt that was cut short is finished or undone."""
        cut_short = {p.id for p in self.journal.promotions(self.plant.name) if p.envelope == receipt}
        for recovered in self.recover():
            if recovered.promotion_id in cut_short and Target(self.plant).progress(recovered.promotion_id) != NOTHING:
                return recovered
        checked = check(receipt, self.trusted, self.plant.clock.now_s())
        Target(self.plant).refuse_spent(checked.digest)
        plan = plan_from_json(checked.receipt.plan)
        check_guard(self.plant, plan, self.guard)
        self._wait_for_room(terminations_a_minute(plan))
        checked = check(receipt, self.trusted, self.plant.clock.now_s())
        check_preconditions(self.plant, self.policy, self.trusted, checked, plan, self.approvals, self.guard)
        return self._begin(receipt, checked, plan)

    def recover(self) -> list[Promoted]:
        """Finish or undo every promotion of this target that was cut short."""
        results = []
        known, holder = self.journal.promotions(self.plant.name), self._lease.holder()
        if holder in {p.id for p in known if p.status is not Status.OPEN}:
            self._lease.release(holder)  # It came to its end and was killed before it could say so.
            self.checkpoint()
        for promotion in known:
            if promotion.status is Status.OPEN and self._is_here(promotion.id):
                results.append(self._resume(promotion))
                self.checkpoint()  # Whatever comes next may be refused, and then nothing else is saved.
        return results

    def undo(self, promotion_id: str) -> Promoted:
        """Take a finished promotion back, field by field. Raises BadInput for one that is not there to take back."""
        self.recover()
        promotion = self._find(promotion_id)
        if promotion.status not in (Status.DONE, Status.HELD, Status.ROLLED_BACK_IN_PART):
            raise BadInput(
                f"cannot undo {promotion_id}", f"it is {promotion.status.replace('_', ' ')}: nothing of it is left",
                f"look: twin promotions show {promotion_id}",
            )  # fmt: skip
        with self._lease.hold(promotion.id):
            taken = self._take_back(promotion.id)
            status = Status.ROLLED_BACK_IN_PART if taken.stuck else Status.UNDONE
            data = {"reason": f"undone{taken.text}", "left": taken.moved, "stuck": taken.stuck}
            self._write(promotion.id, Kind.UNDONE, data, status=status)
        return dataclasses.replace(self._told(self._find(promotion.id)), exit_code=9 if taken.stuck else 0)

    def abort(self, promotion_id: str) -> Promoted:
        """Roll an open promotion back. One that runs in another process: see `ask_to_abort`. Raises BadInput."""
        promotion = self._find(promotion_id)
        ask_to_abort(self.journal, promotion, self.plant.clock.now_s())
        with self._lease.hold(promotion.id):
            return self._roll_back(promotion.id, "aborted by a human")

    def break_glass(self, plan: Plan, *, who: str, reason: str) -> Promoted:
        """Make the plan's writes at once, without evidence, canary or watch. Journalled like a promotion, so that
        it can be undone; what cannot be made, or is not within GLASS_S, is taken back whole.

        Hard nets and the guard stand: a kill switch stops a human's writes too, until a human lifts it. Raises
        PolicyDenied, before anything is written.
        """
        self.recover()
        plan = dataclasses.replace(plan, strategy=dataclasses.replace(plan.strategy, canary_ratio=0.0))
        check_guard(self.plant, plan, self.guard)
        refuse_by_policy(self.plant, self.policy, plan, self.guard, identity="human", purpose="break_glass")
        now_s, change = self.plant.clock.now_s(), change_digest(plan.change)
        until_s, manager = now_s + GLASS_S, f"break-glass:{who}"
        promotion = self.journal.begin(
            "glass", receipt_digest=change, target=self.plant.name, at_s=now_s,
            envelope={"break_glass": who, "reason": reason}, where=self.where,
        )  # fmt: skip
        with self._hold_for_new(promotion.id):
            try:
                for number, move in enumerate(moves_of(plan)):
                    if not isinstance(move, Watch):
                        self._move(promotion.id, plan, number, manager=manager, durable=False, until_s=until_s)
                self._look_for_a_stop(promotion.id, plan, len(moves_of(plan)) - 1, until_s=until_s)
            except _Stopped as stop:
                return self._roll_back(promotion.id, stop.reason)
            except PromoterActive:
                raise
            except TwinError as error:
                return self._roll_back(promotion.id, str(error), failed=plan)
        self.checkpoint()
        return self._finish(promotion.id, Status.DONE, f"{reason} ({who})", None)

    # The run itself

    def _begin(self, envelope: Mapping[str, Any], checked: CheckedReceipt, plan: Plan) -> Promoted:
        now_s = self.plant.clock.now_s()
        promotion = self.journal.begin(
            "p", receipt_digest=checked.digest, target=self.plant.name, at_s=now_s, envelope=envelope, where=self.where,
        )  # fmt: skip
        with self._hold_for_new(promotion.id):
            mark = SpentMark(
                receipt_digest=checked.digest, promotion=promotion.id, at_s=int(now_s),
                expires_s=checked.receipt.expires_s,
            )  # fmt: skip
            try:
                Target(self.plant).spend(mark)
            except TwinError as error:
                if Target(self.plant).progress(promotion.id) == NOTHING:  # Else it was made, and only the answer lost.
                    self._refuse(promotion.id, error)
                    raise
            self.checkpoint()
            return self._run(promotion, checked, plan, first=0)

    @contextmanager
    def _hold_for_new(self, promotion_id: str) -> Iterator[None]:
        """Hold the target for a promotion just begun. Raises PromoterActive; then the promotion is over as well."""
        with ExitStack() as held:
            try:
                held.enter_context(self._lease.hold(promotion_id))
            except TwinError as error:
                self._refuse(promotion_id, error)
                raise
            yield

    def _refuse(self, promotion_id: str, error: TwinError) -> None:
        """Close a promotion of which nothing was written."""
        self._write(promotion_id, Kind.FINISHED, {"reason": str(error)}, status=Status.REFUSED)

    def _resume(self, promotion: Promotion) -> Promoted:
        """What the target marks as made is made; whether the rest may still be done, the receipt says."""
        made = Target(self.plant).progress(promotion.id)
        if made == NOTHING:
            return self._finish(promotion.id, Status.ROLLED_BACK, "cut short before anything was written", None)
        with self._lease.hold(promotion.id):
            entries = self.journal.entries(promotion.id)
            begun = next((entry.data for entry in entries if entry.kind is Kind.ROLLING_BACK), None)
            if begun is not None:
                failed = [(str(kind), str(scope)) for kind, scope in begun.get("failed", ())]
                return self._carry_back(promotion.id, str(begun["reason"]), failed)
            if made == TAKEN_BACK:
                return self._roll_back(promotion.id, "a roll-back that was cut short")
            found = {Finding(entry.data["finding"]) for entry in entries if entry.kind is Kind.OBSERVED}
            for finding in (Finding.WORSE, Finding.UNCLEAR):
                if finding in found:  # It had been judged, and was killed before it could act on that.
                    plan = plan_from_json(read(promotion.envelope).plan)
                    return self._judged(promotion.id, finding, plan)
            try:
                checked = check(promotion.envelope, self.trusted, self.plant.clock.now_s())
                plan = plan_from_json(checked.receipt.plan)
            except ReceiptInvalid as error:
                return self._roll_back(promotion.id, f"it was cut short, and its receipt holds no more: {error.why}")
            self.say(f"taking up {promotion.id} after move {made}")
            return self._run(promotion, checked, plan, first=made)

    def _run(self, promotion: Promotion, checked: CheckedReceipt, plan: Plan, *, first: int) -> Promoted:
        started_s = promotion.at_s
        self._well_since_s = None
        moves = moves_of(plan)
        for number in range(first, len(moves)):
            try:
                finding = self._make(promotion, checked, plan, number, started_s)
            except _Stopped as stop:
                return self._roll_back(promotion.id, str(stop.reason))
            except PromoterActive:  # It is somebody else's now, and not ours to take back either.
                raise
            except TwinError as error:
                return self._roll_back(promotion.id, str(error), failed=plan)
            if finding in (Finding.WORSE, Finding.UNCLEAR):
                return self._judged(promotion.id, finding, plan)
        try:
            self._look_for_a_stop(promotion.id, plan, len(moves) - 1)
        except _Stopped as stop:
            return self._roll_back(promotion.id, str(stop.reason))
        recovery_s = None if self._well_since_s is None else self._well_since_s - started_s
        self._record(_scopes(plan), ok=True)
        told = recovery_told(checked.receipt.prediction.recovery_s, recovery_s)
        return self._finish(promotion.id, Status.DONE, told, recovery_s)

    def _judged(self, promotion_id: str, finding: Finding, plan: Plan) -> Promoted:
        """The end of a promotion whose watch did not show what was predicted.

        Unclear: kept as it is, a canary with its roll-out still held, and a human is asked.
        """
        if finding is Finding.WORSE:
            return self._roll_back(promotion_id, "users fare worse than predicted", failed=plan)
        return self._finish(promotion_id, Status.HELD, "users fare neither as predicted nor worse", None)

    def _make(
        self, promotion: Promotion, checked: CheckedReceipt, plan: Plan, number: int, started_s: float
    ) -> Finding | None:
        """One move with its journal entries around it.

        Raises _Stopped if a human or the guard wants it to end; else TwinError if the move cannot be made.
        """
        move = moves_of(plan)[number]
        if isinstance(move, Watch):
            return self._watch(promotion, checked, plan, number, started_s)
        self._move(promotion.id, plan, number)
        if isinstance(move, Apply):
            self.say(f"applied {plan.steps[move.step].summary}")
        elif isinstance(move, Evict):
            self.say(f"evicted pods of {move.ref}, {move.leave} are left")
        return None

    def _move(
        self, promotion_id: str, plan: Plan, number: int, *, manager: str = "twin", durable: bool = True,
        until_s: float = math.inf,
    ) -> None:  # fmt: skip
        """Every write is the guard's to allow, holds as well. Not `durable`: kept all at once, at the end."""
        move = moves_of(plan)[number]
        writes = isinstance(move, Apply | Hold | Resume | Evict)
        self._look_for_a_stop(promotion_id, plan, number, writes=writes, until_s=until_s)
        told: dict[str, Any] = {"move": number, "what": type(move).__name__}

        def before_write(undo: Undo) -> None:
            self._write(promotion_id, Kind.INTENT, {**told, "undo": undo_to_json(undo)})

        begun = isinstance(move, Apply) and ends_its_target(plan.steps[move.step]) and self._begun(promotion_id, number)
        if not isinstance(move, Apply):
            self._write(promotion_id, Kind.INTENT, {**told, **_held(move)})
        try:
            make_move(
                self.plant, plan, move, manager=manager, before_write=before_write,
                while_waiting=lambda: self._look_for_a_stop(promotion_id, plan, number, until_s=until_s),
            )  # fmt: skip
        except NotFound:
            if not begun:
                raise
            self.say("it was ended by the run that was cut short")
        Target(self.plant).set_progress(promotion_id, number + 1)
        if durable:
            self.checkpoint()
        self._write(promotion_id, Kind.DONE, told)

    def _watch(
        self, promotion: Promotion, checked: CheckedReceipt, plan: Plan, number: int, started_s: float
    ) -> Finding:
        """Look every scrape until the watch is over; worse twice in a row, or on the last look, is worse. A look that
        shows nothing is none: worse before it and after it is twice in a row.

        The finding is written down before the watch counts as made: whoever takes up a promotion that was cut
        short in between hears of it, and a move that was found to be worse or unclear is never gone past.
        """
        move = moves_of(plan)[number]
        assert isinstance(move, Watch)
        finding, worse_in_a_row = Finding.UNCLEAR, 0
        begun_s = self.plant.clock.now_s()
        end_s = begun_s + move.duration_s
        while True:
            self.plant.clock.sleep(min(LOOK_S, max(end_s - self.plant.clock.now_s(), 0.0)))
            self._look_for_a_stop(promotion.id, plan, number)
            now_s = self.plant.clock.now_s()
            prediction = checked.receipt.prediction
            try:
                users = users_of(self.plant, prediction, window_s=LOOK_S)
            except ApiError as error:  # Monitoring that is away shows no harm, and no recovery.
                self.say(str(error))
                users = UNSEEN
            late = not users.at_s >= begun_s  # Late metrics are about what was before.
            if not users.worst_excess <= RECOVERED_RATIO:  # Unseen is not well either.
                self._well_since_s = None
            elif self._well_since_s is None and not late:
                self._well_since_s = users.at_s
            if late:
                users = UNSEEN
            finding = look(users.let_down_rps, prediction, users.at_s - started_s, canary=move.canary)
            if finding is Finding.WORSE:
                worse_in_a_row += 1
            elif not math.isnan(users.let_down_rps):
                worse_in_a_row = 0
            elif worse_in_a_row:  # It was worse when it was last seen.
                finding = Finding.WORSE
            if worse_in_a_row >= WORSE_IN_A_ROW or now_s >= end_s - CLOCK_S:
                break
        self._write(promotion.id, Kind.OBSERVED, {"move": number, "finding": finding.value})
        if finding is Finding.AS_PREDICTED:
            Target(self.plant).set_progress(promotion.id, number + 1)
            self.checkpoint()
        return finding

    def _roll_back(self, promotion_id: str, reason: str, *, failed: Plan | None = None) -> Promoted:
        """Take everything back, at once: no guard, analysis, approval or freeze is waited for.

        `failed`: the plan, if it was the fix that failed, and not a human or a limit that stopped it.
        """
        scopes = () if failed is None else _scopes(failed)
        self._write(promotion_id, Kind.ROLLING_BACK, {"reason": reason, "failed": [list(scope) for scope in scopes]})
        return self._carry_back(promotion_id, reason, scopes)

    def _carry_back(self, promotion_id: str, reason: str, failed: Sequence[tuple[str, str]]) -> Promoted:
        taken = self._take_back(promotion_id)
        self._record(failed, ok=False)  # Killed here, it is counted twice: better than not at all.
        status = Status.ROLLED_BACK_IN_PART if taken.stuck else Status.ROLLED_BACK
        told = taken.text or "; everything was taken back"
        self.say(f"rolled back: {reason}{told}")
        return self._finish(promotion_id, status, f"{reason}{told}", None, taken)

    def _take_back(self, promotion_id: str) -> _TakenBack:
        """Undo what the target marks as made, in `undo_order`. Holds are lifted as well. A second time does nothing.

        Each is tried, whatever became of the others: one object that cannot be written must not keep the rest.

        Raises Unreachable when nobody answers, PromoterActive when the target has become somebody else's: then it is
        left open, for the next run.
        """
        target, taken = Target(self.plant), _TakenBack()
        made = target.progress(promotion_id)
        if made == TAKEN_BACK:
            return taken
        intents = [
            entry.data
            for entry in self.journal.entries(promotion_id)
            if entry.kind is Kind.INTENT and entry.data["move"] <= made
        ]
        undos = undo_order(undo_from_json(data["undo"]) for data in intents if "undo" in data)
        stuck = {self._undo_one(undo, taken) for undo in undos}
        for ref in {ObjectRef(**data["ref"]): None for data in intents if data["what"] == Hold.__name__}:
            if ref not in stuck:  # Else what is bad would be rolled out after all.
                self._tried(str(ref), taken, functools.partial(lift_hold, self.plant, ref))
        if not taken.stuck:  # Else another try finds it as it is: what was undone is not undone twice.
            target.set_progress(promotion_id, TAKEN_BACK)  # Saved with the writes: both happened, or neither.
        self.checkpoint()
        return taken

    def _undo_one(self, undo: Undo, taken: _TakenBack) -> ObjectRef | None:
        """Returns the object if it could not be put back."""
        name = str(undo.ref) if undo.ref is not None else f"{undo.operation} {undo.arguments.get('service', '')}"

        def put_back() -> None:
            taken.moved += [f"{name} {path_text(path)}" for path in undo_step(self.plant, undo)]

        self._count_undo(undo)  # Once, however often it is tried.
        return None if self._tried(name, taken, put_back) else undo.ref

    def _count_undo(self, undo: Undo) -> None:
        """Pods that go with what is taken back. Others wait for them; we wait for nobody."""
        if undo.ref is None:
            return
        try:
            obj, ended = self.plant.kube.get(undo.ref), 0
        except TwinError:  # Putting it back meets the same, and says so.
            return
        for path, (ours, before) in undo.fields.items():
            if get_field(obj, path) != ours:
                continue
            if path == ("spec", "replicas"):
                ended = max(ended, int(ours or 0) - int(1 if before is None else before))  # Unset is 1.
            elif path[:2] == ("spec", "template"):
                ended = max(ended, int(obj.get("status", {}).get("updatedReplicas", 0)))
        try:
            self.guard.count(
                kind="take_back", scope=str(undo.ref), pod_terminations=ended, now_s=self.plant.clock.now_s()
            )
        except PolicyDenied as error:
            self.say(str(error))

    def _tried(self, name: str, taken: _TakenBack, write: Callable[[], None]) -> bool:
        for tries_left in reversed(range(UNDO_TRIES)):
            self._lease.renew()
            try:
                write()
                return True
            except NotFound:
                taken.moved.append(f"{name}, which is gone")
                return True
            except Conflict as error:  # Somebody wrote it in between: look again what is ours.
                if not tries_left:
                    taken.stuck.append(f"{name}: {error.why}")
            except Unreachable:
                raise
            except TwinError as error:
                taken.stuck.append(f"{name}: {error.why}")
                break
        return False

    def _finish(
        self, promotion_id: str, status: Status, reason: str, recovery_s: float | None, taken: _TakenBack | None = None
    ) -> Promoted:
        taken = taken or _TakenBack()
        data = {"reason": reason, "left": taken.moved, "stuck": taken.stuck, "recovery_s": recovery_s}
        self._write(promotion_id, Kind.FINISHED, data, status=status)
        return self._told(self._find(promotion_id))

    def _told(self, promotion: Promotion) -> Promoted:
        """How a finished promotion ended, by its journal."""
        ends = [e.data for e in self.journal.entries(promotion.id) if e.kind in (Kind.FINISHED, Kind.UNDONE)]
        end = ends[-1] if ends else {}
        outcome, code = {
            Status.DONE: (PromotionOutcome.DONE, 0),
            Status.HELD: (PromotionOutcome.HELD, 4),
        }.get(promotion.status, (PromotionOutcome.ROLLED_BACK, 9))
        return Promoted(
            outcome=outcome, reason=str(end.get("reason", "undone since")), exit_code=code,
            promotion_id=promotion.id, observed_recovery_s=end.get("recovery_s"), left=tuple(end.get("stuck", ())),
        )  # fmt: skip

    # Guard and journal

    def _look_for_a_stop(
        self, promotion_id: str, plan: Plan, number: int, *, writes: bool = False, until_s: float = math.inf
    ) -> None:
        """Raises _Stopped if somebody asked to abort, the guard lets nothing be written any more, or time is up;
        PromoterActive if the target has become somebody else's.

        A move that `writes` is admitted with the pods that it terminates; another asks whether it could go on.
        """
        self._lease.renew()
        if self._abort_asked(promotion_id):
            raise _Stopped("aborted by a human")
        if self.plant.clock.now_s() > until_s:
            raise _Stopped(f"the glass is broken for {GLASS_S / 60.0:g} minutes, and they are over")
        action = _action_of(plan, number)
        pods = self._terminations(plan, number) if writes else 0
        try:
            self._wait_for_room(pods, lambda: self._look_for_a_stop(promotion_id, plan, number, until_s=until_s))
            self.guard.admit(
                kind=action.kind, scope=action.target, pod_terminations=pods, now_s=self.plant.clock.now_s()
            )
        except PolicyDenied as error:
            raise _Stopped(str(error)) from error

    def _terminations(self, plan: Plan, number: int) -> int:
        """Pods that a move ends: as the plan says, or, of a node, those that are there by now. Raises ApiError."""
        move = moves_of(plan)[number]
        if isinstance(move, Evict):
            return evictions_due(self.plant.kube, move.ref, move.leave)
        return terminations_by_move(plan)[number]

    def _wait_for_room(self, pods: int, look: Callable[[], None] = lambda: None) -> None:
        """A rate slows down; it need not refuse: wait until so many pods may be ended, but not for ever.

        Raises what `look`, called while it waits, raises; PolicyDenied if the guard cannot be asked.
        """
        until_s, said = self.plant.clock.now_s() + ROOM_PATIENCE_S, False
        while pods and self.guard.terminations(now_s=self.plant.clock.now_s()) + pods > self.guard.terminations_max:
            if self.plant.clock.now_s() >= until_s:
                return  # Whoever asks next refuses, and says why.
            if not said:
                self.say(f"waiting: {pods} pods more would be too many for this minute")
            said = True
            self.plant.clock.sleep(ROOM_LOOK_S)
            look()

    def _record(self, scopes: Sequence[tuple[str, str]], *, ok: bool) -> None:
        """Tell the guard's breakers how the fix did: once a promotion, by its outcome."""
        for kind, scope in scopes:
            try:
                self.guard.record(kind=kind, scope=scope, ok=ok, now_s=self.plant.clock.now_s())
            except PolicyDenied as error:  # A guard that cannot be written admits nothing either: no harm can come.
                self.say(str(error))

    def _begun(self, promotion_id: str, number: int) -> bool:
        """Whether an earlier run meant to make this move, and cannot say whether it did."""
        entries = self.journal.entries(promotion_id)
        return any(entry.kind is Kind.INTENT and entry.data["move"] == number for entry in entries)

    def _abort_asked(self, promotion_id: str) -> bool:
        return self.journal.says(promotion_id, Kind.ABORT_ASKED)

    def _write(self, promotion: str, kind: Kind, data: Mapping[str, Any], *, status: Status | None = None) -> None:
        self.journal.append(promotion, self.plant.clock.now_s(), kind, data, status=status)

    def _find(self, promotion_id: str) -> Promotion:
        for promotion in self.journal.promotions(self.plant.name):
            if promotion.id == promotion_id:
                return promotion
        raise BadInput(
            f"there is no promotion {promotion_id}", f"none of that id on {self.plant.name}", "twin promotions list"
        )

    def _is_here(self, promotion_id: str) -> bool:
        """Whether an open promotion is this target's: its mark says so, or the place where it was begun."""
        if Target(self.plant).progress(promotion_id) != NOTHING:
            return True
        begun = next((entry.data for entry in self.journal.entries(promotion_id)), {})
        return str(begun.get("where", "")) == self.where


@dataclass(slots=True)
class _TakenBack:
    """`moved`: left alone, because somebody else changed it since. `stuck`: could not be put back, and why."""

    moved: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        text = f"; could not be taken back: {'; '.join(self.stuck)}" if self.stuck else ""
        return text + (
            f"; left alone, because somebody changed it since: {', '.join(self.moved)}" if self.moved else ""
        )


class _Stopped(TwinError):
    """Somebody or something other than the fix itself wants it to end."""

    def __init__(self, reason: str) -> None:
        super().__init__("stopped", reason, "see the journal")
        self.reason = reason


def _action_of(plan: Plan, number: int) -> Action:
    """The action that a move belongs to: that of the last step applied by then."""
    step = max((m.step for m in moves_of(plan)[: number + 1] if isinstance(m, Apply)), default=0)
    return plan.change.actions[plan.steps[step].action]


def _held(move: Move) -> dict[str, Any]:
    """What lifting a hold needs."""
    return {"ref": plain(move.ref)} if isinstance(move, Hold) else {}


def _scopes(plan: Plan) -> list[tuple[str, str]]:
    return sorted({(action.kind, action.target) for action in plan.change.actions})


def ask_to_abort(journal: Journal, promotion: Promotion, at_s: float) -> None:
    """Write down that a human wants an open promotion to stop: whoever runs it takes it back at its next look.

    Raises BadInput if it is not open.
    """
    if promotion.status is not Status.OPEN:
        raise BadInput(
            f"cannot abort {promotion.id}", f"it is {promotion.status.replace('_', ' ')}: nothing of it is under way",
            f"take it back: twin promotions undo {promotion.id} --prod …",
        )  # fmt: skip
    journal.append(promotion.id, at_s, Kind.ABORT_ASKED, {})
