"""`twin verify`: rehearse a change on the twin, and write a signed receipt if it may go on."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from twin.cli.live import live_options
from twin.cli.output import StageProgress, emit, progress, write_text
from twin.spec.units import counted

if TYPE_CHECKING:
    from twin.kube.shadow import KubeShadow
    from twin.ports.plant import Plant
    from twin.spec.fleet import Fleet
    from twin.spec.incident import Incident
    from twin.spec.verdict import Verdict

__all__ = ["command", "incident_now", "verdict_text"]


@click.command(name="verify")
@click.argument("change_file", type=click.Path(path_type=Path))
@click.option("--prod", required=True, help="A saved World's file, or kube:CONTEXT.")
@click.option("--fleet", "twin_file", required=True, type=click.Path(path_type=Path), help="The twin: twin observe.")
@click.option("--hypothesis", multiple=True, help="What you think is wrong, as 'slow(shop/cart)'.")
@click.option(
    "--shadow",
    default="simulated",
    show_default=True,
    help="Where the mechanics are shown: simulated; kind (any free shadow, or a new one); kind:NAME; none.",
)
@click.option("--images", default="stand-ins", show_default=True, type=click.Choice(["stand-ins", "real"]),
              help="What the shadow's workloads run.")  # fmt: skip
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The receipt.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default="one a core", type=click.IntRange(1, 256),
              help="Processes for the rehearsal.")  # fmt: skip
@click.option("--replications", default=16, show_default=True, type=click.IntRange(16, 4096), help="Paired runs.")
@live_options
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(
    change_file: Path,
    prod: str,
    twin_file: Path,
    hypothesis: tuple[str, ...],
    shadow: str,
    images: str,
    out: Path,
    jobs: int,
    replications: int,
    prometheus: str | None,
    queries: Path | None,
    ops: Path | None,
    as_json: bool,
) -> None:
    """Rehearse a change inside the incident as the twin reproduces it, paired with doing nothing.

    Exit code 0: effective or harmless, and a receipt was written. 3: rejected. 4: inconclusive. 5: denied.
    """
    import policies
    from chaos.catalogue import compile_fault
    from twin.cli.home import ensure_gate_key, keep_evidence
    from twin.cli.targets import compile_here, read_target
    from twin.gate.gate import Gate, Settings
    from twin.gate.receipts import receipt_issuer
    from twin.ports import VerifyRequest
    from twin.receipt import load_signer, read
    from twin.spec.canonical import plain
    from twin.spec.change_file import read_change
    from twin.spec.errors import BadInput
    from twin.spec.fault import parse_fault
    from twin.spec.files import read_fleet

    if shadow not in ("simulated", "none", "kind") and not shadow.startswith("kind:"):
        raise BadInput(
            f"there is no shadow {shadow}", "a shadow is simulated, kind, kind:NAME or none", "twin shadow status"
        )
    if images == "real" and not shadow.startswith("kind"):
        raise BadInput(f"cannot run real images on {shadow}", "only a cluster runs any", "--shadow kind:NAME")
    if out.is_dir():  # Rather now than after the rehearsal.
        raise BadInput(f"cannot write {out}", "it is a folder", "name a file: -o receipt.json")
    change = read_change(change_file)
    faults = tuple(parse_fault(text) for text in hypothesis)
    twin = read_fleet(twin_file)
    for fault in faults:  # A hypothesis that nobody can inject must not be left out in silence.
        compile_fault(fault, twin, start_ns=0)
    plant = read_target(prod, prometheus=prometheus, queries=queries, ops=ops)
    compile_here(change, plant)  # A change that cannot be read is exit 2.
    _refuse_another_fleets(twin, plant, twin_file)
    policy = policies.load()
    with progress(quiet=as_json) as bar, _shadow(shadow, images, prod, plant, twin, bar) as cluster:
        gate = Gate(
            twin, plant, policy,
            settings=Settings(jobs=jobs, replications=replications, mechanics=shadow == "simulated"),
            issue=receipt_issuer(
                plant, twin, load_signer(ensure_gate_key()), policy_revision=policy.revision, median_error_ratio=None
            ),
            progress=bar, shadow=cluster,
        )  # fmt: skip
        answer = gate.verify(
            VerifyRequest(incident=incident_now(plant), hypotheses=faults, candidates=(change,))
        )  # fmt: skip
    judged = answer.judged[0]
    trial = gate.last_trial
    if trial is not None:
        keep_evidence(trial)
    gone, needed = False, 0
    if judged.receipt is not None:
        write_text(out, json.dumps(judged.receipt, indent=1))
        needed = read(judged.receipt).approvals_needed
    else:
        gone = _remove_older_receipt(out)
    text = verdict_text(
        change_file, judged.verdict, out if judged.receipt else None, prod=prod, approvals_needed=needed
    )
    if gone:
        text += f"\n  gone  {out}: an older receipt lay there; it was not about this verdict, and was removed"
    emit(as_json, {"verdict": plain(judged.verdict), "receipt": str(out) if judged.receipt else None}, text)
    raise click.exceptions.Exit(judged.verdict.outcome.exit_code)


@contextmanager
def _shadow(
    asked: str, images: str, prod: str, plant: Plant, twin: Fleet, bar: StageProgress
) -> Iterator[KubeShadow | None]:  # fmt: skip
    """A cluster for us alone that plays production as it is now; None where none is asked for."""
    if not asked.startswith("kind"):
        yield None
        return
    from twin.cli.shadows import namespaces_of, pool_here
    from twin.kube.loaded import Images
    from twin.kube.snapshot import take_snapshot

    snapshot = take_snapshot(plant.kube, namespaces_of(twin), source=prod)
    pool = pool_here()
    bar.stage("preparing the shadow", 1)
    with pool.borrow(asked.partition(":")[2] or None) as cluster:
        cluster.load_snapshot(snapshot, twin, images=Images(images))
        bar.advance()
        yield cluster


def incident_now(plant: Plant) -> Incident:
    """The incident that the target's own alerts describe; empty if nothing is wrong."""
    from twin.spec.incident import Incident
    from twin.spec.signal import SignalKind, Symptom

    firing: dict[tuple[str, str], tuple[float, Symptom]] = {}
    for _, signal in plant.telemetry.signals(after=0):
        if signal.symptom is None:
            continue
        key = (str(signal.symptom.service), str(signal.symptom.kind))
        if signal.kind is SignalKind.ALERT:
            firing[key] = (signal.at_s, signal.symptom)
        elif signal.kind is SignalKind.RESOLVED:
            firing.pop(key, None)
    now_s = plant.clock.now_s()
    onset_s = min((at_s for at_s, _ in firing.values()), default=now_s) - 30.0
    title = counted(len(firing), "alert") if firing else "no incident"
    return Incident(
        id=f"at-{now_s:.0f}", title=title, onset_s=onset_s, symptoms=tuple(symptom for _, symptom in firing.values())
    )


