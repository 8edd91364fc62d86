"""Validating admission webhooks: who is asked before a write is made, and what becomes of it while nobody answers."""

from __future__ import annotations

from dataclasses import dataclass

from twin.spec.ids import ServiceId

__all__ = ["Webhook", "WebhookRule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRule:
    """Writes of these kinds: API groups, plural resources, operations. "*" is any."""

    groups: tuple[str, ...]
    resources: tuple[str, ...]
    operations: tuple[str, ...] = ("*",)

    def matches(self, group: str, resource: str, operation: str) -> bool:
        """`resource` may have a subresource, as pods/eviction."""
        name, slash, sub = resource.partition("/")
        whole = {resource, f"*/{sub}", f"{name}/*", "*/*"} if slash else {resource, "*", "*/*", f"{name}/*"}
        return (
            bool({group, "*"} & set(self.groups))
            and bool(whole & set(self.resources))
            and bool({operation, "*"} & set(self.operations))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One entry of a ValidatingWebhookConfiguration.

    `service` answers it, and lets everything pass; empty: somebody outside, who always does. `fails_closed`: what it
    would be asked about is refused while nobody answers. `namespaces`: those that its selector picks; None: all.
    """

    configuration: str
    name: str
    rules: tuple[WebhookRule, ...]
    service: ServiceId = ServiceId("")
    fails_closed: bool = True
    namespaces: tuple[str, ...] | None = None

    def is_asked(self, group: str, resource: str, operation: str, namespace: str) -> bool:
        """Objects without a namespace are not picked by one."""
        here = not namespace or self.namespaces is None or namespace in self.namespaces
        return here and any(rule.matches(group, resource, operation) for rule in self.rules)
