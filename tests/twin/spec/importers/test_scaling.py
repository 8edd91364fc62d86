"""How many pods there are, as objects declare it: read of whatever they hold."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twin.spec.fleet import Autoscaling, Disruption, RollingUpdate
from twin.spec.importers.scaling import autoscaling_of, disruption_of, rolling_update_of


@pytest.mark.parametrize(
    ("spec", "kept"),
    [({"minAvailable": 2}, 2), ({"minAvailable": "50%"}, 3), ({"maxUnavailable": 1}, 4), ({"maxUnavailable": "25%"}, 3),
     ({"maxUnavailable": 9}, 0)],
)  # fmt: skip
def test_a_budget_keeps_pods_however_it_says_so(spec: dict[str, Any], kept: int) -> None:
    """Of five replicas; shares are rounded up, as Kubernetes does."""
    budget = {"metadata": {"name": "cart-pdb"}, "spec": spec}
    assert disruption_of(budget, "cart", 5, shared=False) == Disruption(min_available=kept, name="cart-pdb")
    assert disruption_of(budget, "cart-pdb", 5, shared=False) == Disruption(min_available=kept)
    assert disruption_of(budget, "cart", 5, shared=True) == Disruption(min_available=kept)


def test_a_budget_that_does_not_say_is_none() -> None:
    assert disruption_of({"spec": {}}, "cart", 5, shared=False) is None


def test_an_autoscaler_keeps_its_name_where_it_has_one_of_its_own() -> None:
    scaler = {"metadata": {"name": "hpa"}, "spec": {"maxReplicas": 8, "targetCPUUtilizationPercentage": 60}}
    wanted = Autoscaling(min_replicas=1, max_replicas=8, cpu_target_ratio=0.6, name="hpa")
    assert autoscaling_of(scaler, "cart") == wanted


@pytest.mark.parametrize(
    ("rolling", "replicas", "surge", "unavailable"),
    [({}, 4, 0.25, 0.25), ({"maxSurge": 1, "maxUnavailable": 0}, 4, 0.25, 0.0), ({"maxSurge": "50%"}, 3, 0.5, 0.25)],
)
def test_a_roll_outs_room_is_a_count_or_a_share(
    rolling: dict[str, Any], replicas: int, surge: float, unavailable: float
) -> None:
    found = rolling_update_of({"strategy": {"rollingUpdate": rolling}}, replicas)
    assert (found.max_surge_ratio, found.max_unavailable_ratio) == pytest.approx((surge, unavailable))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["name", "metadata", "spec", "minReplicas", "maxReplicas", "metrics", "resource", "target",
                         "minAvailable", "maxUnavailable", "strategy", "rollingUpdate", "maxSurge", "type"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "strategy"]), anything), st.integers(0, 50))
def test_whatever_an_object_holds_it_is_read_or_left_out(obj: dict[str, Any], replicas: int) -> None:
    scaling, kept = autoscaling_of(obj, "w"), disruption_of(obj, "w", replicas, shared=False)
    assert scaling is None or scaling.max_replicas >= max(1, scaling.min_replicas)
    assert kept is None or kept.min_available >= 0
    assert isinstance(rolling_update_of(obj, replicas), RollingUpdate)
