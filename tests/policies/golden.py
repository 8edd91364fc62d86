"""The golden decisions as questions and expected refusals."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from policies.engine import Engine
from policies.safety_nets import load_nets

__all__ = ["BASE", "CASES", "NETS_FILE", "Case", "assert_decided", "question"]

HERE = Path(__file__).parent
NETS_FILE = HERE / "golden_nets.yaml"
NETS = load_nets(NETS_FILE).data
_FILE = yaml.safe_load((HERE / "golden.yaml").read_text(encoding="utf-8"))
BASE: dict[str, Any] = _FILE["base"]


@dataclass(frozen=True)
class Case:
    name: str
    asked: dict[str, Any]
    refused: list[tuple[str, str, str]]


def question(set_: dict[str, Any] | None = None, unset: list[str] | None = None) -> dict[str, Any]:
    """The base question with some things moved, by dotted path."""
    asked = copy.deepcopy(BASE) | {"nets": copy.deepcopy(NETS)}
    # Shallow paths first, so that a whole object may be replaced and then refined.
    for path, value in sorted((set_ or {}).items(), key=lambda item: item[0].count(".")):
        *folders, last = path.split(".")
        _at(asked, folders)[last] = copy.deepcopy(value)
    for path in unset or []:
        *folders, last = path.split(".")
        del _at(asked, folders)[last]
    return asked


def _at(value: dict[str, Any], folders: list[str]) -> dict[str, Any]:
    for folder in folders:
        value = value[folder]
    return value


def _cases() -> Iterator[Case]:
    for one in _FILE["cases"]:
        refused = [
            (check, reason, f"{NETS_FILE.name}:{line}" if line else "") for check, reason, line in one["refused"]
        ]
        yield Case(one["name"], question(one.get("set"), one.get("unset")), refused)


CASES = list(_cases())


def assert_decided(engine: Engine, case: Case) -> None:
    decision = engine.decide(case.asked)
    assert sorted((check.name, check.reason, check.source) for check in decision.refusals) == sorted(case.refused)
    assert decision.allow is (not case.refused)
