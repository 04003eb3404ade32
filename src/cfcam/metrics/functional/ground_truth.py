"""Ground truth on the grid of the heatmaps: masks and boxes, checked before anything is measured against them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from cfcam.errors import InputError

Boxes = Tensor | Sequence[Sequence[float]]
_FRAME_SLACK = 1e-3  # in pixels: boxes that were scaled to the input overshoot its frame by rounding


def check_ground_truth(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Returns a mask as bool after checking that it lies on the grid of the heatmaps.

    A transposed mask is seen by its shape, so a square one is not: look at one overlay.

    Args:
        mask: (*size) or (B, *size); bool, or 0 and one positive value (1 or 255).
        size: *spatial of the heatmaps.

    Raises:
        InputError: the mask has another size or orientation, or is no mask of two values.

    Example:
        >>> check_ground_truth(torch.tensor([[0, 255], [0, 0]]), (2, 2))
        tensor([[False,  True],
                [False, False]])
    """
    size = tuple(size)
    found = tuple(mask.shape[-len(size) :])
    if mask.ndim not in (len(size), len(size) + 1):
        raise InputError(
            f"a mask of shape {tuple(mask.shape)} for heatmaps of size {size}: give {size} or (B, *{size}), "
            "one label and no channel axis"
        )
    if found != size:
        advice = (
            "it looks transposed: permute its axes to the image's"
            if sorted(found) == sorted(size)
            else "crop it as the image was cropped and resize it with nearest-neighbour interpolation"
        )
        raise InputError(f"a mask of size {found} for heatmaps of size {size}: {advice}")
    if mask.dtype is torch.bool:
        return mask
    values = mask.unique()
    if values.numel() and not (bool((values >= 0).all()) and int((values > 0).sum()) <= 1):
        shown = ", ".join(f"{value:g}" for value in values[:4].tolist())
        raise InputError(
            f"a mask with {values.numel()} different values ({shown}, ...): choose one label (mask == label), "
            "or threshold it, to get a bool mask"
        )
    return mask > 0


def check_boxes(boxes: Boxes, size: Sequence[int]) -> Tensor:
    """Returns boxes as numbers, clipped to the frame; a box that had to be clipped is told by a warning.

    Args:
        boxes: (m, 2 * axes): x0, y0, x1, y1 (in 3-D x0, y0, z0, x1, y1, z1) in pixels of the heatmap, x1 exclusive; x
            is the last spatial axis. m may be 0.
        size: *spatial of the heatmaps: (H, W) or (D, H, W).

    Returns:
        (m, 2 * axes) float64 on the CPU.

    Raises:
        InputError: a box has another number of coordinates, is not finite, inverted or empty, or lies outside.

    Example:
        >>> check_boxes([[1, 0, 3, 2]], size=(2, 4))
        tensor([[1., 0., 3., 2.]], dtype=torch.float64)
    """
    axes = len(size)
    try:
        table = torch.as_tensor(boxes, dtype=torch.float64).cpu()
    except (TypeError, ValueError) as error:
        raise InputError(f"boxes {boxes}: give (m, {2 * axes}) numbers, the same for every box") from error
    if table.numel() == 0:
        return table.new_zeros(0, 2 * axes)
    if table.ndim != 2 or table.shape[1] != 2 * axes:
        raise InputError(
            f"boxes of shape {tuple(table.shape)} for an image of size {tuple(size)}: give (m, {2 * axes})"
        )
    frame = torch.tensor(tuple(size)[::-1], dtype=torch.float64)
    low, high = table[:, :axes], table[:, axes:]
    _refuse(table, ~table.isfinite().all(1), "a box is not finite", size)
    _refuse(table, (high <= low).any(1), "a box is inverted or empty: give x0, y0, x1, y1 with x1 > x0, y1 > y0", size)
    outside = ((high <= 0) | (low >= frame)).any(1)
    _refuse(table, outside, "a box lies outside the image: scale and crop boxes as the image was", size)
    clipped = torch.cat([low.clamp(min=0), torch.minimum(high, frame)], dim=1)
    cut = ((clipped - table).abs() > _FRAME_SLACK).any(1)
    if bool(cut.any()):
        warnings.warn(
            f"{int(cut.sum())} of {len(table)} boxes reach out of an image of size {tuple(size)} and are clipped, "
            f"the first is {table[cut][0].tolist()}",
            stacklevel=2,
        )
    return clipped


def boxes_to_mask(boxes: Boxes, size: Sequence[int]) -> Tensor:
    """The union of boxes as a mask: a pixel is inside when its centre is, and every box marks at least one pixel.

    Args:
        boxes: (m, 2 * axes) as in `check_boxes`; m may be 0, which gives an empty mask.
        size: *spatial of the mask.

    Returns:
        (*size) bool on the CPU.

    Raises:
        InputError: as `check_boxes`.

    Example:
        >>> boxes_to_mask([[1, 0, 3, 1]], size=(2, 4)).int()
        tensor([[0, 1, 1, 0],
                [0, 0, 0, 0]], dtype=torch.int32)
    """
    axes = len(size)
    mask = torch.zeros(tuple(size), dtype=torch.bool)
    for box in check_boxes(boxes, size).tolist():
        low, high = box[:axes][::-1], box[axes:][::-1]
        starts = [min(math.ceil(start - 0.5), length - 1) for start, length in zip(low, size, strict=True)]
        stops = [max(math.ceil(stop - 0.5), start + 1) for stop, start in zip(high, starts, strict=True)]
        mask[tuple(slice(start, stop) for start, stop in zip(starts, stops, strict=True))] = True
    return mask


def _refuse(boxes: Tensor, wrong: Tensor, reason: str, size: Sequence[int]) -> None:
    if bool(wrong.any()):
        raise InputError(f"{reason}: {boxes[wrong][0].tolist()} in an image of size {tuple(size)}")
