"""What every brain is: it reads, it states hypotheses, it proposes. It cannot write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from agent.core.context import Document
from twin.ports.plant import Plant
from twin.spec.change import Action, Change, Risk
from twin.spec.fault import Fault, FaultType, Value
from twin.spec.ids import FaultKind
from twin.spec.incident import Incident
from twin.spec.signal import Signal

__all__ = ["REQUESTER", "Brain", "Diagnosis", "View", "action", "change", "fault"]

REQUESTER: Final = "agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a brain may look at. `plant` may not write; `signals` are those of the last while, oldest first;
    `fault_types` is what a hypothesis may say; `tried` holds keys of changes that need not come again."""

    plant: Plant
    incident: Incident
    specialist: str = "unsure"
    signals: Sequence[Signal] = ()
    documents: Sequence[Document] = ()
    fault_types: Sequence[FaultType] = ()
    tried: Sequence[str] = ()
    round: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Likeliest first, both. Without candidates a human is called, unless `hand_over` is False."""

    hypotheses: tuple[Fault, ...] = ()
    candidates: tuple[Change, ...] = ()
    thoughts: str = ""
    hand_over: bool = True


class Brain(Protocol):
    """`latency_s` is what a diagnosis costs in the target's time, for a simulated clock."""

    @property
    def name(self) -> str: ...
    @property
    def latency_s(self) -> float: ...
    def diagnose(self, view: View) -> Diagnosis: ...


def fault(kind: str, target: str, **parameters: Value) -> Fault:
    return Fault(kind=FaultKind(kind), target=target, parameters=parameters)


def action(kind: str, target: str, **parameters: Value) -> Action:
    return Action(kind=kind, target=target, parameters=parameters)


def change(reason: str, *actions: Action, risk: Risk = Risk.LOW) -> Change:
    return Change(actions=actions, reason=reason, requester=REQUESTER, risk=risk)
