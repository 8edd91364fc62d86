"""What containers find in their environment as they start: the values that ConfigMaps have at that moment.

A container keeps what it began with, as a process does. So each pod knows a variant of its template: the same
revision, with the values that were read. A later write of the ConfigMap is nothing to it until it starts anew.
Values of Secrets are nowhere in a World; only whether they are there counts.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from twin.fleet.blueprint import Blueprint
from twin.fleet.signals import push
from twin.fleet.state import Phase, State
from twin.fleet.systems.perturbations import refresh_behaviour
from twin.spec.config import ConfigRead
from twin.spec.signal import SignalKind
from twin.spec.units import NS_PER_S

__all__ = ["begin_all", "begin_container", "missing_of"]

RETRY_NS: Final = 12 * NS_PER_S  # The kubelet comes back after 10 to 15 s, drawn; here always after the same time.


def begin_all(blueprint: Blueprint, state: State) -> None:
    """The same for every pod that a World begins with, whose service reads anything."""
    rows = np.flatnonzero((state.pod_phase == Phase.STARTING) & blueprint.reads_config[state.pod_service])
    for service in np.unique(state.pod_service[rows]):
        mine = rows[state.pod_service[rows] == service]
        if missing_of(blueprint, state, int(service)):
            for row in mine:
                begin_container(blueprint, state, int(row), 0)
            continue
        template = int(state.template[service])
        state.pod_variant[mine] = len(state.templates)
        settings = _settings(blueprint, state, int(service))
        state.templates.append(dataclasses.replace(state.templates[template], of=template, settings=settings))
    if rows.size:
        refresh_behaviour(blueprint, state, 0)


def begin_container(blueprint: Blueprint, state: State, row: int, now_ns: int) -> bool:
    """Give a pod that starts the values of this moment. False: something is missing; it waits without a container."""
    service, template = int(state.pod_service[row]), int(state.pod_template[row])
    if why := missing_of(blueprint, state, service):
        if state.pod_phase[row] != Phase.UNCONFIGURED:
            text = f"pod {int(state.pod_number[row])} is not started: {why}"
            push(blueprint, state, kind=SignalKind.EVENT, service=service, reason="Failed", text=text, now_ns=now_ns)
        state.pod_phase[row] = Phase.UNCONFIGURED
        state.pod_due_ns[row] = now_ns + RETRY_NS
        state.pod_version[row] = state.new_version()
        return False
    state.pod_variant[row] = _variant(blueprint, state, template, _settings(blueprint, state, service), now_ns)
    if state.pod_phase[row] == Phase.UNCONFIGURED:
        state.pod_phase[row] = Phase.STARTING
        state.pod_version[row] = state.new_version()
    state.pod_started_ns[row] = now_ns
    return True


def _settings(blueprint: Blueprint, state: State, service: int) -> tuple[tuple[str, str], ...]:
    """Variables and their values, in order, as ConfigMaps have them now."""
    found: dict[str, str] = {}
    for read in _by_precedence(blueprint.fleet.services[service].reads):
        if read.secret or _missing(blueprint, state, service, read):
            continue
        data = state.config_maps[blueprint.config_index[(blueprint.namespaces[service], read.source)]].data
        found |= {read.name: data[read.key]} if read.key else {read.name + key: data[key] for key in data}
    return tuple(sorted(found.items()))


def missing_of(blueprint: Blueprint, state: State, service: int) -> str:
    """What keeps containers of a service from being made now, in the kubelet's words; empty: nothing."""
    for read in blueprint.fleet.services[service].reads:
        if not read.optional and (why := _missing(blueprint, state, service, read)):
            return why
    return ""


def _by_precedence(reads: tuple[ConfigRead, ...]) -> list[ConfigRead]:
    """Whole ConfigMaps first: variables that are named override them."""
    return [*(read for read in reads if not read.key), *(read for read in reads if read.key)]


def _missing(blueprint: Blueprint, state: State, service: int, read: ConfigRead) -> str:
    namespace = blueprint.namespaces[service]
    place, kind = (namespace, read.source), "secret" if read.secret else "configmap"
    index = (blueprint.secret_index if read.secret else blueprint.config_index).get(place)
    if index is None:
        return f'{kind} "{read.source}" not found'
    keys = blueprint.fleet.secrets[index].keys if read.secret else state.config_maps[index].data
    if read.key and read.key not in keys:
        return f"couldn't find key {read.key} in {'Secret' if read.secret else 'ConfigMap'} {namespace}/{read.source}"
    return ""


def _variant(
    blueprint: Blueprint, state: State, template: int, settings: tuple[tuple[str, str], ...], now_ns: int
) -> int:
    for index, known in enumerate(state.templates):
        if known.of == template and known.settings == settings:
            return index
    state.templates.append(dataclasses.replace(state.templates[template], of=template, settings=settings))
    refresh_behaviour(blueprint, state, now_ns)
    return len(state.templates) - 1
