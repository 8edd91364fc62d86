"""How this package compiles its kernels: one place for the flags, and for what makes a cached kernel stale.

`fastmath` stays off: reordered sums would break "same seed, same bytes". Division follows NumPy (no
exception on zero). Kernels allocate nothing, so Numba's reference counting (`_nrt`) is off: an atomic
increment for every array of every inlined call took three quarters of a calm tick.

Numba keeps machine code by the contents of the one file that a kernel stands in. But a kernel holds the
code of the helpers that it calls, and they stand in other files: change `queues.py`, and `sweep_forward`
would go on with the old queue. So we stamp every kernel with the contents of the whole package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from numba import njit

import twin.fleet.draws

__all__ = ["inlined", "kernel"]

_Function = TypeVar("_Function", bound=Callable[..., object])


def _sources_digest() -> str:
    digest = hashlib.sha256(Path(str(twin.fleet.draws.__file__)).read_bytes())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


_STAMP = _sources_digest()


_OPTIONS = {"cache": True, "fastmath": False, "error_model": "numpy", "_nrt": False}


def kernel(function: _Function) -> _Function:
    """Compile a kernel, and keep the machine code beside its module."""
    return _stamped(function, njit(**_OPTIONS)(function))


def inlined(function: _Function) -> _Function:
    """A helper of a kernel, inlined where it is called: a call with many arguments costs 100 ns."""
    return _stamped(function, njit(inline="always", **_OPTIONS)(function))


def _stamped(function: _Function, compiled: object) -> _Function:
    # Numba has no public way to say what else a cache depends on. Without JIT there is no cache at all.
    cache = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if cache is not None:
        cache._source_stamp = (_STAMP, cache._source_stamp)
    return cast(_Function, compiled)
