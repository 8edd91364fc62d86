"""What the pods of a namespace may have together, as ResourceQuotas say it: (Q, R) whole numbers, and what is used.

A quota counts every pod that is not yet gone, those on their way out too. It stops new pods only: who lowers one below
what is used ends nothing, and finds that no pod that goes comes back.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from twin.fleet.blueprint import Blueprint
from twin.fleet.state import UNBOUNDED, Phase, State
from twin.fleet.traffic.engine import I64
from twin.spec.errors import BadInput
from twin.spec.fleet import QUOTA_RESOURCES, Resources
from twin.spec.units import bytes_text, parse_bytes, parse_cores

__all__ = ["amount_of", "amount_text", "room_for", "used_of"]

_UNSAID: Final = -1  # of a pod: a limit that its containers do not state
_AMOUNT_MAX: Final = 2**60


def room_for(blueprint: Blueprint, state: State, service: int, template: int, count: int) -> tuple[int, str]:
    """How many of `count` new pods all quotas of their namespace let in; and, if not all, what the first that does not
    is told, in Kubernetes' words."""
    asked, told = _asked(state.templates[template].resources), ""
    for quota in blueprint.quotas_of[service]:
        name, hard = blueprint.fleet.quotas[quota].name, state.quota_hard[quota]
        bounded = [r for r in range(len(QUOTA_RESOURCES)) if hard[r] != UNBOUNDED]
        unsaid = [QUOTA_RESOURCES[r] for r in bounded if asked[r] == _UNSAID]
        if unsaid:
            return 0, told or f"failed quota: {name}: must specify {', '.join(unsaid)}"
        used = used_of(blueprint, state, quota)
        fits = min([count, *(max(int((hard[r] - used[r]) // asked[r]), 0) for r in bounded if asked[r])])
        if fits < count and not told:
            used += asked * fits
            full = [r for r in bounded if used[r] + asked[r] > hard[r]]
            words = (
                f"{word}: {','.join(f'{QUOTA_RESOURCES[r]}={amount_text(r, int(amounts[r]))}' for r in full)}"
                for word, amounts in (("requested", asked), ("used", used), ("limited", hard))
            )
            told = f"exceeded quota: {name}, {', '.join(words)}"
        count = fits
    return count, told


def used_of(blueprint: Blueprint, state: State, quota: int) -> I64:
    """(R,) what the namespace's pods have."""
    here = state.pod_phase != Phase.FREE
    here &= blueprint.quota_covers[quota][state.pod_service]  # Free rows have service -1, and are out already.
    pods = np.bincount(state.pod_template[here], minlength=len(state.templates))
    used = np.zeros(len(QUOTA_RESOURCES), dtype=np.int64)
    for template in np.flatnonzero(pods):
        used += np.maximum(_asked(state.templates[template].resources), 0) * pods[template]
    return used


def amount_of(resource: int, quantity: object) -> int:
    """A Kubernetes quantity of QUOTA_RESOURCES[resource] as pods, millicores or bytes. Raises BadInput."""
    name = QUOTA_RESOURCES[resource]
    if isinstance(quantity, bool) or not isinstance(quantity, int | float | str):
        raise BadInput(f"{quantity!r} is not a quantity", "it is neither a figure nor text", "write 2, 500m or 1Gi")
    if name.endswith("memory"):
        amount = float(parse_bytes(quantity))
    else:
        amount = parse_cores(quantity) * (1000.0 if name.endswith("cpu") else 1.0)
    if not 0.0 <= amount <= _AMOUNT_MAX or (name == "pods" and amount != int(amount)):
        raise BadInput(f"{quantity} is no bound of {name}", "it is out of range", "give 0 or more; pods are whole")
    return round(amount)


def amount_text(resource: int, amount: int) -> str:
    """What `amount_of` reads back, as Kubernetes writes it."""
    name = QUOTA_RESOURCES[resource]
    if name.endswith("cpu"):
        return f"{amount}m" if amount % 1000 else str(amount // 1000)
    return bytes_text(amount) if name.endswith("memory") else str(amount)


def _asked(resources: Resources) -> I64:
    """(R,) what one pod has."""
    cpu, memory = resources.cpu_limit_cores, resources.memory_limit_bytes
    return np.array(
        [
            1,
            round(resources.cpu_request_cores * 1000.0),
            resources.memory_request_bytes,
            _UNSAID if cpu is None else round(cpu * 1000.0),
            _UNSAID if memory is None else memory,
        ],
        dtype=np.int64,
    )
