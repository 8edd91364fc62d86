"""A promotion is watched: what cannot be judged is held for a human, what is worse is taken back, for good."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenarios.lens import ComposedPlant
from tests.twin.promote.rehearsed import BAD_IMAGE, TOO_GOOD, UNDO, Rig, image_of, receipt_for
from tests.twin.promote.test_crash import Killed
from twin.fleet.plant import plant_of
from twin.ports.plant import EdgeId, Metric, Plant, Series, TracedEdge
from twin.ports.services import PromotionOutcome
from twin.ports.users import UNSEEN, Users, users_of
from twin.promote.journal import Kind, Status
from twin.promote.watch import recovery_told
from twin.spec.change import Action
from twin.spec.errors import ApiError, BaseDrifted
from twin.spec.plan import ObjectRef
from twin.spec.verdict import Interval, Prediction

CART = ObjectRef(kind="Deployment", namespace="shop", name="cart")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "rig")


class Blind:
    """Telemetry that shows nothing of users while the roll-out is held."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plant.telemetry, name)

    def edge_series(self, metric: Metric, edges: Sequence[EdgeId], *, start_s: float, end_s: float) -> Series:
        seen = self._plant.telemetry.edge_series(metric, edges, start_s=start_s, end_s=end_s)
        held = self._plant.kube.get(CART)["spec"].get("paused")
        return Series(seen.times_s, seen.values * np.nan) if held else seen


def with_telemetry(plant: Plant, telemetry: Any) -> Plant:
    return ComposedPlant(
        name=plant.name, kube=plant.kube, ops=plant.ops, telemetry=telemetry, clock=plant.clock, live=plant.live
    )


def blinded(plant: Plant) -> Plant:
    return with_telemetry(plant, Blind(plant))


class Away:
    """Telemetry that answers `after` looks at users while the roll-out is held, and not the next `looks`."""

    def __init__(self, plant: Plant, looks: float, *, after: int = 0) -> None:
        self._plant, self._looks, self._after, self._looked = plant, looks, after, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plant.telemetry, name)

    def edge_series(self, metric: Metric, edges: Sequence[EdgeId], *, start_s: float, end_s: float) -> Series:
        held = bool(self._plant.kube.get(CART)["spec"].get("paused"))
        self._looked += held and metric is Metric.REQUESTS_RPS
        if held and self._after < self._looked <= self._after + self._looks:
            raise ApiError("Prometheus does not answer", "connection refused", "check --prometheus")
        return self._plant.telemetry.edge_series(metric, edges, start_s=start_s, end_s=end_s)


def away(looks: float, *, after: int = 0) -> Callable[[Plant], Plant]:
    return lambda plant: with_telemetry(plant, Away(plant, looks, after=after))


def told(rig: Rig) -> list[tuple[Kind, Any]]:
    """The last promotion's journal: kinds of entries, with the move or the finding."""
    entries = rig.journal().entries(rig.journal().promotions()[-1].id)
    return [(entry.kind, entry.data.get("what", entry.data.get("finding"))) for entry in entries]


@pytest.mark.requirement("R22")
@pytest.mark.parametrize("through", [blinded, away(math.inf)], ids=["no figures", "no answer"])
def test_a_canary_that_cannot_be_judged_is_held_as_it_is_for_a_human(
    rig: Rig, through: Callable[[Plant], Plant]
) -> None:  # fmt: skip
    rig.through = through
    done = rig.run(lambda service: service.promote(receipt_for()))
    assert (done.outcome, done.exit_code) == (PromotionOutcome.HELD, 4), done.reason
    assert [p.status for p in rig.journal().promotions()] == [Status.HELD]
    assert (Kind.INTENT, "Resume") not in told(rig)
    assert rig.world().state.paused.any()
    rig.run(lambda service: service.undo(done.promotion_id))
    assert image_of(rig.world()) == BAD_IMAGE
    assert not rig.world().state.paused.any()


def test_monitoring_that_is_back_by_the_last_look_is_believed(rig: Rig) -> None:
    strategy = dataclasses.replace(UNDO.strategy, watch_s=45.0)
    rig.through = away(1)
    done = rig.run(lambda service: service.promote(receipt_for(dataclasses.replace(UNDO, strategy=strategy))))
    assert done.outcome is PromotionOutcome.DONE, done.reason


