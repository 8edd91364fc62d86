"""Every error of ours, in one tree. The class decides the exit code, so that a script can tell them apart.

TwinError                    1   something of ours broke
├── BadInput                 2   the input is at fault: file, flag, name, figure
├── RejectedByRehearsal      3
├── Inconclusive             4
├── PolicyDenied             5
├── BaseDrifted              6
├── ReceiptInvalid           7
├── ApprovalMissing          8
├── RolledBack               9
├── RegressionFound         10
├── ComponentMissing        11
├── PromoterActive          12
└── ApiError                 1   a server's refusal (its `status` is the HTTP code)
    ├── Forbidden (403)
    ├── NotFound (404)
    ├── Conflict (409)
    │   └── Overtaken
    ├── Unprocessable (422)
    ├── TooManyRequests (429)
    ├── Unavailable (503)
    └── Unreachable (504)
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ApiError",
    "ApprovalMissing",
    "BadInput",
    "BaseDrifted",
    "ComponentMissing",
    "Conflict",
    "Forbidden",
    "Inconclusive",
    "NotFound",
    "Overtaken",
    "PolicyDenied",
    "PromoterActive",
    "ReceiptInvalid",
    "RegressionFound",
    "RejectedByRehearsal",
    "RolledBack",
    "TooManyRequests",
    "TwinError",
    "Unavailable",
    "Unprocessable",
    "Unreachable",
]


class TwinError(Exception):
    """Root of all our errors: what happened, why, and what to do next."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, why: str, next_step: str) -> None:
        super().__init__(what, why, next_step)  # Whole, so that pickle and SimPy can rebuild it.
        self.what, self.why, self.next_step = what, why, next_step

    def __str__(self) -> str:
        return f"{self.what}: {self.why}"


class BadInput(TwinError):
    """What the user gave cannot be used. Nothing was written."""

    exit_code: ClassVar[int] = 2


class RejectedByRehearsal(TwinError):
    """The rehearsal showed harm, or that the incident outlives the change."""

    exit_code: ClassVar[int] = 3


class Inconclusive(TwinError):
    """The evidence does not decide. Never treated as a pass."""

    exit_code: ClassVar[int] = 4


class PolicyDenied(TwinError):
    """A policy refuses, or could not be evaluated, which counts as a refusal."""

    exit_code: ClassVar[int] = 5


class BaseDrifted(TwinError):
    """Production is no longer what was rehearsed. Raised by `promote`; never retried."""

    exit_code: ClassVar[int] = 6


class ReceiptInvalid(TwinError):
    """A receipt is malformed, tampered with, expired or spent."""

    exit_code: ClassVar[int] = 7


class ApprovalMissing(TwinError):
    """A needed approval is absent, or comes from somebody who may not give it."""

    exit_code: ClassVar[int] = 8


class RolledBack(TwinError):
    """The promotion did harm and was undone."""

    exit_code: ClassVar[int] = 9


class RegressionFound(TwinError):
    """A candidate is worse than its baseline."""

    exit_code: ClassVar[int] = 10


class ComponentMissing(TwinError):
    """A program, server or adapter that this command needs is not there."""

    exit_code: ClassVar[int] = 11


class PromoterActive(TwinError):
    """Another promoter holds the lease on this target."""

    exit_code: ClassVar[int] = 12


class ApiError(TwinError):
    """A server refused: Kubernetes' API, or what lies beyond it. `status` is the HTTP code, or the like of it."""

    status: ClassVar[int] = 500


class Forbidden(ApiError):
    status: ClassVar[int] = 403


class NotFound(ApiError):
    status: ClassVar[int] = 404


class Conflict(ApiError):
    """The object moved since it was read, or another manager owns the field."""

    status: ClassVar[int] = 409


class Overtaken(Conflict):
    """Of a write nobody heard whether it was made, and what is there now is neither that nor what was before: somebody
    has decided about it since. Never sent anew, for it may have been made and taken back."""


class Unprocessable(ApiError):
    """The object is understood and not valid."""

    status: ClassVar[int] = 422


class TooManyRequests(ApiError):
    """A disruption budget or a rate limit says: not now."""

    status: ClassVar[int] = 429


class Unavailable(ApiError):
    """The server cannot be reached, or takes nobody now."""

    status: ClassVar[int] = 503


class Unreachable(ApiError):
    """Nobody answered in time. A write that was sent may or may not have been made."""

    status: ClassVar[int] = 504
