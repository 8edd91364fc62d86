"""What a promoter leaves in the target: who holds it, which receipts are spent, how far a promotion came.

It lives in two ConfigMaps of namespace twin-system, so a second laptop sees it. A crash is recovered by the
target's word: what it does not hold did not happen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

from twin.ports.plant import Plant
from twin.receipt import SpentMark, keep_unexpired, refuse_spent, spent_annotation
from twin.spec.errors import Conflict, NotFound, PromoterActive, TwinError
from twin.spec.ids import Sha256
from twin.spec.plan import ObjectRef

__all__ = ["LEASE_S", "NOTHING", "TAKEN_BACK", "Target"]

LEASE_S: Final = 3600.0
NOTHING: Final = -1  # progress of a promotion that the target knows nothing of
TAKEN_BACK: Final = -2  # progress of one whose writes were all undone
_TRIES: Final = 3
_NAMESPACE: Final = "twin-system"
_SPENT: Final = ObjectRef(kind="ConfigMap", name="twin-receipts", namespace=_NAMESPACE)
_LEASE: Final = ObjectRef(kind="ConfigMap", name="twin-lease", namespace=_NAMESPACE)


class Target:
    """The marks in one Plant."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    def refuse_spent(self, receipt: Sha256, promotion: str | None = None) -> None:
        """Raises ReceiptInvalid if the receipt was used by another promotion."""
        refuse_spent(self._data(_SPENT), receipt, promotion)

    def spend(self, mark: SpentMark) -> None:
        """Leave the mark, before the first write, and that no move is made yet: both or neither.

        Marks of receipts long expired are cleared away.
        """
        data = self._data(_SPENT)
        kept = keep_unexpired(data, self._plant.clock.now_s())
        fields: dict[str, Any] = {key: None for key in data if key not in kept}
        self._write(_SPENT, {**fields, **spent_annotation(mark), f"progress.{mark.promotion}": "0"})

    def progress(self, promotion: str) -> int:
        """The number of moves that the target knows to be made; or NOTHING, or TAKEN_BACK."""
        return int(self._data(_SPENT).get(f"progress.{promotion}", str(NOTHING)))

    def set_progress(self, promotion: str, move: int) -> None:
        """Written whatever else moves: nobody but this promotion writes its progress."""
        self._insist(_SPENT, {f"progress.{promotion}": str(move)})

    def holder(self) -> str:
        """Whoever holds the lease, run out or not; empty if nobody does."""
        return self._data(_LEASE).get("holder", "")

    def release(self) -> None:
        """End the lease, whoever holds it: for a holder that is known to have finished."""
        self._insist(_LEASE, {"holder": "", "until_s": "0"})

    @contextmanager
    def lease(self, holder: str) -> Iterator[None]:
        """Hold the target. Raises PromoterActive if somebody else does.

        A holder that died keeps it until it runs out; the same promotion may take it up again.
        """
        now_s = self._plant.clock.now_s()
        held = self._data(_LEASE)
        if held.get("holder") not in (None, "", holder) and float(held.get("until_s", "0")) > now_s:
            raise PromoterActive(
                "another promoter is active",
                f"{held['holder']} holds the target for another {float(held['until_s']) - now_s:.0f} s",
                "wait for it; or, if it died, run the same promotion again",
            )
        try:
            self._write(_LEASE, {"holder": holder, "until_s": f"{now_s + LEASE_S:.0f}"})
        except Conflict as error:
            raise PromoterActive("another promoter is active", str(error), "wait for it") from error
        try:
            yield
        finally:
            # What happened meanwhile is the answer. A lease that cannot be given back runs out by itself, and the
            # next run ends it before that.
            with suppress(TwinError):
                self.release()

    def _insist(self, ref: ObjectRef, data: Mapping[str, str | None]) -> None:
        """Written on a fresh read if somebody wrote in between."""
        for left in reversed(range(_TRIES)):
            try:
                return self._write(ref, data)
            except Conflict:
                if not left:
                    raise

    def _data(self, ref: ObjectRef) -> Mapping[str, str]:
        try:
            found: Mapping[str, str] = self._plant.kube.get(ref)["data"]
            return found
        except NotFound:
            return {}

    def _write(self, ref: ObjectRef, data: Mapping[str, str | None]) -> None:
        try:
            version = self._plant.kube.get(ref)["metadata"]["resourceVersion"]
        except NotFound:
            self._plant.kube.create(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": ref.name, "namespace": ref.namespace},
                    "data": {key: value for key, value in data.items() if value is not None},
                }
            )
            return
        self._plant.kube.patch(ref, {("data", key): value for key, value in data.items()}, resource_version=version)
