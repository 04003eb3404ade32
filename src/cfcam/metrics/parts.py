"""Causal truth by parts, accumulated over batches and processes: `cfcam.metrics.functional.parts`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cfcam.metrics.base import MapMetric
from cfcam.metrics.functional import parts as functional


class PartRemoval(MapMetric):
    """Rank agreement of maps with what removing each part of a picture costs, from -1 to 1; higher is better.

    Read it beside `ceiling`: what a perfect map would earn on the same grid. Source: ours; see `part_removal`.

    Example:
        >>> metric = PartRemoval()
        >>> parts = torch.tensor([[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]]]) == 1
        >>> metric.update(torch.tensor([[3.0, 1.0]]), parts, torch.tensor([[2.0, 0.1, 0.4]]))
        >>> metric.compute(), metric.ceiling()
        (tensor(0.5000), tensor(0.5000))
    """

    higher_is_better = True
    ceiling_total: Tensor
    ceiling_assessed: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("ceiling_total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("ceiling_assessed", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, maps: Tensor, parts: Tensor, falls: Tensor) -> None:
        """Adds raw maps (B, *cells), masks of parts (B, P, *spatial), and the score's fall without each (B, P)."""
        values = functional.part_removal(maps, parts, falls)
        perfect = functional.part_removal_ceiling(parts, falls, maps.shape[1:])
        known = ~values.isnan()
        self._add(values)
        self.ceiling_total += perfect[known].sum().to(self.ceiling_total)
        self.ceiling_assessed += known.sum()

    def ceiling(self) -> Tensor:
        """Returns the mean of perfect maps on the same grids, over the images assessed; NaN if none was."""
        return (self.ceiling_total / self.ceiling_assessed).float()
