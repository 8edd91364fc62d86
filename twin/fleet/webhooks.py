"""Which writes webhooks refuse because nobody answers them: those of API clients, and pods that controllers make."""

from __future__ import annotations

from twin.fleet.blueprint import Blueprint
from twin.fleet.state import State
from twin.spec.webhooks import Webhook

__all__ = ["pods_refused", "write_refused"]


def write_refused(
    blueprint: Blueprint, state: State, *, group: str, resource: str, operation: str, namespace: str
) -> str:
    """What the API server says of such a write, if it is refused; empty: it passes."""
    for webhook in blueprint.fleet.webhooks:
        if webhook.is_asked(group, resource, operation, namespace) and _refuses(blueprint, state, webhook):
            return f"Internal error occurred: {_words(webhook)}"
    return ""


def pods_refused(blueprint: Blueprint, state: State, service: int) -> str:
    """What the controller that makes a service's pods is told, if none can be made now; empty: they can."""
    for index in blueprint.pod_webhooks[service]:
        webhook = blueprint.fleet.webhooks[index]
        if _refuses(blueprint, state, webhook):
            return f"Internal error occurred: {_words(webhook)}"
    return ""


def _refuses(blueprint: Blueprint, state: State, webhook: Webhook) -> bool:
    """Whether it fails closed and is away. At time zero nobody is: pods are there when a World begins."""
    if not webhook.fails_closed or not webhook.service or state.now_ns == 0:
        return False
    return not (state.pod_ready & (state.pod_service == blueprint.service_index[webhook.service])).any()


def _words(webhook: Webhook) -> str:
    namespace, _, name = webhook.service.partition("/")
    return (
        f'failed calling webhook "{webhook.name}": failed to call webhook: '
        f'Post "https://{name}.{namespace}.svc:443/?timeout=10s": no endpoints available for service "{name}"'
    )