@pytest.mark.requirement("R22")
def test_what_was_worse_when_it_was_last_seen_is_taken_back_though_monitoring_is_away_since(rig: Rig) -> None:
    strategy = dataclasses.replace(UNDO.strategy, watch_s=45.0)
    rig.through = away(math.inf, after=1)
    plan = dataclasses.replace(UNDO, strategy=strategy)
    done = rig.run(lambda service: service.promote(receipt_for(plan, prediction=TOO_GOOD)))
    assert (done.outcome, done.exit_code) == (PromotionOutcome.ROLLED_BACK, 9), done.reason
    assert image_of(rig.world()) == BAD_IMAGE


def test_worse_on_the_only_look_at_a_canary_takes_it_back_before_the_rest_is_touched(rig: Rig) -> None:
    assert UNDO.strategy.watch_s == 15.0  # one look
    done = rig.run(lambda service: service.promote(receipt_for(prediction=TOO_GOOD)))
    assert (done.outcome, done.exit_code) == (PromotionOutcome.ROLLED_BACK, 9)
    assert told(rig).count((Kind.OBSERVED, "worse")) == 1
    assert (Kind.INTENT, "Resume") not in told(rig)
    assert image_of(rig.world()) == BAD_IMAGE


@pytest.mark.requirement("R22")
@pytest.mark.parametrize("worse", [False, True], ids=["well", "worse"])
def test_the_first_zones_workload_is_the_canary_of_the_others(rig: Rig, worse: bool) -> None:
    """cart and db stand for one service in two zones; neither roll-out has a canary of its own."""
    zones = ("shop/cart", "shop/db")
    actions = tuple(Action(kind="set_env", target=zone, parameters={"name": "A", "value": "1"}) for zone in zones)
    change = dataclasses.replace(UNDO, actions=actions, strategy=dataclasses.replace(UNDO.strategy, canary_ratio=0.0))
    receipt = receipt_for(change, prediction=TOO_GOOD) if worse else receipt_for(change)
    done = rig.run(lambda service: service.promote(receipt))
    assert done.outcome is (PromotionOutcome.ROLLED_BACK if worse else PromotionOutcome.DONE), done.reason
    made = [what for kind, what in told(rig) if kind is Kind.INTENT]
    assert made.count("Apply") == (1 if worse else 2)
    kube = plant_of(rig.world()).kube
    for workload in (CART, ObjectRef(kind="StatefulSet", namespace="shop", name="db")):
        env = kube.get(workload)["spec"]["template"]["spec"]["containers"][0].get("env", [])
        assert ([one for one in env if one["name"] == "A"] == []) is worse


@pytest.mark.requirement("R2", "R22")
@pytest.mark.parametrize("unclear", [False, True], ids=["worse", "unclear"])
def test_a_promoter_killed_right_after_it_judged_a_canary_is_followed_by_one_that_heeds_it(
    rig: Rig, unclear: bool
) -> None:
    receipt = receipt_for() if unclear else receipt_for(prediction=TOO_GOOD)
    rig.through = blinded if unclear else rig.through

    def kill(name: str) -> None:
        if name == "after observed":
            raise Killed(name)

    with pytest.raises(Killed):
        rig.run(lambda service: service.attempt(receipt), step=kill)
    rig.through = lambda plant: plant  # All is seen again, and whatever it was has passed.
    done = rig.run(lambda service: service.attempt(receipt))
    assert done.outcome is (PromotionOutcome.HELD if unclear else PromotionOutcome.ROLLED_BACK), done.reason
    assert told(rig).count((Kind.OBSERVED, "unclear" if unclear else "worse")) == 1
    assert (Kind.INTENT, "Resume") not in told(rig)


def test_a_settling_that_nobody_could_see_is_held_too(rig: Rig) -> None:
    rig.through = blinded
    change = dataclasses.replace(
        UNDO, actions=(Action(kind="rollout_pause", target="shop/cart"),)
    )  # No roll-out, so no canary: what is watched is the end.
    done = rig.run(lambda service: service.promote(receipt_for(change)))
    assert (done.outcome, done.exit_code) == (PromotionOutcome.HELD, 4), done.reason


class Late:
    """Telemetry that comes 20 s late, and shows users who lack nothing but for one look, the `bad`-th."""

    def __init__(self, plant: Plant, bad: int) -> None:
        self._plant, self._bad, self._looks = plant, bad, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plant.telemetry, name)

    def edge_series(self, metric: Metric, edges: Sequence[EdgeId], *, start_s: float, end_s: float) -> Series:
        seen = self._plant.telemetry.edge_series(metric, edges, start_s=start_s, end_s=end_s)
        then = seen.times_s <= self._plant.clock.now_s() - 20.0
        self._looks += metric is Metric.ERROR_RATIO
        ratio = 0.5 if self._looks == self._bad else 0.0
        values = seen.values[then] if metric is Metric.REQUESTS_RPS else np.full_like(seen.values[then], ratio)
        return Series(seen.times_s[then], values)


