"""The shadows of one home: made once, kept warm, lent to one command at a time.

Each has a file that says where it is and what it was seen to enforce, and a lock that ends with whoever holds it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from twin.kube.enclosure import prove
from twin.kube.given import GivenCluster
from twin.kube.kind import KindCluster, clusters, create_cluster, delete_cluster
from twin.kube.records import Records, ShadowRecord
from twin.kube.shadow import KubeShadow
from twin.kube.standins import IMAGE, build_program, write_images
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


class ShadowPool:
    """`folder` holds files, kubeconfigs and locks; `cache` the stand-in's program."""

    def __init__(self, folder: Path, *, cache: Path, settings: PoolSettings = PoolSettings()) -> None:
        self.folder = folder
        self.cache = cache
        self._settings = settings
        self._records = Records(folder)

    def records(self) -> list[ShadowRecord]:
        """Every shadow that is written down, by name. Raises BadInput for a file that cannot be read."""
        return self._records.all()

    def up(self, name: str) -> ShadowRecord:
        """Make a cluster, close it, and see what it enforces. What fails half-way is taken away again.

        Raises BadInput, ComponentMissing, Inconclusive (it is not closed), TwinError.
        """
        self.check_name(name)
        with self._locked(name):
            cluster = create_cluster(
                name, self.folder, image=self._settings.image, workers=self._settings.workers,
                gates=self._settings.gates,
            )  # fmt: skip
            try:
                record = self._proved(ShadowRecord(name=name, kubeconfig=cluster.kubeconfig, enforces={}))
            except BaseException as error:
                delete_cluster(cluster)
                if not isinstance(error, OSError):
                    raise
                raise TwinError(
                    f"cannot make shadow {name}", f"{error.filename or 'its files'}: {error.strerror or error}",
                    f"make room in {self.folder}, or set TWIN_HOME to a folder elsewhere",
                ) from error  # fmt: skip
        return record

    def adopt(self, name: str, given: GivenCluster) -> ShadowRecord:
        """Take a cluster that somebody else made, if it is for us alone and seen to be closed. Raises as `up`."""
        self.check_name(name)
        with self._locked(name):
            if self._records.has(name):
                raise BadInput(f"there is a shadow {name} already", "a name is for one", "choose another: --name")
            return self._proved(ShadowRecord(name=name, given=given, enforces={}))

    def _proved(self, record: ShadowRecord) -> ShadowRecord:
        """Closed, and written down with what it was seen to enforce."""
        api = record.connect()
        record.cluster.close(api)
        archive = self.folder / f".{record.name}.tar"
        try:
            write_images(build_program(self.cache), [IMAGE], archive)
            record.cluster.load_images(archive)
        finally:
            archive.unlink(missing_ok=True)
        proved = replace(record, enforces=prove(api, record.cluster))
        if not proved.enforces["egress"]:
            raise Inconclusive(
                f"shadow {record.name} cannot be closed", "a pod of it reached somebody outside", record.cluster.remedy
            )
        self._records.write(proved)
        return proved

    @staticmethod
    def check_name(name: str) -> None:
        """Raises BadInput for what cannot name a cluster and a file."""
        if not NAME.fullmatch(name):
            raise BadInput(f'"{name}" is no name for a shadow', "a name is a-z, 0-9 and dashes", "choose another")

    def down(self, name: str) -> bool:
        """Take a shadow away, and all that is written of it. False if there was none. Raises PromoterActive if
        somebody works on it; ComponentMissing, TwinError."""
        self.check_name(name)
        with self._locked(name):
            given = self._given(name)
            if given is not None:  # The cluster is its maker's; what was loaded into it is ours.
                self._shadow(given).clear()
                was = True
            else:
                cluster = KindCluster(f"twin-{name}", self.folder / f"{name}.kubeconfig")
                was = self._records.has(name) or cluster.name in clusters()
                delete_cluster(cluster)
            self._records.forget(name)
        return was

    def _given(self, name: str) -> ShadowRecord | None:
        """The record of a cluster that somebody else made. What cannot be read is taken for one of ours."""
        with suppress(BadInput):
            record = self._records.read(name)
            return record if record.given is not None else None
        return None

    @contextmanager
    def borrow(self, name: str | None = None) -> Iterator[KubeShadow]:
        """A shadow for us alone: the named one; or one that nobody uses; or a new one, taken away afterwards.

        Raises BadInput if there is none of that name, PromoterActive if somebody works on it; as `up`.
        """
        if name is not None:
            record = self._records.read(name)
            with self._locked(name), self._opened(record) as shadow:
                yield shadow
            return
        for record in self.records():
            with ExitStack() as held:
                try:
                    held.enter_context(self._locked(record.name))
                except PromoterActive:
                    continue
                with self._opened(record) as shadow:
                    yield shadow
                return
        own = f"{TEMPORARY}-{os.getpid()}"
        record = self.up(own)
        try:
            with self._locked(own), self._opened(record) as shadow:
                yield shadow
        finally:
            self.down(own)

    def _shadow(self, record: ShadowRecord) -> KubeShadow:
        return KubeShadow(
            record.name, record.connect(), cluster=record.cluster, enforces=record.enforces, cache=self.cache
        )

    @contextmanager
    def _opened(self, record: ShadowRecord) -> Iterator[KubeShadow]:
        """It goes on with what it played, and what it plays in the end is written down. Of one whose user is killed
        nothing is: nobody knows what it plays."""
        shadow = self._shadow(record)
        played = self._records.played(record.name)
        if played is not None:
            shadow.go_on(*played)
        self._records.write(record)
        try:
            yield shadow
        finally:
            self._records.write(record, *shadow.state)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Nobody else works on it meanwhile. Raises PromoterActive."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
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
