"""The page's numbers: how often the network is right, what it takes for what, and how like its class a map is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cfcam.jobs.index.entry import Entry
from cfcam.jobs.index.glance import unpacked

_Z = 1.959963984540054  # of the normal distribution, 97.5 %


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share, after Wilson (1927), for ``hits`` of ``n``; (0, 1) for n = 0.

    Unlike the normal approximation it stays in [0, 1], and is no point at 0 and at n.

    Example:
        >>> tuple(round(x, 3) for x in wilson(9, 10))
        (0.596, 0.982)
    """
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def confusion(entries: Sequence[Entry]) -> dict[tuple[int, int], int]:
    """Returns (true class, answer) -> number of pictures, of those of which both are known."""
    return dict(Counter((e.label, e.answer) for e in entries if e.label is not None and e.answer is not None))


def correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float | None:
    """Returns Pearson's correlation of two maps in [-1, 1]; None where one of them is the same everywhere.

    Example:
        >>> correlation(np.array([0.0, 0.5, 1.0]), np.array([0.0, 1.0, 2.0]))
        1.0
    """
    a, b = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return None if scale < 1e-12 else max(-1.0, min(1.0, float(a @ b) / scale))


@dataclass(frozen=True)
class Group:
    """Pictures whose maps are averaged.

    Attributes:
        explained: the class that their maps explain.
        label: their true class; None where no labels are known.
        answer: what the network takes them for; likewise.
        mean: mean of their maps (`GRID`, `GRID`) in [0, 1].
        members: places among the entries, of those with a map, the most typical of the class first.
    """

    explained: int
    label: int | None
    answer: int | None
    mean: NDArray[np.float32]
    members: tuple[int, ...]

    @property
    def wrong(self) -> bool:
        """Whether these are pictures that the network gets wrong."""
        return self.label != self.answer


def typicality(entries: Sequence[Entry]) -> list[float | None]:
    """Returns how like its class the map of each entry is: its correlation with the mean map of that class.

    The class is the one that the map explains. Its mean is of all maps for it; where labels are known, of those of
    pictures that are of this class and are taken for it. An entry's own map is among them. None without a map, for
    one that is the same everywhere, and where the class has no mean.
    """
    labelled = any(entry.label is not None for entry in entries)
    sums = _Sums()
    for entry in entries:
        if entry.grid and (not labelled or entry.label == entry.answer == entry.explained):
            sums.add(entry.explained, entry.grid)
    means = sums.means()
    return [
        correlation(unpacked(entry.grid), means[entry.explained]) if entry.grid and entry.explained in means else None
        for entry in entries
    ]


def groups(entries: Sequence[Entry], typical: Sequence[float | None]) -> list[Group]:
    """Returns the groups whose mean maps are shown: classes, then, where labels are known, kinds of errors.

    Args:
        entries: of the page; without labels those whose maps explain one class are a group, else those that agree in
            true class, answer and explained class.
        typical: of each entry, from `typicality`.

    Returns:
        Right answers in the order of the classes, then errors, the most frequent first.
    """
    labelled = any(entry.label is not None for entry in entries)
    sums, members = _Sums(), dict[tuple[int, int | None, int | None], list[int]]()
    for place, entry in enumerate(entries):
        if not entry.grid or entry.explained is None or (labelled and entry.wrong is None):
            continue
        key = (entry.explained, entry.label, entry.answer) if labelled else (entry.explained, None, None)
        sums.add(key, entry.grid)
        members.setdefault(key, []).append(place)
    means = sums.means()

    def like(place: int) -> float:
        r = typical[place]
        return -2.0 if r is None else r

    found = [Group(*key, means[key], tuple(sorted(places, key=like, reverse=True))) for key, places in members.items()]
    return sorted(found, key=lambda g: (g.wrong, -len(g.members) if g.wrong else 0, g.explained, g.label or 0))


class _Sums:
    """Sums of maps by key: of ten thousand pictures no more is held than of ten."""

    def __init__(self) -> None:
        self._sums: dict[object, NDArray[np.float64]] = {}
        self._counts: Counter[object] = Counter()

    def add(self, key: object, grid: str) -> None:
        values = unpacked(grid).astype(np.float64)
        if key in self._sums:
            self._sums[key] += values
        else:
            self._sums[key] = values
        self._counts[key] += 1

    def means(self) -> dict[object, NDArray[np.float32]]:
        return {key: (total / self._counts[key]).astype(np.float32) for key, total in self._sums.items()}
