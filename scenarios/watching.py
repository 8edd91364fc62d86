"""What the benchmark keeps of an episode beside what the agent says of itself.

Right before a change first writes to production, production is forked: the copy goes on without that change, and
says later what would have been. Right after a verdict it is forked too, and the candidates are played on the copy:
that is what the verdict is measured by. Nobody whom the agent meets can see any of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from scenarios.lens import ComposedPlant
from scenarios.production import Production
from scenarios.users import Users
from twin.change.compile import compile_change
from twin.fleet.world import World
from twin.gate.judge import Measure, judge
from twin.gate.rehearsal import rehearse
from twin.ports.plant import KubeApi, KubeObject, OpsApi, Plant, Session
from twin.ports.services import Judged, Promoted, Promoter, Verification, Verifier, VerifyRequest
from twin.spec.errors import TwinError
from twin.spec.fault import FaultType
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef, Plan
from twin.spec.signal import SymptomKind
from twin.spec.verdict import Outcome

__all__ = ["Audit", "AuditedVerifier", "WatchedPromoter", "WriteWatch", "tapped"]

FORKS_MAX: Final = 4  # Copies cost as much as production itself; the first says what no write at all had given.
VERIFICATIONS_MAX: Final = {"tick": 3, "simpy": 1}
CANDIDATES_MAX: Final = {"tick": 6, "simpy": 2}  # A request-level copy is played again from its beginning.
MARKS_NAMESPACE: Final = "twin-system"  # Leases and marks of promoters change nothing for anybody else.


@dataclass(slots=True)
class WriteWatch:
    """Forks production before the first write of each change, and counts."""

    production: Production
    changes: int = 0
    steps: int = 0
    without: list[Production] = field(default_factory=list)
    _armed: bool = True

    def begin(self) -> None:
        """Another change comes."""
        self._armed = True

    def wrote(self) -> None:
        """A write is about to be made."""
        self.steps += 1
        if self._armed:
            self._armed = False
            self.changes += 1
            if len(self.without) < FORKS_MAX:
                self.without.append(self.production.fork())

    def logs(self, end_s: float) -> list[Users]:
        """What users of each copy felt until then, in production's seconds."""
        for copy in self.without:
            copy.run_to(end_s)
        return [copy.users.users() for copy in self.without]


class WatchedPromoter:
    """A Promoter that says when a change begins."""

    def __init__(self, inner: Promoter, watch: WriteWatch) -> None:
        self._inner, self._watch = inner, watch

    def promote(self, receipt: Mapping[str, Any]) -> Promoted:
        self._watch.begin()
        return self._inner.promote(receipt)


def tapped(plant: Plant, on_write: Callable[[], None]) -> Plant:
    """The plant, with `on_write` called before every write but dry runs and promoters' marks."""
    return ComposedPlant(
        name=plant.name, kube=_TappedKube(plant.kube, on_write), ops=_TappedOps(plant.ops, on_write),
        telemetry=plant.telemetry, clock=plant.clock, live=plant.live,
    )  # fmt: skip


class _TappedKube:
    def __init__(self, inner: KubeApi, on_write: Callable[[], None]) -> None:
        self._inner, self._on_write = inner, on_write

    def _tell(self, namespace: str, dry_run: bool) -> None:
        if not dry_run and namespace != MARKS_NAMESPACE:
            self._on_write()

    def get(self, ref: ObjectRef) -> KubeObject:
        return self._inner.get(ref)

    def list_objects(self, kind: str, namespace: str = "", labels: Mapping[str, str] | None = None) -> list[KubeObject]:
        return self._inner.list_objects(kind, namespace, labels)

    def patch(
        self,
        ref: ObjectRef,
        fields: Mapping[tuple[str, ...], Any],
        *,
        resource_version: str | None = None,
        dry_run: bool = False,
        field_manager: str = "twin",
    ) -> KubeObject:
        self._tell(ref.namespace, dry_run)
        return self._inner.patch(
            ref, fields, resource_version=resource_version, dry_run=dry_run, field_manager=field_manager
        )

    def create(self, obj: KubeObject, *, dry_run: bool = False) -> KubeObject:
        self._tell(obj.get("metadata", {}).get("namespace", ""), dry_run)
        return self._inner.create(obj, dry_run=dry_run)

    def delete(self, ref: ObjectRef, *, dry_run: bool = False) -> None:
        self._tell(ref.namespace, dry_run)
        self._inner.delete(ref, dry_run=dry_run)

    def evict(self, ref: ObjectRef, *, dry_run: bool = False) -> None:
        self._tell(ref.namespace, dry_run)
        self._inner.evict(ref, dry_run=dry_run)

    def watch(self, kind: str, *, since_version: str) -> Iterator[tuple[str, KubeObject]]:
        return self._inner.watch(kind, since_version=since_version)

    def logs(self, ref: ObjectRef, *, tail: int = 100) -> list[str]:
        return self._inner.logs(ref, tail=tail)


