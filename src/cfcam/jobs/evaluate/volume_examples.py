"""What the measured maps of a volume look like: three slices of each, through the ground truth if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from cfcam.imaging import Volume, contact_sheet
from cfcam.imaging.drawing.planes import (
    NORMAL_AXIS,
    PLANES,
    VolumeView,
    cut_plane,
    heat_picture,
    peak_voxel,
    view_notes,
)
from cfcam.imaging.geometry import Affine
from cfcam.imaging.volume import Source
from cfcam.jobs.evaluate.examples import OUTLINE, Example, as_example, panels_of, rim
from cfcam.metrics.scorecard.evaluator import Evaluator
from cfcam.metrics.scorecard.samples import Sample

_SIDE = 160  # pixels of the longest side of the volume
_Index = tuple[int, int, int]
_Number = TypeVar("_Number", np.uint8, np.float32)


def volume_example(evaluator: Evaluator, sample: Sample, affine: Affine, *, placed: bool = True) -> Example:
    """Draws the maps of one volume over what the network saw; the ground truth is outlined.

    An axial, a coronal and a sagittal slice stand one under the other. They go through the middle of the ground truth,
    or, where there is none, through the peak of the mean of the maps without the controls.

    Args:
        evaluator: gives methods, layer, and which class is explained.
        sample: the case, 3-D.
        affine: of the network's input, index to mm, RAS+.
        placed: whether it is known how the volume lies in the patient; if not, no direction is named.
    """
    view = VolumeView.of(Volume(sample.image[0].cpu().numpy(), affine, Source(space=int(placed))), None)
    panels = panels_of(evaluator, sample)
    heats = {panel.method: view.heat(panel.heatmap) for panel in panels if panel.heatmap is not None}
    truth = None if sample.ground_truth is None else view.heat(sample.ground_truth.float())
    index = _place(view, truth, [heat for name, heat in heats.items() if name not in evaluator.controls])
    drawn = [
        replace(panel, heatmap=_stacked(view, heats[panel.method], index)) if panel.method in heats else panel
        for panel in panels
    ]
    picture = _picture(view, truth, index)
    through = "the middle of the ground truth" if truth is not None else "the peak of the maps' mean"
    footer = "; ".join([f"slices ({', '.join(map(view.name, PLANES))}) through {through}", *view_notes(view)])
    sheet = contact_sheet(
        picture, drawn, title=sample.name, footer=footer, panel_size=max(picture.shape[:2]), theme="light"
    )
    return as_example(sample.name, sheet)


def _place(view: VolumeView, truth: NDArray[np.float32] | None, heats: Sequence[NDArray[np.float32]]) -> _Index:
    if truth is not None:
        return peak_voxel(truth)
    if heats:
        return peak_voxel(sum(heats[1:], start=heats[0]))
    depth, height, width = (length // 2 for length in view.voxels.shape)
    return depth, height, width


def _picture(view: VolumeView, truth: NDArray[np.float32] | None, index: _Index) -> NDArray[np.uint8]:
    """Three slices, grey, uint8 (h, w, 3), the ground truth outlined."""
    scale = view.scale(_SIDE)
    planes = [view.picture(plane, index[NORMAL_AXIS[plane]], scale) for plane in PLANES]
    picture = _column(planes)
    if truth is not None:
        picture[rim(torch.from_numpy(_stacked(view, truth, index) >= 0.5)).numpy()] = OUTLINE
    return picture


def _stacked(view: VolumeView, values: NDArray[np.float32], index: _Index) -> NDArray[np.float32]:
    """The same three slices of a map, float32 (h, w)."""
    scale = view.scale(_SIDE)
    return _column(
        [
            heat_picture(cut_plane(values, NORMAL_AXIS[plane], index[NORMAL_AXIS[plane]]), view.size(plane, scale))
            for plane in PLANES
        ]
    )


def _column(planes: Sequence[NDArray[_Number]]) -> NDArray[_Number]:
    """Pictures one under the other, in the middle of the widest."""
    width = max(one.shape[1] for one in planes)
    return np.concatenate([_widened(one, width) for one in planes])


def _widened(plane: NDArray[_Number], width: int) -> NDArray[_Number]:
    left = (width - plane.shape[1]) // 2
    margins = [(0, 0), (left, width - plane.shape[1] - left), *[(0, 0)] * (plane.ndim - 2)]
    return np.pad(plane, margins)