@pytest.mark.parametrize(("bad", "recovery_s"), [(0, (0.0, 15.0)), (3, (15.0, 30.0))], ids=["well", "a setback"])
def test_users_who_were_well_before_the_first_write_did_not_recover_by_it(
    rig: Rig, bad: int, recovery_s: tuple[float, float]
) -> None:
    """No roll-out: the watch begins with the first write, and what is seen at its first look is from before."""
    rig.through = lambda plant: with_telemetry(plant, Late(plant, bad))
    change = dataclasses.replace(
        UNDO, actions=(Action(kind="rollout_pause", target="shop/cart"),),
        strategy=dataclasses.replace(UNDO.strategy, settle_s=45.0),
    )  # fmt: skip
    done = rig.run(lambda service: service.promote(receipt_for(change)))
    assert done.outcome is PromotionOutcome.DONE, done.reason
    assert recovery_s[0] <= done.observed_recovery_s < recovery_s[1]


class _TwoJourneys:
    """browse loses half of its 10 users a second, batch all of its 40."""

    name = "prod"

    def __init__(self, scraped_s: float = 95.0) -> None:
        self.telemetry = self.clock = self
        self.scraped_s = scraped_s

    def now_s(self) -> float:
        return 100.0

    def edges(self) -> list[TracedEdge]:
        return [
            TracedEdge(id=EdgeId(caller="user", caller_operation=name, callee="shop/web", callee_operation="serve"))
            for name in ("browse", "batch")
        ]

    def edge_series(self, metric: Metric, edges: Sequence[EdgeId], *, start_s: float, end_s: float) -> Series:
        told = {"browse": (10.0, 0.5), "batch": (40.0, 1.0)}
        figure = 0 if metric is Metric.REQUESTS_RPS else 1
        return Series(np.array([self.scraped_s]), np.array([[told[edge.caller_operation][figure] for edge in edges]]))


def test_trouble_elsewhere_is_another_incidents() -> None:
    plant: Any = _TwoJourneys()
    assert users_of(plant, Prediction(journeys=("browse",))) == Users(95.0, 5.0, 0.5)
    assert users_of(plant, Prediction()) == Users(95.0, 45.0, 1.0)
    untraced = Prediction(journeys=("browse", "checkout"))
    assert users_of(plant, untraced) is UNSEEN, "a journey that nobody traced is not well"


@pytest.mark.parametrize(("usual", "excess"), [((0.5, 0.9), 0.1), ((0.2, 0.99), 0.3), ((0.6, 1.0), 0.0)])
def test_each_journey_is_held_against_its_own_usual_share(usual: tuple[float, ...], excess: float) -> None:
    """As the gate holds it: one that always fails must not excuse another, nor keep everybody from being well."""
    plant: Any = _TwoJourneys()
    seen = users_of(plant, Prediction(journeys=("browse", "batch"), usual=usual))
    assert seen.worst_excess == pytest.approx(excess)


@pytest.mark.parametrize(
    ("seen_s", "told"),
    [
        (None, "no worse than predicted; users are not seen to be well yet"),
        (15.0, "users are well, sooner than predicted"),
        (40.0, "as predicted"),
        (80.0, "as predicted"),  # It was over at 50; the scrape at 65 holds some of it still, that at 80 does not.
        (81.0, "users are well, later than predicted"),
    ],
)
def test_a_recovery_is_told_as_exactly_as_scrapes_can_show_it(seen_s: float | None, told: str) -> None:
    assert recovery_told(Interval(value=35.0, low=30.0, high=50.0), seen_s) == told


def test_a_recovery_that_nobody_predicted_is_told_so() -> None:
    assert "not predicted" in recovery_told(None, 20.0)


def test_late_metrics_are_taken_for_what_they_are_about_and_old_ones_for_nothing() -> None:
    browse = Prediction(journeys=("browse",))
    late: Any = _TwoJourneys(scraped_s=60.0)
    assert users_of(late, browse, window_s=15.0).at_s == 60.0
    stale: Any = _TwoJourneys(scraped_s=30.0)
    assert users_of(stale, browse) is UNSEEN


def test_a_receipt_that_expects_nothing_fits_no_incident(rig: Rig) -> None:
    receipt = receipt_for(symptom_envelope=())
    with pytest.raises(BaseDrifted, match="says nothing of the course"):
        rig.run(lambda service: service.attempt(receipt))
    assert image_of(rig.world()) == BAD_IMAGE
