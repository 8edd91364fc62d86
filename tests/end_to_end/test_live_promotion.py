"""Promotion to a real API server, watched through a real Prometheus, as the identity that deploy/rbac makes."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agent.limits.guard import MemoryWriteGuard
from tests.clusters.control_plane import ADMIN, OBSERVER, PROMOTER, ControlPlane
from tests.clusters.prometheus import Users, exporter, prometheus
from tests.clusters.shop import await_that, lay_out_shop
from tests.real import require_tool
from tests.twin.promote.rehearsed import ANY_COURSE, AS_BAD_AS_NOTHING, keys, policy
from tests.twin.receipt.samples import RECEIPT
from twin.change.base import base_of
from twin.change.compile import compile_change
from twin.gate.admission import try_admission
from twin.gate.receipts import approvals_needed
from twin.kube import LiveKubeApi, connect
from twin.kube.plant import LivePlant, NoOps, WallClock
from twin.kube.prometheus import PrometheusTelemetry, read_queries
from twin.ports.services import Promoted, PromotionOutcome
from twin.promote.journal import Journal, Status
from twin.promote.promoter import PromotionService
from twin.promote.target import Target
from twin.receipt import issue
from twin.spec.canonical import plain
from twin.spec.change import Action, Change, Strategy
from twin.spec.errors import BaseDrifted, PolicyDenied, PromoterActive, ReceiptInvalid, TwinError
from twin.spec.fields import container_path, get_field
from twin.spec.plan import ObjectRef, plan_digest, plan_to_json
from twin.spec.receipt import EvidenceLevel, base_digest
from twin.spec.verdict import Prediction, StageVerdict

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("control-plane"), pytest.mark.requirement("R13", "R22")]
RBAC = Path(__file__).parents[2] / "deploy" / "rbac"
CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
STEP = int(os.environ.get("TWIN_CRASH_STEP", "5"))  # `make campaigns` tries every one.
IMAGE = container_path("cart", "image")
UNDO = Change(
    actions=(Action(kind="rollout_undo", target="shop/cart"),), reason="the new build fails", requester="agent",
    strategy=Strategy(canary_ratio=0.34, watch_s=2.0, settle_s=3.0),
)  # fmt: skip
WELL = dataclasses.replace(
    AS_BAD_AS_NOTHING, journeys=("browse",), nothing_high_rps=(60.0, 60.0), change_high_rps=(60.0, 60.0)
)


@pytest.fixture(scope="module")
def users() -> Users:
    return Users()


@pytest.fixture(scope="module")
def prometheus_url(users: Users, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with exporter(users) as address:
        job = {"job_name": "users", "static_configs": [{"targets": [address]}]}
        with prometheus(tmp_path_factory.mktemp("prometheus"), [job]) as url:
            telemetry = telemetry_of(url)
            await_that("users are seen", lambda: len(telemetry.edges()) == 1)
            yield url


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
    guard: MemoryWriteGuard = field(default_factory=lambda: MemoryWriteGuard(terminations_max=100))

    def plant(self, user: str) -> LivePlant:
        return LivePlant(connect(kubeconfig=self.plane.kubeconfig(user)), telemetry_of(self.url), ops=NoOps())

    def service(self, *, journal: Callable[[Path], Journal] = Journal, home: str = "home") -> PromotionService:
        return PromotionService(
            plant=self.plant(PROMOTER), journal=journal(self.folder / f"{home}.sqlite"), policy=policy(),
            trusted=keys().trusted, guard=self.guard, checkpoint=lambda: None, where="",
        )  # fmt: skip

    def receipt(self, change: Change = UNDO, *, prediction: Prediction = WELL, **fields: Any) -> Mapping[str, Any]:
        """One that the gate could have signed for this change on this cluster."""
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
        return issue(dataclasses.replace(receipt, **fields), keys().gate)

    def image(self) -> Any:
        return get_field(self.admin.get(CART), IMAGE)


@pytest.fixture
def rig(kubernetes: ControlPlane, prometheus_url: str, users: Users, tmp_path: Path) -> LiveRig:
    kubectl = require_tool("control-plane") / "kubectl"
    config = f"--kubeconfig={kubernetes.kubeconfig(ADMIN)}"
    subprocess.run([kubectl, config, "create", "namespace", "twin-system"], check=False, capture_output=True)
    subprocess.run([kubectl, config, "apply", "-f", str(RBAC)], check=True, capture_output=True, timeout=60)
    admin = connect(kubeconfig=kubernetes.kubeconfig(ADMIN))
    lay_out_shop(admin)
    for name in ("twin-receipts", "twin-lease"):
        _forget(admin, ObjectRef(kind="ConfigMap", name=name, namespace="twin-system"))
    admin.patch(CART, {IMAGE: "cart:v2"})
    await_that("the bad build is out", lambda: _rolled_out(admin, "cart:v2"))
    users.fare(0.0)
    return LiveRig(kubernetes, prometheus_url, tmp_path, admin)


def _forget(admin: LiveKubeApi, ref: ObjectRef) -> None:
    try:
        admin.delete(ref)
    except TwinError:
        return


def _rolled_out(admin: LiveKubeApi, image: str) -> bool:
    pods = admin.list_objects("Pod", "shop", {"app": "cart"})
    return len(pods) == 3 and {pod["spec"]["containers"][0]["image"] for pod in pods} == {image}


def test_the_fix_is_rolled_out_by_canary_and_marked_in_the_cluster(rig: LiveRig) -> None:
    receipt = rig.receipt()
    done = rig.service().promote(receipt)
    assert (done.outcome, done.exit_code) == (PromotionOutcome.DONE, 0), done.reason
    assert rig.image() == "cart:v1"
    await_that("every pod is of the old build", lambda: _rolled_out(rig.admin, "cart:v1"))
    with pytest.raises(ReceiptInvalid):
        rig.service(home="another-laptop").attempt(receipt)


def test_what_goes_worse_than_predicted_is_put_back_as_it_was(rig: LiveRig, users: Users) -> None:
    before = rig.admin.get(CART)["spec"]
    receipt = rig.receipt(prediction=dataclasses.replace(WELL, nothing_high_rps=(0.0, 0.0), change_high_rps=(0.0, 0.0)))
    service = rig.service()
    service.say = lambda text: users.fare(0.4)
    users.fare(0.4)
    done = service.promote(receipt)
    assert done.outcome is PromotionOutcome.ROLLED_BACK, done.reason
    assert rig.admin.get(CART)["spec"] == before


def test_a_second_promoter_is_refused(rig: LiveRig) -> None:
    receipt = rig.receipt()
    with Target(rig.plant(PROMOTER)).lease("somebody else"), pytest.raises(PromoterActive):
        rig.service(home="second").attempt(receipt)
    assert rig.image() == "cart:v2"


def test_a_write_in_between_is_drift(rig: LiveRig) -> None:
    receipt = rig.receipt()
    rig.admin.patch(CART, {("spec", "replicas"): 4})
    with pytest.raises(BaseDrifted):
        rig.service().attempt(receipt)


def test_simulated_evidence_is_not_enough_for_a_live_cluster(rig: LiveRig) -> None:
    with pytest.raises(PolicyDenied, match="evidence"):
        rig.service().attempt(rig.receipt(evidence_level=EvidenceLevel.SIMULATED))


def test_a_receipt_for_another_cluster_is_refused(rig: LiveRig) -> None:
    with pytest.raises(BaseDrifted, match="another target"):
        rig.service().attempt(rig.receipt(target="kube:00000000-0000-0000-0000-000000000000"))


def test_the_gates_identity_asks_the_api_server_and_writes_nothing(rig: LiveRig) -> None:
    plant = rig.plant(OBSERVER)
    plan = compile_change(UNDO, plant.kube, at_s=plant.clock.now_s())
    before = rig.admin.get(CART)["spec"]
    result = try_admission(plant.kube, plan, where="production, dry run")
    assert result.verdict is StageVerdict.PASS, result.reason
    assert rig.admin.get(CART)["spec"] == before


class _Killed(BaseException):
    """The process ends here: nothing that it would have done afterwards happens."""


class _FragileJournal(Journal):
    """Dies before or after its n-th write."""

    def __init__(self, path: Path, die_at: int) -> None:
        super().__init__(path)
        self._left = die_at

    def _step(self) -> None:
        if self._left == 0:
            raise _Killed
        self._left -= 1

    def begin(self, *args: Any, **kwargs: Any) -> Any:
        self._step()
        begun = super().begin(*args, **kwargs)
        self._step()
        return begun

    def append(self, *args: Any, **kwargs: Any) -> None:
        self._step()
        super().append(*args, **kwargs)
        self._step()


@pytest.mark.timeout(900)
def test_cut_short_at_every_step_it_is_finished_or_undone_and_nothing_else_is_touched(rig: LiveRig) -> None:
    """For each write of the journal: die there, run again, and compare every object with what it has to be."""
    outcomes: list[str] = []
    for die_at in range(0, 60, STEP):
        done, finished = _die_and_recover(rig, die_at)
        outcomes.append(f"{die_at}: {done}")
        image = "cart:v1" if finished else "cart:v2"
        assert rig.image() == image, outcomes
        spec = rig.admin.get(CART)["spec"]
        assert not spec.get("paused", False), outcomes
        assert spec["replicas"] == 3
        if done == "not killed":
            break
        rig.admin.patch(CART, {IMAGE: "cart:v2"})
        await_that("the bad build is out", lambda: _rolled_out(rig.admin, "cart:v2"))
    print(outcomes)
    assert outcomes[-1].endswith("not killed"), "more journal writes than were tried"
    assert len(outcomes) > 4


def _die_and_recover(rig: LiveRig, die_at: int) -> tuple[str, bool]:
    """What became of it, and whether the change is in force."""
    receipt, home = rig.receipt(), f"die-{die_at}"
    rig.guard = MemoryWriteGuard(terminations_max=100)  # Nobody waits a minute between two trials.
    try:
        done: Promoted = rig.service(journal=lambda path: _FragileJournal(path, die_at), home=home).promote(receipt)
    except _Killed:
        service = rig.service(home=home)
        for one in service.recover():
            return str(one.outcome), one.outcome is PromotionOutcome.DONE
        statuses = [one.status for one in service.journal.promotions()]
        return f"nothing open: {statuses}", statuses[-1:] == [Status.DONE]
    assert done.outcome is PromotionOutcome.DONE, done.reason
    return "not killed", True
