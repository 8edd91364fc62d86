"""Every 15 s the counts become a scrape, and the alert rules look at it."""

from __future__ import annotations

from typing import ClassVar

from twin.fleet.blueprint import Blueprint
from twin.fleet.state import State
from twin.fleet.systems.base import Rank
from twin.fleet.telemetry.alerts import evaluate
from twin.fleet.telemetry.history import SCRAPE_NS, History

__all__ = ["ScrapeSystem"]


class ScrapeSystem:
    rank: ClassVar = Rank.SCRAPE
    wakes_on: ClassVar = frozenset({"scrape_due_ns"})
    writes: ClassVar = frozenset(
        """scrape_due_ns restarts_since_scrape alert_since_ns alert_on usual_latency_s usual_rate_rps signals
        signal_cursor""".split()
    )

    def __init__(self, blueprint: Blueprint, history: History) -> None:
        self._blueprint = blueprint
        self._history = history

    def next_due(self, state: State) -> int:
        return state.scrape_due_ns

    def step(self, state: State, now_ns: int) -> None:
        if state.scrape_due_ns > now_ns:
            return
        state.scrape_due_ns = now_ns + SCRAPE_NS
        if self._history.running.ticks == 0:
            return  # Time zero: nothing has flowed yet.
        scrape = self._history.scrape(state, now_ns)
        state.restarts_since_scrape[:] = 0
        evaluate(self._blueprint, state, scrape, now_ns)
