"""The shadows of one home: made once, kept warm, lent to one command at a time.

Each has a file that says where it is and what it was seen to enforce, and a lock that ends with whoever holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from twin.kube.api import connect
from twin.kube.enclosure import close, prove
from twin.kube.kind import KindCluster, clusters, create_cluster, delete_cluster
from twin.kube.shadow import KubeShadow
from twin.kube.standins import IMAGE, build_program, write_images
from twin.spec.atomic import replace_file
from twin.spec.errors import BadInput, Inconclusive, PromoterActive, TwinError

__all__ = ["PoolSettings", "ShadowPool", "ShadowRecord"]

TEMPORARY: Final = "for-one-verdict"
NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """How clusters are made. `image`: the nodes' image, or kind's own choice."""

    image: str | None = None
    workers: int = 0
    gates: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowRecord:
    """What is written down of a shadow. `loaded` says of what, for people; empty if nothing is."""

    name: str
    kubeconfig: Path
    enforces: Mapping[str, bool]
    loaded: str = ""

    @property
    def cluster(self) -> KindCluster:
        return KindCluster(f"twin-{self.name}", self.kubeconfig)


class ShadowPool:
    """`folder` holds files, kubeconfigs and locks; `cache` the stand-in's program."""

    def __init__(self, folder: Path, *, cache: Path, settings: PoolSettings = PoolSettings()) -> None:
        self._folder = folder
        self._cache = cache
        self._settings = settings

    def records(self) -> list[ShadowRecord]:
        """Every shadow that is written down, by name. Raises BadInput for a file that cannot be read."""
        return [self._read(path) for path in sorted(self._folder.glob("*.json"))]

    def up(self, name: str) -> ShadowRecord:
        """Make a cluster, close it, and see what it enforces. What fails half-way is taken away again.

        Raises BadInput, ComponentMissing, Inconclusive (it is not closed), TwinError.
        """
        self.check_name(name)
        with self._locked(name):
            cluster = create_cluster(
                name, self._folder, image=self._settings.image, workers=self._settings.workers,
                gates=self._settings.gates,
            )  # fmt: skip
            try:
                api = connect(kubeconfig=cluster.kubeconfig)
                archive = self._folder / f".{name}.tar"
                try:
                    write_images(build_program(self._cache), [IMAGE], archive)
                    cluster.load_images(archive)
                finally:
                    archive.unlink(missing_ok=True)
                close(api, cluster)
                record = ShadowRecord(name=name, kubeconfig=cluster.kubeconfig, enforces=prove(api, cluster))
                if not record.enforces["egress"]:
                    raise Inconclusive(
                        f"shadow {name} cannot be closed", "a pod of it reached a port of this machine",
                        "see the nodes' iptables",
                    )  # fmt: skip
                self._write(record)
            except BaseException as error:
                delete_cluster(cluster)
                if not isinstance(error, OSError):
                    raise
                raise TwinError(
                    f"cannot make shadow {name}", f"{error.filename or 'its files'}: {error.strerror or error}",
                    f"make room in {self._folder}, or set TWIN_HOME to a folder elsewhere",
                ) from error  # fmt: skip
        return record

    @staticmethod
    def check_name(name: str) -> None:
        """Raises BadInput for what cannot name a cluster and a file."""
        if not NAME.fullmatch(name):
            raise BadInput(f'"{name}" is no name for a shadow', "a name is a-z, 0-9 and dashes", "choose another")

    def down(self, name: str) -> bool:
        """Take a shadow away, and all that is written of it. False if there was none. Raises PromoterActive if
        somebody works on it; ComponentMissing, TwinError."""
        self.check_name(name)
        path = self._path(name)
        cluster = KindCluster(f"twin-{name}", self._folder / f"{name}.kubeconfig")
        with self._locked(name):
            was = path.exists() or cluster.name in clusters()
            delete_cluster(cluster)
            path.unlink(missing_ok=True)
        self._folder.joinpath(f"{name}.lock").unlink(missing_ok=True)
        return was

    @contextmanager
    def borrow(self, name: str | None = None) -> Iterator[KubeShadow]:
        """A shadow for us alone: the named one; or one that nobody uses; or a new one, taken away afterwards.

        Raises BadInput if there is none of that name, PromoterActive if somebody works on it; as `up`.
        """
        if name is not None:
            record = self._read(self._path(name))
            with self._locked(name):
                yield self._open(record)
            return
        for record in self.records():
            with ExitStack() as held:
                try:
                    held.enter_context(self._locked(record.name))
                except PromoterActive:
                    continue
                yield self._open(record)
                return
        own = f"{TEMPORARY}-{os.getpid()}"
        record = self.up(own)
        try:
            with self._locked(own):
                yield self._open(record)
        finally:
            self.down(own)

    def note(self, name: str, loaded: str) -> None:
        """Write down what a shadow was loaded with."""
        record = self._read(self._path(name))
        self._write(ShadowRecord(name=name, kubeconfig=record.kubeconfig, enforces=record.enforces, loaded=loaded))

    def _open(self, record: ShadowRecord) -> KubeShadow:
        return KubeShadow(
            record.name, connect(kubeconfig=record.kubeconfig), cluster=record.cluster, enforces=record.enforces,
            cache=self._cache,
        )  # fmt: skip

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _read(self, path: Path) -> ShadowRecord:
        if not path.exists():
            raise BadInput(f"there is no shadow {path.stem}", "none of that name was made here", "twin shadow up")
        try:
            data: dict[str, Any] = json.loads(path.read_bytes())
            return ShadowRecord(
                name=str(data["name"]), kubeconfig=Path(data["kubeconfig"]), loaded=str(data["loaded"]),
                enforces={str(name): value is True for name, value in data["enforces"].items()},
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"cannot read {path}", str(error), f"twin shadow down --name {path.stem}") from error

    def _write(self, record: ShadowRecord) -> None:
        data = {
            "name": record.name, "kubeconfig": str(record.kubeconfig), "enforces": dict(record.enforces),
            "loaded": record.loaded,
        }  # fmt: skip
        replace_file(self._path(record.name), (json.dumps(data, sort_keys=True, indent=1) + "\n").encode())

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Nobody else works on it meanwhile. Raises PromoterActive."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self._folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PromoterActive(
                    f"shadow {name} is in use", "another command works on it", "wait for it, or name another: --name"
                ) from error
            yield
        finally:
            os.close(handle)
