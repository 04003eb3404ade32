"""How alike pairs of maps are, accumulated over batches and processes: `cfcam.metrics.functional.similarity`.

Each takes two batches of maps (B, *spatial); pairs that could not be assessed (a map not finite, without positive
evidence, or for Pearson constant) are counted in ``not_assessed`` and not averaged in.
"""

from __future__ import annotations

from torch import Tensor

from cfcam.metrics.base import MapMetric
from cfcam.metrics.functional import similarity as functional


class SoftIoU(MapMetric):
    """The mean soft intersection over union of two maps, in [0, 1]; higher is better.

    Example:
        >>> import torch
        >>> metric = SoftIoU()
        >>> metric.update(torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]] * 2))
        >>> metric.compute(), metric.not_assessed
        (tensor(0.6667), tensor(1))
    """

    higher_is_better = True

    def update(self, a: Tensor, b: Tensor) -> None:
        """Adds pairs of maps (B, *spatial)."""
        self._add(functional.soft_iou(a, b))


class Pearson(MapMetric):
    """The mean correlation of two maps' values, in [-1, 1]; higher is better.

    Example:
        >>> import torch
        >>> metric = Pearson()
        >>> metric.update(torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), torch.tensor([[1.0, 2.0, 6.0]] * 2))
        >>> metric.compute(), metric.not_assessed
        (tensor(0.9449), tensor(1))
    """

    higher_is_better = True

    def update(self, a: Tensor, b: Tensor) -> None:
        """Adds pairs of maps (B, *spatial)."""
        self._add(functional.pearson(a, b))


class Spearman(MapMetric):
    """The mean correlation of the ranks of two maps' values, in [-1, 1]; higher is better.

    Example:
        >>> import torch
        >>> metric = Spearman()
        >>> metric.update(torch.tensor([[0.0, 1.0, 2.0], [1.0, 1.0, 1.0]]), torch.tensor([[1.0, 6.0, 2.0]] * 2))
        >>> metric.compute(), metric.not_assessed
        (tensor(0.5000), tensor(1))
    """

    higher_is_better = True

    def update(self, a: Tensor, b: Tensor) -> None:
        """Adds pairs of maps (B, *spatial)."""
        self._add(functional.spearman(a, b))


class SSIM(MapMetric):
    """The mean structural similarity of two maps, at most 1; higher is better, and small maps apart score high.

    Source: Wang et al. 2004, IEEE Transactions on Image Processing 13(4).

    Example:
        >>> import torch
        >>> metric = SSIM()
        >>> maps = torch.eye(16)[None]
        >>> metric.update(maps, maps.flip(2))
        >>> metric.compute()
        tensor(0.0069)
    """

    higher_is_better = True

    def update(self, a: Tensor, b: Tensor) -> None:
        """Adds pairs of maps (B, *spatial)."""
        self._add(functional.ssim(a, b))
