"""Puts workloads back to what their source says, as Flux does and Argo CD with self-healing.

Only what the source says is put back: image, variables, resources, replicas. What others added beside it, a pause,
another variable, the time of a restart, is nobody's business here; replicas that an autoscaler sets are its own.
Each source looks once in its interval, which is all that Flux does; Argo CD notices most drift within seconds, so a
fix that it takes back lives longer here than there.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from twin.fleet.blueprint import Blueprint
from twin.fleet.state import NEVER_NS, State, Template
from twin.fleet.systems.base import Rank
from twin.fleet.systems.perturbations import refresh_behaviour
from twin.fleet.systems.templates import roll_out
from twin.spec.fleet import Resources
from twin.spec.signal import SignalKind
from twin.spec.units import ns

__all__ = ["GitOpsSystem"]


class GitOpsSystem:
    rank: ClassVar = Rank.GITOPS
    wakes_on: ClassVar = frozenset({"gitops_due_ns"})
    writes: ClassVar = frozenset(
        """gitops_due_ns wanted template templates template_error_ratio template_speed template_crash_s template_leak
        template_never_ready template_memory_limit version service_version reconcile_due_ns pod_due_ns pools_due_ns
        signals signal_cursor""".split()
    )

    def __init__(self, blueprint: Blueprint) -> None:
        self._blueprint = blueprint

    def next_due(self, state: State) -> int:
        return int(state.gitops_due_ns.min()) if state.gitops_due_ns.size else NEVER_NS

    def step(self, state: State, now_ns: int) -> None:
        for source in np.flatnonzero(state.gitops_due_ns <= now_ns):
            state.gitops_due_ns[source] = now_ns + ns(self._blueprint.gitops[source].interval_s)
            for service in self._blueprint.gitops_services[source]:
                self._put_back(state, service, self._blueprint.gitops[source].owner, now_ns)

    def _put_back(self, state: State, service: int, owner: str, now_ns: int) -> None:
        declared = self._blueprint.fleet.services[service]
        if declared.autoscaling is None and state.wanted[service] != declared.replicas:
            state.wanted[service] = declared.replicas
            state.service_version[service] = state.new_version()
            state.reconcile_due_ns[service] = now_ns
        there = state.templates[int(state.template[service])]
        wanted = _as_said(there, state.templates[int(state.source_template[service])])
        if wanted != there:
            wanted = dataclasses.replace(wanted, cause=f"by {owner}")
            text = f"put back as its source says, by {owner}"
            roll_out(self._blueprint, state, service, wanted, now_ns, kind=SignalKind.DEPLOY, text=text)
            refresh_behaviour(self._blueprint, state, now_ns)


def _as_said(there: Template, source: Template) -> Template:
    """What is there, with all that the source says."""
    env = tuple(sorted({**dict(there.env), **dict(source.env)}.items()))
    said = {
        field.name: value
        for field in dataclasses.fields(Resources)
        if (value := getattr(source.resources, field.name)) is not None
    }
    return dataclasses.replace(
        there, image=source.image, env=env, resources=dataclasses.replace(there.resources, **said)
    )
