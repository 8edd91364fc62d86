"""`twin generate`: a fleet that looks like the large ones that were measured."""

from __future__ import annotations

from pathlib import Path

import click

from twin.cli.output import emit, write_text

__all__ = ["command"]


@click.command(name="generate")
@click.option("--services", required=True, type=int, help="How many.")
@click.option("--seed", default=1, show_default=True, type=int, help="The same seed gives the same fleet.")
@click.option("--calls", default=3.0, show_default=True, help="Different calls in an operation's program, on average.")
@click.option("--rate", default=4.0, show_default=True, help="User requests a second for each service there is.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The fleet's file (.yaml or .json).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")
def command(services: int, seed: int, calls: float, rate: float, out: Path, as_json: bool) -> None:
    """Make a fleet with the shape of published ones: few hubs, few calls a request, uneven traffic."""
    from twin.spec.files import write_fleet, write_fleet_json
    from twin.spec.generators import generate

    fleet = generate(services, seed, calls=calls, rate_per_service_rps=rate)
    write_text(out, write_fleet_json(fleet) if out.suffix.lower() == ".json" else write_fleet(fleet))
    pods = sum(service.replicas for service in fleet.services)
    nodes = sum(pool.count for pool in fleet.node_pools)
    rate_rps = sum(journey.rate_rps for journey in fleet.journeys)
    facts = {
        "file": str(out),
        "services": len(fleet.services),
        "pods": pods,
        "nodes": nodes,
        "journeys": len(fleet.journeys),
        "rate_rps": round(rate_rps, 1),
        "seed": seed,
    }
    text = f"{out}: {services:,} services, {pods:,} pods on {nodes:,} nodes, {rate_rps:,.0f} requests/s (seed {seed})"
    emit(as_json, facts, text)
