"""One promotion writes at a time: the lease is renewed, runs out, is taken, and whoever lost it writes nothing more."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.twin.promote.rehearsed import AS_BAD_AS_NOTHING, TOO_GOOD, Rig, receipt_for, wounded
from tests.twin.promote.test_crash import statuses
from tests.twin.promote.test_marks_that_fail import with_kube
from tests.twin.promote.test_take_back import Failing
from tests.twin.promote.test_watch import CART, told
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import KubeObject, Plant
from twin.ports.services import PromotionOutcome
from twin.promote.journal import Kind, Status
from twin.promote.lease import LEASE, LEASE_S, RENEW_S, Lease
from twin.spec.errors import PromoterActive, Unreachable
from twin.spec.units import NS_PER_S

pytestmark = pytest.mark.requirement("R2", "R22")
SILENT = Unreachable("cannot write", "no answer", "check")


@pytest.fixture
def world() -> World:
    return World.restore(wounded())


@pytest.fixture
def plant(world: World) -> Plant:
    return plant_of(world, writes=True)


def spec(plant: Plant) -> dict[str, Any]:
    found: dict[str, Any] = plant.kube.get(LEASE)["spec"]
    return found


def test_it_is_a_lease_as_kubernetes_own_leaders_hold_one(plant: Plant, world: World) -> None:
    with Lease(plant).hold("p1"):
        held = spec(plant)
        assert (held["holderIdentity"], held["leaseDurationSeconds"], held["leaseTransitions"]) == ("p1", LEASE_S, 0)
        assert held["renewTime"] == held["acquireTime"]
    assert Lease(plant).holder() == ""
    world.run_for(NS_PER_S)
    with Lease(plant).hold("p2"):
        assert spec(plant)["leaseTransitions"] == 1
        assert spec(plant)["acquireTime"] > held["acquireTime"]


def test_it_is_kept_while_its_holder_is_at_work_and_taken_when_he_is_not(plant: Plant, world: World) -> None:
    ours, theirs = Lease(plant), Lease(plant)
    with ours.hold("ours"):
        for _ in range(10):
            world.run_for(int(RENEW_S) * NS_PER_S)
            ours.renew()
            with pytest.raises(PromoterActive, match="ours holds the target for another 300 s"), theirs.hold("theirs"):
                pass
        world.run_for((LEASE_S + 1) * NS_PER_S)
        with theirs.hold("theirs"):
            with pytest.raises(PromoterActive, match="theirs holds"):
                ours.renew()
            assert spec(plant)["holderIdentity"] == "theirs"
    assert Lease(plant).holder() == ""


def test_who_lost_it_does_not_end_the_others(plant: Plant, world: World) -> None:
    with ExitStack() as another:
        with Lease(plant).hold("ours"):
            world.run_for((LEASE_S + 1) * NS_PER_S)
            another.enter_context(Lease(plant).hold("theirs"))
        assert Lease(plant).holder() == "theirs"
    assert Lease(plant).holder() == ""


def test_it_is_lost_though_whoever_took_it_has_finished(plant: Plant, world: World) -> None:
    """The target is no more as we know it."""
    ours = Lease(plant)
    with ours.hold("ours"):
        world.run_for((LEASE_S + 1) * NS_PER_S)
        with Lease(plant).hold("theirs"):
            pass
        with pytest.raises(PromoterActive):
            ours.renew()


def test_the_same_promotion_takes_it_up_again_at_once(plant: Plant) -> None:
    with Lease(plant).hold("p1"), Lease(plant).hold("p1"):
        assert spec(plant)["leaseTransitions"] == 0


def test_a_server_that_is_away_is_borne_while_it_is_certainly_ours(plant: Plant, world: World) -> None:
    kube = Failing(plant, LEASE, SILENT, 0)
    lease = Lease(with_kube(plant, kube))
    with lease.hold("ours"):
        kube.times = 99
        world.run_for(int(RENEW_S) * NS_PER_S)
        lease.renew()
        world.run_for(LEASE_S // 2 * NS_PER_S)
        with pytest.raises(Unreachable):
            lease.renew()


def test_two_who_take_it_at_the_same_moment_are_one(plant: Plant) -> None:
    """Both have read that it is free; the second one's write meets the first one's."""
    with Lease(plant).hold("before"):
        pass
    read = plant.kube.get(LEASE)

    class Stale:
        def __getattr__(self, name: str) -> Any:
            return getattr(plant.kube, name)

        def get(self, ref: Any) -> Any:
            return read if ref == LEASE else plant.kube.get(ref)

    with Lease(plant).hold("first"), pytest.raises(PromoterActive), Lease(with_kube(plant, Stale())).hold("second"):
        pass


@pytest.mark.parametrize("moment", ["after done", "after rolling_back"])
def test_a_promotion_that_lost_its_lease_writes_nothing_more(moment: str, tmp_path: Path) -> None:
    """As on a machine that slept: another promotion is under way by now."""
    rig, plants, seen, another = Rig(tmp_path / "rig"), list[Plant](), list[KubeObject](), ExitStack()

    def through(plant: Plant) -> Plant:
        plants.append(plant)
        return plant

    def sleep(name: str) -> None:
        if name == moment and not seen:
            plants[-1].clock.sleep(LEASE_S + 1.0)
            another.enter_context(Lease(plants[-1]).hold("somebody"))
            seen.append(plants[-1].kube.get(CART))

    rig.through = through
    receipt = receipt_for(prediction=TOO_GOOD if moment == "after rolling_back" else AS_BAD_AS_NOTHING)
    done = rig.run(lambda service: service.promote(receipt), step=sleep)
    assert (done.outcome, done.exit_code) == (PromotionOutcome.HELD, 4), done.reason
    assert "another promoter is active" in done.reason
    assert statuses(rig) == [Status.OPEN]
    decided = [kind for kind, _ in told(rig) if kind is Kind.ROLLING_BACK]
    assert len(decided) == (moment == "after rolling_back"), "what becomes of it, whoever takes it up decides"
    plant = plant_of(rig.world())
    assert plant.kube.get(CART)["spec"] == seen[0]["spec"]
    assert Lease(plant).holder() == "somebody"
