"""`twin world`: make, run and look at a simulated production."""

from __future__ import annotations

from pathlib import Path

import click

from twin.cli.output import emit, progress

__all__ = ["command"]


@click.group(name="world")
def command() -> None:
    """Make, run and look at a simulated production."""


@command.command("new")
@click.argument("fleet", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, help="The World's file.")
@click.option(
    "--seed",
    default=1,
    show_default=True,
    type=click.IntRange(0, 2**63 - 1),
    help="Of everything that is random in it.",
)
@click.option(
    "--engine", default="tick", show_default=True, type=click.Choice(["tick", "simpy"]), help="Traffic engine."
)
@click.option("--force", is_flag=True, help="Replace a World that is there, with all that happened in it.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def new(fleet: Path, out: str, seed: int, engine: str, force: bool, as_json: bool) -> None:
    """Build a World from a fleet file, at its time zero, every pod ready."""
    from twin.cli.targets import save_world
    from twin.fleet.world import World
    from twin.spec.errors import BadInput
    from twin.spec.files import read_fleet

    if Path(out).exists() and not force:
        raise BadInput(f"cannot write {out}", "it exists, with all that happened in it", "name another; or add --force")
    world = World.build(read_fleet(fleet), seed=seed, traffic=engine)  # type: ignore[arg-type]
    save_world(out, world)
    emit(as_json, _facts(world), f"{out}: {_line(world)}")


@command.command("run")
@click.argument("world_file")
@click.option("--for", "duration", required=True, help="How long, as 10m.")
@click.option("--inject", multiple=True, help="A fault that strikes now, as 'slow(shop/cart, factor=8)'.")
@click.option("--until", "fault_duration", default=None, help="The fault ends after this long, as 2m.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def run(world_file: str, duration: str, inject: tuple[str, ...], fault_duration: str | None, as_json: bool) -> None:
    """Let a World run on, with a fault or without."""
    from chaos.catalogue import compile_fault
    from twin.cli.targets import locked_world, save_world
    from twin.spec.errors import BadInput
    from twin.spec.fault import parse_fault
    from twin.spec.units import NS_PER_S, ns, parse_duration_s

    length_ns = ns(parse_duration_s(duration))
    with progress(quiet=as_json) as bar, locked_world(world_file) as world:
        start_ns, seen = world.now_ns, world.state.signal_cursor
        end_ns = None if fault_duration is None else start_ns + ns(parse_duration_s(fault_duration))
        if end_ns is not None and not inject:
            raise BadInput("--until ends nothing", "no fault is injected", "add --inject 'slow(shop/cart, factor=8)'")
        for text in inject:
            world.inject(compile_fault(parse_fault(text), world.fleet, start_ns=start_ns, end_ns=end_ns))
        steps = max(length_ns // (60 * NS_PER_S), 1)
        bar.stage(f"running {duration}", steps)
        for step in range(steps):
            world.run(start_ns + length_ns * (step + 1) // steps)
            bar.advance()
        save_world(world_file, world)
        alerts = [s.text for cursor, s in world.state.signals if cursor > seen and s.kind == "alert"]
        lines = [f"{world_file}: {_line(world)}", *(f"  alert  {text}" for text in alerts[:12])]
        if len(alerts) > 12:
            lines.append(f"  … and {len(alerts) - 12} more alerts")
        emit(as_json, {**_facts(world), "alerts": alerts}, "\n".join(lines))


@command.command("status")
@click.argument("world_file")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def status(world_file: str, as_json: bool) -> None:
    """How a World is, as its monitoring shows it."""
    from twin.cli.targets import open_world

    world = open_world(world_file)
    emit(as_json, _facts(world), f"{world_file}: {_line(world)}")


def _facts(world: object) -> dict[str, object]:
    from twin.fleet.world import World
    from twin.spec.units import seconds

    assert isinstance(world, World)
    scrape = world.history.scrapes[-1] if world.history.scrapes else None
    journeys = len(world.fleet.journeys)
    rates = scrape.edges[3, :journeys] if scrape is not None else None
    failing = float((scrape.edges[4, :journeys] * rates).sum()) if scrape is not None and rates is not None else 0.0
    total = float(rates.sum()) if rates is not None else 0.0
    return {
        "at_s": seconds(world.now_ns),
        "services": len(world.fleet.services),
        "pods_ready": int(world.state.pod_ready.sum()),
        "users_rps": round(total, 1),
        "users_let_down_ratio": round(failing / total, 4) if total else 0.0,
        "alerts_firing": int(world.state.alert_on.sum()),
    }


def _line(world: object) -> str:
    facts = _facts(world)
    return (
        f"{facts['services']} services, {facts['pods_ready']} pods ready, {facts['users_rps']} users/s, "
        f"{float(str(facts['users_let_down_ratio'])):.1%} let down, {facts['alerts_firing']} alerts, "
        f"at {facts['at_s']:g} s"
    )
