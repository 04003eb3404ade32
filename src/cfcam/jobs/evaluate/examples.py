"""What the measured maps look like: sheets of the first cases of a run, chosen by nothing but its seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from cfcam.imaging import Panel, Preprocess, Volume, contact_sheet
from cfcam.imaging.drawing.planes import (
    NORMAL_AXIS,
    PLANES,
    VolumeView,
    cut_plane,
    heat_picture,
    peak_voxel,
    view_notes,
)
from cfcam.imaging.drawing.sides import lettered
from cfcam.imaging.geometry import Affine
from cfcam.imaging.volume import Source
from cfcam.jobs.evaluate.words import case_shown
from cfcam.maps import Status, heatmaps_of, statuses_of
from cfcam.metrics.scorecard.batch import explained_probability
from cfcam.metrics.scorecard.evaluator import Evaluator
from cfcam.metrics.scorecard.samples import Sample

MOST_METHODS = 8
OUTLINE = (255, 60, 255)
"""Of the ground truth: neither the light blue of a map's own line nor a colour of its palette."""

_SIDE = 160  # pixels of the longest side of a volume

_Index = tuple[int, int, int]
_Number = TypeVar("_Number", np.uint8, np.float32)


@dataclass(frozen=True)
class Example:
    """A sheet of one case.

    Attributes:
        name: of the case.
        jpeg: the sheet.
    """

    name: str
    jpeg: bytes


def example(evaluator: Evaluator, sample: Sample, preprocess: Preprocess) -> Example:
    """Draws the maps of one case, the controls last, over what the network saw; the ground truth is outlined.

    Args:
        evaluator: gives methods, layer, and which class is explained.
        sample: the case, 2-D.
        preprocess: what was done to the picture, undone for showing it.
    """
    sheet = contact_sheet(
        _as_seen(sample, preprocess),
        panels_of(evaluator, sample),
        title=case_shown(sample.name),
        footer="",
        panel_size=224,
        theme="light",
    )
    return as_example(sample.name, sheet)


def panels_of(evaluator: Evaluator, sample: Sample) -> list[Panel]:
    """Returns the maps of one case (*spatial) at the size of the network's input, the controls last.

    Args:
        evaluator: gives methods, layer, and which class is explained.
        sample: the case.
    """
    label = evaluator.settings.explained == "label" and sample.label is not None
    capture = evaluator.capture(sample.image[None], torch.tensor([sample.label]) if label else None)
    chosen = [name for name in evaluator.methods if name not in evaluator.controls]
    chosen += [name for name in evaluator.methods if name not in chosen]
    target = int(capture.targets.indices[0, 0])
    named = evaluator.classes[target] if evaluator.classes else f"class {target}"
    panels = []
    for method, maps in evaluator.maps(capture, chosen[:MOST_METHODS]).items():
        status = statuses_of(maps)[0, 0]
        heat = (
            heatmaps_of(maps, capture.input.shape[2:], capture.placement(maps.shape[2:]))[0, 0].cpu()
            if status == Status.OK
            else None
        )
        panels.append(Panel(heat, method, named, float(explained_probability(capture)[0]), str(status)))
    return panels


def as_example(name: str, sheet: NDArray[np.uint8]) -> Example:
    """Returns a sheet, uint8 (h, w, 3), as it stands in the page."""
    stream = BytesIO()
    PILImage.fromarray(sheet).save(stream, "JPEG", quality=90)
    return Example(name, stream.getvalue())


def _as_seen(sample: Sample, preprocess: Preprocess) -> NDArray[np.uint8]:
    """Returns what the network saw as uint8 (h, w, 3), the ground truth outlined."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocess.mean, preprocess.std))
    planes = ((sample.image.cpu() * std + mean).clamp(0, 1) * 255).round().to(torch.uint8)
    planes = planes.flip(0) if preprocess.order == "bgr" else planes
    shown = planes if len(planes) == 3 else planes[:3] if len(planes) > 3 else planes[:1]
    rgb = shown.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy().copy()
    if sample.ground_truth is not None:
        rgb[rim(sample.ground_truth).numpy()] = OUTLINE
    return rgb


def rim(mask: Tensor) -> Tensor:
    """Returns the pixels just outside of a mask (H, W), so that what is marked stays visible."""
    grown = F.max_pool2d(mask[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
    return grown & ~mask


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
    picture = _slices(view, truth, index)
    through = "the middle of the ground truth" if truth is not None else "the peak of the maps' mean"
    footer = "; ".join([f"slices ({', '.join(map(view.name, PLANES))}) through {through}", *view_notes(view)])
    sheet = contact_sheet(
        picture, drawn, title=case_shown(sample.name), footer=footer, panel_size=max(picture.shape[:2]), theme="light"
    )
    return as_example(sample.name, sheet)


def _place(view: VolumeView, truth: NDArray[np.float32] | None, heats: Sequence[NDArray[np.float32]]) -> _Index:
    if truth is not None:
        return peak_voxel(truth)
    if heats:
        return peak_voxel(sum(heats[1:], start=heats[0]))
    depth, height, width = (length // 2 for length in view.voxels.shape)
    return depth, height, width


def _slices(view: VolumeView, truth: NDArray[np.float32] | None, index: _Index) -> NDArray[np.uint8]:
    """Three slices, grey, uint8 (h, w, 3), the ground truth outlined."""
    scale = view.scale(_SIDE)
    bare = [(view.picture(plane, index[NORMAL_AXIS[plane]], scale), view.letters(plane)) for plane in PLANES]
    picture = _column([lettered(picture, letters) for picture, letters in bare])
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
