"""What the measured maps look like: sheets of the first cases of a run, chosen by nothing but its seed."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image as PILImage
from torch import Tensor

from cfcam.imaging import Panel, Preprocess, contact_sheet
from cfcam.maps import Status, heatmaps_of, statuses_of
from cfcam.metrics.scorecard.batch import explained_probability
from cfcam.metrics.scorecard.evaluator import Evaluator
from cfcam.metrics.scorecard.samples import Sample

MOST_METHODS = 8
OUTLINE = (0, 255, 255)


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
        _picture(sample, preprocess),
        panels_of(evaluator, sample),
        title=sample.name,
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


def _picture(sample: Sample, preprocess: Preprocess) -> NDArray[np.uint8]:
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
