"""Shadows as the commands know them: this home's pool, and what is to be played."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twin.cli.doctor_tools import find_tool
from twin.cli.home import home
from twin.spec.errors import BadInput

if TYPE_CHECKING:
    from twin.kube.given import GivenCluster
    from twin.kube.pool import ShadowPool
    from twin.kube.snapshot import Snapshot
    from twin.ports.plant import KubeApi
    from twin.spec.fleet import Fleet
    from twin.spec.importers import ManifestText

__all__ = [
    "given_cluster",
    "namespaces_of",
    "objects_of_source",
    "pool_here",
    "snapshot_of_source",
    "workload_namespaces",
]

LIVE: Final = "kube:"


def pool_here(*, node_image: str | None = None, workers: int = 0, gates: Sequence[str] = ()) -> ShadowPool:
    """The shadows of TWIN_HOME. TWIN_NODE_IMAGE and TWIN_FEATURE_GATES (NAME=false,…) say how new ones are made where
    no option does. Raises BadInput for a gate that cannot be read."""
    from twin.kube.pool import PoolSettings, ShadowPool

    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    tools = Path(os.environ.get("TWIN_TOOLS") or cache / "twin" / "tools")
    said = gates or [one for one in os.environ.get("TWIN_FEATURE_GATES", "").split(",") if one]
    switched = {}
    for one in said:
        name, _, value = one.partition("=")
        if not name or value not in ("true", "false"):
            raise BadInput(f'cannot use the feature gate "{one}"', "it is not NAME=true or NAME=false", "correct it")
        switched[name] = value == "true"
    image = node_image or os.environ.get("TWIN_NODE_IMAGE") or None
    built = find_tool("kind")
    if shutil.which("kind") is None and built is not None:  # The one that `make real-tools` built.
        os.environ["PATH"] = f"{os.environ.get('PATH', '')}{os.pathsep}{built.parent}"
    return ShadowPool(
        home() / "shadows", cache=tools, settings=PoolSettings(image=image, workers=workers, gates=switched)
    )


def given_cluster(
    context: str | None, outside: str | None, loader: str | None, *, made_here: bool
) -> GivenCluster | None:  # fmt: skip
    """The cluster that options name; None if one is to be made. Raises BadInput."""
    if context is None:
        if outside or loader:
            raise BadInput(
                "whose --outside or --image-loader is it?", "a cluster that is made here needs neither",
                "name your cluster: --context, or leave them out",
            )  # fmt: skip
        return None
    if made_here:
        raise BadInput(
            f"cannot make {context}", "it is a cluster already: its nodes and its gates are its own",
            "leave out --node-image, --workers and --feature-gate",
        )  # fmt: skip
    if not outside:
        raise BadInput(
            f"cannot try the walls of {context}", "nobody outside is named",
            "--outside HOST:PORT: a TCP port that its nodes can reach and its pods must not",
        )  # fmt: skip
    from twin.kube.given import GivenCluster

    return GivenCluster(context=context, beyond=outside, loader=loader or "")


def snapshot_of_source(
    source: str, *, fleet_file: Path | None, namespaces: Sequence[str]
) -> tuple[Snapshot, Fleet]:  # fmt: skip
    """What is to be played, and by which programs: of a World, a live cluster, a snapshot's file, or manifests.

    Raises BadInput, ComponentMissing, ApiError.
    """
    from twin.spec.files import read_fleet
    from twin.spec.importers import import_kubernetes

    if fleet_file is not None:
        fleet = read_fleet(fleet_file)
        return objects_of_source(source, namespaces=namespaces or namespaces_of(fleet)), fleet
    if _is_cluster(source) or _is_snapshot(Path(source)):
        raise BadInput(f"cannot play {source}", "nothing says what its services do", "name a twin: --fleet twin.fleet")
    fleet = import_kubernetes(_manifests(source), name=Path(source).resolve().stem).fleet
    return objects_of_source(source, namespaces=namespaces), fleet


def objects_of_source(source: str, *, namespaces: Sequence[str]) -> Snapshot:
    """What a World, a cluster, a snapshot's file or manifests declare. Raises BadInput, ComponentMissing, ApiError."""
    from twin.kube import connect
    from twin.kube.declared import DeclaredObjects
    from twin.kube.snapshot import read_snapshot, take_snapshot

    path = Path(source)
    if _is_cluster(source):
        if source.startswith(LIVE):
            live = connect(context=source.removeprefix(LIVE) or None)
            return take_snapshot(live, namespaces or workload_namespaces(live), source=source)
        from twin.cli.targets import open_world
        from twin.fleet.plant import plant_of

        kube = plant_of(open_world(source)).kube
        return take_snapshot(kube, namespaces or workload_namespaces(kube), source=source)
    if _is_snapshot(path):
        return read_snapshot(path)
    declared = DeclaredObjects(_manifests(source), default_namespace="default")
    return take_snapshot(declared, namespaces or declared.namespaces(), source=source)


def _is_cluster(source: str) -> bool:
    return source.startswith(LIVE) or Path(source).suffix == ".world"


def _is_snapshot(path: Path) -> bool:
    """By its first lines: a snapshot is JSON with sorted keys, and its apiVersion is ours."""
    if not path.is_file() or path.suffix != ".json":
        return False
    with path.open("rb") as file:
        return b'"apiVersion": "twin/v1alpha1"' in file.read(200)


def _manifests(source: str) -> list[ManifestText]:
    from twin.spec.importers import read_sources

    texts, unreadable = read_sources([Path(source)])
    if not texts:
        why = unreadable[0].text if unreadable else "there is no manifest in it"
        raise BadInput(f"cannot read {source}", why, "name a file or a folder of manifests")
    return texts


def workload_namespaces(kube: KubeApi) -> list[str]:
    """Those with a workload, but for Kubernetes' own and ours."""
    kinds = ("Deployment", "StatefulSet", "DaemonSet")
    found = {str(one["metadata"]["namespace"]) for kind in kinds for one in kube.list_objects(kind)}
    return sorted(found - {"kube-system", "twin-system", "local-path-storage"})


def namespaces_of(fleet: Fleet) -> list[str]:
    return sorted({service.namespace for service in fleet.services})
