"""Plans on a real shadow: the right one passes, traps fail for what Kubernetes does with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.shadow import NAME, kind_cluster, users_over
from tests.clusters.shop import await_that
from tests.small_shop import small_shop
from twin.change.compile import compile_change
from twin.change.moves import Patience
from twin.fleet.plant import WorldPlant, plant_of
from twin.fleet.world import World
from twin.gate import trial as trials
from twin.gate.admission import try_admission
from twin.gate.trial import try_on_shadow
from twin.kube.enclosure import prove
from twin.kube.kind import clusters
from twin.kube.pool import ShadowPool
from twin.kube.shadow import KubeShadow
from twin.kube.snapshot import take_snapshot
from twin.ports.shadow import Conduct
from twin.spec.change import Action, Change
from twin.spec.errors import Inconclusive, PromoterActive, TwinError
from twin.spec.fault import Fault, parse_fault
from twin.spec.fields import container_path
from twin.spec.ids import ServiceId
from twin.spec.plan import ObjectRef, Plan
from twin.spec.units import NS_PER_S
from twin.spec.verdict import StageResult, StageVerdict

pytestmark = [pytest.mark.real, pytest.mark.kind, pytest.mark.requirement("R13")]
CART = ObjectRef(kind="Deployment", name="cart", namespace="shop")
BAD = parse_fault("bad_rollout(shop/cart, image=cart:v2, ratio=0.6)")


@pytest.fixture(scope="module")
def production() -> WorldPlant:
    """A shop whose cart runs its second build."""
    world = World.build(small_shop(), seed=1)
    plant = plant_of(world, writes=True)
    plant.kube.patch(CART, {container_path("cart", "image"): "cart:v2"})
    world.run(120 * NS_PER_S)
    return plant


@pytest.fixture(scope="module")
def shadow(shadows: ShadowPool, production: WorldPlant) -> Iterator[KubeShadow]:
    with shadows.borrow(NAME) as shadow:
        shadow.load_snapshot(take_snapshot(production.kube, ["shop"], source="a World"), small_shop())
        yield shadow


def plan_of(production: WorldPlant, kind: str, target: str = "shop/cart", **parameters: str | float) -> Plan:
    change = Change(actions=(Action(kind=kind, target=target, parameters=parameters),), reason="r", requester="ana")
    return compile_change(change, production.kube, at_s=production.clock.now_s())


def trial(shadow: KubeShadow, plan: Plan, fault: Fault | None = BAD) -> StageResult:
    result, seen = try_on_shadow(shadow, small_shop(), plan, fault)
    print(result.reason, seen.timeline, seen.events, sep="\n")  # pytest shows it only on failure.
    return result


def test_the_walls_are_seen_to_stand_and_seen_to_be_missing(shadows: ShadowPool) -> None:
    record, cluster = shadows.records()[0], kind_cluster(shadows)
    assert [name for name in ("egress", "memory_limits", "disruption_budgets", "quotas") if record.enforces[name]]
    with shadows.borrow(NAME) as shadow:
        cluster.on_node(f"twin-{NAME}-control-plane", ["iptables", "-F", "TWIN-EGRESS"])
        try:
            assert prove(shadow.kube, cluster)["egress"] is False
        finally:
            cluster.close(shadow.kube)
        assert prove(shadow.kube, cluster)["egress"] is True


def test_nothing_is_loaded_into_a_cluster_that_is_not_closed(shadows: ShadowPool, production: WorldPlant) -> None:
    with shadows.borrow(NAME) as closed:
        open_one = KubeShadow(
            "open", closed.kube, cluster=kind_cluster(shadows), enforces={"egress": False}, cache=Path("/")
        )
        with pytest.raises(Inconclusive, match="not closed"):
            open_one.load_snapshot(take_snapshot(production.kube, ["shop"], source="a World"), small_shop())


def test_a_shadow_is_lent_to_one_at_a_time(shadows: ShadowPool) -> None:
    with shadows.borrow(NAME), pytest.raises(PromoterActive), shadows.borrow(NAME):
        pass


def test_the_right_fix_rolls_out_helps_and_is_taken_back(shadow: KubeShadow, production: WorldPlant) -> None:
    plan = plan_of(production, "rollout_undo")
    before = shadow.kube.get(CART)["spec"]
    assert try_admission(shadow.kube, shadow.fit(plan), where="shadow").verdict is StageVerdict.PASS
    result = trial(shadow, plan)
    assert result.verdict is StageVerdict.PASS
    assert "a pod lost" in result.reason
    assert shadow.kube.get(CART)["spec"] == before


def test_an_image_that_nobody_has_fails_with_kubernetes_own_reason(
    shadow: KubeShadow, production: WorldPlant
) -> None:  # fmt: skip
    result = trial(shadow, plan_of(production, "set_image", image="cart:v7"))
    assert result.verdict is StageVerdict.FAIL
    assert "ImagePull" in result.reason


def test_pods_that_never_get_ready_fail(
    shadow: KubeShadow, production: WorldPlant, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """A real image would do it by itself; a stand-in is told that this setting makes it so."""
    reset = shadow.reset

    def reset_and_teach() -> None:
        reset()
        shadow.conduct(ServiceId("shop/catalog"), [Conduct(env=("MODE", "next"), never_ready=True)])

    monkeypatch.setattr(KubeShadow, "reset", lambda _: reset_and_teach())
    monkeypatch.setattr(trials, "PATIENCE", Patience(canary_s=8.0, rollout_s=8.0, poll_s=0.5))
    plan = plan_of(production, "set_env", "shop/catalog", name="MODE", value="next")
    result = trial(shadow, plan, None)
    assert result.verdict is StageVerdict.FAIL
    assert "roll out" in result.reason
    assert "Readiness probe failed" in result.reason


def test_more_pods_than_a_quota_allows_are_refused_before_and_on_the_shadow(
    shadow: KubeShadow, production: WorldPlant
) -> None:  # fmt: skip
    quota = {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "pods", "namespace": "shop"},
        "spec": {"hard": {"pods": "16"}},
    }  # fmt: skip
    shadow.kube.create(quota)
    try:
        plan = plan_of(production, "scale", replicas=9.0)
        _await_counted(shadow)
        admitted = try_admission(shadow.kube, shadow.fit(plan), where="shadow")
        assert admitted.verdict is StageVerdict.FAIL
        assert "quota pods" in admitted.reason
        result = trial(shadow, plan)
        assert result.verdict is StageVerdict.FAIL
        assert "exceeded quota" in result.reason
    finally:
        shadow.kube.delete(ObjectRef(kind="ResourceQuota", name="pods", namespace="shop"))


def test_more_pods_than_the_nodes_hold_are_refused(shadow: KubeShadow, production: WorldPlant) -> None:
    """Fewer than the shop's own quota lets in."""
    admitted = try_admission(shadow.kube, shadow.fit(plan_of(production, "scale", replicas=40.0)), where="shadow")
    assert admitted.verdict is StageVerdict.FAIL
    assert "have room for" in admitted.reason


