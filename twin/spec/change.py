"""A Change: an ordered list of typed actions on named targets, with reason and risk.

The catalogue of action kinds is twin/change/actions/, one file a kind; here is only their shared shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from twin.spec.canonical import digest
from twin.spec.fault import Value
from twin.spec.ids import Sha256

__all__ = ["Action", "Change", "Reversibility", "Risk", "Strategy", "action_text", "change_digest", "change_from_json"]


class Risk(StrEnum):
    LOW = "low"
    HIGH = "high"  # two approvals


class Reversibility(StrEnum):
    REVERSIBLE = "reversible"
    COMPENSABLE = "compensable"  # not undone, but replaced by a controller: a restarted stateless pod
    IRREVERSIBLE = "irreversible"  # gone: needs approval and counts as loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """`target`: "shop/cart" for a workload, a node's name, "shop/web->shop/cart" for a route."""

    kind: str
    target: str
    parameters: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """How a plan is carried out: `canary_ratio` of the replicas first, watched for `watch_s`, then the rest
    and `settle_s` of watching."""

    canary_ratio: float = 0.34
    watch_s: float = 60.0
    settle_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    actions: tuple[Action, ...]
    reason: str
    requester: str
    risk: Risk = Risk.LOW
    strategy: Strategy = Strategy()


def change_digest(change: Change) -> Sha256:
    """The change's name. Reason and requester are part of it: they are what was approved."""
    return digest(change)


def change_from_json(data: Mapping[str, Any]) -> Change:
    """A change from its plain JSON. Raises KeyError, TypeError or ValueError for what no change looks like."""
    return Change(
        actions=tuple(
            Action(
                kind=str(action["kind"]),
                target=str(action["target"]),
                parameters=MappingProxyType(dict(action["parameters"])),
            )
            for action in data["actions"]
        ),
        reason=str(data["reason"]),
        requester=str(data["requester"]),
        risk=Risk(data["risk"]),
        strategy=Strategy(**data["strategy"]),
    )


def action_text(action: Action) -> str:
    """The action in words: `scale shop/cart replicas=6`."""
    figures = (f" {k}={v:g}" if isinstance(v, float) else f" {k}={v}" for k, v in sorted(action.parameters.items()))
    return f"{action.kind.replace('_', ' ')} {action.target}{''.join(figures)}"
