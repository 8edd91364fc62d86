"""kill -9 of `twin promote` at every step: the next run finishes or undoes; never twice, never half and forgotten."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import policies
from chaos.catalogue import compile_fault
from tests.small_shop import small_shop
from twin.fit.observe import observe
from twin.fleet.plant import plant_of
from twin.fleet.world import World
from twin.fleet.world_file import load_world, store_world
from twin.gate.gate import Gate, Settings
from twin.gate.receipts import receipt_issuer
from twin.ports import VerifyRequest
from twin.promote.journal import Journal, Status
from twin.receipt import KeyRole, load_signer, new_key, trust_key
from twin.spec.change import Action, Change, Strategy
from twin.spec.fault import parse_fault
from twin.spec.incident import Incident
from twin.spec.signal import SignalKind
from twin.spec.units import NS_PER_S

ROOT = Path(__file__).parents[2]
FAULT = "bad_rollout(shop/cart, image=cart:v2, ratio=0.5)"


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a production in trouble, a receipt for the cure, and the keys to believe it."""
    folder = tmp_path_factory.mktemp("verified")
    world = World.build(small_shop(), seed=3)
    world.run(300 * NS_PER_S)
    plant = plant_of(world, name="prod")
    twin = observe(plant, window_s=300.0)
    world.inject(compile_fault(parse_fault(FAULT), world.fleet, start_ns=world.now_ns))
    world.run(390 * NS_PER_S)
    symptoms = tuple(s.symptom for _, s in world.state.signals if s.kind is SignalKind.ALERT and s.symptom)
    change = Change(
        actions=(Action(kind="rollout_undo", target="shop/cart"),), reason="the new build fails", requester="agent",
        strategy=Strategy(canary_ratio=0.34, watch_s=15.0, settle_s=30.0),
    )  # fmt: skip
    keys = folder / "home/keys"
    keys.mkdir(parents=True)
    trust_key(new_key(keys / "gate.key", "gate-here"), folder / "home/trusted", KeyRole.GATE)
    policy = policies.load()
    gate = Gate(
        twin, plant, policy, settings=Settings(),
        issue=receipt_issuer(
            plant, twin, load_signer(keys / "gate.key"), policy_revision=policy.revision, median_error_ratio=None
        ),
    )  # fmt: skip
    incident = Incident(id="1", title="t", onset_s=plant.clock.now_s() - 60.0, symptoms=symptoms)
    answer = gate.verify(VerifyRequest(incident=incident, hypotheses=(parse_fault(FAULT),), candidates=(change,)))
    assert answer.judged[0].receipt is not None, answer.judged[0].verdict.reason
    (folder / "receipt.json").write_text(json.dumps(answer.judged[0].receipt))
    store_world(folder / "prod.world", world)
    return folder


def promote(folder: Path, *kill: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TWIN_HOME": str(folder / "home"), "PYTHONPATH": str(ROOT)}
    module = ["tests.end_to_end.killed_promoter"] if kill else ["twin.cli.main", "promote"]
    arguments = ["receipt.json", "prod.world", *kill] if kill else ["receipt.json", "--prod", "prod.world"]
    return subprocess.run(
        [sys.executable, "-m", *module, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


@pytest.mark.timeout(900)
@pytest.mark.requirement("R2", "R22")
def test_killed_at_every_step_the_next_run_finishes_or_undoes(verified: Path, tmp_path: Path) -> None:
    wounded = load_world(verified / "prod.world")
    bad = wounded.state.templates[int(wounded.state.template[1])].image
    good = small_shop().services[1].image
    assert bad != good
    step, unkilled = 0, False
    while not unkilled:
        step += 1
        # Two of three steps one way, the third the other: both sides of every kind of step, in half the time.
        when = "before" if step % 3 == 0 else "after"
        folder = tmp_path / f"{step}"
        shutil.copytree(verified, folder)
        killed = promote(folder, str(step), when)
        unkilled = killed.returncode >= 0
        after_kill = Journal(folder / "home/journal.sqlite").promotions() if not unkilled else []
        again = promote(folder)
        world = load_world(folder / "prod.world")
        image = world.state.templates[int(world.state.template[1])].image
        revision = max(t.revision for t in world.state.templates if t.service == 1)
        statuses = [p.status for p in Journal(folder / "home/journal.sqlite").promotions()]
        told = f"step {step} {when}: {after_kill} -> {statuses}; {again.stdout} {again.stderr}"
        assert Status.OPEN not in statuses, told
        assert not world.state.paused.any(), told
        assert Status.DONE not in statuses or revision == 3, told  # Applied once, and nothing else was.
        assert (image == good) == (Status.DONE in statuses), told
        assert statuses.count(Status.DONE) <= 1, told
    assert step > 8
