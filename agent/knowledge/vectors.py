"""Texts as vectors without a model: words and letter n-grams hashed to a fixed width, weighted by TF-IDF.

Words carry the meaning; n-grams of letters let "KubePodCrashLooping" meet "crash loop" and survive typing
errors. Vectors have length one, so that an inner product is a cosine.
"""

from __future__ import annotations

import itertools
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["WIDTH", "Vectoriser", "terms_of"]

F32 = NDArray[np.float32]

WIDTH: Final = 4096
GRAM: Final = 4
GRAM_WEIGHT: Final = 0.3
_WORD: Final = re.compile(r"[a-z0-9]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_STOP: Final = frozenset(
    """a an and are as at be but by for from has have if in into is it its of on or our that the their then there
    these they this to was were what when which while will with you your can not no""".split()
)


def terms_of(text: str) -> Counter[str]:
    """Words (stemmed a little), pairs of words, and letter n-grams of the words, with their weights as counts."""
    words = [_stem(w) for w in _WORD.findall(_CAMEL.sub(" ", text).lower()) if w not in _STOP]
    terms: Counter[str] = Counter(words)
    terms.update(f"{a} {b}" for a, b in itertools.pairwise(words))
    for word in words:
        padded = f"<{word}>"
        terms.update(f"#{padded[i : i + GRAM]}" for i in range(max(len(padded) - GRAM + 1, 0)))
    return terms


def _stem(word: str) -> str:
    for ending in ("ing", "ies", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


class Vectoriser:
    """Learns how rare each term is from a set of texts; then turns texts into vectors (n, WIDTH)."""

    def __init__(self, texts: Sequence[str]) -> None:
        count = np.zeros(WIDTH, dtype=np.float64)
        for text in texts:
            for slot in {_slot(term) for term in terms_of(text)}:
                count[slot] += 1.0
        self._rarity = np.log((1.0 + len(texts)) / (1.0 + count)) + 1.0

    def vector(self, text: str) -> F32:
        """(WIDTH,) of length one; all zero for a text without terms."""
        values = np.zeros(WIDTH, dtype=np.float64)
        for term, count in sorted(terms_of(text).items()):
            weight = GRAM_WEIGHT if term.startswith("#") else 1.0
            slot = _slot(term)
            values[slot] += weight * (1.0 + np.log(count)) * self._rarity[slot]
        length = float(np.sqrt(np.sum(values * values)))
        return (values / length if length > 0.0 else values).astype(np.float32)


def _slot(term: str) -> int:
    return zlib.crc32(term.encode()) % WIDTH
