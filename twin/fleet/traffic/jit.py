"""How this package compiles its kernels: one place for the flags.

`fastmath` stays off: reordered sums would break "same seed, same bytes". Division follows NumPy (no
exception on zero), because a raising branch in every division costs a fifth of a calm tick.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from numba import njit

__all__ = ["inlined", "kernel"]

_Function = TypeVar("_Function", bound=Callable[..., object])


def kernel(function: _Function) -> _Function:
    """Compile a kernel, and keep the machine code beside its module."""
    return cast(_Function, njit(cache=True, fastmath=False, error_model="numpy")(function))


def inlined(function: _Function) -> _Function:
    """A helper of a kernel, inlined where it is called: a call with many arguments costs 100 ns."""
    return cast(_Function, njit(cache=True, fastmath=False, error_model="numpy", inline="always")(function))
