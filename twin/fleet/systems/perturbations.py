"""Begins and ends perturbations, and works out how each template behaves under them."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from twin.fleet.blueprint import Blueprint
from twin.fleet.perturbation import Behave, Configure, Deploy, HoldSlots, Load, SlowRoute, StopNode
from twin.fleet.state import NEVER_NS, ActivePerturbation, HeldSession, State, Template
from twin.fleet.systems.base import Rank
from twin.fleet.systems.templates import restart, roll_out
from twin.spec.config import with_value
from twin.spec.signal import SignalKind

__all__ = ["PerturbationSystem", "held_slots", "refresh_behaviour"]


class PerturbationSystem:
    rank: ClassVar = Rank.PERTURBATIONS
    wakes_on: ClassVar = frozenset({"perturbations"})
    writes: ClassVar = frozenset(
        """perturbations templates template template_error_ratio template_speed template_crash_s template_leak
        template_never_ready template_memory_limit version service_version reconcile_due_ns sessions journey_factor
        config_maps config_version source_template node_dark_ns pod_due_ns pools_due_ns signals signal_cursor
        conditions""".split()
    )

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint

    def next_due(self, state: State) -> int:
        due = NEVER_NS
        for active in state.perturbations:
            if not active.begun:
                due = min(due, active.timed.start_ns)
            elif not active.over and active.timed.end_ns is not None:
                due = min(due, active.timed.end_ns)
        return due

    def step(self, state: State, now_ns: int) -> None:
        changed = False
        for index, active in enumerate(state.perturbations):
            if not active.begun and active.timed.start_ns <= now_ns:
                state.perturbations[index] = active = dataclasses.replace(active, begun=True)
                self._begin(state, active, now_ns)
                changed = True
            end_ns = active.timed.end_ns
            if active.begun and not active.over and end_ns is not None and end_ns <= now_ns:
                state.perturbations[index] = dataclasses.replace(active, over=True)
                self._end(state, active)
                changed = True
        if changed:
            refresh_behaviour(self._blueprint, state, now_ns)

    def _begin(self, state: State, active: ActivePerturbation, now_ns: int) -> None:
        blueprint = self._blueprint
        match active.timed.what:
            case Deploy(service=service, image=image, env=env, author=author):
                index = blueprint.service_index[service]
                old = state.templates[int(state.template[index])]
                new = dataclasses.replace(
                    old, image=image or old.image, env=tuple(sorted({**dict(old.env), **dict(env)}.items())),
                    cause=f"rolled out by {author}",
                )  # fmt: skip
                what = f"image {old.image} → {new.image}" if image else ", ".join(f"{k}={v}" for k, v in env)
                roll_out(blueprint, state, index, new, now_ns, kind=SignalKind.DEPLOY, text=f"{what} by {author}")
                state.source_template[index] = state.template[index]  # Owners write at the source.
            case Configure(service=service, config_map=name, key=key, value=value, author=author):
                index = blueprint.service_index[service]
                place = blueprint.config_index[(blueprint.namespaces[index], name)]
                state.config_maps[place] = with_value(state.config_maps[place], key, value)
                state.config_version[place] = state.new_version()
                restart(blueprint, state, index, now_ns, text=f"{key}={value} of ConfigMap {name} by {author}")
            case HoldSlots(service=service, station=station, slots=slots, session=session, text=text):
                state.sessions.append(
                    HeldSession(
                        id=session,
                        service=blueprint.service_index[service],
                        station=blueprint.network.station_index(service, station),
                        slots=slots,
                        since_ns=now_ns,
                        text=text,
                    )
                )
            case StopNode(node=node):
                state.node_dark_ns[blueprint.node_index[node]] = now_ns
            case Behave() | Load() | SlowRoute():
                pass  # Read from the list of what holds, below and by the pool and traffic systems.
        self._refresh_load_and_routes(state)
        state.pools_due_ns = min(state.pools_due_ns, now_ns)

    def _end(self, state: State, active: ActivePerturbation) -> None:
        blueprint = self._blueprint
        match active.timed.what:
            case HoldSlots(session=session):
                state.sessions[:] = [held for held in state.sessions if held.id != session]
            case StopNode(node=node):
                state.node_dark_ns[blueprint.node_index[node]] = NEVER_NS
            case _:
                pass
        self._refresh_load_and_routes(state)
        state.pools_due_ns = min(state.pools_due_ns, active.timed.end_ns or 0)

    def _refresh_load_and_routes(self, state: State) -> None:
        network = self._blueprint.network
        state.journey_factor[:] = 1.0
        state.conditions.edge_delay_s[:] = 0.0
        for what in _holding(state):
            if isinstance(what, Load):
                state.journey_factor[network.journey_index(what.journey)] *= what.factor
            elif isinstance(what, SlowRoute):
                edges = self._blueprint.edges_between(what.caller, what.callee)
                state.conditions.edge_delay_s[edges] += what.delay_s


def _holding(state: State) -> list[object]:
    return [active.timed.what for active in state.perturbations if active.begun and not active.over]


def held_slots(state: State, stations: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Servers that sessions hold, by station: (K,)."""
    held = np.zeros(stations)
    for session in state.sessions:
        held[session.station] += session.slots
    return held


def refresh_behaviour(blueprint: Blueprint, state: State, now_ns: int) -> None:
    """Work out how every template behaves, and wake the kubelet for pods whose fate changed."""
    rules = [what for what in _holding(state) if isinstance(what, Behave)]
    count = len(state.templates)
    error, speed = np.zeros(count), np.ones(count)
    crash, leak = np.full(count, np.inf), np.zeros(count)
    never_ready = np.zeros(count, dtype=np.bool_)
    for rule in rules:
        service = blueprint.service_index[rule.service]
        for index, template in enumerate(state.templates):
            if template.service == service and _matches(rule, template):
                error[index] = 1.0 - (1.0 - error[index]) * (1.0 - rule.error_ratio)
                speed[index] *= rule.speed
                leak[index] += rule.leak_bytes_per_s
                never_ready[index] |= rule.never_ready
                if rule.crash_after_s is not None:
                    crash[index] = min(crash[index], rule.crash_after_s)
    fate = (
        (crash != _padded(state.template_crash_s, count, np.inf))
        | (leak != _padded(state.template_leak, count, 0.0))
        | (never_ready != _padded(state.template_never_ready, count, False))
    )
    state.template_error_ratio, state.template_speed = error, speed
    state.template_crash_s, state.template_leak, state.template_never_ready = crash, leak, never_ready
    state.template_memory_limit = np.array(
        [np.inf if t.resources.memory_limit_bytes is None else t.resources.memory_limit_bytes for t in state.templates],
        dtype=np.float64,
    )
    touched = (state.pod_variant >= 0) & fate[state.pod_variant]
    state.pod_due_ns[touched] = np.minimum(state.pod_due_ns[touched], now_ns)
    state.pools_due_ns = min(state.pools_due_ns, now_ns)


def _padded(old: np.ndarray, count: int, blank: float | bool) -> np.ndarray:
    return np.concatenate([old, np.full(count - old.size, blank, dtype=old.dtype)])


def _matches(rule: Behave, template: Template) -> bool:
    return (rule.image is None or rule.image == template.image) and (rule.env is None or template.has(rule.env))
