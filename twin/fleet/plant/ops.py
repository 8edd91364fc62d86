"""What lies beyond Kubernetes, on a World: database sessions, load shedding, and two things nobody should do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twin.fleet.signals import push, unix_s
from twin.fleet.world import World
from twin.ports.plant import Session
from twin.spec.errors import BadInput, Forbidden, NotFound
from twin.spec.ids import ServiceId
from twin.spec.signal import SignalKind

__all__ = ["WorldOpsApi"]


class WorldOpsApi:
    def __init__(self, world: World, *, writes: bool) -> None:
        self._world = world
        self._writes = writes

    def sessions(self, service: ServiceId) -> Sequence[Session]:
        """Sessions that hold something on a database, oldest first."""
        world = self._world
        index = world.blueprint.network.service_index(service)
        return [
            Session(
                id=held.id,
                service=service,
                station=world.blueprint.network.stations[held.station][1],
                held_slots=held.slots,
                since_s=unix_s(world.blueprint, held.since_ns),
                text=held.text,
            )
            for held in world.state.sessions
            if held.service == index
        ]

    def call(self, operation: str, arguments: Mapping[str, Any], *, dry_run: bool = False) -> Mapping[str, Any]:
        """Carry out one operation. Returns the arguments of the call that undoes it, if any."""
        if not self._writes and not dry_run:
            raise Forbidden(f"cannot {operation}", "this identity may only read", "promote a receipt: twin promote")
        match operation:
            case "terminate_session":
                return self._terminate_session(arguments, dry_run)
            case "shed_load":
                return self._shed_load(arguments, dry_run)
            case "drop_table":
                return self._drop_table(arguments, dry_run)
            case "set_firewall_rule":
                return self._set_firewall_rule(arguments, dry_run)
            case _:
                raise BadInput(
                    f'cannot call "{operation}"',
                    "there is no such operation",
                    "known: terminate_session, shed_load, drop_table, set_firewall_rule",
                )

    def _terminate_session(self, arguments: Mapping[str, Any], dry_run: bool) -> Mapping[str, Any]:
        state = self._world.state
        service, session = ServiceId(arguments["service"]), arguments["session"]
        if all(held.id != session for held in self.sessions(service)):
            raise NotFound(
                f'cannot terminate session "{session}"', f"{service} has no such session", "list its sessions again"
            )
        if not dry_run:
            state.sessions[:] = [held for held in state.sessions if held.id != session]
            state.sessions_terminated += 1
            state.pools_due_ns = min(state.pools_due_ns, self._world.now_ns)
            self._say("SessionTerminated", f"session {session} was terminated", service)
        return {}

    def _shed_load(self, arguments: Mapping[str, Any], dry_run: bool) -> Mapping[str, Any]:
        world = self._world
        service, ratio = ServiceId(arguments["service"]), float(arguments["ratio"])
        if not 0.0 <= ratio < 1.0:
            raise BadInput("cannot shed load", f"{ratio} is not a share", "give a ratio from 0 up to, not with, 1")
        network = world.blueprint.network
        ops = np.flatnonzero(network.op_service == network.service_index(service))
        before = float(world.state.op_shed_asked[ops].max()) if ops.size else 0.0
        if not dry_run:
            world.state.op_shed_asked[ops] = ratio
            world.state.pools_due_ns = min(world.state.pools_due_ns, world.now_ns)
            self._say("LoadShedding", f"{ratio:.0%} of requests are turned away", service)
        return {"service": service, "ratio": before}

    def _drop_table(self, arguments: Mapping[str, Any], dry_run: bool) -> Mapping[str, Any]:
        if not dry_run:
            self._world.state.dropped_tables.append(f"{arguments['service']}.{arguments['table']}")
            self._say("TableDropped", f"table {arguments['table']} is gone", ServiceId(arguments["service"]))
        return {}

    def _set_firewall_rule(self, arguments: Mapping[str, Any], dry_run: bool) -> Mapping[str, Any]:
        if not dry_run:
            self._world.state.firewall_rules.append(f"{arguments['subnet']}: {arguments['rule']}")
        return {}

    def _say(self, reason: str, text: str, service: ServiceId) -> None:
        world = self._world
        push(
            world.blueprint, world.state, kind=SignalKind.EVENT, service=world.blueprint.service_index[service],
            reason=reason, text=text, now_ns=world.now_ns,
        )  # fmt: skip
