"""Random numbers by address, in plain integers: the same on every platform, without the model's compiled code.

The fleet model draws from twin.fleet.draws; this is the small relative for what is made before a World exists.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

__all__ = ["Draws"]

_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
_U53: Final = 1.0 / (1 << 53)
_NORMAL: Final = NormalDist()


def _mix(z: int) -> int:
    """SplitMix64's finaliser (Steele, Lea, Flood 2014), variant 13 of Stafford."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class Draws:
    """The draws of one entity for one purpose; `ordinal` tells them apart, and their order does not matter."""

    __slots__ = ("_key",)

    def __init__(self, seed: int, purpose: str, entity: int = 0) -> None:
        named = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
        key = _mix((seed + _GOLDEN) & _MASK)
        key = _mix((key ^ named) + _GOLDEN & _MASK)
        self._key = _mix((key ^ entity) + _GOLDEN & _MASK)

    def unit(self, ordinal: int = 0) -> float:
        """One number from the open interval (0, 1)."""
        return ((_mix(self._key ^ (ordinal + _GOLDEN)) >> 11) + 0.5) * _U53

    def between(self, low: float, high: float, ordinal: int = 0) -> float:
        """Uniform between `low` and `high`."""
        return low + (high - low) * self.unit(ordinal)

    def index(self, count: int, ordinal: int = 0) -> int:
        """A whole number below `count`."""
        return int(self.unit(ordinal) * count)

    def chance(self, share: float, ordinal: int = 0) -> bool:
        """True with probability `share`."""
        return self.unit(ordinal) < share

    def among(self, cumulative: Sequence[float], ordinal: int = 0) -> int:
        """An index, by weights given as running sums."""
        wanted = self.unit(ordinal) * cumulative[-1]
        low, high = 0, len(cumulative) - 1
        while low < high:
            middle = (low + high) // 2
            if cumulative[middle] < wanted:
                low = middle + 1
            else:
                high = middle
        return low

    def lognormal(self, median: float, sigma: float, ordinal: int = 0) -> float:
        """Log-normal by its median and the standard deviation of its logarithm."""
        return median * math.exp(sigma * _NORMAL.inv_cdf(self.unit(ordinal)))
