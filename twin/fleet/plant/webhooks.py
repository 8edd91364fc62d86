"""A World's ValidatingWebhookConfigurations over Kubernetes' API, and the refusals of those that are away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from twin.fleet.plant.metadata import metadata_of
from twin.fleet.plant.refusals import not_found
from twin.fleet.webhooks import write_refused
from twin.fleet.world import World
from twin.ports.plant import KubeObject
from twin.spec.errors import ApiError
from twin.spec.plan import ObjectRef
from twin.spec.webhooks import Webhook

__all__ = ["KIND", "ask_webhooks", "configuration", "configurations"]

KIND: Final = "ValidatingWebhookConfiguration"
_NAMESPACE: Final = "kubernetes.io/metadata.name"
_RESOURCES: Final[Mapping[str, tuple[str, str]]] = {  # by kind: its group, and its plural
    "Application": ("argoproj.io", "applications"),
    "ConfigMap": ("", "configmaps"),
    "DaemonSet": ("apps", "daemonsets"),
    "Deployment": ("apps", "deployments"),
    "HTTPRoute": ("gateway.networking.k8s.io", "httproutes"),
    "HorizontalPodAutoscaler": ("autoscaling", "horizontalpodautoscalers"),
    "Kustomization": ("kustomize.toolkit.fluxcd.io", "kustomizations"),
    "Lease": ("coordination.k8s.io", "leases"),
    "Node": ("", "nodes"),
    "Pod": ("", "pods"),
    "PodDisruptionBudget": ("policy", "poddisruptionbudgets"),
    "ResourceQuota": ("", "resourcequotas"),
    "StatefulSet": ("apps", "statefulsets"),
}


def ask_webhooks(world: World, ref: ObjectRef, operation: str, *, sub: str = "") -> None:
    """Raises ApiError, as a server answers 500, if a webhook has to be asked about this write and nobody answers it."""
    if not world.fleet.webhooks or ref.kind not in _RESOURCES:
        return
    group, plural = _RESOURCES[ref.kind]
    why = write_refused(
        world.blueprint, world.state, group=group, resource=f"{plural}/{sub}" if sub else plural, operation=operation,
        namespace=ref.namespace,
    )  # fmt: skip
    if why:
        raise ApiError(f"cannot write {ref}", why, "bring back who answers that webhook")


def configuration(world: World, ref: ObjectRef) -> KubeObject:
    """Raises NotFound."""
    mine = [webhook for webhook in world.fleet.webhooks if webhook.configuration == ref.name]
    if not mine:
        not_found(ref)
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": KIND,
        "metadata": metadata_of(world, ObjectRef(kind=KIND, name=ref.name), "1"),
        "webhooks": [_webhook(webhook) for webhook in mine],
    }


def configurations(world: World) -> Iterator[KubeObject]:
    for name in dict.fromkeys(webhook.configuration for webhook in world.fleet.webhooks):
        yield configuration(world, ObjectRef(kind=KIND, name=name))


def _webhook(webhook: Webhook) -> dict[str, Any]:
    namespace, _, name = webhook.service.partition("/")
    here = {"service": {"namespace": namespace, "name": name}}
    selector: dict[str, Any] = {}
    if webhook.namespaces is not None:
        picked = {"key": _NAMESPACE, "operator": "In", "values": list(webhook.namespaces)}
        selector = {"matchExpressions": [picked]}
    return {
        "name": webhook.name,
        "clientConfig": here if webhook.service else {"url": "https://outside.example/"},
        "failurePolicy": "Fail" if webhook.fails_closed else "Ignore",
        "rules": [
            {
                "apiGroups": list(rule.groups), "apiVersions": ["*"], "operations": list(rule.operations),
                "resources": list(rule.resources),
            }
            for rule in webhook.rules
        ],
        "namespaceSelector": selector,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }  # fmt: skip
