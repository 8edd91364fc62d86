"""Work shared among forked processes, in order: what they need is inherited and not pickled, what they find is."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

__all__ = ["in_forks"]

Found = TypeVar("Found")


def in_forks(
    work: Callable[..., Found],
    tasks: Sequence[tuple[Any, ...]],
    *,
    jobs: int,
    progress: Callable[[], None] = lambda: None,
) -> list[Found]:
    """`work(*task)` for every task, in order. On a platform without fork, or with one job, in this process."""
    found: list[Found] = []
    if jobs <= 1 or len(tasks) <= 1 or "fork" not in multiprocessing.get_all_start_methods():
        for task in tasks:
            found.append(work(*task))
            progress()
        return found
    _INHERITED[:] = [(work, task) for task in tasks]
    try:
        with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=multiprocessing.get_context("fork")) as pool:
            for one in pool.map(_do, range(len(tasks))):
                found.append(one)
                progress()
    finally:
        _INHERITED.clear()
    return found


_INHERITED: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []


def _do(index: int) -> Any:
    work, task = _INHERITED[index]
    return work(*task)
