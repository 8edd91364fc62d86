"""Shadows as the commands know them: this home's pool, and what is to be played."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from twin.cli.doctor_tools import find_tool
from twin.cli.home import home
from twin.spec.errors import BadInput

if TYPE_CHECKING:
    from twin.kube.pool import ShadowPool
    from twin.kube.snapshot import Snapshot
    from twin.spec.fleet import Fleet

__all__ = ["pool_here", "snapshot_of_source"]


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


def snapshot_of_source(
    source: str, *, fleet_file: Path | None, namespaces: Sequence[str]
) -> tuple[Snapshot, Fleet]:  # fmt: skip
    """What is to be played, and by which programs: of a World, a live cluster, or manifests.

    Raises BadInput, ComponentMissing, ApiError.
    """
    from twin.kube import connect
    from twin.kube.declared import DeclaredObjects
    from twin.kube.snapshot import take_snapshot
    from twin.spec.files import read_fleet
    from twin.spec.importers import import_kubernetes, read_sources

    fleet = read_fleet(fleet_file) if fleet_file else None
    if source.startswith("kube:"):
        if fleet is None:
            raise BadInput(
                f"cannot play {source}", "nothing says what its services do", "name a twin: --fleet twin.fleet"
            )
        api = connect(context=source.removeprefix("kube:") or None)
        return take_snapshot(api, namespaces or namespaces_of(fleet), source=source), fleet
    path = Path(source)
    if path.is_file() and path.suffix not in (".yaml", ".yml", ".json"):
        from twin.cli.targets import open_world
        from twin.fleet.plant import plant_of

        world = open_world(source)
        if fleet is None:
            raise BadInput(f"cannot play {source}", "nothing says what its services do", "name a twin: twin observe")
        return take_snapshot(plant_of(world).kube, namespaces or namespaces_of(fleet), source=source), fleet
    texts, unreadable = read_sources([path])
    if not texts:
        why = unreadable[0].text if unreadable else "there is no manifest in it"
        raise BadInput(f"cannot read {source}", why, "name a file or a folder of manifests")
    declared = DeclaredObjects(texts, default_namespace="default")
    fleet = fleet or import_kubernetes(texts, name=path.resolve().stem).fleet
    return take_snapshot(declared, namespaces or declared.namespaces(), source=source), fleet


def namespaces_of(fleet: Fleet) -> list[str]:
    return sorted({service.namespace for service in fleet.services})
