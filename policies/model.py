"""The question and the answer, typed. policies/README.md describes the JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

__all__ = [
    "STANDING_CHECKS",
    "ActionKind",
    "Call",
    "Check",
    "Decision",
    "EndState",
    "Facts",
    "Identity",
    "Purpose",
    "Target",
    "read_decision",
]


class Identity(StrEnum):
    AGENT = "agent"
    LOCAL_AGENT = "local_agent"
    GATE = "gate"
    PROMOTER = "promoter"
    HUMAN = "human"


class Purpose(StrEnum):
    READ = "read"
    PROPOSE = "propose"
    REHEARSE = "rehearse"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    BREAK_GLASS = "break_glass"


class ActionKind(StrEnum):
    """Every kind that the bundle knows; an unknown one is denied. `read` is the one that changes nothing."""

    READ = "read"
    CLEAR_CACHE = "clear_cache"
    CLEAR_DISK = "clear_disk"
    CORDON = "cordon"
    DRAIN = "drain"
    DROP_TABLE = "drop_table"
    EVICT = "evict"
    FAIL_OVER = "fail_over"
    REISSUE_CERTIFICATE = "reissue_certificate"
    RESIZE_NODE_POOL = "resize_node_pool"
    RESTART = "restart"
    ROLLOUT_PAUSE = "rollout_pause"
    ROLLOUT_RESUME = "rollout_resume"
    ROLLOUT_UNDO = "rollout_undo"
    SCALE = "scale"
    SET_CONFIG = "set_config"
    SET_ENV = "set_env"
    SET_FIREWALL_RULE = "set_firewall_rule"
    SET_FLAG = "set_flag"
    SET_HPA = "set_hpa"
    SET_IMAGE = "set_image"
    SET_NETWORK_POLICY = "set_network_policy"
    SET_PDB = "set_pdb"
    SET_PROBE = "set_probe"
    SET_QUOTA = "set_quota"
    SET_RESOURCES = "set_resources"
    SET_ROUTE = "set_route"
    SHED_LOAD = "shed_load"
    SHIFT_TRAFFIC = "shift_traffic"
    SUSPEND_GITOPS = "suspend_gitops"
    TERMINATE_SESSION = "terminate_session"
    UNCORDON = "uncordon"
    WARM_CACHE = "warm_cache"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    kind: str
    name: str
    namespace: str = ""  # Empty for what has none: a node, a node pool.

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "namespace": self.namespace, "name": self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One tool call, or one action of a change. `kind` is an ActionKind; any other word is denied.

    `params` is plain JSON.
    """

    tool: str
    kind: str
    target: Target
    identity: Identity
    purpose: Purpose
    params: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "tool": self.tool,
            "kind": str(self.kind),
            "target": self.target.to_json(),
            "params": dict(self.params),
            "identity": str(self.identity),
            "purpose": str(self.purpose),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EndState:
    """Where the *whole* change leads, not this one action."""

    nodes: int
    max_replicas_nodes: int  # Nodes needed once every autoscaler has gone to its maximum.
    replicas: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "nodes": self.nodes,
            "replicas": self.replicas,
            "max_replicas_nodes": self.max_replicas_nodes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known about the target and the rehearsal. None means unknown: a check that needs it fails."""

    now_s: int | None = None  # Seconds since 1970, of the target's Clock.
    predicted_end_state: EndState | None = None
    pod_terminations_predicted: int | None = None  # The most that the call causes within any one minute.
    pod_terminations_last_minute: int | None = None  # By all agents together.
    subnet: str | None = None
    labels: Mapping[str, str] | None = None
    verdict: str | None = None
    evidence_level: str | None = None
    target_is_live: bool | None = None

    def to_json(self) -> dict[str, Any]:
        known: dict[str, Any] = {
            "now_s": self.now_s,
            "predicted_end_state": self.predicted_end_state and self.predicted_end_state.to_json(),
            "pod_terminations_predicted": self.pod_terminations_predicted,
            "pod_terminations_last_minute": self.pod_terminations_last_minute,
            "subnet": self.subnet,
            "labels": None if self.labels is None else dict(self.labels),
            "verdict": self.verdict,
            "evidence_level": self.evidence_level,
            "target_is_live": self.target_is_live,
        }
        return {name: value for name, value in known.items() if value is not None}


# Always decided, whatever the file says. A decision that lacks one was not made by our bundle.
STANDING_CHECKS = (
    "call_form",
    "nets_form",
    "identity",
    "purpose",
    "rehearsal",
    "nodes",
    "restart_rate",
    "freeze",
    "verdict",
    "evidence_level",
)


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    passed: bool
    reason: str
    source: str = ""  # As "safety_nets.yaml:4", when a net decided.

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "pass": self.passed, "reason": self.reason, "source": self.source}


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed only with every check passed. `Decision.denied` is for when no engine could answer."""

    allow: bool
    checks: tuple[Check, ...]

    @classmethod
    def denied(cls, reason: str) -> Decision:
        return cls(False, (Check("engine", False, reason),))

    @property
    def refusals(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if not check.passed)

    @property
    def reason(self) -> str:
        """One line for a person: why not, the hard nets first, or "allowed"."""
        if self.allow:
            return "allowed"
        told = sorted(self.refusals, key=lambda check: not check.source)
        return "; ".join(_told(check) for check in told) or "denied"

    def to_json(self) -> dict[str, Any]:
        return {"allow": self.allow, "checks": [check.to_json() for check in self.checks]}


def _told(check: Check) -> str:
    if check.source and check.name not in STANDING_CHECKS:
        return f'safety net "{check.name}": {check.reason} ({check.source})'
    return f"{check.reason} ({check.source})" if check.source else check.reason


def read_decision(result: object, question: Mapping[str, Any]) -> Decision:
    """An engine's answer, believed only as far as it is whole.

    An older or foreign bundle may answer `allow` without having looked at everything. So each standing check and
    each net that was asked about must be there, and `allow` must be what the checks say. Otherwise: denied.
    """
    if not isinstance(result, dict) or set(result) != {"allow", "checks"}:
        return Decision.denied("the policy gave no decision")
    allow, listed = result["allow"], result["checks"]
    if not isinstance(allow, bool) or not isinstance(listed, list):
        return Decision.denied("the policy's decision is malformed")
    checks: list[Check] = []
    for item in listed:
        if (
            not isinstance(item, dict)
            or set(item) != {"name", "pass", "reason", "source"}
            or not isinstance(item["pass"], bool)
            or not all(isinstance(item[key], str) for key in ("name", "reason", "source"))
        ):
            return Decision.denied("the policy's decision has a malformed check")
        checks.append(Check(item["name"], item["pass"], item["reason"], item["source"]))

    if not allow:
        return Decision(False, tuple(checks)) if checks else Decision.denied("the policy gave no reason")
    given = {check.name for check in checks}
    missing = [name for name in (*STANDING_CHECKS, *_net_names(question)) if name not in given]
    if missing:
        return Decision.denied(f"the policy did not check {', '.join(missing)}")
    if not all(check.passed for check in checks):
        return Decision.denied("the policy allows what one of its checks refuses")
    return Decision(True, tuple(checks))


def _net_names(question: Mapping[str, Any]) -> list[str]:
    return [net["name"] for net in question["nets"]["never"]]