class _TappedOps:
    def __init__(self, inner: OpsApi, on_write: Callable[[], None]) -> None:
        self._inner, self._on_write = inner, on_write

    def sessions(self, service: ServiceId) -> Sequence[Session]:
        return self._inner.sessions(service)

    def call(self, operation: str, arguments: Mapping[str, Any], *, dry_run: bool = False) -> Mapping[str, Any]:
        if not dry_run:
            self._on_write()
        return self._inner.call(operation, arguments, dry_run=dry_run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Verdicts beside what happened on a copy of production."""

    verdicts: Mapping[str, int]
    audited: int
    false_pass: int
    false_block: int


class AuditedVerifier:
    """A Verifier whose verdicts are kept, with a copy of the production that they are about."""

    def __init__(self, inner: Verifier, production: Production, plant: Plant) -> None:
        self._inner, self._production, self._plant = inner, production, plant
        self._verdicts: dict[str, int] = {}
        self._kept: list[tuple[World, list[tuple[Outcome, Plan]], set[ServiceId]]] = []

    def fault_types(self) -> Sequence[FaultType]:
        return self._inner.fault_types()

    def verify(self, request: VerifyRequest) -> Verification:
        found = self._inner.verify(request)
        for judged in found.judged:
            name = judged.verdict.outcome.value
            self._verdicts[name] = self._verdicts.get(name, 0) + 1
        chosen = self._chosen(found.judged)
        if chosen and len(self._kept) < VERIFICATIONS_MAX[self._production.scenario.engine]:
            failing = {one.service for one in request.incident.symptoms if one.kind is SymptomKind.ERRORS}
            self._kept.append((self._production.world.fork(), chosen, failing))
        return found

    def audit(self) -> Audit:
        """Play what was kept. Policy's denials are not audited: they are about rules, not about effects."""
        usual = np.nan_to_num(self._production.calm.let_down_ratio(), nan=0.0)
        audited = false_pass = false_block = 0
        for world, chosen, failing in self._kept:
            rehearsal = rehearse(world, [plan for _, plan in chosen], replications=[world.state.replication])
            services = [service.id for service in world.fleet.services]
            measure = Measure(
                usual=usual, short=np.ones(len(services), dtype=np.bool_),  # Whoever lacks pods here lacks them.
                failing=np.array([service in failing for service in services]),
                usual_failing=np.zeros(len(services)),
            )  # fmt: skip
            for (outcome, _), arms in zip(chosen, rehearsal.arms, strict=True):
                truth = judge(services, rehearsal.nothing, arms, measure=measure)
                harms, mends = truth.harm.value > 0.0 or bool(truth.errors), truth.effect.value > 0.0
                audited += 1
                false_pass += outcome.promotable and (harms or (outcome is Outcome.EFFECTIVE and not mends))
                # What is only harmless is not promoted either: the nets say so.
                false_block += outcome is not Outcome.EFFECTIVE and mends and not harms
        return Audit(
            verdicts=dict(sorted(self._verdicts.items())), audited=audited, false_pass=false_pass,
            false_block=false_block,
        )  # fmt: skip

    def _chosen(self, judged: Sequence[Judged]) -> list[tuple[Outcome, Plan]]:
        """Candidates that can be played: passed and blocked ones in turn, as many as their copies may cost."""
        able: list[tuple[Outcome, Plan]] = []
        for one in judged:
            if one.verdict.outcome is not Outcome.DENIED:
                try:
                    plan = compile_change(one.change, self._plant.kube, at_s=self._plant.clock.now_s())
                except TwinError:
                    continue  # What cannot even be compiled was refused for its form.
                able.append((one.verdict.outcome, plan))
        passed = [pair for pair in able if pair[0].promotable]
        blocked = [pair for pair in able if not pair[0].promotable]
        most = CANDIDATES_MAX[self._production.scenario.engine]
        return [*passed[: max(most // 2, most - len(blocked))], *blocked][:most]
