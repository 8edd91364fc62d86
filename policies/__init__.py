"""Policy decisions: JSON in, decision out.

policy = policies.load()
decision = policy.ask(Call(...), Facts(...))
if not decision.allow:
    print(decision.reason)
"""

from typing import TYPE_CHECKING, Any

from policies.errors import EngineError, NetsFileError, PolicyError
from policies.model import ActionKind, Call, Check, Decision, EndState, Facts, Identity, Purpose, Target

if TYPE_CHECKING:
    from policies.policy import Policy, load

__all__ = [
    "ActionKind",
    "Call",
    "Check",
    "Decision",
    "EndState",
    "EngineError",
    "Facts",
    "Identity",
    "NetsFileError",
    "Policy",
    "PolicyError",
    "Purpose",
    "Target",
    "load",
]


def __getattr__(name: str) -> Any:
    """The words load at once; wasmtime and pydantic only with whoever decides."""
    if name in ("Policy", "load"):
        from policies import policy

        return getattr(policy, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
