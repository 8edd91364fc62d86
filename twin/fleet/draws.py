"""Random numbers that are addressed, not taken from a stream.

An extra draw in one place moves nothing elsewhere, so the variants of one incident stay paired draw by
draw. One uniform a variate, turned into any distribution by inversion.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Purpose", "entity_of", "uniform", "uniforms"]


class Purpose(enum.IntEnum):
    """What a draw is for. Numbers are part of the file format: add, never renumber."""

    ARRIVALS = 0
    SERVICE = 1
    ROUTING = 2
    FAULTS = 3
    SCHEDULING = 4
    START_UP = 5
    BELIEFS = 6
    MEASUREMENT = 7
    APPROVER = 8
    CALLS = 9


_M0: Final = np.uint64(0xBF58476D1CE4E5B9)
_M1: Final = np.uint64(0x94D049BB133111EB)
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_U53: Final = 1.0 / (1 << 53)


@njit(cache=True, fastmath=False, inline="always")
def _mix(z: np.uint64) -> np.uint64:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014), variant 13 of Stafford."""
    z = (z ^ (z >> np.uint64(30))) * _M0
    z = (z ^ (z >> np.uint64(27))) * _M1
    return z ^ (z >> np.uint64(31))


@njit(cache=True, fastmath=False)
def uniform(seed: int, replication: int, entity: int, purpose: int, ordinal: int) -> float:
    """One draw from the open interval (0, 1), by its address.

    A chain of keyed SplitMix64 finalisers over the five counters: every counter passes through a full
    avalanche before the next is added, so neighbouring addresses are independent for our purposes.
    """
    h = _mix(np.uint64(seed) + _GOLDEN)
    h = _mix(h ^ (np.uint64(replication) + _GOLDEN))
    h = _mix(h ^ (np.uint64(entity) + _GOLDEN))
    h = _mix(h ^ (np.uint64(purpose) + _GOLDEN))
    h = _mix(h ^ (np.uint64(ordinal) + _GOLDEN))
    return (np.float64(h >> np.uint64(11)) + 0.5) * _U53


@njit(cache=True, fastmath=False)
def uniforms(
    seed: int,
    replication: int,
    entities: NDArray[np.int64],
    purpose: int,
    ordinal: int,
    out: NDArray[np.float64],
) -> None:
    """One draw an entity: entities, out (n,)."""
    for i in range(entities.shape[0]):
        out[i] = uniform(seed, replication, entities[i], purpose, ordinal)


def entity_of(name: str) -> int:
    """A stable 63-bit number for a name, the same in every process and on every platform."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1
