"""Robustness, accumulated over batches and processes: the classes of `cfcam.metrics.functional.robustness`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from cfcam.metrics.base import MapMetric
from cfcam.metrics.functional import robustness as functional
from cfcam.metrics.functional.peaks import check_size, peak_shift
from cfcam.metrics.functional.similarity import Similarity, comparison


class Stability(MapMetric):
    """How alike maps stay under a perturbation that leaves the prediction; higher is better, 1 at best.

    One class for gradient noise, input noise, shift, JPEG and window: they differ in what made the perturbed map, see
    `noisy_gradients`, `add_noise`, `shift` with `unshift`, `jpeg`, `window`.

    Source: see `cfcam.metrics.functional.robustness.stability`.

    Args:
        similarity: "soft_iou" (0 to 1), "pearson" (-1 to 1), "ssim" (misleading alone), or a function.

    Raises:
        InputError: the similarity is unknown.

    Example:
        >>> import torch
        >>> metric = Stability()
        >>> original = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
        >>> perturbed = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        >>> metric.update(original, perturbed, torch.tensor([True, False]))
        >>> metric.compute(), metric.not_assessed
        (tensor(0.6667), tensor(1))
    """

    higher_is_better = True

    def __init__(self, similarity: Similarity = "soft_iou", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.compare = comparison(similarity)

    def update(self, original: Tensor, perturbed: Tensor, unchanged: Tensor) -> None:
        """Adds maps (B, *spatial), those under the perturbation, and (B,) bool whether the prediction stayed."""
        self._add(functional.stability(original, perturbed, unchanged, self.compare))


class Responsiveness(MapMetric):
    """How much maps move where the predicted class flips, in [0, 1]; higher is better.

    Source: arXiv 2508.18154.

    Example:
        >>> import torch
        >>> metric = Responsiveness()
        >>> original = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.5]])
        >>> metric.update(original, torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), torch.tensor([False, True]))
        >>> metric.compute(), metric.not_assessed
        (tensor(1.), tensor(1))
    """

    higher_is_better = True

    def update(self, original: Tensor, flipped_map: Tensor, flipped: Tensor) -> None:
        """Adds maps (B, *spatial), those of the new class, and (B,) bool whether the class is another."""
        self._add(functional.responsiveness(original, flipped_map, flipped))


class MaxSensitivity(MapMetric):
    """The mean of the largest relative change of each map near its input, at least 0; lower is better.

    Source: Yeh et al. 2019, arXiv 1901.09392, eq. 2.

    Example:
        >>> import torch
        >>> metric = MaxSensitivity()
        >>> metric.update(torch.tensor([[3.0, 4.0]]), torch.tensor([[[3.0, 5.0]], [[0.0, 4.0]]]))
        >>> metric.compute()
        tensor(0.6000)
    """

    higher_is_better = False

    def update(self, original: Tensor, perturbed: Tensor) -> None:
        """Adds maps (B, *spatial) and those of R perturbed inputs (R, B, *spatial)."""
        self._add(functional.max_sensitivity(original, perturbed))


class PeakShift(MapMetric):
    """The share of small changes of an image under which its map's hottest cell stays; higher is better, 0 to 1.

    Source: ours; see `cfcam.metrics.functional.peaks.peak_shift`, and `small_changes` there for the changes.

    Args:
        size: of the network's input, in pixels along each axis.

    Raises:
        InputError: the size is none.

    Example:
        >>> import torch
        >>> metric = PeakShift([12])
        >>> changed = torch.tensor([[[0.0, 3.0, 1.0]], [[0.0, 1.0, 2.0]]])
        >>> metric.update(torch.tensor([[0.0, 2.0, 1.0]]), changed, torch.tensor([[1], [0]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def __init__(self, size: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.size = check_size(size)

    def update(self, original: Tensor, changed: Tensor, shifts: Tensor) -> None:
        """Adds raw maps (B, *cells), those under M changes (M, B, *cells), and by what each was shifted (M, axes)."""
        self._add(peak_shift(original, changed, shifts, self.size))
