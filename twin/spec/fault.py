"""A fault: what is wrong. The same type is injected as an experiment and stated as a hypothesis.

The catalogue of kinds is chaos/faults/, one file a kind; here is only the shape that all of them share.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from twin.spec.errors import BadInput
from twin.spec.ids import FaultKind

__all__ = ["Fault", "FaultType", "Parameter", "Value", "fault_text", "parse_fault", "value_text"]

Value = float | str

TEXT_MAX: Final = 1_000
_TARGET_NAMES: Final = ("service", "journey", "node", "target")
_FIGURE = re.compile(r"[+-]?(?:[0-9]{1,40}\.?[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,4})?")
_CALL = re.compile(r"\s*([a-z][a-z0-9_]*)\s*\((.*)\)\s*", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`target` is a service ("shop/cart"), a journey or a node, as the kind says."""

    kind: FaultKind
    target: str
    parameters: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a fault or an action. Numeric ones have a range; `whole` ones take no half; `severity` marks the
    one of a fault that is fitted."""

    name: str
    help: str
    default: Value | None = None
    low: float | None = None
    high: float | None = None
    severity: bool = False
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultType:
    """What the catalogue says about a kind: enough to state it, fit it and explain it, not how it works."""

    kind: FaultKind
    summary: str
    target: str  # "service" | "journey" | "node"
    parameters: tuple[Parameter, ...] = ()


def fault_text(fault: Fault) -> str:
    """The fault as people write it: `slow(service=shop/cart, factor=8)`."""
    figures = (f", {k}={v:g}" if isinstance(v, float) else f", {k}={v}" for k, v in sorted(fault.parameters.items()))
    return f"{fault.kind}({fault.target}{''.join(figures)})"


def value_text(value: Value) -> str:
    """A parameter as the text that a person gave: 4711 and not 4711.0, 12345678 and not 1.23457e+07."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)


def parse_fault(text: str) -> Fault:
    """Read `slow(shop/cart, factor=8)`; the target may be named (service=, journey=, node=, target=).

    What looks like a figure is one, unless it stands in quotes: image="1.10". Raises BadInput. Whether kind and
    parameters exist is the catalogue's business.
    """
    match = _CALL.fullmatch(text) if len(text) <= TEXT_MAX else None
    if match is None:
        raise BadInput(
            f'cannot read the fault "{_short(text)}"', "it is not kind(target, name=value, …)", "see: twin chaos list"
        )
    target, parameters = "", dict[str, Value]()
    for part in filter(None, (p.strip() for p in match[2].split(","))):
        name, has_value, value = (piece.strip() for piece in part.partition("="))
        if not has_value or name in _TARGET_NAMES:
            if target:
                raise _unreadable(text, f"it has two targets, {target} and {value or name}")
            if has_value and not value:
                raise _unreadable(text, f'"{name}" is empty')
            target = value or name
            continue
        if name in parameters:
            raise _unreadable(text, f'"{name}" is given twice')
        if not name or not value:
            raise _unreadable(text, f'"{part}" is not name=value')
        parameters[name] = _value(value)
    if not target:
        raise BadInput(
            f'the fault "{_short(text)}" has no target',
            "a fault strikes something",
            "write slow(shop/cart, factor=8)",
        )
    return Fault(kind=FaultKind(match[1]), target=target, parameters=MappingProxyType(parameters))


def _value(text: str) -> Value:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return float(text) if _FIGURE.fullmatch(text) else text


def _unreadable(text: str, why: str) -> BadInput:
    return BadInput(f'cannot read the fault "{_short(text)}"', why, "write slow(shop/cart, factor=8)")


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
