"""A policy ready to be asked: an engine that passed its canaries, the nets from the file, and a log."""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from policies.build import WASM_FILE, read_lock
from policies.engine import DECISION_PATH, EmbeddedEngine, Engine, OpaServerEngine
from policies.errors import EngineError
from policies.model import Call, Decision, Facts
from policies.safety_nets import NETS_FILE, SafetyNets, load_nets

__all__ = ["DecisionSink", "Policy", "load"]

DecisionSink = Callable[[dict[str, Any]], object]


class Policy:
    """Decides with the nets that the file holds; a caller cannot bring its own. Thread-safe, never raises."""

    def __init__(self, engine: Engine, nets: SafetyNets, *, revision: str, log: DecisionSink | None = None) -> None:
        self.engine, self.nets, self.revision = engine, nets, revision
        self._log = log
        self._numbers = itertools.count(1)

    @property
    def pod_terminations_per_minute_max(self) -> int:
        """The net's figure, for the guard that keeps count of it."""
        return int(self.nets.data["restart_rate"]["per_minute_max"])

    def decide(self, question: Mapping[str, Any]) -> Decision:
        """`question` is {"call": …, "facts": …}, as policies/README.md describes it."""
        if not isinstance(question, Mapping) or not set(question) <= {"call", "facts"}:
            return Decision.denied("the question cannot be asked: give call and facts, nothing else")
        asked = {**question, "nets": self.nets.data}
        decision = self.engine.decide(asked)
        if self._log is None:
            return decision
        try:
            self._log(self._record(asked, decision))
        except Exception as error:  # What leaves no trace is not allowed.
            return Decision.denied(f"the decision cannot be recorded: {type(error).__name__}: {error}")
        return decision

    def ask(self, call: Call, facts: Facts) -> Decision:
        """The same for typed callers."""
        return self.decide({"call": call.to_json(), "facts": facts.to_json()})

    def _record(self, asked: dict[str, Any], decision: Decision) -> dict[str, Any]:
        """A decision under the names that OPA's own decision log uses."""
        call, erased = _without_secrets(asked.get("call"))
        facts = asked.get("facts")
        number = next(self._numbers)
        shown = {"call": call, "facts": facts, "nets": asked["nets"]}
        text = json.dumps([number, shown], sort_keys=True, default=repr)
        return {
            "decision_id": f"{number}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:16]}",
            "labels": {"id": "twin", "engine": self.engine.name},
            "bundles": {"twin": {"revision": self.revision}},
            "path": DECISION_PATH,
            "input": shown,
            "erased": erased,
            "result": decision.to_json(),
            "timestamp": _timestamp(facts),
        }


