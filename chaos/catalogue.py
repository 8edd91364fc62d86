"""The catalogue of faults: one file a kind in chaos/faults/, found by looking there.

A kind's module has FAULT (what it is called, what it strikes, its parameters) and `perturb`, which says
what holds in a World while the fault lasts. The same compilation serves an experiment and a hypothesis.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType, ModuleType

from chaos import faults
from twin.fleet.perturbation import Timed
from twin.spec.errors import BadInput
from twin.spec.fault import Fault, FaultType, Value, fault_text, value_text
from twin.spec.fleet import Fleet

__all__ = ["compile_fault", "complete", "fault_type", "fault_types"]


@cache
def _modules() -> Mapping[str, ModuleType]:
    names = sorted(info.name for info in pkgutil.iter_modules(faults.__path__))
    modules = [importlib.import_module(f"chaos.faults.{name}") for name in names]
    return MappingProxyType({module.FAULT.kind: module for module in modules})


def fault_types() -> tuple[FaultType, ...]:
    """Every kind, in name order."""
    return tuple(module.FAULT for module in _modules().values())


def fault_type(kind: str) -> FaultType:
    """Raises BadInput, naming the known kinds."""
    if kind not in _modules():
        raise BadInput(f'there is no fault "{kind}"', f"known: {', '.join(_modules())}", "see: twin chaos list")
    found: FaultType = _modules()[kind].FAULT
    return found


def complete(fault: Fault) -> Fault:
    """The fault with every parameter: given ones checked, others at their defaults. Raises BadInput."""
    kind = fault_type(fault.kind)
    known = {parameter.name: parameter for parameter in kind.parameters}
    for name in fault.parameters:
        if name not in known:
            raise BadInput(
                f"cannot use {fault_text(fault)}",
                f'"{fault.kind}" has no parameter "{name}"',
                f"known: {', '.join(known) or 'none'}",
            )
    values: dict[str, Value] = {}
    for name, parameter in known.items():
        value = fault.parameters.get(name, parameter.default)
        if value is None:
            raise BadInput(f"cannot use {fault_text(fault)}", f'"{name}" is missing', parameter.help)
        if parameter.low is not None and parameter.high is not None:
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise BadInput(f"cannot use {fault_text(fault)}", f"{name}={value} is not a figure", parameter.help)
            if not parameter.low <= value <= parameter.high:
                raise BadInput(
                    f"cannot use {fault_text(fault)}",
                    f"{name}={value:g} lies outside {parameter.low:g} to {parameter.high:g}",
                    parameter.help,
                )
        else:
            value = value_text(value)  # A session may be called 4711, and is not a figure for that.
        values[name] = value
    return Fault(kind=fault.kind, target=fault.target, parameters=MappingProxyType(values))


def compile_fault(fault: Fault, fleet: Fleet, *, start_ns: int, end_ns: int | None = None) -> tuple[Timed, ...]:
    """What holds in a World of this fleet while the fault lasts. Raises BadInput."""
    whole = complete(fault)
    kind = fault_type(fault.kind)
    names: dict[str, list[str]] = {
        "service": [str(service.id) for service in fleet.services],
        "journey": [str(journey.name) for journey in fleet.journeys],
        # Machines that a fleet does not declare are a World's own, and it names them.
        "node": [name for pool in fleet.node_pools for name in pool.node_names] or [whole.target],
    }
    if whole.target not in names[kind.target]:
        raise BadInput(
            f"cannot use {fault_text(fault)}", f'the fleet has no {kind.target} "{whole.target}"', "check the spelling"
        )
    perturbations = _modules()[fault.kind].perturb(whole, fleet)
    return tuple(Timed(what=what, start_ns=start_ns, end_ns=end_ns) for what in perturbations)
