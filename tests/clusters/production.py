"""A real cluster as production: a bad build rolled out, and receipts that a gate could sign for its cure.

API server and Prometheus are real; pods are KWOK's, and the fate of users is a test's to decide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import CryptoSigner

from agent.limits.guard import MemoryWriteGuard
from tests.clusters.control_plane import ADMIN, OBSERVER, PROMOTER, ControlPlane
from tests.clusters.prometheus import Users, exporter, prometheus
from tests.clusters.roles import apply_roles
from tests.clusters.shop import await_that, lay_out_nodes, lay_out_shop
from tests.twin.promote.rehearsed import ANY_COURSE, AS_BAD_AS_NOTHING, keys, policy
from tests.twin.receipt.samples import RECEIPT
from twin.change.base import base_of
from twin.change.compile import compile_change
from twin.cli.targets import WRITERS_PATIENCE_S
from twin.gate.receipts import approvals_needed
from twin.kube import LiveKubeApi, connect
from twin.kube.plant import LivePlant, NoOps, WallClock
from twin.kube.prometheus import PrometheusTelemetry, read_queries
from twin.ports.plant import OpsApi
from twin.promote.journal import Journal
from twin.promote.lease import LEASE
from twin.promote.promoter import PromotionService
from twin.promote.target import MARKS
from twin.receipt import TrustedKeys, issue
from twin.spec.canonical import plain
from twin.spec.change import Action, Change, Strategy
from twin.spec.errors import NotFound
from twin.spec.fields import container_path, get_field
from twin.spec.plan import ObjectRef, plan_digest, plan_to_json
from twin.spec.receipt import EvidenceLevel, base_digest
from twin.spec.verdict import Prediction

__all__ = [
    "CART",
    "IMAGE",
    "UNDO",
    "WELL",
    "LiveRig",
    "is_rolled_out",
    "lay_out_bad_build",
    "open_production",
    "plant_at",
    "service_on",
    "telemetry_of",
    "watched",
    "webhooks_away",
]

CART: Final = ObjectRef(kind="Deployment", name="cart", namespace="shop")
IMAGE: Final = container_path("cart", "image")
UNDO: Final = Change(
    actions=(Action(kind="rollout_undo", target="shop/cart"),), reason="the new build fails", requester="agent",
    strategy=Strategy(canary_ratio=0.34, watch_s=2.0, settle_s=3.0),
)  # fmt: skip
WELL: Final = dataclasses.replace(
    AS_BAD_AS_NOTHING, journeys=("browse",), nothing_high_rps=(60.0, 60.0), change_high_rps=(60.0, 60.0)
)


def telemetry_of(url: str) -> PrometheusTelemetry:
    """The default queries over windows as short as a test wants them."""
    queries = read_queries()
    short = {metric: query.replace("[30s]", "[3s]") for metric, query in queries.users.items()}
    clock = WallClock()
    return PrometheusTelemetry(url, dataclasses.replace(queries, users=short), now_s=clock.now_s, step_s=1.0)


@dataclass
class LiveRig:
    """A cluster with a bad build rolled out, and promoters made anew for each command, as the CLI does."""

    plane: ControlPlane
    url: str
    folder: Path
    admin: LiveKubeApi
    kubeconfig: Path | None = None  # of the promoter, if it does not speak to the server directly
    guard: MemoryWriteGuard = field(default_factory=lambda: MemoryWriteGuard(terminations_max=100))
    ops: OpsApi = field(default_factory=NoOps)  # what the promoter reaches beyond Kubernetes
    approvals: tuple[Mapping[str, Any], ...] = ()

    def plant(self, user: str) -> LivePlant:
        kubeconfig = self.kubeconfig if user == PROMOTER and self.kubeconfig else self.plane.kubeconfig(user)
        return plant_at(kubeconfig, self.url, self.ops if user == PROMOTER else None)

    def service(self, *, home: str = "home") -> PromotionService:
        journal = self.folder / f"{home}.sqlite"
        return service_on(self.plant(PROMOTER), journal, keys().trusted, self.guard, self.approvals)

    def receipt(
        self, change: Change = UNDO, *, prediction: Prediction = WELL, signer: CryptoSigner | None = None, **fields: Any
    ) -> Mapping[str, Any]:
        """One that the gate could have signed for this change on this cluster. `signer`: not the tests' own gate."""
        plant = self.plant(OBSERVER)
        plan = compile_change(change, plant.kube, at_s=plant.clock.now_s())
        base, now_s = base_of(plant.kube, plan.reads), int(plant.clock.now_s())
        receipt = dataclasses.replace(
            RECEIPT,
            plan_digest=plan_digest(plan), change=plain(change), plan=plan_to_json(plan), base=base,
            base_digest=base_digest(base), target=plant.name, requester=change.requester, risk=change.risk,
            reversibility=plan.reversibility, approvals_needed=approvals_needed(change, plan.reversibility),
            symptom_envelope=ANY_COURSE, prediction=prediction, evidence_level=EvidenceLevel.STAND_INS,
            issued_s=now_s, expires_s=now_s + 900,
        )  # fmt: skip
        return issue(dataclasses.replace(receipt, **fields), signer or keys().gate)

    def image(self) -> Any:
        return get_field(self.admin.get(CART), IMAGE)


