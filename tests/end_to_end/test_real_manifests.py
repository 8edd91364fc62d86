"""Other people's manifests, as they are, on a real shadow: everything gets ready, users are well, and a trap fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.clusters.shadow import NAME
from twin.change.compile import compile_change
from twin.cli.shadows import snapshot_of_source
from twin.gate.trial import try_on_shadow
from twin.kube.pool import ShadowPool
from twin.spec.change import Action, Change
from twin.spec.verdict import StageVerdict

pytestmark = [pytest.mark.real, pytest.mark.kind, pytest.mark.requirement("R13")]


@pytest.mark.parametrize(
    ("file", "target"), [("online-boutique.yaml", "default/frontend"), ("sock-shop.yaml", "sock-shop/front-end")]
)
def test_real_manifests_are_played_and_a_lost_image_is_rejected(
    shadows: ShadowPool, file: str, target: str
) -> None:  # fmt: skip
    folder = Path(os.environ.get("TWIN_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "manifests" / file
    if not path.exists() and not os.environ.get("CI"):
        pytest.skip(f"{path} is missing: set TWIN_REAL_DATA")
    snapshot, fleet = snapshot_of_source(str(path), fleet_file=None, namespaces=())
    with shadows.borrow(NAME) as shadow:
        shadow.load_snapshot(snapshot, fleet)
        workloads = [o for o in shadow.loaded.objects if o["kind"] == "Deployment"]
        assert len(workloads) > 10
        shadow.sleep(5.0)
        first = shadow.users()
        shadow.sleep(15.0)
        came = sum(count.came - first[name].came for name, count in shadow.users().items())
        let_down = sum(count.let_down - first[name].let_down for name, count in shadow.users().items())
        assert came > 20.0
        assert let_down / came < 0.05
        change = Change(
            actions=(Action(kind="set_image", target=target, parameters={"image": "nobody.test/lost:1"}),),
            reason="r", requester="ana",
        )  # fmt: skip
        plan = compile_change(change, shadow.kube, at_s=0.0)
        result, _ = try_on_shadow(shadow, fleet, plan, None)
        assert result.verdict is StageVerdict.FAIL
        assert "ImagePull" in result.reason
