"""Giving a service a new template: the one way in which a roll-out begins, whoever asks for it."""

from __future__ import annotations

import dataclasses
from typing import Final

from twin.fleet.blueprint import Blueprint
from twin.fleet.signals import push, stamp
from twin.fleet.state import State, Template
from twin.spec.signal import SignalKind

__all__ = ["restart", "roll_out"]

RESTARTED_AT: Final = "kubectl.kubernetes.io/restartedAt"


def roll_out(
    blueprint: Blueprint,
    state: State,
    service: int,
    wanted: Template,
    now_ns: int,
    *,
    kind: SignalKind = SignalKind.EVENT,
    text: str = "",
) -> None:
    """Make `wanted` the service's template: an old one again if it is equal, as Kubernetes does.

    Behaviour of a new template is worked out by the caller (`refresh_behaviour`), who knows the rules.
    """
    for index, known in enumerate(state.templates):
        if known.service == service and known.of < 0 and _same_pods(known, wanted):
            number = 1 + max(t.revision for t in state.templates if t.service == service)
            state.templates[index] = dataclasses.replace(known, revision=number, cause=wanted.cause)
            state.template[service] = index
            break
    else:
        number = 1 + max(t.revision for t in state.templates if t.service == service)
        state.templates.append(dataclasses.replace(wanted, service=service, revision=number))
        state.template[service] = len(state.templates) - 1
    state.service_version[service] = state.new_version()
    state.reconcile_due_ns[service] = now_ns
    push(
        blueprint, state, kind=kind, service=service, reason="ScalingReplicaSet",
        text=f"roll-out of revision {number}: {text}" if text else f"roll-out of revision {number}", now_ns=now_ns,
    )  # fmt: skip


def restart(blueprint: Blueprint, state: State, service: int, now_ns: int, *, text: str) -> None:
    """Let every pod start anew, as `kubectl rollout restart` does."""
    old = state.templates[int(state.template[service])]
    notes = tuple(sorted({**dict(old.annotations), RESTARTED_AT: stamp(blueprint, now_ns)}.items()))
    new = dataclasses.replace(old, annotations=notes, cause="restarted")
    roll_out(blueprint, state, service, new, now_ns, kind=SignalKind.DEPLOY, text=text)


def _same_pods(a: Template, b: Template) -> bool:
    return (a.image, a.env, a.resources, a.annotations) == (b.image, b.env, b.resources, b.annotations)
