"""How many new pods are let in: first webhooks are asked, then the namespace's quotas, as an API server does."""

from __future__ import annotations

from twin.fleet.blueprint import Blueprint
from twin.fleet.quotas import room_for
from twin.fleet.state import State
from twin.fleet.webhooks import pods_refused

__all__ = ["pods_admitted"]


def pods_admitted(blueprint: Blueprint, state: State, service: int, template: int, count: int) -> tuple[int, str]:
    """So many of `count` new pods of a service, and why not more; empty: all of them are."""
    if count and (why := pods_refused(blueprint, state, service)):
        return 0, why
    return room_for(blueprint, state, service, template, count)
