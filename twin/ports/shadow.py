"""A shadow: a cluster that plays production, where a plan is tried before production sees it.

The gate and the faults speak to it through this; what runs behind it (kind, stand-ins, real images) is its own affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from twin.ports.plant import KubeApi, KubeObject
from twin.spec.ids import JourneyName, ServiceId
from twin.spec.plan import Plan
from twin.spec.receipt import EvidenceLevel

__all__ = ["Conduct", "Shadow", "UserCount"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How pods of a service behave whose template matches: `image` and `env` (name, value), if given. As the fleet
    model's Behave."""

    image: str | None = None
    env: tuple[str, str] | None = None
    error_ratio: float = 0.0
    speed: float = 1.0
    crash_after_s: float | None = None
    leak_bytes_per_s: float = 0.0
    never_ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCount:
    """Users of one journey since the shadow began."""

    came: float
    let_down: float

    def since(self, before: UserCount | None) -> UserCount:
        """Those who came after an earlier look; None: there was none."""
        if before is None:
            return self
        return UserCount(came=self.came - before.came, let_down=self.let_down - before.let_down)


class Shadow(Protocol):
    """What the gate may do with a shadow. Every method raises ApiError or ComponentMissing if the cluster fails."""

    @property
    def name(self) -> str: ...
    @property
    def level(self) -> EvidenceLevel: ...
    @property
    def kube(self) -> KubeApi:
        """Its API, as an administrator."""
        ...

    @property
    def enforces(self) -> Mapping[str, bool]:
        """What it was seen to enforce before use, by name; what is not named was not tried."""
        ...

    def reset(self) -> None:
        """Everything as it was loaded, ready, nothing misbehaving. Raises Inconclusive if it does not get there."""
        ...

    def fit(self, plan: Plan) -> Plan:
        """The plan in the shadow's measure: production's quantities scaled as the shadow's are."""
        ...

    def conduct(self, service: ServiceId, conducts: Sequence[Conduct]) -> None:
        """How a service's pods behave from now on, those that start later too."""
        ...

    def hold(self, service: ServiceId, station: str, slots: int) -> None:
        """A stuck session keeps so many servers of a station; 0 lets go."""
        ...

    def let_go(self, service: ServiceId) -> None:
        """Whatever stuck sessions hold of a service is free again."""
        ...

    def load(self, journey: JourneyName, factor: float) -> None: ...

    def delay(self, caller: ServiceId, callee: ServiceId, delay_s: float) -> None: ...

    def users(self) -> Mapping[JourneyName, UserCount]:
        """Users so far, by journey."""
        ...

    def processor_s(self) -> tuple[float, float]:
        """Processor time that the machines have spent so far, busy and in all, in seconds; two looks are compared.
        What users say of an overloaded machine says nothing of a plan."""
        ...

    def events(self) -> Sequence[KubeObject]:
        """Kubernetes' events of the namespaces that are played, oldest first."""
        ...

    def now_s(self) -> float:
        """Seconds on a clock that only goes forward."""
        ...

    def sleep(self, duration_s: float) -> None: ...
