"""One picture, its maps one after another as a network was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfcam.capture.layers.placement import Placement
from cfcam.imaging.drawing.sheet import MAX_COLUMNS, Panel, contact_sheet
from cfcam.maps import heatmaps_of


@dataclass(frozen=True, eq=False)
class Moment:
    """The maps of all pictures at one time of a training.

    Attributes:
        count: epochs or steps that were done.
        maps: (N, *layer_spatial) raw, on the CPU.
        placement: where their cells lie on the input, see `cfcam.capture.Capture.placement`.
        labels: what is explained of each picture.
        probabilities: of it; None where there is none.
        statuses: of each map.
    """

    count: int
    maps: Tensor
    placement: Placement | None
    labels: tuple[str, ...]
    probabilities: tuple[float | None, ...]
    statuses: tuple[str, ...]

    def heat(self, size: Sequence[int]) -> Tensor:
        """Returns the maps for the eye, (N, *size) in [0, 1]."""
        return heatmaps_of(self.maps[:, None], size, self.placement)[:, 0]


def plane_of(values: NDArray[Any], index: int | None) -> NDArray[Any]:
    """Returns the one plane of a volume (D, H, W, ...) that is shown; a picture, index None, as it is."""
    return values if index is None else values[index]


def spaced(moments: Sequence[Moment], most: int) -> list[Moment]:
    """Returns at most so many moments, evenly chosen, the first and the last among them."""
    if len(moments) <= most:
        return list(moments)
    return [moments[round(i * (len(moments) - 1) / (most - 1))] for i in range(most)]


def strip(
    picture: NDArray[np.uint8],
    moments: Sequence[Moment],
    image: int,
    *,
    size: Sequence[int],
    plane: int | None,
    unit: str,
    method: str,
    title: str,
) -> NDArray[np.uint8]:
    """Draws a picture and its maps, moment by moment.

    Args:
        picture: uint8 `(H, W, 3)`, of the input's size.
        moments: in their order.
        image: number of the picture.
        size: *spatial of the input.
        plane: of a volume, which is shown; None of a picture.
        unit: "epoch" or "step".
        method: name of the method.
        title: a line over the sheet.

    Returns:
        uint8 RGB.
    """
    labels = {moment.labels[image] for moment in moments}
    panels = []
    for moment in moments:
        when = f"{unit} {moment.count}"
        panels.append(
            Panel(
                plane_of(moment.heat(size)[image].numpy(), plane),
                when if len(labels) == 1 else f"{when}: {moment.labels[image]}",
                moment.labels[image] if len(labels) == 1 else "the predicted class",  # rows are made by labels
                moment.probabilities[image],
                moment.statuses[image],
            )
        )
    footer = f"{method}; each map has a scale of its own; research use only"
    return contact_sheet(picture, panels, title=title, footer=footer, columns=min(MAX_COLUMNS, len(panels) + 1))