def _refuse_another_fleets(twin: Fleet, plant: Plant, twin_file: Path) -> None:
    """Raises BadInput for a twin of which nothing is in production: nobody meant that one."""
    from twin.spec.errors import BadInput

    if not {service.id for service in twin.services} & set(plant.telemetry.services()):
        raise BadInput(
            f"cannot rehearse on {twin_file}", f"{plant.name} has none of its services: it is another fleet's twin",
            "observe this one: twin observe",
        )  # fmt: skip


def _remove_older_receipt(path: Path) -> bool:
    """Whoever promotes what lies there would promote another verdict. Nothing but a receipt is removed."""
    from twin.receipt import read
    from twin.spec.errors import TwinError

    try:
        read(path.read_bytes())
    except (OSError, TwinError):
        return False
    path.unlink()
    return True


def verdict_text(
    change_file: Path, verdict: Verdict, receipt: Path | None, *, prod: str = "TARGET", approvals_needed: int = 0
) -> str:
    """The verdict as UX.md draws it: why, the worst, how sure, what next.

    A suspect is never cut or wrapped, however long: it is what --hypothesis takes.
    """
    from twin.spec.fault import fault_text
    from twin.spec.verdict import Outcome

    lines = [f"{verdict.outcome.upper():<10} {change_file}".ljust(78) + f" exit {verdict.outcome.exit_code}"]
    lines.append(f"  why   {verdict.reason}")
    if verdict.harmed:
        worst = verdict.harmed[0]
        lines.append(
            f"  worst {worst.service} +{worst.worst_rps:g} failed requests/s for {worst.minutes:.1f} min"
            f" · {counted(len(verdict.harmed), 'service')} harmed"
        )
    if verdict.effect is not None and verdict.harm is not None:
        effect, harm = verdict.effect, verdict.harm
        lines.append(
            f"  sure  effect {effect.value:.2f} ({effect.low:.2f}–{effect.high:.2f}), "
            f"harm {harm.value:.2f} ({harm.low:.2f}–{harm.high:.2f}), {verdict.replications} paired runs"
        )
    for number, suspect in enumerate(verdict.suspects[:3]):
        name = fault_text(suspect.fault) if suspect.fault else "none of these"
        lines.append(f"  {'looks like' if number == 0 else '':<10} {suspect.weight:.2f}  {name}")
    if verdict.prediction.recovery_s is not None and verdict.outcome is Outcome.EFFECTIVE:
        recovery = verdict.prediction.recovery_s
        lines.append(f"  then  recovers in {recovery.value:.0f} s ({recovery.low:.0f}–{recovery.high:.0f})")
    if receipt is not None:
        if verdict.outcome is Outcome.HARMLESS:
            lines.append("  but   not seen to end anything: it may not be promoted, unless safety_nets.yaml says so")
            lines.append(
                "  next  the same with what you think is wrong: --hypothesis 'FAULT' (faults: twin chaos list)"
            )
        else:
            lines += _next_lines(receipt, prod, approvals_needed)
    else:
        lines.append("  next  try another change; no receipt was written")
    return "\n".join(lines)


def _next_lines(receipt: Path, prod: str, approvals_needed: int) -> list[str]:
    """Whole commands, in the order in which they are to be typed."""
    at = [str(receipt), "--prod", prod]
    approve = f"{shlex.join(['twin', 'approve', *at])} --key NAME"
    who = "another person's key: twin keys new --name NAME"
    commands = [f"{approve}   ({approvals_needed} needed; {who})"] if approvals_needed else []
    commands += [shlex.join(["twin", "promote", *at]), shlex.join(["twin", "receipt", "show", str(receipt)])]
    return [f"  {'next' if number == 0 else '':<4}  {command}" for number, command in enumerate(commands)]
