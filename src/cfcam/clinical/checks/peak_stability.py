"""The error bar of a map's peak: does its hottest cell stay where it is when nothing that matters has changed?

A peak looks as if it were exact to the pixel. In a quarter to a third of real pictures it moves to another cell of the
layer when the picture moves by a single pixel, though the map as a whole hardly changes. So a place is told with the
share of small motions under which it stays, and as a part of the picture rather than as a pixel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from cfcam.capture import NotPredictedError
from cfcam.clinical.checks.interventions import Explain
from cfcam.errors import InputError
from cfcam.explanation import Explanation
from cfcam.maps import Status
from cfcam.metrics.functional.peaks import FARTHEST, peak_cells, peak_stays, small_motions

_AT_ONCE = {1: 8, 2: 8, 3: 1}  # inputs in one pass
_NO_JPEG = "no JPEG: it holds pictures of 1 or 3 channels only"
_SHORT = "no shifts by {0} pixels: an axis is no longer than that"
_ALL = {1: 4, 2: 16, 3: 20}  # shifts

Key = tuple[str, int]
Back = Callable[[Tensor], Tensor]


@runtime_checkable
class Placing(Protocol):
    """A way back that need not bring a whole map to tell where a single place comes to lie."""

    def place(self, place: Sequence[int]) -> tuple[int, ...]:
        """Returns where a hill has its top on the grid of the picture, whose top is at a place of the input."""


@dataclass(frozen=True)
class PeakStability:
    """How steady the peak of one map is.

    Attributes:
        stayed: under how many of the small motions the hottest cell stayed where it was: moved back, its centre lies
            within half a cell of the layer of where it was.
        motions: how many there were: one pass of the network each.
        elsewhere: where it went under the others, as indices on the grid of the map as shown, each place once; the
            motions under which it was lost have none.
        times: under how many motions it went to each of these.
        left_out: motions that such an input has not, a line each.
    """

    stayed: int
    motions: int
    elsewhere: tuple[tuple[int, ...], ...] = ()
    times: tuple[int, ...] = ()
    left_out: tuple[str, ...] = field(default=())

    @property
    def share(self) -> float:
        """Of the motions, in [0, 1]."""
        return self.stayed / self.motions

    def __str__(self) -> str:
        left_out = f" ({'; '.join(self.left_out)})" if self.left_out else ""
        return f"stays under {self.stayed} of {self.motions} small motions{left_out}"


def peak_stability(
    explain: Explain, x: Tensor, target: int, method: str, *, back: Back | None = None
) -> PeakStability | None:
    """Moves an image a little, and tells how often the peak of its map stays where it is.

    The motions are shifts by 1 and 2 pixels of the network's input (16 of a picture, in 8 directions; 20 of a volume,
    through its slices too) and JPEG at quality 90, of pictures only. The class is held fixed. It costs one pass of the
    network for each, 17 for a picture, and one for the map itself.

    Args:
        explain: an `Explainer`.
        x: (1, C, *spatial), as the network takes it.
        target: class index.
        method: one of the explainer's.
        back: brings a map (*spatial) from the network's input onto the grid on which it is shown; None: that is the
            input's.

    Returns:
        None if the map has no peak: no positive evidence, or not finite.

    Raises:
        InputError: not one image, or no class index.
        CfcamError: the image cannot be explained.
    """
    targets = torch.tensor([target])
    found = peak_stabilities(explain, x, targets, methods=[method], back=back)
    return found.get((method, 0))


def peak_stabilities(
    explain: Explain,
    x: Tensor,
    targets: Tensor,
    *,
    methods: Sequence[str],
    first: Explanation | None = None,
    back: Back | None = None,
    at_once: int | None = None,
) -> dict[Key, PeakStability]:
    """Tells how steady the peaks of several maps of one image are, by the same passes; see `peak_stability`.

    Args:
        explain: an `Explainer`.
        x: (1, C, *spatial).
        targets: (K,) class indices.
        methods: some of the explainer's.
        first: the image as it is, explained for these targets; None: it is explained here.
        back: see `peak_stability`.
        at_once: motions in one pass; None: 8 of pictures, one of volumes.

    Returns:
        (method, number of the target) -> stability; nothing for maps without a peak.

    Raises:
        InputError: not one image, or a target that is no class.
        CfcamError: the image cannot be explained.
    """
    axes = x.ndim - 2
    if axes not in _AT_ONCE or len(x) != 1 or bool((targets < 0).any()):
        raise InputError(
            f"peaks of x {tuple(x.shape)}, targets {targets.tolist()}: give one image (1, C, *spatial) and indices of"
            " classes"
        )
    first = explain(x, targets[None]) if first is None else first
    size = tuple(x.shape[2:])
    before = {(m, k): first.maps[m][0, k].detach().cpu() for m in methods for k in range(len(targets))
              if first.status[m][0, k] == Status.OK}  # fmt: skip
    stayed: dict[Key, int] = dict.fromkeys(before, 0)
    places: dict[Key, dict[tuple[int, ...], tuple[int, ...]]] = {key: {} for key in before}
    times: dict[Key, Counter[tuple[int, ...]]] = {key: Counter() for key in before}
    count = shifts = 0
    for ways, explained in _explained(explain, x, targets, at_once or _AT_ONCE[axes]) if before else ():
        count += len(ways)
        shifts += sum(any(way) for way in ways)
        moved = torch.tensor(ways).reshape(len(ways), axes)
        for (method, k), raw in before.items():
            maps = _maps(explained, method, k, like=raw)
            stays = peak_stays(raw.expand_as(maps), maps, moved, size)
            stayed[method, k] += int(stays.sum())
            for cell, way, stays_here in zip(peak_cells(maps).tolist(), ways, stays.tolist(), strict=True):
                if not stays_here and min(cell) >= 0:
                    places[method, k].setdefault(tuple(cell), _place(cell, raw.shape, way, size))
                    times[method, k][tuple(cell)] += 1
    left_out = _left_out(x, count, shifts)
    found = {}
    for key, n in stayed.items():
        went: Counter[tuple[int, ...]] = Counter()
        for cell, place in places[key].items():
            went[_shown(place, size, back)] += times[key][cell]
        found[key] = PeakStability(n, count, tuple(sorted(went)), tuple(went[at] for at in sorted(went)), left_out)
    return found


def _explained(
    explain: Explain, x: Tensor, targets: Tensor, at_once: int
) -> Iterator[tuple[list[tuple[int, ...]], list[Explanation | None]]]:
    """The small motions part by part, each image with its explanation; None where the class is not there any more."""
    motions = small_motions(x)
    while part := list(islice(motions, at_once)):
        inputs = torch.cat([moved for _, moved in part])
        try:
            whole = explain(inputs, targets.expand(len(part), -1))
            several: list[Explanation | None] = [whole.select(slice(n, n + 1)) for n in range(len(part))]
        except Exception:
            if len(part) == 1 and at_once == 1:
                raise
            several = [_alone(explain, one[None], targets) for one in inputs]
        yield [way for way, _ in part], several


def _alone(explain: Explain, x: Tensor, targets: Tensor) -> Explanation | None:
    """One motion by itself: some networks take one image at a time, and some find the class nowhere in it."""
    try:
        return explain(x, targets[None])
    except NotPredictedError:
        return None


def _maps(explained: Sequence[Explanation | None], method: str, k: int, *, like: Tensor) -> Tensor:
    none = torch.zeros_like(like)
    return torch.stack([none if e is None else e.maps[method][0, k].detach().cpu() for e in explained])


def _place(cell: Sequence[int], cells: Sequence[int], way: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    """The pixel of the input at the middle of a cell, moved back."""
    middle = [(at + 0.5) * n / count - step for at, count, n, step in zip(cell, cells, size, way, strict=True)]
    return tuple(min(max(int(at), 0), n - 1) for at, n in zip(middle, size, strict=True))


def _shown(place: tuple[int, ...], size: Sequence[int], back: Back | None) -> tuple[int, ...]:
    """A pixel of the input on the grid of the picture: where a hill with its top there has its top."""
    if back is None:
        return place
    way: object = back  # which may be both
    if isinstance(way, Placing):
        return way.place(place)
    steps = torch.meshgrid(
        *[(torch.arange(n) - at).abs() / n for at, n in zip(place, size, strict=True)], indexing="ij"
    )
    hill = back(1 - torch.stack(steps).mean(0))
    return tuple(int(at) for at in np.unravel_index(int(hill.argmax()), tuple(hill.shape)))


def _left_out(x: Tensor, count: int, shifts: int) -> tuple[str, ...]:
    said = [] if count > shifts or not count else [_NO_JPEG]
    return (*said, *([_SHORT.format(FARTHEST)] if count and shifts < _ALL[x.ndim - 2] else []))
