"""Where a map is hottest, and whether it stays there when the image moves a little, is compressed or brightened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from cfcam.errors import InputError, shown, whole_number
from cfcam.metrics.functional.robustness import jpeg, shift, through_jpeg

FARTHEST = 2
"""Pixels of the network's input by which a small motion moves an image at most."""
QUALITY = 90
"""JPEG quality of the small motion that is none: a reader sees no difference."""

BRIGHTER = 0.05
"""How much brighter and darker a picture becomes in `small_changes`, as a share of the range from black to white."""

_WITH_JPEG = (1, 3)  # channels
_SLACK = 0.02  # of the range: interpolation overshoots it a little


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


@dataclass(frozen=True, eq=False)
class SmallChange:
    """Images changed so little that a reader sees no difference.

    Attributes:
        name: what was done: "shift", "jpeg" or "brightness".
        x: (N, C, *spatial) the changed images.
        shift: by how many pixels along each axis; 0 of what is no shift.
        possible: (N,) bool, the images for which it can be told what this change is.
    """

    name: str
    x: Tensor
    shift: tuple[int, ...]
    possible: Tensor


def small_changes(
    x: Tensor, black: float | Tensor | None = None, white: float | Tensor | None = None
) -> Iterator[SmallChange]:
    """Yields images under small changes: by one pixel to and fro on each axis, JPEG, a little brighter and darker.

    Shifts replicate the border. JPEG of quality 90 and a change of the brightness by a twentieth of the range from
    black to white (cut off there) ask for that range: a network takes normalised values, and what they stand for cannot
    be seen in them. Without it there are shifts only; JPEG is for pictures of 1 or 3 channels.

    Args:
        x: (N, C, *spatial) network inputs.
        black: what a black pixel becomes in preprocessing, a number or one for each channel (C,); None: unknown.
        white: likewise, a white pixel.

    Raises:
        InputError: values for another number of channels, or a range of no extent.

    Example:
        >>> [change.name for change in small_changes(torch.rand(1, 3, 8, 8), 0.0, 1.0)]
        ['shift', 'shift', 'shift', 'shift', 'jpeg', 'brightness', 'brightness']
    """
    axes = x.ndim - 2
    none = (0,) * axes
    every = x.new_ones(len(x), dtype=torch.bool)
    for axis in range(axes):
        if x.shape[2 + axis] > 1:
            for sign in (-1, 1):
                way = tuple(sign * (a == axis) for a in range(axes))
                yield SmallChange("shift", shift(x, way), way, every)
    if black is None or white is None:
        return
    low, high = _level(black, "black", x), _level(white, "white", x)
    extent = high - low
    if bool((extent == 0).any()):
        raise InputError(f"black is {black} and white {white}: a range of no extent; give what these pixels become")
    share = (x - low) / extent
    flat = share.flatten(1)
    inside = (flat >= -_SLACK).all(1) & (flat <= 1 + _SLACK).all(1)
    share = share.clamp(0, 1)
    if axes == 2 and x.shape[1] in _WITH_JPEG:
        yield SmallChange("jpeg", through_jpeg(share.nan_to_num(), QUALITY) * extent + low, none, inside)
    for sign in (1, -1):
        yield SmallChange("brightness", (share + sign * BRIGHTER).clamp(0, 1) * extent + low, none, inside)


def peak_shift(original: Tensor, changed: Tensor, shifts: Tensor, size: Sequence[int]) -> Tensor:
    """Returns (B,) the share of small changes under which the hottest cell stays; higher is better, 1 at best.

    It stays as `peak_stays` has it. A map whose hottest cell is not one alone (a constant map) has no peak: NaN; a
    changed one without has lost it. Maps that are random anew for each input score 1 / cells.

    Args:
        original: (B, *cells) raw maps, on the layer's own grid.
        changed: (M, B, *cells) raw maps of the same class, of the images under M changes; a map that is NaN everywhere
            stands for a change that this image has not, and does not count.
        shifts: (M, axes) in pixels of the input; 0 where the image was not shifted.
        size: of the input's axes in pixels.

    Raises:
        InputError: the shapes do not fit, a shift is not finite, or the size is none.

    Source: ours; see `small_changes` for the changes of the scorecard.

    Example:
        >>> original = torch.tensor([[0.0, 2.0, 1.0]])
        >>> changed = torch.tensor([[[0.0, 3.0, 1.0]], [[0.0, 1.0, 2.0]]])
        >>> peak_shift(original, changed, torch.tensor([[1], [0]]), [12])
        tensor([0.5000])
    """
    axes = len(check_size(size))
    if changed.ndim != original.ndim + 1 or changed.shape[1:] != original.shape or not len(changed):
        raise InputError(
            f"maps {tuple(original.shape)} and {tuple(changed.shape)} of changed images: give (B, *cells) and"
            " (M, B, *cells), M at least 1"
        )
    if shifts.shape != (len(changed), axes):
        raise InputError(f"shifts {tuple(shifts.shape)} for {len(changed)} changes: give (M, axes) in pixels")
    if not bool(shifts.isfinite().all()):
        raise InputError("a shift is not finite: give pixels of the input, 0 where it was not shifted")
    tried = ~changed.flatten(2).isnan().all(2)
    stays = torch.stack(
        [
            peak_stays(original, maps, way.expand(len(original), axes), size) & _alone(maps)
            for maps, way in zip(changed, shifts, strict=True)
        ]
    )
    share = (stays & tried).sum(0) / tried.sum(0)
    return torch.where(_alone(original) & tried.any(0), share, torch.nan).float()


def check_size(size: Any) -> tuple[int, ...]:
    """Returns the size of an input, in pixels along each axis.

    Raises:
        InputError: it is none.
    """
    if not isinstance(size, Sequence) or isinstance(size, str) or not size:
        raise InputError(f"size={shown(size)}: give the pixels along each axis of the network's input, as [224, 224]")
    return tuple(whole_number(n, "size", 1) for n in size)


def _alone(maps: Tensor) -> Tensor:
    """Returns (B,) bool: one cell is hotter than all others, and above 0."""
    flat = maps.flatten(1)
    usable = flat.isfinite().all(1) & (flat > 0).any(1)
    flat = torch.where(usable[:, None], flat, 0)
    return usable & ((flat == flat.amax(1, keepdim=True)).sum(1) == 1)


def _level(value: float | Tensor, what: str, x: Tensor) -> Tensor:
    try:
        level = torch.as_tensor(value, dtype=x.dtype, device=x.device)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{what}={shown(value)}: give a number, or one for each channel") from None
    if not bool(level.isfinite().all()):
        raise InputError(f"{what} is not finite: give what such a pixel becomes in preprocessing")
    if level.ndim > 1 or level.numel() not in (1, x.shape[1]):
        raise InputError(
            f"{what} has shape {tuple(level.shape)} for images of {x.shape[1]} channels: give a number, or one for each"
            " channel"
        )
    return level.reshape(-1, *[1] * (x.ndim - 2))