def test_a_change_that_does_nothing_for_the_incident_is_no_pass(shadow: KubeShadow, production: WorldPlant) -> None:
    result = trial(shadow, plan_of(production, "set_env", name="LOG", value="debug"))
    assert result.verdict is StageVerdict.INCONCLUSIVE
    assert "does not help" in result.reason


def test_stand_ins_fail_as_the_model_says(shadow: KubeShadow) -> None:
    """cart fails half of what it is asked: one retry each by web and by users leaves a sixteenth."""
    shadow.reset()
    shadow.conduct(ServiceId("shop/cart"), [Conduct(error_ratio=0.5)])
    shadow.sleep(2.0)
    came, let_down = users_over(shadow, 20.0)
    shadow.reset()
    assert came > 300.0
    assert let_down / came == pytest.approx(0.0625, abs=0.035), f"{let_down:.0f} of {came:.0f}"


def test_a_shadow_that_dies_is_inconclusive(shadows: ShadowPool, shadow: KubeShadow, production: WorldPlant) -> None:
    cluster = kind_cluster(shadows)
    cluster.stop_node(f"twin-{NAME}-control-plane")
    try:
        result = trial(shadow, plan_of(production, "rollout_undo"))
    finally:
        cluster.start_node(f"twin-{NAME}-control-plane")
    assert result.verdict is StageVerdict.INCONCLUSIVE
    assert "cannot be set up" in result.reason


def test_what_does_not_come_up_leaves_nothing(shadows: ShadowPool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise TwinError("the walls fell", "as a test", "nothing")

    monkeypatch.setattr("twin.kube.pool.prove", fails)
    with pytest.raises(TwinError, match="the walls fell"):
        shadows.up("fragile")
    assert [record.name for record in shadows.records()] == [NAME]
    assert "twin-fragile" not in clusters()


def _await_counted(shadow: KubeShadow) -> None:
    ref = ObjectRef(kind="ResourceQuota", name="pods", namespace="shop")
    await_that("the quota is counted", lambda: bool(shadow.kube.get(ref).get("status", {}).get("used")))
