"""Sanity checks, accumulated over batches and processes: the classes of `cfcam.metrics.functional.sanity`."""

from __future__ import annotations

from numbers import Real
from typing import Any

import torch
from torch import Tensor

from cfcam.errors import InputError, shown
from cfcam.metrics.base import MapMetric
from cfcam.metrics.functional import sanity as functional
from cfcam.metrics.functional.similarity import Similarity, comparison


class MPRT(MapMetric):
    """How alike maps of the network and of its fully randomised copy are, at most 1; lower is better.

    What is low enough: `random_similarity` of maps of the same size. Source: Adebayo et al. 2018, arXiv 1810.03292;
    Arun et al. 2021, Radiology: Artificial Intelligence 3(6).

    Args:
        similarity: "ssim" (as the sources), "soft_iou", "pearson", or a function.

    Raises:
        InputError: the similarity is unknown.

    Example:
        >>> import torch
        >>> metric = MPRT("soft_iou")
        >>> metric.update(torch.tensor([[[0.0, 1.0, 0.5]], [[0.0, 0.5, 1.0]]]), torch.tensor([[0.0, 1.0, 0.0]]))
        >>> metric.compute()
        tensor(0.2500)
    """

    higher_is_better = False

    def __init__(self, similarity: Similarity = "ssim", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.compare = comparison(similarity)

    def update(self, maps_by_stage: Tensor, original: Tensor) -> None:
        """Adds maps by the stages (S, B, *spatial), of which the last counts, and by the network (B, *spatial)."""
        self._add(functional.mprt(maps_by_stage[-1:], original, self.compare)[0])


class EMPRT(MapMetric):
    """The mean relative rise of a map's complexity when the network is random, at least -1; higher is better.

    Source: Hedström et al. 2023, arXiv 2405.02383.

    Args:
        bins: of the histogram.

    Example:
        >>> import torch
        >>> metric = EMPRT()
        >>> metric.update(torch.tensor([[0.0, 0.0, 0.5, 0.5]]), torch.tensor([[0.1, 0.3, 0.6, 1.0]]))
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = True

    def __init__(self, bins: int = functional.BINS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = bins

    def update(self, original: Tensor, randomised_map: Tensor) -> None:
        """Adds maps (B, *spatial) by the network and by its fully randomised copy."""
        self._add(functional.emprt(original, randomised_map, self.bins))


class ClassSensitivity(MapMetric):
    """How different the maps of two classes of one image are, in [0, 1] with soft IoU; higher is better.

    Args:
        similarity: "soft_iou", "pearson" (then 0 to 2), "ssim", or a function.

    Raises:
        InputError: the similarity is unknown.

    Example:
        >>> import torch
        >>> metric = ClassSensitivity()
        >>> metric.update(torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[0.0, 1.0, 0.0]]))
        >>> metric.compute()
        tensor(0.3333)
    """

    higher_is_better = True

    def __init__(self, similarity: Similarity = "soft_iou", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.compare = comparison(similarity)

    def update(self, map_c: Tensor, map_other: Tensor) -> None:
        """Adds maps (B, *spatial) of the explained class and of another."""
        self._add(functional.class_sensitivity(map_c, map_other, self.compare))


class ClassAgreement(MapMetric):
    """How far the maps of two classes of one image coincide, from -1 to 1; lower is better, 1: not class-specific.

    Source: the question is that of CASE, arXiv 2506.07327; the rank correlation is ours. See `class_agreement`.

    Args:
        above: report the share of images above this agreement instead of the mean; 0.9: two maps that are one.
        similarity: "spearman", "soft_iou", "pearson", "ssim", or a function.

    Raises:
        InputError: the similarity is unknown, or ``above`` no number that it can be above.

    Example:
        >>> import torch
        >>> maps, others = torch.tensor([[0.0, 1.0, 2.0]] * 2), torch.tensor([[1.0, 6.0, 2.0], [0.0, 1.0, 6.0]])
        >>> metric, share = ClassAgreement(), ClassAgreement(above=0.9)
        >>> metric.update(maps, others), share.update(maps, others)
        (None, None)
        >>> metric.compute(), share.compute()
        (tensor(0.7500), tensor(0.5000))
    """

    higher_is_better = False

    def __init__(self, above: float | None = None, similarity: Similarity = "spearman", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if above is not None and not _is_agreement(above):
            raise InputError(f"ClassAgreement(above={shown(above)}): a number from -1 to below 1, or None")
        self.above = above
        self.compare = comparison(similarity)

    def update(self, map_c: Tensor, map_other: Tensor) -> None:
        """Adds raw maps (B, *cells) of the explained class and of the strongest other."""
        values = functional.class_agreement(map_c, map_other, self.compare)
        if self.above is not None:
            values = (values > self.above).to(values).masked_fill(values.isnan(), torch.nan)
        self._add(values)


def _is_agreement(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and -1 <= float(value) < 1
