"""Each fault does to a World what its name says, seen as production would show it; each can be a hypothesis."""

from __future__ import annotations

import pytest

from chaos.catalogue import compile_fault, complete, fault_types
from tests.small_shop import small_shop
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.ports.plant import Metric
from twin.spec.errors import BadInput
from twin.spec.fault import fault_text, parse_fault
from twin.spec.ids import ServiceId
from twin.spec.units import NS_PER_S

STRIKE_S, END_S = 120, 300


def after(fault: str, metric: Metric, service: str) -> tuple[float, float]:
    """(mean before, worst after) of a metric when the fault strikes."""
    world = World.build(small_shop(), seed=5)
    world.inject(compile_fault(parse_fault(fault), world.fleet, start_ns=STRIKE_S * NS_PER_S))
    world.run(END_S * NS_PER_S)
    plant = plant_of(world)
    epoch = world.fleet.epoch_s
    before = plant.telemetry.series(metric, [ServiceId(service)], start_s=epoch + 30, end_s=epoch + STRIKE_S).values
    later = plant.telemetry.series(metric, [ServiceId(service)], start_s=epoch + STRIKE_S, end_s=epoch + END_S).values
    worst = later.min() if metric is Metric.READY_REPLICAS else later.max()
    return float(before.mean()), float(worst)


@pytest.mark.requirement("R21")
@pytest.mark.parametrize(
    ("fault", "metric", "service", "factor"),
    [
        ("slow(shop/catalog, factor=3)", Metric.LATENCY_MEAN_S, "shop/catalog", 2.0),
        ("errors(shop/catalog, ratio=0.3)", Metric.ERROR_RATIO, "shop/catalog", 0.0),
        ("crash_loop(shop/catalog)", Metric.RESTARTS, "shop/catalog", 0.0),
        ("bad_rollout(shop/cart, ratio=0.4)", Metric.ERROR_RATIO, "shop/cart", 0.0),
        ("memory_leak(shop/cart, minutes=1)", Metric.RESTARTS, "shop/cart", 0.0),
        ("load_spike(browse, factor=3)", Metric.REQUESTS_RPS, "shop/web", 2.0),
        ("held_slots(shop/db)", Metric.ERROR_RATIO, "shop/orders", 0.0),
    ],
)
def test_a_fault_shows_where_it_strikes(fault: str, metric: Metric, service: str, factor: float) -> None:
    before, worst = after(fault, metric, service)
    assert worst > max(before * factor, before + 1e-3)


def test_a_lost_node_takes_its_pods_out() -> None:
    before, worst = after("node_loss(a-0)", Metric.READY_REPLICAS, "shop/catalog")
    assert worst < before


def test_every_kind_is_listed_with_defaults_that_can_be_used() -> None:
    kinds = fault_types()
    assert [kind.kind for kind in kinds] == sorted(kind.kind for kind in kinds)
    assert len(kinds) >= 8


@pytest.mark.parametrize(
    "text", ["slow", "slow()", "slow(shop/cart", "fly(shop/cart)", "slow(shop/nobody)", "slow(shop/cart, factor=nan)",
             "slow(shop/cart, factor=-1)", "slow(shop/cart, speed=2)", "held_slots(shop/cart)",
             "errors(shop/cart, ratio=2)", "node_loss(nowhere)"]
)  # fmt: skip
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        compile_fault(parse_fault(text), small_shop(), start_ns=0)


def test_a_fault_reads_back_as_it_was_written() -> None:
    fault = complete(parse_fault("slow(shop/cart, factor=8)"))
    assert parse_fault(fault_text(fault)) == fault
