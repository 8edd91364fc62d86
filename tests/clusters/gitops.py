"""Flux on a control plane, as far as a change meets it: its Kustomizations, and somebody who obeys them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from twin.kube import LiveKubeApi
from twin.ports.plant import KubeObject
from twin.spec.errors import ApiError, Conflict, NotFound
from twin.spec.fields import FieldPath, get_field
from twin.spec.gitops import is_suspended
from twin.spec.plan import ObjectRef

__all__ = ["KUSTOMIZATION", "kept_by_flux", "lay_out_gitops"]

_GROUP: Final = "kustomize.toolkit.fluxcd.io"
_LABELS: Final = {"name": f"{_GROUP}/name", "namespace": f"{_GROUP}/namespace"}
KUSTOMIZATION: Final[KubeObject] = {  # Of its fields those only that a change looks at.
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"kustomizations.{_GROUP}"},
    "spec": {
        "group": _GROUP,
        "names": {"kind": "Kustomization", "listKind": "KustomizationList", "plural": "kustomizations",
                  "singular": "kustomization"},
        "scope": "Namespaced",
        "versions": [{
            "name": "v1", "served": True, "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {
                "type": "object",
                "properties": {"interval": {"type": "string"}, "suspend": {"type": "boolean"}},
            }}}},
        }],
    },
}  # fmt: skip


def lay_out_gitops(api: LiveKubeApi) -> None:
    """The definition of Kustomizations, in force. `api` has to be an administrator's."""
    from tests.clusters.shop import await_that

    with suppress(Conflict):
        api.create(KUSTOMIZATION)

    def is_served() -> bool:
        try:
            api.list_objects("Kustomization")
        except NotFound:
            return False
        return True

    await_that("Kustomizations are served", is_served)


@contextmanager
def kept_by_flux(api: LiveKubeApi, source: ObjectRef, workload: ObjectRef, field: FieldPath) -> Iterator[list[Any]]:
    """A reconciler that keeps one field of a workload as it is now, as often as it can, unless its source is suspended.
    Yields what it has overwritten."""
    said = get_field(api.get(workload), field)
    for key, value in (("name", source.name), ("namespace", source.namespace)):
        api.patch(workload, {("metadata", "labels", _LABELS[key]): value})
    overwritten: list[Any] = []
    over = threading.Event()

    def keep() -> None:
        while not over.wait(0.2):
            with suppress(ApiError):  # It comes back.
                there = get_field(api.get(workload), field)
                if there != said and not is_suspended(api.get(source)):
                    api.patch(workload, {field: said}, field_manager="kustomize-controller")
                    overwritten.append(there)

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield overwritten
    finally:
        over.set()
        thread.join()
