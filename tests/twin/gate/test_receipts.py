"""What the gate signs of the course that it expects."""

from __future__ import annotations

import dataclasses

import pytest

from tests.small_shop import small_shop
from tests.twin.promote.rehearsed import AS_BAD_AS_NOTHING, UNDO, keys, wounded
from twin.change.compile import compile_change
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.gate.gate import Evidence
from twin.gate.receipts import receipt_issuer
from twin.ports.users import users_of
from twin.receipt import read
from twin.spec.receipt import EnvelopePoint, EvidenceLevel
from twin.spec.verdict import Interval, Outcome, Prediction, StageName, StageResult, StageVerdict, Verdict

TIMES_S = tuple(5.0 * number for number in range(121))


def course(low_rps: float, high_rps: float) -> Prediction:
    """Doing nothing lets down so many users a second, from now on."""
    flat = {"times_s": TIMES_S, "change_rps": (0.0,) * 121}
    same = dict.fromkeys(("nothing_rps", "nothing_low_rps", "change_low_rps", "change_high_rps"), (low_rps,) * 121)
    return dataclasses.replace(AS_BAD_AS_NOTHING, **flat, **same, nothing_high_rps=(high_rps,) * 121)


def envelope(prediction: Prediction) -> tuple[EnvelopePoint, ...]:
    plant = plant_of(World.restore(wounded()), name="prod")
    passed = tuple(
        StageResult(stage=stage, verdict=StageVerdict.PASS, reason="")
        for stage in (StageName.REPRODUCTION, StageName.REHEARSAL)
    )
    verdict = Verdict(
        outcome=Outcome.EFFECTIVE, reason="", stages=passed, effect=Interval(value=1.0, low=0.8, high=1.0),
        harm=Interval(value=0.0, low=0.0, high=0.2), harmed=(), helped=(), suspects=(), prediction=prediction,
        replications=16, seeds=(),
    )  # fmt: skip
    plan = compile_change(UNDO, plant.kube, at_s=plant.clock.now_s())
    issue = receipt_issuer(plant, small_shop(), keys().gate, policy_revision="0" * 64, median_error_ratio=None)
    evidence = Evidence(change=UNDO, plan=plan, verdict=verdict, scene=None, level=EvidenceLevel.SIMULATED)  # type: ignore[arg-type]
    return read(issue(evidence)).symptom_envelope[0].points


@pytest.fixture(scope="module")
def seen_rps() -> float:
    return users_of(plant_of(World.restore(wounded())), AS_BAD_AS_NOTHING).let_down_rps


@pytest.mark.parametrize("factor", [10.0, 0.1], ids=["just begun", "just over its worst"])
def test_what_production_shows_at_that_moment_is_no_other_incident(seen_rps: float, factor: float) -> None:
    """A mean over half a minute lags behind what was rehearsed; half a minute later it does not any more."""
    points = envelope(course(seen_rps * factor, seen_rps * factor))
    for point in points:
        fits = point.low <= seen_rps <= point.high
        assert fits is (point.t_s <= 45.0), point
