"""Other people's manifests, as they are: played on a real shadow, a trap rejected there, the cure promoted to a second
cluster that runs them under their own names.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.control_plane import ADMIN, ControlPlane, control_plane
from tests.clusters.production import WELL, LiveRig, open_production, watched
from tests.clusters.prometheus import Users
from tests.clusters.shadow import NAME, users_over
from tests.clusters.shop import await_that
from tests.real import require_tool
from twin.change.compile import compile_change
from twin.cli.shadows import snapshot_of_source
from twin.gate.trial import try_on_shadow
from twin.kube import LiveKubeApi
from twin.kube.pool import ShadowPool
from twin.kube.snapshot import take_snapshot
from twin.ports.services import PromotionOutcome
from twin.spec.change import Action, Change, Strategy
from twin.spec.fault import parse_fault
from twin.spec.fields import container_path, get_field
from twin.spec.plan import ObjectRef
from twin.spec.verdict import StageVerdict

pytestmark = [pytest.mark.real, pytest.mark.kind, pytest.mark.requirement("R13", "R22")]
QUICK = Strategy(canary_ratio=0.0, watch_s=2.0, settle_s=3.0)


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The second cluster. It ends with this module: those that follow want the machine for themselves."""
    with control_plane(require_tool("control-plane"), tmp_path_factory.mktemp("second")) as plane:
        yield plane


@pytest.mark.parametrize(
    ("file", "target"), [("online-boutique.yaml", "default/frontend"), ("sock-shop.yaml", "sock-shop/front-end")]
)
def test_real_manifests_are_played_a_trap_is_rejected_and_the_cure_promoted(
    shadows: ShadowPool, plane: ControlPlane, tmp_path: Path, file: str, target: str
) -> None:  # fmt: skip
    folder = Path(os.environ.get("TWIN_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "manifests" / file
    if not path.exists() and not os.environ.get("CI"):
        pytest.skip(f"{path} is missing: set TWIN_REAL_DATA")
    _, fleet = snapshot_of_source(str(path), fleet_file=None, namespaces=())
    namespace, _, name = target.partition("/")
    workload = ObjectRef(kind="Deployment", name=name, namespace=namespace)

    admin = open_production(plane)
    kubectl = require_tool("control-plane") / "kubectl"
    subprocess.run(
        [kubectl, f"--kubeconfig={plane.kubeconfig(ADMIN)}", "apply", "-f", path],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    await_that("everything is ready", lambda: _all_ready(admin, namespace))
    image = container_path(admin.get(workload)["spec"]["template"]["spec"]["containers"][0]["name"], "image")
    good = str(get_field(admin.get(workload), image))
    bad = good.rpartition(":")[0] + ":next"
    admin.patch(workload, {image: bad})
    await_that("the bad build is out", lambda: _all_ready(admin, namespace))

    with shadows.borrow(NAME) as shadow, watched(Users(), tmp_path / "prometheus") as url:
        shadow.load_snapshot(take_snapshot(admin, [namespace], source="the second cluster"), fleet)
        assert len([o for o in shadow.loaded.objects if o["kind"] == "Deployment"]) > 10
        shadow.sleep(5.0)
        came, let_down = users_over(shadow, 15.0)
        assert came > 20.0
        assert let_down / came < 0.05

        fault = parse_fault(f"bad_rollout({target}, image={bad}, ratio=0.6)")
        rig = LiveRig(plane, url, tmp_path, admin)
        trap = _change("set_image", target, image="nobody.test/lost:1")
        rejected, _ = try_on_shadow(shadow, fleet, compile_change(trap, admin, at_s=0.0), fault)
        assert rejected.verdict is StageVerdict.FAIL, rejected.reason
        assert "ImagePull" in rejected.reason
        cure = _change("rollout_undo", target)
        passed, seen = try_on_shadow(shadow, fleet, compile_change(cure, admin, at_s=0.0), fault)
        assert passed.verdict is StageVerdict.PASS, (passed.reason, seen.timeline)
        level = shadow.level

        done = rig.service().promote(rig.receipt(cure, prediction=WELL, evidence_level=level))
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert get_field(admin.get(workload), image) == good


def _change(kind: str, target: str, **parameters: str) -> Change:
    action = Action(kind=kind, target=target, parameters=parameters)
    return Change(actions=(action,), reason="the new build fails", requester="ana", strategy=QUICK)


def _all_ready(admin: LiveKubeApi, namespace: str) -> bool:
    found = admin.list_objects("Deployment", namespace)
    return bool(found) and all(
        obj.get("status", {}).get("observedGeneration") == obj["metadata"]["generation"]
        and {obj["status"].get(f"{name}eplicas", 0) for name in ("r", "readyR", "updatedR")}
        == {obj["spec"]["replicas"]}
        for obj in found
    )
