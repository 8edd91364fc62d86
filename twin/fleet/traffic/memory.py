"""Memory for samples, used again once nobody holds a sample that lay there.

A fresh block would cost more in page faults, and fresh views more in bookkeeping, than a small fleet's tick costs in
arithmetic.
"""

from __future__ import annotations

import sys
from math import prod
from typing import Final

import numpy as np

from twin.fleet.traffic.engine import F64

__all__ = ["Memory", "MemoryPool"]

FREE_MAX: Final = 4  # blocks of one shape; more are in use only if a caller keeps samples
SHAPES_MAX: Final = 8

Shape = tuple[int, int]


class Memory:
    """Tables in one block, for kernels, and every row of them by itself, for samples."""

    __slots__ = ("_all_rows", "_unheld", "block", "rows", "tables")

    def __init__(self, shapes: tuple[Shape, ...]) -> None:
        self.block: F64 = np.zeros(sum(prod(shape) for shape in shapes))
        tables, at = [], 0
        for shape in shapes:
            tables.append(self.block[at : at + prod(shape)].reshape(shape))
            at += prod(shape)
        self.tables: tuple[F64, ...] = tuple(tables)
        self.rows: tuple[tuple[F64, ...], ...] = tuple(tuple(table) for table in tables)
        self._all_rows = tuple(row for rows in self.rows for row in rows)
        # How many references there are to what nobody holds differs between versions of Python: measured, not known.
        self._unheld = self._holders()

    def is_free(self) -> bool:
        """Whether nobody holds a row, or anything cut from one."""
        return self._holders() == self._unheld

    def _holders(self) -> int:
        """References to the rows, and to the block: what is cut from a row refers to the block itself."""
        return sys.getrefcount(self.block) + sum(map(sys.getrefcount, self._all_rows))


class MemoryPool:
    """Memories by their shapes."""

    def __init__(self) -> None:
        self._known: dict[tuple[Shape, ...], list[Memory]] = {}

    def take(self, shapes: tuple[Shape, ...], *, but: Memory | None = None) -> Memory:
        """A free memory of these shapes, with whatever was in it; never `but`."""
        if len(self._known) > SHAPES_MAX:  # Pools of pods came and went.
            self._known.clear()
        known = self._known.setdefault(shapes, [])
        for memory in known:
            if memory is not but and memory.is_free():
                return memory
        if len(known) >= FREE_MAX:
            known.clear()
        known.append(Memory(shapes))
        return known[-1]
