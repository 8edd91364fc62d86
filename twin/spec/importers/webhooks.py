"""ValidatingWebhookConfigurations of manifests and clusters: what a World asks, and the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twin.spec.ids import ServiceId
from twin.spec.importers.manifests import as_list, as_map, as_text
from twin.spec.selectors import selects
from twin.spec.webhooks import Webhook, WebhookRule

__all__ = ["NAME_LABEL", "webhooks_of"]

NAME_LABEL: Final = "kubernetes.io/metadata.name"


def webhooks_of(
    obj: Mapping[str, Any], services: Mapping[tuple[str, str], ServiceId], namespaces: Mapping[str, Mapping[str, str]]
) -> tuple[list[Webhook], list[str]]:
    """Its webhooks, and the names of those left out: they look at objects closer than a World does, or ask about
    nothing.

    `services`: workloads by their Service object's namespace and name; others are outside. `namespaces`: labels.
    """
    configuration = as_text(as_map(obj.get("metadata")).get("name"))
    found, left_out = [], []
    for entry in map(as_map, as_list(obj.get("webhooks"))):
        name, rules = as_text(entry.get("name")), _rules(entry)
        if not name or not rules or entry.get("objectSelector") or entry.get("matchConditions"):
            left_out.append(name or configuration)
            continue
        try:
            picked = _namespaces(entry.get("namespaceSelector"), namespaces)
        except (AttributeError, KeyError, TypeError):  # Files may hold anything.
            left_out.append(name)
            continue
        service = as_map(as_map(entry.get("clientConfig")).get("service"))
        place = as_text(service.get("namespace")), as_text(service.get("name"))
        found.append(
            Webhook(
                configuration=configuration, name=name, rules=rules, service=services.get(place, ServiceId("")),
                fails_closed=entry.get("failurePolicy", "Fail") != "Ignore",
                namespaces=picked,
            )
        )  # fmt: skip
    return found, left_out


def _rules(entry: Mapping[str, Any]) -> tuple[WebhookRule, ...]:
    rules = (
        WebhookRule(
            groups=_texts(rule.get("apiGroups")), resources=_texts(rule.get("resources")),
            operations=_texts(rule.get("operations")),
        )
        for rule in map(as_map, as_list(entry.get("rules")))
        if rule.get("scope", "*") == "*" or rule.get("scope") == "Namespaced"
    )  # fmt: skip
    return tuple(rule for rule in rules if rule.groups and _said(rule.resources) and _said(rule.operations))


def _said(names: tuple[str, ...]) -> bool:
    return bool(names) and all(names)


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(as_text(item)[:253] for item in as_list(value)))


def _namespaces(selector: Any, known: Mapping[str, Mapping[str, str]]) -> tuple[str, ...] | None:
    if not as_map(selector):
        return None
    return tuple(sorted(name for name, labels in known.items() if selects(selector, {NAME_LABEL: name, **labels})))
