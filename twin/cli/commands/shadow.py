"""`twin shadow`: make, load and look at clusters that play production."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from twin.cli.output import emit, progress
from twin.spec.units import counted

if TYPE_CHECKING:
    from twin.kube.records import ShadowRecord
    from twin.kube.snapshot import Snapshot
    from twin.spec.fleet import Fleet

__all__ = ["command"]

_NAME = click.option("--name", default="main", show_default=True, help="Which one.")
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


@click.group(name="shadow")
def command() -> None:
    """A shadow is a cluster that plays production: a plan is tried on it before production sees it."""


@command.command(name="up")
@_NAME
@click.option("--node-image", help="The nodes' image; by default kind's own.")
@click.option("--workers", default=0, show_default=True, type=click.IntRange(0, 16), help="Nodes beside the first.")
@click.option("--feature-gate", "gates", multiple=True, metavar="NAME=true|false", help="Of Kubernetes; repeatable.")
@click.option("--context", help="Take this cluster, which is for this alone, instead of making one with kind.")
@click.option("--outside", metavar="HOST:PORT", help="With --context: whom its nodes reach, and its pods must not.")
@click.option("--image-loader", metavar="COMMAND", help="With --context: gives the images in {archive} to its nodes.")
@_JSON
def up(
    name: str,
    node_image: str | None,
    workers: int,
    gates: tuple[str, ...],
    context: str | None,
    outside: str | None,
    image_loader: str | None,
    as_json: bool,
) -> None:
    """Make a cluster, close it towards everything outside, and see what it enforces.

    With --context the cluster is yours: made by whatever you like, empty, and for nothing else. Its pods are kept
    inside by network policies, where its CNI enforces them; a pod tries to reach HOST:PORT before anything is loaded.
    """
    from twin.cli.shadows import given_cluster, pool_here

    pool = pool_here(node_image=node_image, workers=workers, gates=gates)
    pool.check_name(name)
    given = given_cluster(
        context, outside, image_loader, made_here=bool(node_image or workers or gates)
    )  # Before anything is begun.
    started = time.monotonic()
    with progress(quiet=as_json) as bar:
        bar.stage(f"making shadow {name}" if given is None else f"trying the walls of {context}", 1)
        record = pool.up(name) if given is None else pool.adopt(name, given)
        bar.advance()
    text = f"shadow {name} is up after {time.monotonic() - started:.0f} s\n{_enforces_text(record)}"
    emit(as_json, _record_json(record), f"{text}\n  next  twin shadow load SOURCE --name {name}")


@command.command(name="load")
@click.argument("source")
@click.option("--fleet", "fleet_file", type=click.Path(path_type=Path), help="The twin; by default from the manifests.")
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Repeatable; by default those with workloads.")
@click.option("--images", default="stand-ins", show_default=True, type=click.Choice(["stand-ins", "real"]),
              help="What workloads run: stand-ins that play them, or the images that they name.")  # fmt: skip
@_NAME
@_JSON
def load(
    source: str, fleet_file: Path | None, namespaces: tuple[str, ...], images: str, name: str, as_json: bool
) -> None:  # fmt: skip
    """Load SOURCE into a shadow.

    SOURCE is a saved World's file, kube:CONTEXT, a file of manifests, or a folder of them.
    """
    from twin.cli.shadows import pool_here, snapshot_of_source
    from twin.kube.loaded import Images

    snapshot, fleet = snapshot_of_source(source, fleet_file=fleet_file, namespaces=namespaces)
    pool = pool_here()
    started = time.monotonic()
    with progress(quiet=as_json) as bar, pool.borrow(name) as shadow:
        bar.stage(f"loading {counted(len(snapshot.objects), 'object')} into shadow {name}", 1)
        loaded = shadow.load_snapshot(snapshot, fleet, images=Images(images))
        bar.advance()
    facts = {
        "objects": len(snapshot.objects), "namespaces": list(snapshot.namespaces), "digest": snapshot.digest,
        "moved": list(snapshot.moved), "unread": list(snapshot.unread), "requests_scaled": loaded.room,
        "users_scaled": loaded.share, "images": images, "services": len(fleet.services),
    }  # fmt: skip
    text = [
        f"shadow {name} plays {source} after {time.monotonic() - started:.0f} s: {_counted(snapshot, fleet)}",
        f"  scale   requests and quotas of cpu and memory × {loaded.room:.3g}, users × {loaded.share:.3g}",
    ]
    if snapshot.moved:
        text.append(f"  moved   while it was read: {', '.join(snapshot.moved)}")
    emit(as_json, facts, "\n".join([*text, f"  next    twin shadow status --name {name}"]))


@command.command(name="snapshot")
@click.argument("source")
@click.option("-n", "--namespace", "namespaces", multiple=True, help="Repeatable; by default those with workloads.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="The snapshot's file.")
@click.option("--since", type=click.Path(path_type=Path), help="An older snapshot: tell what changed.")
@_JSON
def snapshot(source: str, namespaces: tuple[str, ...], out: Path, since: Path | None, as_json: bool) -> None:
    """Write down what a cluster declares in some namespaces: at one revision, secrets redacted.

    SOURCE is as for `load`.
    """
    from twin.cli.shadows import objects_of_source
    from twin.kube.snapshot import differences, read_snapshot, write_snapshot

    older = read_snapshot(since) if since else None
    taken = objects_of_source(source, namespaces=namespaces)
    write_snapshot(taken, out)
    changed = differences(older, taken) if older else []
    lines = [
        f"{out}: {counted(len(taken.objects), 'object')} of {', '.join(taken.namespaces)}, digest {taken.digest[:12]}"
    ]
    lines += [f"  moved   while it was read: {', '.join(taken.moved)}"] if taken.moved else []
    lines += [f"  unread  {', '.join(taken.unread)}: not there, or not ours to read"] if taken.unread else []
    lines += [f"  {line}" for line in changed] if older else []
    facts = {
        "objects": len(taken.objects), "digest": taken.digest, "version": taken.version, "moved": list(taken.moved),
        "unread": list(taken.unread), "owners": dict(taken.owners), "changed": changed,
    }  # fmt: skip
    emit(as_json, facts, "\n".join(lines))


@command.command(name="status")
@click.option("--name", help="Which one; by default all.")
@_JSON
def status(name: str | None, as_json: bool) -> None:
    """What each shadow enforces, what it plays, and how its users fare."""
    from twin.cli.shadows import pool_here
    from twin.spec.errors import BadInput

    records = [one for one in pool_here().records() if name in (None, one.name)]
    if name is not None and not records:
        raise BadInput(f"there is no shadow {name}", "none of that name was made here", "twin shadow up")
    lines, facts = [], []
    for record in records:
        told, data = _state(record)
        lines.append(f"shadow {record.name}: {told}\n{_enforces_text(record)}")
        facts.append({**_record_json(record), **data})
    emit(as_json, {"shadows": facts}, "\n".join(lines) or "no shadow here\n  next  twin shadow up")


@command.command(name="down")
@_NAME
@_JSON
def down(name: str, as_json: bool) -> None:
    """Take a shadow away, and everything in it. Of a cluster that is yours, what was loaded into it."""
    from twin.cli.shadows import pool_here

    was = pool_here().down(name)
    emit(as_json, {"name": name, "was_there": was}, f"shadow {name} is gone" if was else f"there was no shadow {name}")


def _state(record: ShadowRecord) -> tuple[str, dict[str, object]]:
    """Whether it answers, and its users so far. A shadow that is gone is told of, not an error."""
    from twin.kube.standins import NAMESPACE
    from twin.spec.errors import TwinError

    try:
        api = record.connect()
        nodes = len(api.list_objects("Node"))
        pods = [
            one for one in api.list_objects("Pod") if one["metadata"]["namespace"] not in ("kube-system", NAMESPACE)
        ]
    except TwinError as error:
        return f"does not answer: {error.why}", {"answers": False}
    ready = sum(
        any(c["type"] == "Ready" and c["status"] == "True" for c in one.get("status", {}).get("conditions", ()))
        for one in pods
    )
    what = record.loaded or "nothing loaded"
    return f"{counted(nodes, 'node')}, {ready} of {len(pods)} pods ready; {what}", {
        "answers": True, "nodes": nodes, "pods": len(pods), "ready": ready,
    }  # fmt: skip


def _enforces_text(record: ShadowRecord) -> str:
    seen = [name.replace("_", " ") for name, holds in record.enforces.items() if holds]
    not_seen = [name.replace("_", " ") for name, holds in record.enforces.items() if not holds]
    text = f"  enforces      {', '.join(seen) or 'nothing'}   (each was tried)"
    return text + (f"\n  does not      {', '.join(not_seen)}" if not_seen else "")


def _record_json(record: ShadowRecord) -> dict[str, object]:
    return {
        "name": record.name, "kubeconfig": str(record.kubeconfig) if record.kubeconfig else None,
        "context": record.given.context if record.given else None, "enforces": dict(record.enforces),
        "loaded": record.loaded,
    }  # fmt: skip


def _counted(snapshot: Snapshot, fleet: Fleet) -> str:
    workloads = sum(len(snapshot.of(kind)) for kind in ("Deployment", "StatefulSet", "DaemonSet"))
    return f"{counted(workloads, 'workload')}, {counted(len(fleet.journeys), 'journey')}"
