"""What a promoter leaves in the target: which receipts are spent, how far a promotion came.

It lives in a ConfigMap of namespace twin-system, so a second laptop sees it. A crash is recovered by the
target's word: what it does not hold did not happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from twin.ports.plant import Plant
from twin.receipt import SpentMark, keep_unexpired, refuse_spent, spent_annotation
from twin.spec.errors import Conflict, NotFound
from twin.spec.ids import Sha256
from twin.spec.plan import ObjectRef

__all__ = ["MARKS", "NOTHING", "TAKEN_BACK", "Target"]

NOTHING: Final = -1  # progress of a promotion that the target knows nothing of
TAKEN_BACK: Final = -2  # progress of one whose writes were all undone
_TRIES: Final = 3
MARKS: Final = ObjectRef(kind="ConfigMap", name="twin-receipts", namespace="twin-system")


class Target:
    """The marks in one Plant."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    def refuse_spent(self, receipt: Sha256, promotion: str | None = None) -> None:
        """Raises ReceiptInvalid if the receipt was used by another promotion."""
        refuse_spent(self._data(), receipt, promotion)

    def spend(self, mark: SpentMark) -> None:
        """Leave the mark, before the first write, and that no move is made yet: both or neither.

        Marks of receipts long expired are cleared away.
        """
        data = self._data()
        kept = keep_unexpired(data, self._plant.clock.now_s())
        fields: dict[str, Any] = {key: None for key in data if key not in kept}
        self._write({**fields, **spent_annotation(mark), f"progress.{mark.promotion}": "0"})

    def progress(self, promotion: str) -> int:
        """The number of moves that the target knows to be made; or NOTHING, or TAKEN_BACK."""
        return int(self._data().get(f"progress.{promotion}", str(NOTHING)))

    def set_progress(self, promotion: str, move: int) -> None:
        """Written whatever else moves: nobody but this promotion writes its progress."""
        self._insist({f"progress.{promotion}": str(move)})

    def _insist(self, data: Mapping[str, str | None]) -> None:
        """Written on a fresh read if somebody wrote in between."""
        for left in reversed(range(_TRIES)):
            try:
                return self._write(data)
            except Conflict:
                if not left:
                    raise

    def _data(self) -> Mapping[str, str]:
        try:
            found: Mapping[str, str] = self._plant.kube.get(MARKS)["data"]
            return found
        except NotFound:
            return {}

    def _write(self, data: Mapping[str, str | None]) -> None:
        try:
            version = self._plant.kube.get(MARKS)["metadata"]["resourceVersion"]
        except NotFound:
            self._plant.kube.create(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": MARKS.name, "namespace": MARKS.namespace},
                    "data": {key: value for key, value in data.items() if value is not None},
                }
            )
            return
        self._plant.kube.patch(MARKS, {("data", key): value for key, value in data.items()}, resource_version=version)
