"""The right to write to a target: one coordination.k8s.io Lease in it, held by one promotion at a time.

As Kubernetes' own leaders do, a holder renews it while it is at work, and whoever finds it not renewed for its whole
duration may take it. A holder that was away for so long, and comes back, hears of that before its next write.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from twin.ports.plant import KubeObject, Plant
from twin.spec.errors import Conflict, NotFound, PromoterActive, TwinError
from twin.spec.plan import ObjectRef

__all__ = ["LEASE", "LEASE_S", "Lease"]

LEASE: Final = ObjectRef(kind="Lease", name="twin-promoter", namespace="twin-system")
LEASE_S: Final = 300
RENEW_S: Final = 60.0  # A write may take two minutes, to a server in trouble: it is over before the lease is.
_TRIES: Final = 3


@dataclass(slots=True)
class Lease:
    """The lease of one Plant; times are its clock's."""

    plant: Plant
    _holder: str = field(default="", init=False)  # as whom we hold it
    _renewed_s: float = field(default=0.0, init=False)

    def holder(self) -> str:
        """Whoever holds it, run out or not; empty if nobody does."""
        return str(self._spec(self._read()).get("holderIdentity", ""))

    @contextmanager
    def hold(self, holder: str) -> Iterator[None]:
        """Raises PromoterActive if somebody else holds it. A holder that died keeps it until it runs out; the same
        promotion may take it up again."""
        self._acquire(holder)
        try:
            yield
        finally:
            self._holder = ""
            # What happened meanwhile is the answer. A lease that cannot be given back runs out by itself, and the
            # next run ends it before that.
            with suppress(TwinError):
                self.release(holder)

    def renew(self) -> None:
        """Called before every write, and while nothing is written: renews what is held, once a minute.

        Raises PromoterActive if somebody else has taken it: then nothing may be written any more, nor taken back. That
        nobody answers is borne for as long as it is certain to be ours.
        """
        now_s = self.plant.clock.now_s()
        if not self._holder or now_s - self._renewed_s < RENEW_S:
            return
        try:
            self._insist(self._holder, now_s, only_ours=True)
        except PromoterActive:
            raise
        except TwinError:
            if now_s - self._renewed_s > LEASE_S / 2.0:
                raise

    def release(self, holder: str) -> None:
        """End it, if that is who holds it. Raises ApiError."""
        for left in reversed(range(_TRIES)):
            found = self._read()
            if found is None or self._spec(found).get("holderIdentity") != holder:
                return
            try:
                self._patch(found, {"holderIdentity": "", "leaseDurationSeconds": 1})
            except Conflict:
                if not left:
                    raise
            else:
                return

    def _acquire(self, holder: str) -> None:
        self._insist(holder, self.plant.clock.now_s(), only_ours=False)
        self._holder = holder

    def _insist(self, holder: str, now_s: float, *, only_ours: bool) -> None:
        """Take or renew it as of now. Raises PromoterActive if it is somebody else's, or becomes it in between."""
        found = self._read()
        spec = self._spec(found)
        theirs = str(spec.get("holderIdentity", ""))
        left_s = 0.0 if not theirs else _unix_s(spec["renewTime"]) + int(spec["leaseDurationSeconds"]) - now_s
        if theirs != holder and (only_ours or left_s > 0.0):
            raise PromoterActive(
                "another promoter is active",
                f"{theirs or 'nobody'} holds the target for another {max(left_s, 0.0):.0f} s",
                "wait for it; or, if it died, run the same promotion again",
            )
        wanted: dict[str, Any] = {"holderIdentity": holder, "leaseDurationSeconds": LEASE_S, "renewTime": _text(now_s)}
        if theirs != holder:
            wanted |= {"acquireTime": _text(now_s), "leaseTransitions": int(spec.get("leaseTransitions", -1)) + 1}
        try:
            if found is None:
                self._create(wanted)
            else:
                self._patch(found, wanted)
        except Conflict as error:
            raise PromoterActive("another promoter is active", str(error), "wait for it") from error
        self._renewed_s = now_s

    def _read(self) -> KubeObject | None:
        try:
            return self.plant.kube.get(LEASE)
        except NotFound:
            return None

    @staticmethod
    def _spec(found: KubeObject | None) -> dict[str, Any]:
        return {} if found is None else dict(found.get("spec", {}))

    def _create(self, spec: dict[str, Any]) -> None:
        self.plant.kube.create(
            {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": LEASE.kind,
                "metadata": {"name": LEASE.name, "namespace": LEASE.namespace},
                "spec": spec,
            }
        )

    def _patch(self, found: KubeObject, spec: dict[str, Any]) -> None:
        version = found["metadata"]["resourceVersion"]
        self.plant.kube.patch(LEASE, {("spec", key): value for key, value in spec.items()}, resource_version=version)


def _text(at_s: float) -> str:
    """A MicroTime."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _unix_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
