"""Many independent tasks on some processes: the same results, in the same order, however many there are."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any, TypeVar

__all__ = ["in_pool"]

ResultT = TypeVar("ResultT")


def in_pool(
    work: Callable[..., ResultT],
    tasks: Sequence[tuple[Any, ...]],
    *,
    jobs: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> tuple[ResultT, ...]:
    """`work(*task)` for every task, results in the tasks' order. Whatever `work` raises is raised here.

    Processes are spawned, not forked: compiled kernels and policy engines keep threads, which do not survive a fork.
    """
    if jobs <= 1 or len(tasks) <= 1:
        results = []
        for task in tasks:
            results.append(work(*task))
            progress()
        return tuple(results)
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(work, *task) for task in tasks]
        for future in as_completed(futures):
            future.result()
            progress()
        return tuple(future.result() for future in futures)