def load(
    nets_file: Path = NETS_FILE,
    *,
    opa_url: str | None = None,
    log: DecisionSink | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Policy:
    """The OPA server at `opa_url` or $OPA_URL when one is named, else the embedded bundle.

    A server that is named and does not answer is an error, never a silent change of engine.
    Raises NetsFileError and EngineError.
    """
    nets = load_nets(nets_file)
    lock = read_lock()
    url = opa_url or environ.get("OPA_URL")
    engine: Engine
    if url:
        engine = server = OpaServerEngine(url)
        _check_modules(server.modules(), lock["sources"])
    else:
        wasm = _read(WASM_FILE)
        if hashlib.sha256(wasm).hexdigest() != lock["wasm"]:
            raise EngineError(
                "the policy bundle was altered", "bundle.wasm and its digest differ", "python -m policies.build"
            )
        engine = EmbeddedEngine(wasm)
    _sing(engine)
    return Policy(engine, nets, revision=_revision(lock["sources"], nets), log=log)


def _revision(sources: Mapping[str, str], nets: SafetyNets) -> str:
    """One name for rules and nets together, the same on both engines. Comments and line numbers don't move it."""
    text = json.dumps([dict(sources), nets.revision_json], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EngineError(
            f"cannot read {path.name}", error.strerror or str(error), "python -m policies.build"
        ) from error


def _check_modules(modules: list[str], sources: Mapping[str, str]) -> None:
    """The server decides with our rules, all of them, and nobody added rules to our package."""
    ours = {
        hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        for text in modules
        if re.search(r"^\s*package\s+twin\b(?!\.policy_test\b)", text, re.MULTILINE)
    }
    if ours != set(sources.values()):
        raise EngineError(
            "the OPA server holds other rules",
            "its modules of package twin differ from policies/bundle",
            "start it with policies/bundle of this version, or unset OPA_URL",
        )


# --- canaries ----------------------------------------------------------------------------------------------------

_CANARY_NETS: dict[str, Any] = {
    "never": [
        {
            "name": "canary", "actions": ["drop_table"], "any_action": False, "namespaces": [], "subnets": [],
            "labels": {}, "phrases": [], "source": "canary:1",
        }
    ],
    "nodes": {"max": 100, "source": "canary:2"},
    "restart_rate": {"per_minute_max": 5, "source": "canary:3"},
    "freezes": [
        {"name": "freeze", "start_s": 1000, "end_s": 2000, "repeat_s": 0, "until": "2000", "source": "canary:4"}
    ],
    "evidence": {"levels": ["control_plane"], "source": "canary:5"},
    "harmless": {"promote": False, "source": "canary:6"},
}  # fmt: skip
_CANARY: dict[str, Any] = {
    "call": {
        "tool": "canary", "kind": "restart", "target": {"kind": "Deployment", "namespace": "a", "name": "b"},
        "params": {}, "identity": "promoter", "purpose": "promote",
    },
    "facts": {
        "now_s": 2000, "predicted_end_state": {"nodes": 100, "replicas": 1, "max_replicas_nodes": 100},
        "pod_terminations_predicted": 2, "pod_terminations_last_minute": 3, "subnet": "a", "labels": {},
        "verdict": "effective", "evidence_level": "control_plane", "target_is_live": True,
    },
    "nets": _CANARY_NETS,
}  # fmt: skip

# Each moves one thing in a question that is allowed: path, value, and the check that must refuse it. `None` takes
# the thing away. Being refused is not enough: an engine that has stopped answering refuses everything.
_MUST_DENY: tuple[tuple[tuple[str, ...], Any, str], ...] = (
    (("call", "kind"), "drop_table", "canary"),
    (("call", "kind"), "format_disk", "call_form"),
    (("call", "identity"), "agent", "identity"),
    (("call", "purpose"), "read", "purpose"),
    (("call", "purpose"), "rehearse", "rehearsal"),
    (("call",), None, "call_form"),
    (("facts",), None, "call_form"),
    (("nets", "never"), [], "nets_form"),
    (("facts", "predicted_end_state", "max_replicas_nodes"), 101, "nodes"),
    (("facts", "predicted_end_state"), None, "nodes"),
    (("facts", "pod_terminations_last_minute"), 4, "restart_rate"),
    (("facts", "now_s"), 1999, "freeze"),
    (("facts", "now_s"), None, "freeze"),
    (("facts", "verdict"), "inconclusive", "verdict"),
    (("facts", "evidence_level"), "simulated", "evidence_level"),
)


def _sing(engine: Engine) -> None:
    """Ask what must be denied, and one thing that must not be. Raises EngineError for a wrong answer."""
    allowed = engine.decide(_CANARY)
    if not allowed.allow:
        raise EngineError("the policy engine denies what it must allow", allowed.reason, "see policies/README.md")
    for path, value, check in _MUST_DENY:
        decision = engine.decide(_moved(_CANARY, path, value))
        if decision.allow or check not in {refusal.name for refusal in decision.refusals}:
            raise EngineError(
                "the policy engine does not deny what it must",
                f"{'.'.join(path)} = {value!r}: {decision.reason}",
                "do not use it; see policies/README.md",
            )


def _moved(question: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    copy = dict(question)
    if len(path) > 1:
        copy[path[0]] = _moved(copy[path[0]], path[1:], value)
    elif value is None:
        del copy[path[0]]
    else:
        copy[path[0]] = value
    return copy


# --- log ---------------------------------------------------------------------------------------------------------

_SECRET = re.compile(r"passw|secret|token|credential|api[_-]?key|private[_-]?key", re.IGNORECASE)
_NAMES_ONLY = ("set_config", "set_env")  # Their values may be anything, so only what they are called is logged.
_NAMING = ("name", "container")


def _without_secrets(call: Any) -> tuple[Any, list[str]]:
    """The call without values that may be secret, and the paths of those; OPA's log calls them `erased`."""
    if not isinstance(call, Mapping) or not isinstance(call.get("params"), Mapping):
        return call, []
    erased: list[str] = []
    names_only = call.get("kind") in _NAMES_ONLY

    def shown(value: Any, path: str, key: str, depth: int) -> Any:
        if isinstance(value, Mapping) and depth < 32:  # Deeper was asked of no engine: it was denied for its depth.
            items = {str(name): shown(item, f"{path}/{name}", str(name), depth + 1) for name, item in value.items()}
            return {name: item for name, item in items.items() if f"{path}/{name}" not in erased}
        if isinstance(value, list | tuple) and depth < 32:
            return [shown(item, f"{path}/{index}", key, depth + 1) for index, item in enumerate(value)]
        if isinstance(value, Mapping | list | tuple) or _SECRET.search(key) or (names_only and key not in _NAMING):
            erased.append(path)
            return None
        return value

    return {**call, "params": shown(call["params"], "/input/call/params", "", 0)}, erased


def _timestamp(facts: Any) -> str:
    """The target's clock, as the caller gave it: a replayed episode writes the same log."""
    now_s = facts.get("now_s") if isinstance(facts, Mapping) else None
    if isinstance(now_s, int) and not isinstance(now_s, bool) and 0 <= now_s < 253_402_300_800:
        return (dt.datetime(1970, 1, 1) + dt.timedelta(seconds=now_s)).isoformat() + "Z"
    return ""
