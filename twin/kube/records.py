"""What is written down of a shadow: where it is, what it was seen to enforce, what it plays and what was done to it.

So a command that comes later goes on with what an earlier one loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twin.kube.api import LiveKubeApi, connect
from twin.kube.cluster import ShadowCluster
from twin.kube.given import GivenCluster
from twin.kube.kind import KindCluster
from twin.kube.loaded import Images, Loaded, Mischief
from twin.kube.snapshot import read_snapshot, write_snapshot
from twin.spec.atomic import replace_file
from twin.spec.canonical import plain
from twin.spec.errors import BadInput
from twin.spec.files import read_fleet, write_fleet

__all__ = ["Records", "ShadowRecord"]

SUFFIXES: Final = (".json", ".lock", ".snapshot", ".fleet")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowRecord:
    """`kubeconfig`: of a cluster that was made here; `given`: of one that was not. `loaded` says of what, for people;
    empty if nothing is."""

    name: str
    enforces: Mapping[str, bool]
    kubeconfig: Path | None = None
    given: GivenCluster | None = None
    loaded: str = ""

    @property
    def cluster(self) -> ShadowCluster:
        if self.given is not None:
            return self.given
        return KindCluster(f"twin-{self.name}", self.kubeconfig or Path())

    def connect(self) -> LiveKubeApi:
        """Raises ComponentMissing, BadInput."""
        if self.given is not None:
            return connect(context=self.given.context)
        return connect(kubeconfig=self.kubeconfig)


class Records:
    """`folder` holds a few files of each shadow."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> list[ShadowRecord]:
        """By name. Raises BadInput for a file that cannot be read."""
        return [self.read(path.stem) for path in sorted(self._folder.glob("*.json"))]

    def has(self, name: str) -> bool:
        return self._path(name, ".json").exists()

    def read(self, name: str) -> ShadowRecord:
        """Raises BadInput if there is none, or it cannot be read."""
        return self._read(name)[0]

    def write(self, record: ShadowRecord, loaded: Loaded | None = None, mischief: Mischief | None = None) -> None:
        """With what it plays, if it plays anything. The files of that come first: the record names them."""
        data: dict[str, Any] = {
            "name": record.name, "kubeconfig": str(record.kubeconfig or ""), "given": plain(record.given),
            "enforces": dict(record.enforces), "loaded": "", "played": None,
        }  # fmt: skip
        if loaded is not None:
            write_snapshot(loaded.snapshot, self._path(record.name, ".snapshot"))
            replace_file(self._path(record.name, ".fleet"), write_fleet(loaded.fleet).encode())
            snapshot = loaded.snapshot
            data["loaded"] = f"{snapshot.source}: {len(snapshot.objects)} objects, digest {snapshot.digest[:12]}"
            data["played"] = {
                "images": loaded.images,
                "room": loaded.room,
                "share": loaded.share,
                "mischief": (mischief or Mischief()).to_json(),
            }
        replace_file(self._path(record.name, ".json"), (json.dumps(data, sort_keys=True, indent=1) + "\n").encode())

    def played(self, name: str) -> tuple[Loaded, Mischief] | None:
        """What a shadow plays, and what was done to it; None if it is empty. Raises BadInput."""
        record, played = self._read(name)
        if not record.loaded or played is None:
            return None
        try:
            loaded = Loaded.of(
                read_snapshot(self._path(name, ".snapshot")), read_fleet(self._path(name, ".fleet")),
                images=Images(played["images"]), room=float(played["room"]), share=float(played["share"]),
                walls=record.cluster.walls,
            )  # fmt: skip
            return loaded, Mischief.from_json(played["mischief"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._unreadable(name, error) from error

    def forget(self, name: str) -> None:
        for suffix in SUFFIXES:
            self._path(name, suffix).unlink(missing_ok=True)

    def _read(self, name: str) -> tuple[ShadowRecord, Any]:
        path = self._path(name, ".json")
        if not path.exists():
            raise BadInput(f"there is no shadow {name}", "none of that name was made here", "twin shadow up")
        try:
            data = json.loads(path.read_bytes())
            given = data["given"]
            record = ShadowRecord(
                name=str(data["name"]), kubeconfig=Path(data["kubeconfig"]) if data["kubeconfig"] else None,
                given=None if given is None else GivenCluster(**{key: str(value) for key, value in given.items()}),
                enforces={str(key): value is True for key, value in data["enforces"].items()},
                loaded=str(data["loaded"]),
            )  # fmt: skip
            return record, data["played"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._unreadable(name, error) from error

    def _unreadable(self, name: str, error: Exception) -> BadInput:
        return BadInput(f"cannot read {self._path(name, '.json')}", str(error), f"twin shadow down --name {name}")

    def _path(self, name: str, suffix: str) -> Path:
        return self._folder / f"{name}{suffix}"
