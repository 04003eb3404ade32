"""Localisation by connected components: boxes and lesions, one value per map.

Arguments and NaN as in `localization`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.functional.ground_truth import Boxes, check_boxes
from cfcam.metrics.functional.heatmaps import (
    has_both_sides,
    has_evidence,
    increasing,
    marked_positions,
    nan_unless,
    read_heatmaps,
    read_pair,
)

THRESHOLDS = tuple(step / 100 for step in range(1, 100))
IOU_LEVELS = (0.3, 0.5, 0.7)
_POSITIONS_AT_ONCE = 2**24  # bounds the memory of a volume at many thresholds to some 100 MB


def lesion_coverage(
    heatmap: Tensor,
    ground_truth: Tensor,
    threshold: float | Tensor,
    overlap: float = 0.1,
    full_connectivity: bool = True,
) -> Tensor:
    """The share of the ground truth's connected components that the thresholded map hits; higher is better.

    A component is hit when at least the share ``overlap`` of its positions is marked. Read beside `false_components`: a
    map that marks everything hits everything. Source: ours, after the lesion-wise sensitivity of detection
    studies.

    Args:
        heatmap: (B, *spatial) in [0, 1].
        ground_truth: (B, *spatial) bool.
        threshold: a number in (0, 1], or (B,) one for each map.
        overlap: in (0, 1].
        full_connectivity: positions that touch by a corner are connected (8 neighbours in 2-D, 26 in 3-D).

    Returns:
        (B,) in [0, 1].

    Raises:
        InputError: the shapes or values do not fit.

    Example:
        >>> heatmap = torch.tensor([[0.9, 0.8, 0.0, 0.0, 0.1, 0.0, 0.7]])
        >>> ground_truth = torch.tensor([[1, 1, 0, 0, 1, 0, 0]]) == 1
        >>> lesion_coverage(heatmap, ground_truth, 0.5)
        tensor([0.5000])
    """
    if not 0 < overlap <= 1:
        raise InputError(f"an overlap of {overlap}: it is a share of a component, give a number in (0, 1]")
    heat, truth = read_pair(heatmap, ground_truth)
    marked = _to_numpy(marked_positions(heat, threshold)).reshape(heatmap.shape)
    labels, images, _ = _components(_to_numpy(ground_truth), full_connectivity)
    hit = _count_inside(labels, marked) / _count_inside(labels, labels > 0) >= overlap
    components = np.bincount(images, minlength=len(heat)).clip(min=1)
    share = np.bincount(images, weights=hit, minlength=len(heat)) / components
    return nan_unless(has_evidence(heat) & truth.any(1), torch.from_numpy(share).to(heat))


def false_components(
    heatmap: Tensor, ground_truth: Tensor, threshold: float | Tensor, full_connectivity: bool = True
) -> Tensor:
    """How many connected components of the thresholded map touch no ground truth; lower is better.

    Source: ours, after the false marks per image of detection studies.

    Args:
        heatmap: (B, *spatial) in [0, 1].
        ground_truth: (B, *spatial) bool.
        threshold: a number in (0, 1], or (B,) one for each map.
        full_connectivity: positions that touch by a corner are connected (8 neighbours in 2-D, 26 in 3-D).

    Returns:
        (B,) whole numbers; NaN also where the ground truth fills the frame.

    Raises:
        InputError: the shapes or values do not fit.

    Example:
        >>> heatmap = torch.tensor([[0.9, 0.8, 0.0, 0.0, 0.1, 0.0, 0.7]])
        >>> false_components(heatmap, torch.tensor([[1, 1, 0, 0, 1, 0, 0]]) == 1, 0.5)
        tensor([1.])
    """
    heat, truth = read_pair(heatmap, ground_truth)
    marked = _to_numpy(marked_positions(heat, threshold)).reshape(heatmap.shape)
    labels, images, _ = _components(marked, full_connectivity)
    missed = _count_inside(labels, _to_numpy(ground_truth)) == 0
    count = np.bincount(images, weights=missed, minlength=len(heat))
    return nan_unless(has_evidence(heat) & has_both_sides(truth), torch.from_numpy(count).to(heat))


def box_of_largest_component(heatmap: Tensor, threshold: float | Tensor, full_connectivity: bool = True) -> Tensor:
    """The box around the largest connected component that the map marks.

    Source: MaxBoxAcc, 2001.07437 (the first version; `max_box_acc_v2` takes all components).

    Args:
        heatmap: (B, *spatial) in [0, 1].
        threshold: a number in (0, 1], or (B,) one for each map.
        full_connectivity: positions that touch by a corner are connected.

    Returns:
        (B, 2 * axes): x0, y0, x1, y1 (in 3-D x0, y0, z0, x1, y1, z1; x is the last axis) in pixels, x1 exclusive; NaN
        where the map is not finite, has no positive evidence, or marks nothing.

    Raises:
        InputError: the values do not fit.

    Example:
        >>> heatmap = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.0, 0.6], [0.0, 0.7, 0.8]]])
        >>> box_of_largest_component(heatmap, 0.5)
        tensor([[1., 1., 3., 3.]])
    """
    heat = read_heatmaps(heatmap)
    marked = _to_numpy(marked_positions(heat, threshold)).reshape(heatmap.shape)
    labels, images, boxes = _components(marked, full_connectivity)
    sizes = _count_inside(labels, marked)
    by_size = np.argsort(sizes, kind="stable")[::-1]
    found, first = np.unique(images[by_size], return_index=True)
    largest = np.full((len(heat), boxes.shape[1]), np.nan)
    largest[found] = boxes[by_size[first]]
    return torch.from_numpy(largest).to(heat)


def max_box_hits(
    heatmap: Tensor,
    boxes: Sequence[Boxes] | Tensor,
    thresholds: Sequence[float] = THRESHOLDS,
    iou_levels: Sequence[float] = IOU_LEVELS,
) -> Tensor:
    """Whether any box around a component of the map fits any ground-truth box, for each threshold and IoU level.

    The part of MaxBoxAcc v2 that belongs to one image; average it over images, then see `max_box_acc_v2`.

    Args:
        heatmap: (B, *spatial) in [0, 1].
        boxes: for each image (m, 2 * axes) boxes as in `check_boxes`; or ground truth (B, *spatial) bool, whose
            components are boxed.
        thresholds: T increasing numbers in (0, 1].
        iou_levels: L numbers in (0, 1]; a box fits with at least this IoU.

    Returns:
        (B, T, L) of 1 and 0; NaN where the map is not finite or has no positive evidence, or there is no box.

    Raises:
        InputError: the shapes or values do not fit.

    Example:
        >>> heatmap = torch.tensor([[[0.6, 1.0, 0.0, 0.0]]])
        >>> max_box_hits(heatmap, [[[0, 0, 2, 1]]], [0.5, 0.8], [0.3, 0.7])
        tensor([[[1., 1.],
                 [1., 0.]]])
    """
    heat = read_heatmaps(heatmap)
    if isinstance(boxes, Tensor) and boxes.dtype is torch.bool:
        boxes = boxes_of_components(read_pair(heatmap, boxes)[1].reshape(boxes.shape))
    if len(boxes) != len(heat):
        raise InputError(f"{len(heat)} heatmaps and boxes of {len(boxes)} images: give one list of boxes for each map")
    steps = torch.tensor(increasing(thresholds), dtype=heat.dtype, device=heat.device)
    levels = torch.tensor(increasing(iou_levels), dtype=torch.float64)
    truths = [check_boxes(of_image, heatmap.shape[1:]) for of_image in boxes]
    best = torch.zeros(len(heat), len(steps), dtype=torch.float64)
    for image, truth in enumerate(truths):
        if len(truth):
            parts = steps.split(max(1, _POSITIONS_AT_ONCE // heat.shape[1]))
            marked = (_to_numpy(heat[image] >= part[:, None]).reshape(-1, *heatmap.shape[1:]) for part in parts)
            best[image] = torch.cat([_best_iou(part, truth) for part in marked])
    boxed = torch.tensor([len(truth) > 0 for truth in truths], dtype=torch.bool, device=heat.device)
    known = has_evidence(heat) & boxed
    return nan_unless(known[:, None, None], (best[..., None] >= levels).to(heat))


def max_box_acc_v2(
    heatmap: Tensor,
    boxes: Sequence[Boxes] | Tensor,
    thresholds: Sequence[float] = THRESHOLDS,
    iou_levels: Sequence[float] = IOU_LEVELS,
) -> Tensor:
    """MaxBoxAcc v2 of a data set: the best threshold for each IoU level, averaged over the levels; higher is better.

    Boxes around all components of the map are held against all ground-truth boxes, and one threshold serves all images.
    It is chosen by the ground truth of the same images, so the number says what a map allows, not what it delivers: use
    a held-out split, as the paper does, and compare methods with each other. The reference code quantises maps to 8
    bits, boxes holes too, and adds a pixel to every box; here none of that is done. Source: MaxBoxAccV2 of 2007.04178,
    which extends MaxBoxAcc, 2001.07437.

    Args:
        heatmap: (B, *spatial) in [0, 1].
        boxes: for each image (m, 2 * axes) boxes as in `check_boxes`; or ground truth (B, *spatial) bool, whose
            components are boxed.
        thresholds: T increasing numbers in (0, 1].
        iou_levels: L increasing numbers in (0, 1].

    Returns:
        () in [0, 1]; NaN if no map was assessed.

    Raises:
        InputError: the shapes or values do not fit.

    Example:
        >>> heatmap = torch.tensor([[[0.6, 1.0, 0.0, 0.0]], [[0.6, 1.0, 0.0, 0.0]]])
        >>> max_box_acc_v2(heatmap, [[[0, 0, 2, 1]], [[1, 0, 2, 1]]])
        tensor(0.8333)
    """
    return max_box_hits(heatmap, boxes, thresholds, iou_levels).nanmean(0).amax(0).mean()


def boxes_of_components(mask: Tensor, full_connectivity: bool = True) -> list[Tensor]:
    """The boxes around the connected components of masks.

    Args:
        mask: (B, *spatial) bool.
        full_connectivity: positions that touch by a corner are connected.

    Returns:
        For each mask (m, 2 * axes) as in `check_boxes`, float64 on the CPU.

    Example:
        >>> boxes_of_components(torch.tensor([[[True, True, False, True]]]))
        [tensor([[0., 0., 2., 1.],
                [3., 0., 4., 1.]], dtype=torch.float64)]
    """
    _, images, boxes = _components(_to_numpy(mask), full_connectivity)
    return [torch.from_numpy(boxes[images == image]) for image in range(len(mask))]


def _to_numpy(mask: Tensor) -> NDArray[np.bool_]:
    return mask.detach().cpu().numpy()


# SciPy's: scikit-image 0.26.0 takes 1.4 to 7 x as long with boxes; cc3d 4.1.1, one dependency more, 0.4 to 2.6 x.
def _components(
    marked: NDArray[np.bool_], full_connectivity: bool
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]:
    """Labels the connected components of masks (S, *spatial).

    SciPy's labelling on the CPU, also for maps on a GPU: it takes one pass in C over a mask of one byte a position,
    where propagating labels on the device takes passes in proportion to the longest component.

    Returns:
        labels like ``marked``, 1 to n over all masks; for each component the index of its mask (n,) and its box
        (n, 2 * axes) as x0, y0, x1, y1.
    """
    axes = marked.ndim - 1
    # Neighbours within a mask only: one call labels the whole stack.
    neighbours = np.zeros((3,) * marked.ndim, dtype=bool)
    neighbours[1] = ndimage.generate_binary_structure(axes, axes if full_connectivity else 1)
    labels, count = ndimage.label(marked, structure=neighbours)
    corners = [
        (part[0].start, *(axis.start for axis in part[:0:-1]), *(axis.stop for axis in part[:0:-1]))
        for part in (ndimage.find_objects(labels) if count else [])
    ]
    table = np.asarray(corners, dtype=np.int64).reshape(-1, 1 + 2 * axes)
    return labels, table[:, 0], table[:, 1:].astype(np.float64)


def _count_inside(labels: NDArray[np.int32], mask: NDArray[Any]) -> NDArray[np.int64]:
    """How many positions of each component lie in the mask (n,)."""
    return np.bincount(labels[mask], minlength=int(labels.max(initial=0)) + 1)[1:]


def _best_iou(marked: NDArray[np.bool_], truth: Tensor) -> Tensor:
    """For each mask (T, *spatial) the largest IoU of a component's box with a ground-truth box (m, 2 * axes): (T,)."""
    _, steps, boxes = _components(marked, full_connectivity=True)
    fit = _box_iou(torch.from_numpy(boxes), truth).amax(1)
    return torch.zeros(len(marked), dtype=fit.dtype).scatter_reduce(0, torch.from_numpy(steps), fit, "amax")


def _box_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of boxes (n, 2 * axes) with boxes (m, 2 * axes): (n, m)."""
    axes = a.shape[1] // 2
    low = torch.maximum(a[:, None, :axes], b[None, :, :axes])
    high = torch.minimum(a[:, None, axes:], b[None, :, axes:])
    intersection = (high - low).clamp(min=0).prod(2)
    volume_a, volume_b = ((boxes[:, axes:] - boxes[:, :axes]).prod(1) for boxes in (a, b))
    return intersection / (volume_a[:, None] + volume_b - intersection)
