"""Which of very many texts were met, and where, in eight bytes each."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

_MERGED = 4096  # numbers that wait in a set, until they are sorted among the rest


def hashes(texts: Iterable[str]) -> NDArray[np.int64]:
    """Returns a number of 64 bits for each text: the same for the same text, in this process, and for no other."""
    return np.frombuffer(array("q", map(hash, texts)).tobytes(), dtype=np.int64)


def alone(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tells of each number whether it occurs once."""
    _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    once: NDArray[np.bool_] = (counts == 1)[places]
    return once


class Marks:
    """A set of texts, of which it holds the hashes alone.

    Args:
        texts: to begin with.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._sorted, self._fresh = array("q"), set[int]()
        self.update(texts)

    def __contains__(self, text: str) -> bool:
        return self._holds(hash(text))

    def _holds(self, one: int) -> bool:
        place = bisect_left(self._sorted, one)
        return (place < len(self._sorted) and self._sorted[place] == one) or one in self._fresh

    def among(self, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Tells of each of many hashes whether it is here."""
        self._merge()
        return np.isin(numbers, np.frombuffer(self._sorted, dtype=np.int64))

    def update(self, texts: Iterable[str]) -> None:
        """Takes further texts in."""
        numbers = map(hash, texts)
        while some := list(islice(numbers, _MERGED)):
            self._fresh.update(some)
            if len(self._fresh) >= _MERGED:
                self._merge()

    def take(self, numbers: NDArray[np.int64]) -> None:
        """Takes further hashes in."""
        self._merge()
        both = np.concatenate([np.frombuffer(self._sorted, dtype=np.int64), numbers])
        both.sort()
        self._sorted = array("q", both.tobytes())

    def clear(self) -> None:
        """Forgets all of them."""
        self._sorted, self._fresh = array("q"), set()

    def _merge(self) -> None:
        if self._fresh:
            fresh, self._fresh = self._fresh, set()
            self.take(np.fromiter(fresh, np.int64, len(fresh)))


class Lookup:
    """Where each of many texts stands in a list of their hashes.

    Args:
        numbers: the list.
    """

    def __init__(self, numbers: NDArray[np.int64]) -> None:
        order = np.argsort(numbers, kind="stable")
        self._sorted, self._order = array("q", numbers[order].tobytes()), array("I", order.astype("I").tobytes())

    def __call__(self, text: str) -> Iterator[int]:
        """Yields the places of a text, the first first."""
        one = hash(text)
        place = bisect_left(self._sorted, one)
        while place < len(self._sorted) and self._sorted[place] == one:
            yield self._order[place]
            place += 1

    def last(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the last place of each of many hashes; -1 where it is nowhere."""
        known = np.frombuffer(self._sorted, dtype=np.int64)
        if not len(known):
            return np.full(len(numbers), -1)
        place = np.searchsorted(known, numbers, side="right") - 1
        there = (place >= 0) & (known[place] == numbers)
        return np.where(there, np.frombuffer(self._order, dtype="I").astype(np.int64)[place], -1)
