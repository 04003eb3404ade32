"""Occlusion: how much the score falls when a window of the input is covered, in any dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.capture.layers.placement import Span
from cfcam.errors import MethodError
from cfcam.methods.base import Method
from cfcam.methods.numbers import check_baseline, check_numbers, check_whole_numbers
from cfcam.methods.rounding import beyond_rounding
from cfcam.methods.scored.score_cam import chunk_size, uninformative


@dataclass(frozen=True)
class Occlusion(Method):
    """Occlusion: ``Y(X) - Y(X with a window around the place covered)``, signed.

    There is one window for each position of the target layer's grid, centred on its share of the input (on its patch;
    on its frame of a clip, of which no window covers two); the layer plays no other part. Negative: the class is more
    likely without that window. One pass serves all K targets.

    Args:
        window: extent of the window along each axis, in positions of the layer's grid; 1 tiles the input.
        score: Y is the class "probability" (as in the paper) or the "logit"; callables are taken as they are.
        baseline: what covers: "zero" (the training mean, after normalisation: a grey square), "blur" (the input
            averaged over an eighth of its size) or a number.
        batch_size: covered inputs in one pass; None: from what memory is free.

    Source: Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2.
    """

    name: ClassVar[str] = "occlusion"
    cost: ClassVar[str] = "2 + positions"
    uses_gradients: ClassVar[bool] = False
    window: float = 2.0
    score: Literal["probability", "logit"] = "probability"
    baseline: Literal["zero", "blur"] | float = "zero"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_numbers(self, "window", above=0)
        if self.score not in ("probability", "logit"):
            raise MethodError(f"Occlusion(score={self.score!r}): 'probability' or 'logit'")
        check_baseline(self)
        check_whole_numbers(self, "batch_size", optional=True)

    def __call__(self, capture: Capture) -> Tensor:
        """Returns signed maps (N, K, *layer_spatial)."""
        x, grid = capture.input, capture.activations.shape[2:]
        probability = self.score == "probability"
        images = torch.arange(len(x), device=x.device)
        reference = capture.rescore(x, images, probability=probability)
        cover = uninformative(x, self.baseline)
        placement = capture.placement()
        spans = (None,) * len(grid) if placement is None else placement.spans
        extents = [1.0 if capture.framed and axis == 0 else self.window for axis in range(len(grid))]
        windows = [
            self._windows(size, cells, span, extent).to(x.device)
            for size, cells, span, extent in zip(x.shape[2:], grid, spans, extents, strict=True)
        ]
        drops = reference.new_zeros(len(x), grid.numel(), reference.shape[1])
        for place in torch.cartesian_prod(images, torch.arange(grid.numel(), device=x.device)).split(
            self.batch_size or chunk_size(x)
        ):
            image, cell = place.unbind(1)
            covered = torch.where(_boxes(windows, cell).unsqueeze(1), cover[image], x[image])
            drops[image, cell] = reference[image] - capture.rescore(covered, image, probability=probability)
        found = drops.transpose(1, 2).unflatten(2, grid).to(capture.activations.dtype)

        def again(image: Tensor) -> Tensor:
            same = image.expand(min(self.batch_size or chunk_size(x), grid.numel()))
            return capture.rescore(x[same], same, probability=probability)

        return beyond_rounding(capture, found, reference, again, probability=probability)

    @staticmethod
    def _windows(size: int, cells: int, span: Span | None, extent: float) -> Tensor:
        """Returns which input places each window covers along one axis, (cells, size) bool."""
        place = torch.arange(cells, dtype=torch.float64)
        middle = (place + 0.5) * size / cells if span is None else place * span.step + span.first
        reach = extent * (size / cells if span is None else span.step) / 2
        places = torch.arange(size, dtype=torch.float64) + 0.5
        offset = places - middle[:, None]
        covered = (offset >= -reach) & (offset < reach)
        # A window so narrow that it covers no place's centre covers the nearest place.
        return torch.where(covered.any(1, keepdim=True), covered, offset.abs().argmin(1)[:, None] == torch.arange(size))


def _boxes(windows: list[Tensor], cell: Tensor) -> Tensor:
    """Returns the covered places (M, *spatial) of windows given by their flat indices (M,) in the grid."""
    axes = len(windows)
    boxes = torch.ones(len(cell), *[1] * axes, dtype=torch.bool, device=cell.device)
    for axis, place in enumerate(torch.unravel_index(cell, [len(w) for w in windows])):
        along = windows[axis][place]
        boxes = boxes & along.reshape(len(cell), *[-1 if a == axis else 1 for a in range(axes)])
    return boxes
