"""What an owner would put back is refused, with the owner's name; what nobody reverts may be written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.small_shop import small_shop
from twin.change.compile import compile_change
from twin.change.owners import refuse_reverted
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.gate import Gate, Settings
from twin.ports.plant import KubeObject
from twin.ports.services import VerifyRequest
from twin.spec.change import Action, Change
from twin.spec.errors import PolicyDenied
from twin.spec.incident import Incident
from twin.spec.plan import ObjectRef
from twin.spec.verdict import Outcome

SCALE = Change(
    actions=(Action(kind="scale", target="shop/cart", parameters={"replicas": 5.0}),), reason="r", requester="a"
)


class Marked:
    """A Plant and its API, whose workloads bear the marks of an owner."""

    def __init__(self, marks: dict[str, Any]) -> None:
        self._plant = plant_of(World.build(small_shop(), seed=1))
        self._marks = marks
        self.kube: Any = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plant, name, None) or getattr(self._plant.kube, name)

    def get(self, ref: ObjectRef) -> KubeObject:
        obj = self._plant.kube.get(ref)
        for part, content in self._marks.items():
            kept = obj["metadata"].get(part)
            obj["metadata"][part] = {**(kept or {}), **content} if isinstance(content, dict) else content
        return obj


REVERTED = [
    {"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/cart"}},
    {"labels": {"argocd.argoproj.io/instance": "shop"}},
    {"labels": {"helm.toolkit.fluxcd.io/name": "shop", "helm.toolkit.fluxcd.io/namespace": "flux"}},
    {"ownerReferences": [{"kind": "Rollout", "name": "cart", "controller": True}]},
    {"managedFields": [{"manager": "kustomize-controller"}]},
]


@pytest.mark.parametrize("marks", REVERTED)
def test_what_would_be_put_back_is_refused(marks: dict[str, Any]) -> None:
    plant = Marked(marks)
    plan = compile_change(SCALE, plant.kube, at_s=0.0)
    with pytest.raises(PolicyDenied, match="would put it back"):
        refuse_reverted(plant.kube, plan)


@pytest.mark.parametrize(
    "marks",
    [{}, {"annotations": {"meta.helm.sh/release-name": "shop"}}, {"managedFields": [{"manager": "kubectl-apply"}]},
     {"managedFields": [{"manager": "argocd-controller", "subresource": "status"}]},
     {"ownerReferences": [{"kind": "Rollout", "name": "cart"}]}],
)  # fmt: skip
def test_what_nobody_reverts_may_be_written(marks: dict[str, Any]) -> None:
    plant = Marked(marks)
    refuse_reverted(plant.kube, compile_change(SCALE, plant.kube, at_s=0.0))


def test_the_gate_says_so_before_anything_is_rehearsed() -> None:
    import policies

    plant = Marked(REVERTED[0])
    gate = Gate(small_shop(), plant, policies.load(), settings=Settings(fleet=False))  # type: ignore[arg-type]
    incident = Incident(id="1", title="t", onset_s=0.0, symptoms=())
    (judged,) = gate.verify(VerifyRequest(incident=incident, hypotheses=(), candidates=(SCALE,))).judged
    assert judged.verdict.outcome is Outcome.REJECTED
    assert "argocd:shop" in judged.verdict.reason
