"""An incident as the agent knows it, and the page that hands it to a human."""

from __future__ import annotations

from dataclasses import dataclass

from twin.spec.ids import ServiceId
from twin.spec.signal import Symptom

__all__ = ["Incident", "Page"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Symptoms that belong together. `onset_s` is the earliest sign, in the target's Unix time."""

    id: str
    title: str
    onset_s: float
    symptoms: tuple[Symptom, ...]
    suspects_deploys: tuple[str, ...] = ()

    @property
    def services(self) -> tuple[ServiceId, ...]:
        """Every service with a symptom, in name order."""
        return tuple(sorted({symptom.service for symptom in self.symptoms}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One screen for a tired human: what hurts, what it likely is, what was done, what to do next."""

    id: str
    incident: str
    at_s: float
    impact: str
    likely: str
    tried: str
    in_flight: str
    next_command: str
    stop_command: str = "twin takeover"
