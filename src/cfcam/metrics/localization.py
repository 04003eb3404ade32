"""Localisation metrics that average over batches and processes; the definitions are in `functional.localization`.

Each takes heatmaps (B, *spatial) in [0, 1] and ground truth (B, *spatial) bool; what was not assessed (no evidence, no
ground truth) is counted in ``not_assessed`` and not averaged in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cfcam.metrics.base import MapMetric
from cfcam.metrics.functional import localization as functional
from cfcam.metrics.functional.localization import IOU_LEVELS, THRESHOLDS, Boxes


class HitRate(MapMetric):
    """The share of maps whose maximum lies inside the ground truth, in [0, 1]; higher is better.

    Source: pointing game, 1608.00507; Saporta et al. 2022, Nature Machine Intelligence 4.

    Args:
        tolerance: Euclidean distance from the ground truth, in pixels, that still is a hit; 15 in the pointing game.

    Example:
        >>> metric = HitRate()
        >>> heatmap = torch.tensor([[0.1, 1.0, 0.2], [1.0, 0.3, 0.2], [0.0, 0.0, 0.0]])
        >>> metric.update(heatmap, torch.tensor([[False, True, False]] * 3))
        >>> metric.compute(), metric.not_assessed
        (tensor(0.5000), tensor(1))
    """

    higher_is_better = True

    def __init__(self, tolerance: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance = tolerance

    def update(self, heatmap: Tensor, ground_truth: Tensor) -> None:
        """Adds maps (B, *spatial) and their ground truth."""
        self._add(functional.hit_rate(heatmap, ground_truth, self.tolerance))


class EnergyInGroundTruth(MapMetric):
    """The mean share of a map's sum inside the ground truth, in [0, 1]; higher is better, and wins by area.

    Source: Score-CAM, 1910.01279, section 4.3; CLEVR-XAI, 2003.07258.

    Example:
        >>> metric = EnergyInGroundTruth()
        >>> metric.update(torch.tensor([[0.25, 1.0, 0.75]]), torch.tensor([[False, True, False]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def update(self, heatmap: Tensor, ground_truth: Tensor) -> None:
        """Adds maps (B, *spatial) and their ground truth."""
        self._add(functional.energy_in_ground_truth(heatmap, ground_truth))


class Enrichment(MapMetric):
    """The mean of energy in ground truth over area share, at least 0, 1 by chance; higher is better.

    Source: ours.

    Example:
        >>> metric = Enrichment()
        >>> metric.update(torch.tensor([[0.25, 1.0, 0.25, 0.5]]), torch.tensor([[False, True, False, False]]))
        >>> metric.compute()
        tensor(2.)
    """

    higher_is_better = True

    def update(self, heatmap: Tensor, ground_truth: Tensor) -> None:
        """Adds maps (B, *spatial) and their ground truth."""
        self._add(functional.enrichment(heatmap, ground_truth))


class IoUOtsu(MapMetric):
    """The mean intersection over union at each map's own Otsu threshold, in [0, 1]; higher is better.

    Source: Saporta et al. 2022, Nature Machine Intelligence 4.

    Example:
        >>> metric = IoUOtsu()
        >>> metric.update(torch.tensor([[0.0, 1.0, 0.1, 0.9]]), torch.tensor([[False, True, False, False]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def update(self, heatmap: Tensor, ground_truth: Tensor) -> None:
        """Adds maps (B, *spatial) and their ground truth."""
        self._add(functional.iou_otsu(heatmap, ground_truth))


class IoUTuned(MapMetric):
    """The mean intersection over union at a threshold tuned on other images, in [0, 1]; higher is better.

    Source: 2001.07437; Saporta et al. 2022, Nature Machine Intelligence 4.

    Args:
        threshold: in (0, 1], found on a held-out split with `functional.localization.tune_threshold`.

    Example:
        >>> metric = IoUTuned(threshold=0.5)
        >>> metric.update(torch.tensor([[0.0, 1.0, 0.1, 0.4]]), torch.tensor([[False, True, False, True]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def __init__(self, threshold: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = threshold

    def update(self, heatmap: Tensor, ground_truth: Tensor) -> None:
        """Adds maps (B, *spatial) and their ground truth."""
        self._add(functional.iou(heatmap, ground_truth, self.threshold))


class AUPRC(MapMetric):
    """The mean average precision over the positions of a map, in [0, 1], by chance the area share; higher is better.

    Source: Arun et al. 2021, Radiology: Artificial Intelligence 3(6).

    Example:
        >>> metric = AUPRC()
        >>> metric.update(torch.tensor([[1.0, 0.8, 0.3, 0.3]]), torch.tensor([[True, False, True, False]]))
        >>> metric.compute()
        tensor(0.7500)
    """

    higher_is_better = True

    def update(self, heatmap: Tensor, ground_truth: Tensor) -> None:
        """Adds maps (B, *spatial) and their ground truth."""
        self._add(functional.auprc(heatmap, ground_truth))


class LesionCoverage(MapMetric):
    """The mean share of the ground truth's components that the thresholded map hits, in [0, 1]; higher is better.

    Source: ours, after the lesion-wise sensitivity of detection studies. Read beside `FalseComponents`.

    Args:
        threshold: in (0, 1], found on a held-out split.
        overlap: the share of a component, in (0, 1], that must be marked for a hit.
        full_connectivity: positions that touch by a corner are connected.

    Example:
        >>> metric = LesionCoverage(threshold=0.5)
        >>> metric.update(torch.tensor([[0.9, 0.8, 0.0, 0.1, 0.0]]), torch.tensor([[True, True, False, True, False]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def __init__(self, threshold: float, overlap: float = 0.1, full_connectivity: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold, self.overlap, self.full_connectivity = threshold, overlap, full_connectivity

    def update(self, heatmap: Tensor, ground_truth: Tensor) -> None:
        """Adds maps (B, *spatial) and their ground truth."""
        self._add(
            functional.lesion_coverage(heatmap, ground_truth, self.threshold, self.overlap, self.full_connectivity)
        )


class FalseComponents(MapMetric):
    """The mean number of components of the thresholded map that touch no ground truth, 0 or more; lower is better.

    Source: ours, after the false marks per image of detection studies.

    Args:
        threshold: in (0, 1], found on a held-out split.
        full_connectivity: positions that touch by a corner are connected.

    Example:
        >>> metric = FalseComponents(threshold=0.5)
        >>> metric.update(torch.tensor([[0.9, 0.8, 0.0, 0.1, 0.7]]), torch.tensor([[True, True, False, True, False]]))
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = False

    def __init__(self, threshold: float, full_connectivity: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold, self.full_connectivity = threshold, full_connectivity

    def update(self, heatmap: Tensor, ground_truth: Tensor) -> None:
        """Adds maps (B, *spatial) and their ground truth."""
        self._add(functional.false_components(heatmap, ground_truth, self.threshold, self.full_connectivity))


class MaxBoxAccV2(MapMetric):
    """The share of maps with a fitting box at the best threshold, averaged over IoU levels, in [0, 1].

    Higher is better. The threshold is one for all images and each level, chosen by `compute` on all that was added.
    Source: 2001.07437 and 2007.04178.

    Args:
        thresholds: T increasing numbers in (0, 1].
        iou_levels: L increasing numbers in (0, 1].

    Example:
        >>> metric = MaxBoxAccV2()
        >>> heatmap = torch.tensor([[[0.6, 1.0, 0.0, 0.0]]])
        >>> metric.update(heatmap, [[[0, 0, 2, 1]]])
        >>> metric.update(heatmap, [[[1, 0, 2, 1]]])
        >>> metric.compute()
        tensor(0.8333)
    """

    higher_is_better = True

    def __init__(
        self, thresholds: Sequence[float] = THRESHOLDS, iou_levels: Sequence[float] = IOU_LEVELS, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.thresholds, self.iou_levels = tuple(thresholds), tuple(iou_levels)
        # One total for each threshold and level, in place of the one number of other metrics.
        table = torch.zeros(len(self.thresholds), len(self.iou_levels), dtype=torch.float64)
        self.add_state("total", table, dist_reduce_fx="sum")

    def update(self, heatmap: Tensor, boxes: Sequence[Boxes] | Tensor) -> None:
        """Adds maps (B, *spatial) and each image's boxes (m, 2 * axes), or masks (B, *spatial) bool."""
        hits = functional.max_box_hits(heatmap, boxes, self.thresholds, self.iou_levels)
        known = ~hits.isnan().flatten(1).any(1)
        self.total += hits[known].sum(0).to(self.total)
        self.assessed += known.sum()
        self.not_assessed += (~known).sum()

    def compute(self) -> Tensor:
        """Returns the accuracy at the best thresholds; NaN if no map was assessed."""
        return super().compute().amax(0).mean()
