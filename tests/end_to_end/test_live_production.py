"""The whole way on a real cluster: observe it, break it, let the twin find out why, and promote the cure to it.

Production is the small shop on kind, played by stand-ins; Prometheus scrapes it, the commands are those of the README.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.live import strike
from tests.clusters.prometheus import pods_of, prometheus
from tests.clusters.shadow import NAME, users_over
from tests.clusters.shop import await_that
from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.kube.plant import WallClock
from twin.kube.pool import ShadowPool
from twin.kube.prometheus import PrometheusTelemetry, read_queries
from twin.kube.shadow import KubeShadow
from twin.kube.snapshot import take_snapshot
from twin.spec.fault import parse_fault
from twin.spec.fields import container_path, get_field
from twin.spec.plan import ObjectRef
from twin.spec.signal import SignalKind

pytestmark = [pytest.mark.real, pytest.mark.kind, pytest.mark.requirement("R13", "R22")]
RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yaml"
CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
IMAGE = container_path("cart", "image")
PROGRAM = [sys.executable, "-m", "twin.cli.main"]
CALM_S = 120.0  # eight scrapes on the twin's grid
CHANGE = """
apiVersion: twin/v1alpha1
kind: Change
reason: the new build fails
requester: agent
strategy: {canary: 0.34, watch: 15s, settle: 45s}
actions:
  - {kind: rollout_undo, target: shop/cart}
"""


@pytest.fixture
def production(shadows: ShadowPool) -> Iterator[KubeShadow]:
    """A shop whose cart's second build is in the registry, and not yet rolled out."""
    world = World.build(small_shop(rate_rps=60.0), seed=1)
    plant = plant_of(world, writes=True)
    for image in ("cart:v2", "cart:v1"):
        plant.kube.patch(CART, {IMAGE: image})
        world.run(world.now_ns + 120 * 10**9)
    with shadows.borrow(NAME) as shop:
        shop.load_snapshot(take_snapshot(plant.kube, ["shop"], source="a World"), small_shop(rate_rps=60.0))
        kube = shop.kube
        if not any(one["metadata"]["name"] == "twin-system" for one in kube.list_objects("Namespace")):
            kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "twin-system"}})
        yield shop


@pytest.mark.timeout(600)
def test_a_live_cluster_is_observed_diagnosed_and_mended(
    production: KubeShadow, shadows: ShadowPool, tmp_path: Path
) -> None:  # fmt: skip
    kubeconfig = shadows.records()[0].kubeconfig
    with (
        pods_of(production.kube, kubeconfig, ["shop", "twin-shadow"], tmp_path) as job,
        prometheus(tmp_path / "prometheus", [job], scrape_s=5.0, rules=RULES) as url,
    ):

        def twin(*arguments: str) -> dict[str, object]:
            done = subprocess.run(
                [*PROGRAM, *arguments, "--prod", "kube:", "--prometheus", url, "--json"],
                capture_output=True, text=True, timeout=240, check=False, stdin=subprocess.DEVNULL, cwd=tmp_path,
                env={**os.environ, "KUBECONFIG": str(kubeconfig), "TWIN_HOME": str(tmp_path / "home")},
            )  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            told: dict[str, object] = json.loads(done.stdout)
            return told

        telemetry = PrometheusTelemetry(url, read_queries(), now_s=WallClock().now_s)
        time.sleep(CALM_S)
        seen = twin("observe", "-o", "twin.fleet", "--window", f"{CALM_S - 15:.0f}s")
        assert seen["services"] == 5

        strike(parse_fault("bad_rollout(shop/cart, image=cart:v2, ratio=0.6)"), small_shop(), production)
        await_that(
            "somebody is alerted", lambda: any(s.kind is SignalKind.ALERT for _, s in telemetry.signals(after=0)),
            patience_s=150.0,
        )  # fmt: skip
        time.sleep(20.0)  # Two more scrapes, so that the incident has a course.

        (tmp_path / "change.yaml").write_text(CHANGE)
        told = twin("verify", "change.yaml", "--fleet", "twin.fleet", "-o", "receipt.json")
        print(json.dumps(told)[:4000])
        verdict = told["verdict"]
        assert isinstance(verdict, dict)
        assert verdict["outcome"] == "effective"
        assert verdict["suspects"][0]["fault"]["kind"] == "bad_rollout"
        stages = {one["stage"]: one["verdict"] for one in verdict["stages"]}
        assert stages["control_plane"] == "pass"

        done = twin("promote", "receipt.json")
        assert done["outcome"] == "done", done
    assert get_field(production.kube.get(CART), IMAGE) == "cart:v1"
    came, let_down = users_over(production, 10.0)
    assert came > 50.0
    assert let_down / came < 0.02
