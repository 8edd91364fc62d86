"""Small scenarios for tests: the small shop as a fleet file, and productions that are struck at once."""

from __future__ import annotations

from pathlib import Path

from scenarios.files import read_scenario
from scenarios.model import Scenario
from scenarios.record import Record
from tests.small_shop import small_shop
from twin.spec.files import write_fleet

__all__ = ["TEXT", "record", "small_scenario", "write_scenario"]

TEXT = """\
apiVersion: twin/v1alpha1
kind: Scenario
name: small
title: A new build of the cart answers with errors
fleet: {file: shop.yaml}
calm: 3m
timeline:
  - {fault: "bad_rollout(shop/cart, ratio=0.5)"}
replay:
  - {fault: "slow(shop/cart, factor=1.2)", for: 30s}
fixes:
  - name: undo the roll-out
    actions:
      - {kind: rollout_undo, target: shop/cart}
traps:
  - name: restart it
    actions:
      - {kind: restart, target: shop/cart}
oracle: {window: 2m}
budgets: {episode: 6m, act_after: 1m}
"""


def write_scenario(folder: Path, text: str = TEXT) -> Path:
    """The scenario's file in a folder, with its fleet beside it."""
    (folder / "shop.yaml").write_text(write_fleet(small_shop(rate_rps=60.0)), encoding="utf-8")
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def small_scenario(folder: Path, text: str = TEXT) -> Scenario:
    return read_scenario(write_scenario(folder, text))


def record(scenario: str = "a", seed: int = 1, brain: str = "x", gate: str = "off", **values: object) -> Record:
    return Record(scenario=scenario, seed=seed, brain=brain, gate=gate, **values)  # type: ignore[arg-type]
