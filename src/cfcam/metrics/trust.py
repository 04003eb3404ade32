"""Trust, accumulated over batches and processes: the classes of `cfcam.metrics.functional.trust`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from cfcam.errors import InputError
from cfcam.metrics.base import MapMetric
from cfcam.metrics.functional import trust as functional
from cfcam.metrics.functional.perturbation import has_evidence
from cfcam.metrics.functional.similarity import Similarity, comparison


class Repeatability(MapMetric):
    """How alike maps of two trainings of one architecture are, at most 1; higher is better.

    Source: Arun et al. 2021, Radiology: Artificial Intelligence 3(6).

    Args:
        similarity: "ssim" (as the source; misleading alone), "soft_iou", "pearson", or a function.

    Raises:
        InputError: the similarity is unknown.

    Example:
        >>> metric = Repeatability("soft_iou")
        >>> metric.update(torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[0.0, 1.0, 0.0]]))
        >>> metric.compute()
        tensor(0.6667)
    """

    higher_is_better = True

    def __init__(self, similarity: Similarity = "ssim", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.compare = comparison(similarity)

    def update(self, maps_a: Tensor, maps_b: Tensor) -> None:
        """Adds maps (B, *spatial) by one network and by the other."""
        self._add(functional.repeatability(maps_a, maps_b, self.compare))


class Reproducibility(Repeatability):
    """How alike maps of two architectures are, at most 1; higher is better.

    Source: Arun et al. 2021, Radiology: Artificial Intelligence 3(6).

    Example:
        >>> metric = Reproducibility("soft_iou")
        >>> metric.update(torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[0.0, 0.5, 1.0]]))
        >>> metric.compute()
        tensor(0.5000)
    """


class CScore(MapMetric):
    """How alike the maps of a class's correctly classified cases are, mean over classes, in [0, 1]; higher is better.

    Classes with fewer than two cases do not enter; ``assessed`` counts the cases of all. The maps are kept until the
    end: give them at the layer's resolution. Source: after arXiv 2604.08502; the formula is ours, see `c_score`.

    Args:
        gamma: above 1 emphasises where a map is strongest.

    Example:
        >>> metric = CScore()
        >>> maps = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        >>> metric.update(maps, torch.tensor([0.9, 0.8, 0.5]), torch.tensor([4, 4, 4]), torch.tensor([4, 4, 2]))
        >>> metric.compute(), metric.assessed
        (tensor(0.8000), tensor(2))
    """

    higher_is_better = True
    maps: list[Tensor]
    probabilities: list[Tensor]
    classes: list[Tensor]

    def __init__(self, gamma: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma = gamma
        for state in ("maps", "probabilities", "classes"):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, maps: Tensor, probabilities: Tensor, predicted: Tensor, labels: Tensor) -> None:
        """Adds cases; those classified wrongly do not count.

        Args:
            maps: (B, *spatial) of the predicted class, of one size over all batches.
            probabilities: (B,) of that class.
            predicted: (B,) int64 classes.
            labels: (B,) int64 classes.

        Raises:
            InputError: the shapes do not fit.
        """
        if not (maps.shape[:1] == probabilities.shape == predicted.shape == labels.shape):
            raise InputError(
                f"{len(maps)} maps with probabilities {tuple(probabilities.shape)}, predictions"
                f" {tuple(predicted.shape)} and labels {tuple(labels.shape)}: give one of each for each map, (B,)"
            )
        kept = has_evidence(maps) & (predicted == labels)
        self.maps.append(maps[kept])
        self.probabilities.append(probabilities[kept])
        self.classes.append(labels[kept])
        self.assessed += kept.sum()
        self.not_assessed += (~kept).sum()

    def compute(self) -> Tensor:
        """Returns the mean score of the classes that have two cases; NaN if none has."""
        if not len(self.maps):
            return torch.full((), torch.nan, device=self.assessed.device)
        maps, weights, classes = (dim_zero_cat(s) for s in (self.maps, self.probabilities, self.classes))
        groups = [classes == c for c in classes.unique()]
        scores = [functional.c_score(maps[group], weights[group], self.gamma)[0] for group in groups]
        return torch.stack([*scores, maps.new_full((), torch.nan, dtype=torch.float32)]).nanmean()