def plant_at(kubeconfig: Path, url: str, ops: OpsApi | None = None) -> LivePlant:
    """Production as a writer sees it. `url`: of its Prometheus."""
    kube = connect(kubeconfig=kubeconfig, patience_s=WRITERS_PATIENCE_S)
    return LivePlant(kube, telemetry_of(url), ops=ops or NoOps())


def service_on(
    plant: LivePlant,
    journal: Path,
    trusted: TrustedKeys,
    guard: MemoryWriteGuard,
    approvals: Sequence[Mapping[str, Any]] = (),
) -> PromotionService:
    return PromotionService(
        plant=plant, journal=Journal(journal), policy=policy(), trusted=trusted, guard=guard, approvals=approvals
    )


def open_production(plane: ControlPlane) -> LiveKubeApi:
    """Machines, roles for everybody, and no mark of any promotion. Returns an administrator's API."""
    apply_roles(plane.kubeconfig(ADMIN))
    admin = connect(kubeconfig=plane.kubeconfig(ADMIN))
    lay_out_nodes(admin)
    for left in (MARKS, LEASE):
        with suppress(NotFound):
            admin.delete(left)
    return admin


def lay_out_bad_build(plane: ControlPlane) -> LiveKubeApi:
    """The shop, with its cart on a build that is to be taken back. Returns an administrator's API."""
    admin = open_production(plane)
    lay_out_shop(admin)
    admin.patch(CART, {IMAGE: "cart:v2"})
    await_that("the bad build is out", lambda: is_rolled_out(admin, "cart:v2"))
    return admin


@contextmanager
def watched(users: Users, folder: Path) -> Iterator[str]:
    """A Prometheus that has seen these users; yields its URL."""
    with exporter(users) as address:
        job = {"job_name": "users", "static_configs": [{"targets": [address]}]}
        with prometheus(folder, [job]) as url:
            telemetry = telemetry_of(url)
            await_that("users are seen", lambda: len(telemetry.edges()) == 1)
            yield url


@contextmanager
def webhooks_away(admin: LiveKubeApi, fails: Mapping[str, str]) -> Iterator[None]:
    """Webhooks that nobody answers are asked about objects of the shop. `fails`: by group/plural, Fail or Ignore. They
    come into force together, some time after this."""
    hooks = []
    for resource, failure_policy in fails.items():
        group, _, plural = resource.rpartition("/")
        rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [plural]}
        hooks.append(
            {
                "name": f"{plural}.away.twin.test", "failurePolicy": failure_policy, "rules": [rule],
                "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 2,
                "clientConfig": {"url": "https://127.0.0.1:9/"},  # discard: nobody listens
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}},
            }
        )  # fmt: skip
    ref = ObjectRef(kind="ValidatingWebhookConfiguration", name="away")
    admin.create(
        {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": ref.kind, "metadata": {"name": ref.name},
            "webhooks": hooks,
        }
    )  # fmt: skip
    try:
        yield
    finally:
        admin.delete(ref)


def is_rolled_out(admin: LiveKubeApi, image: str) -> bool:
    pods = admin.list_objects("Pod", "shop", {"app": "cart"})
    return len(pods) == 3 and {pod["spec"]["containers"][0]["image"] for pod in pods} == {image}
