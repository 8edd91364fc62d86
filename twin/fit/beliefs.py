"""Draw a twin's uncertain figures, once a replication.

Work per request and journeys' rates are drawn log-normally around their beliefs' values. Figures that were
declared are taken as they are; what the fluid tick cannot vary without being compiled anew (limits,
time-outs) is listed in docs/LIMITS.md.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from twin.fleet.draws import Purpose, entity_of, uniform
from twin.fleet.world import World
from twin.spec.fleet import Belief, Source
from twin.spec.ids import op_id
from twin.spec.parameters import journey_path, op_path

__all__ = ["count_by_source", "vary"]

_NORMAL = NormalDist()


def vary(world: World, replication: int) -> None:
    """Multiply speeds and rates by draws from the fleet's beliefs. Replication 0 is the point estimate."""
    beliefs = world.fleet.beliefs
    if replication == 0 or not beliefs:
        return
    state = world.state
    for index, service in enumerate(world.fleet.services):
        spreads = [
            belief.spread
            for operation in service.operations
            if (belief := beliefs.get(op_path(op_id(service.id, operation.name), "work", 0, "mean_s"))) is not None
        ]
        if spreads:
            state.service_speed[index] = 1.0 / _factor(state.seed, replication, service.id, max(spreads))
    for index, journey in enumerate(world.fleet.journeys):
        belief = beliefs.get(journey_path(journey.name, "rate_rps"))
        if belief is not None:
            state.journey_scale[index] = _factor(state.seed, replication, f"user:{journey.name}", belief.spread)
    state.pools_due_ns = min(state.pools_due_ns, state.now_ns)


def count_by_source(beliefs: dict[str, Belief]) -> dict[Source, int]:
    """How many figures were measured, declared, or taken from priors."""
    return {source: sum(belief.source is source for belief in beliefs.values()) for source in Source}


def _factor(seed: int, replication: int, name: str, spread: float) -> float:
    draw = uniform(seed, replication, entity_of(name), int(Purpose.BELIEFS), 0)
    return math.exp(spread * _NORMAL.inv_cdf(draw))
