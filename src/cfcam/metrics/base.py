"""What every metric of a map is: a `torchmetrics.Metric` that averages one number per map and counts what it cannot."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class MapMetric(Metric):
    """The mean of one value per map, over batches and processes.

    A value that is NaN was not assessed (an empty map, no ground truth): it is counted apart, never averaged in.
    Subclasses override `update` with the arguments of the pure function of the same name, and call `_add`.
    """

    is_differentiable = False
    higher_is_better: bool | None = True
    full_state_update = False
    total: Tensor
    assessed: Tensor
    not_assessed: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("assessed", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("not_assessed", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def _add(self, values: Tensor) -> None:
        """Accumulates one value per map (B,); NaN is counted as not assessed."""
        known = ~values.isnan()
        self.total += values[known].sum().to(self.total)
        self.assessed += known.sum()
        self.not_assessed += (~known).sum()

    def compute(self) -> Tensor:
        """Returns the mean of what was assessed; NaN if nothing was."""
        return (self.total / self.assessed).float()
