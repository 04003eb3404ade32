"""Where a map is hottest, and whether it stays there when the image moves a little or is compressed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.functional.robustness import jpeg, shift

FARTHEST = 2
"""Pixels of the network's input by which a small motion moves an image at most."""
QUALITY = 90
"""JPEG quality of the small motion that is none: a reader sees no difference."""

_WITH_JPEG = (1, 3)  # channels


def small_shifts(axes: int, size: Sequence[int] | None = None) -> list[tuple[int, ...]]:
    """Returns the small motions of an image that are shifts, in pixels along each axis.

    By 1 and by 2 pixels, along the last two axes in 8 directions, along every other axis to and fro: 16 for a picture,
    20 for a volume, 4 for a signal.

    Args:
        axes: of the image.
        size: of its axes: shifts by a whole axis or more are left out; None: all.

    Example:
        >>> small_shifts(1), len(small_shifts(2)), len(small_shifts(3))
        ([(-1,), (1,), (-2,), (2,)], 16, 20)
    """
    plane = min(axes, 2)
    found = []
    for far in range(1, FARTHEST + 1):
        within = [(0,) * (axes - plane) + way for way in product((-1, 0, 1), repeat=plane) if any(way)]
        through = [tuple(sign * (a == axis) for a in range(axes)) for axis in range(axes - plane) for sign in (-1, 1)]
        found += [tuple(far * step for step in way) for way in (*within, *through)]
    if size is None:
        return found
    return [way for way in found if all(abs(step) < n for step, n in zip(way, size, strict=True))]


def small_motions(x: Tensor) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Yields an image moved so little that a reader sees no difference: the shift, and the image (1, C, *spatial).

    The shifts of `small_shifts`, the border replicated, then JPEG at quality 90 (shift 0) where the image is a picture
    of 1 or 3 channels.

    Args:
        x: (1, C, *spatial), as the network takes it.
    """
    axes = x.ndim - 2
    for way in small_shifts(axes, x.shape[2:]):
        yield way, shift(x, way)
    if axes == 2 and x.shape[1] in _WITH_JPEG:
        yield (0, 0), jpeg(x, QUALITY)


def peak_cells(maps: Tensor) -> Tensor:
    """Returns the hottest cell of each map, (B, axes) int64; of equal ones the first; -1 where there is no peak.

    Args:
        maps: (B, *cells), raw: a map without positive evidence, or one that is not finite, has no peak.

    Example:
        >>> peak_cells(torch.tensor([[[0.0, 3.0], [1.0, 2.0]], [[0.0, -1.0], [0.0, 0.0]]]))
        tensor([[ 0,  1],
                [-1, -1]])
    """
    flat = maps.flatten(1)
    usable = flat.isfinite().all(1) & (flat > 0).any(1)
    best = torch.where(usable[:, None], flat, 0).argmax(1)
    cells = torch.stack(torch.unravel_index(best, maps.shape[1:]), 1)
    return torch.where(usable[:, None], cells, -1)


def peak_stays(original: Tensor, moved: Tensor, shifts: Tensor, size: Sequence[int]) -> Tensor:
    """Returns (B,) bool: is the hottest cell, moved back, still where it was?

    It is if its centre, moved back by the image's shift, lies within half a cell of the original's along every axis. A
    peak that is lost (no positive evidence any more) did not stay.

    Args:
        original: (B, *cells) raw maps.
        moved: (B, *cells) of the moved images.
        shifts: (B, axes) in pixels, as `small_motions` gives them.
        size: of the image's axes in pixels.

    Raises:
        InputError: the shapes do not fit.

    Example:
        >>> before, after = torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([[0.0, 1.0, 2.0]])
        >>> peak_stays(before, after, torch.tensor([[1]]), [12]), peak_stays(before, after, torch.tensor([[1]]), [3])
        (tensor([False]), tensor([True]))
    """
    axes = len(size)
    if original.shape != moved.shape or original.ndim != axes + 1 or shifts.shape != (len(original), axes):
        raise InputError(
            f"maps {tuple(original.shape)} and {tuple(moved.shape)} with shifts {tuple(shifts.shape)} in {tuple(size)}"
            " pixels: give (B, *cells) twice and (B, axes)"
        )
    before, after = peak_cells(original), peak_cells(moved)
    cell = torch.tensor([n / cells for n, cells in zip(size, original.shape[1:], strict=True)], dtype=torch.float64)
    away = (after - before).double().cpu() * cell - shifts.double().cpu()
    near = (away.abs() <= cell / 2 + 1e-6).all(1).to(before.device)
    return near & (before >= 0).all(1) & (after >= 0).all(1)
