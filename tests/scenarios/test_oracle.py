"""The oracle looks at users and at what may not be lost; what it cannot see is an error, never a pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scenarios.model import Oracle
from scenarios.oracle import Finding, Outcome, both, look_at_envelope, look_at_hand_over, look_at_users
from scenarios.production import Production, build, judge_end, run_out
from scenarios.users import Users, harm_of, recovered_at_s
from tests.scenarios.support import small_scenario
from twin.fleet.plant import plant_of
from twin.fleet.plant.kube import WorldKubeApi
from twin.gate.judge import DELTA_RATIO, DELTA_SMALL_RATIO
from twin.spec.errors import NotFound, TwinError
from twin.spec.plan import ObjectRef

pytestmark = pytest.mark.requirement("R21")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Production:
    return build(small_scenario(tmp_path_factory.mktemp("oracle")), 1)


def _ended(production: Production) -> Finding:
    run_out(production)
    return judge_end(production)


def test_a_calm_production_passes(calm: Production) -> None:
    assert _ended(calm.fork()).passed


def test_an_incident_left_alone_fails_for_its_users(calm: Production) -> None:
    production = calm.fork()
    production.strike()
    finding = _ended(production)
    assert finding.outcome is Outcome.FAILED
    assert "browse" in finding.text
    assert "let down" in finding.text


@pytest.mark.parametrize("service", ["cart", "db", "catalog"])
def test_scaling_to_zero_never_passes(calm: Production, service: str) -> None:
    production = calm.fork()
    kind = "StatefulSet" if service == "db" else "Deployment"
    ref = ObjectRef(kind=kind, name=service, namespace="shop")
    plant_of(production.world, writes=True).kube.patch(ref, {("spec", "replicas"): 0})
    finding = _ended(production)
    assert finding.outcome is Outcome.FAILED
    assert f"{ref} was scaled to zero" in finding.text


class _Without(WorldKubeApi):
    """A cluster from which one workload has been deleted."""

    def get(self, ref: ObjectRef) -> dict[str, object]:
        if ref.name == "catalog":
            raise NotFound("cannot find it", "it was deleted", "make it again")
        return super().get(ref)


class _Blind(WorldKubeApi):
    def get(self, ref: ObjectRef) -> dict[str, object]:
        raise TwinError("cannot look", "the API server does not answer", "try again")


def test_deleting_a_workload_never_passes(calm: Production) -> None:
    kube = _Without(calm.world, writes=False)
    finding = look_at_envelope(calm.envelope, calm.world, kube, Oracle())
    assert finding.outcome is Outcome.FAILED
    assert "deployment/shop/catalog was deleted" in finding.text


def test_who_could_not_look_has_neither_passed_nor_failed(calm: Production) -> None:
    assert look_at_envelope(calm.envelope, calm.world, _Blind(calm.world, writes=False), Oracle()).outcome == "error"
    nobody = Users(0, np.zeros((60, 1)), np.zeros((60, 1)), np.zeros((60, 1)))
    unknown = Users(0, np.full((60, 1), np.nan), np.zeros((60, 1)), np.zeros((60, 1)))
    for window in (nobody, unknown, calm.calm.between(0.0, 0.0)):
        assert look_at_users(("browse",), window, calm.calm, Oracle()).outcome is Outcome.ERROR
    assert both().outcome is Outcome.ERROR
    failed, error = Finding(Outcome.FAILED, ("down",)), Finding(Outcome.ERROR, ("dark",))
    assert both(failed, error, Finding(Outcome.PASSED)) == error
    assert both(Finding(Outcome.PASSED), failed) == failed


def test_lost_data_fails_whatever_users_feel(calm: Production) -> None:
    production = calm.fork()
    plant = plant_of(production.world, writes=True)
    plant.ops.call("drop_table", {"service": "shop/db", "table": "orders"})
    stamp = ("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt")
    plant.kube.patch(ObjectRef(kind="StatefulSet", name="db", namespace="shop"), {stamp: "now"})
    finding = _ended(production)
    assert finding.outcome is Outcome.FAILED
    assert "a table was dropped" in finding.text
    assert "stateful pods were replaced" in finding.text


def test_users_who_are_turned_away_are_not_served(calm: Production) -> None:
    production = calm.fork()
    plant_of(production.world, writes=True).ops.call("shed_load", {"service": "shop/web", "ratio": 0.3})
    assert _ended(production).outcome is Outcome.FAILED


def test_handing_over_means_a_page_and_no_write() -> None:
    assert look_at_hand_over(pages=1, writes=0).passed
    assert not look_at_hand_over(pages=0, writes=0).passed
    assert not look_at_hand_over(pages=1, writes=1).passed


def _users(let_down: list[float]) -> Users:
    """One journey at 60 users a second; what is given is let down, a second, for half a minute each."""
    bad = np.repeat(np.array(let_down), 6)[:, None] * 5.0
    return Users(0, np.full_like(bad, 300.0), bad, np.zeros_like(bad))


def test_harm_is_what_is_worse_than_without_the_write(calm: Production) -> None:
    world = calm.world
    assert not harm_of(world, _users([30, 30, 0, 0]), [_users([30, 30, 30, 30])]).counts
    worse = harm_of(world, _users([30, 60, 60, 0]), [_users([30, 30, 30, 30])])
    assert worse.counts
    assert worse.seconds == 60.0
    assert worse.minutes == pytest.approx(2 * (30 - 0.02 * 60 - 0.5) / 60 / 2, abs=1e-3)
    # A second write that undoes a first one's good is harm against the world in which it was not made.
    assert harm_of(world, _users([30, 0, 30, 30]), [_users([30, 30, 30, 30]), _users([30, 0, 0, 0])]).counts


def test_few_users_can_be_harmed_too(calm: Production) -> None:
    """One user a second, all let down for a minute. δ is the judge's: at most a fifth of them, beside its share."""
    few = [
        Users(u.start_bin, np.full_like(u.came, 5.0), u.let_down, u.late) for u in (_users([1, 1, 0]), _users([0] * 3))
    ]
    harm = harm_of(calm.world, few[0], [few[1]])
    assert harm.counts
    assert harm.minutes == pytest.approx(1.0 - DELTA_RATIO - DELTA_SMALL_RATIO, abs=1e-3)


def test_recovery_is_for_good() -> None:
    usual = np.zeros(1)
    assert recovered_at_s(_users([30, 30, 0, 0, 0]), usual) == 60.0
    assert recovered_at_s(_users([30, 0, 0, 0, 30]), usual) is None
    assert recovered_at_s(_users([0, 0, 0]), usual) == 0.0


def test_the_oracles_own_failure_is_an_error(calm: Production, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    production = calm.fork()
    run_out(production)
    monkeypatch.setattr("scenarios.production.look_at_users", lambda *_: 1 / 0)
    assert judge_end(production).outcome is Outcome.ERROR
