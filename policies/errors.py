"""Policies stand on nothing, so they have a root of errors of their own; the CLI maps it onto exit codes.

PolicyError          what happened, why, and what to do next
├── NetsFileError    the safety nets file is at fault (the CLI: exit 2)
└── EngineError      the engine cannot be trusted to decide, seen at start (the CLI: exit 11)

A decision never raises: whatever goes wrong while deciding is a denial with its reason.
"""

from __future__ import annotations

__all__ = ["EngineError", "NetsFileError", "PolicyError"]


class PolicyError(Exception):
    """What happened, why, and what to do next."""

    def __init__(self, what: str, why: str, next_step: str) -> None:
        super().__init__(what, why, next_step)  # Whole, so that pickle can rebuild it.
        self.what, self.why, self.next_step = what, why, next_step

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


class NetsFileError(PolicyError):
    """The safety nets file cannot be used. Nothing starts without it."""


class EngineError(PolicyError):
    """The engine is missing, altered, or answered a canary wrongly. Nothing is decided by it."""
