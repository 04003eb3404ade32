"""Would another network, or another case of the class, be explained alike?"""

from __future__ import annotations

import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.functional.perturbation import has_evidence
from cfcam.metrics.functional.similarity import Similarity, comparison, scaled


def repeatability(maps_a: Tensor, maps_b: Tensor, similarity: Similarity = "ssim") -> Tensor:
    """Returns (B,) how alike the maps of two trainings of one architecture are; higher is better, 1 at best.

    Args:
        maps_a: (B, *spatial) by one network.
        maps_b: (B, *spatial) by the other, of the same images and classes.
        similarity: "ssim" (as the source), "soft_iou", "pearson", or a function of two batches of maps. SSIM alone is
            misleading: read soft IoU beside it.

    Raises:
        InputError: the shapes do not fit, or the similarity is unknown.

    Source: Arun et al. 2021, Radiology: Artificial Intelligence 3(6).

    Example:
        >>> repeatability(torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[0.0, 1.0, 0.0]]), "soft_iou")
        tensor([0.6667])
    """
    return comparison(similarity)(maps_a, maps_b)


def reproducibility(maps_a: Tensor, maps_b: Tensor, similarity: Similarity = "ssim") -> Tensor:
    """Returns (B,) how alike the maps of two architectures are; higher is better, 1 at best. See `repeatability`.

    Args:
        maps_a: (B, *spatial) by one network.
        maps_b: (B, *spatial) by the other, brought to the same size.
        similarity: as there.

    Raises:
        InputError: the shapes do not fit, or the similarity is unknown.

    Source: Arun et al. 2021, Radiology: Artificial Intelligence 3(6).

    Example:
        >>> reproducibility(torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[0.0, 1.0, 0.5]]))
        tensor([1.])
    """
    return comparison(similarity)(maps_a, maps_b)


def c_score(maps: Tensor, probabilities: Tensor, gamma: float = 2.0) -> tuple[Tensor, int]:
    """Returns how alike the maps of the cases of one class are, in [0, 1], and how many cases that was found on.

    ``sum_{i<j} w_i w_j sIoU(M_i^gamma, M_j^gamma) / sum_{i<j} w_i w_j`` with the probabilities as weights w: a
    confident network should mark the same place in each, as far as the finding has a place. A constant map scores 1.

    Args:
        maps: (n, *spatial) of the correctly classified cases of one class; their maxima are scaled to 1. Those that are
            not finite or have no positive evidence are left out, and not counted.
        probabilities: (n,) of the class.
        gamma: above 1 emphasises where a map is strongest.

    Returns:
        The score () (NaN with fewer than two cases), and the number of cases.

    Raises:
        InputError: the shapes do not fit, a probability is negative or not finite, or gamma is not above 0.

    Source: after arXiv 2604.08502; the formula is ours. Needs (n, n) values of memory.

    Example:
        >>> maps = torch.tensor([[0.0, 1.0, 0.5], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        >>> c_score(maps, torch.tensor([0.9, 0.8, 0.5]))
        (tensor(0.3669), 3)
    """
    if maps.ndim < 2 or probabilities.shape != maps.shape[:1]:
        raise InputError(
            f"probabilities {tuple(probabilities.shape)} for maps {tuple(maps.shape)}: give (n,) for (n, *spatial)"
        )
    if not bool((probabilities >= 0).all() & probabilities.isfinite().all()) or not gamma > 0:
        raise InputError(f"weights must be probabilities and gamma above 0, not {gamma}: check what was given")
    known = has_evidence(maps)
    cases = int(known.sum())
    if cases < 2:
        return maps.new_full((), torch.nan, dtype=torch.float32), cases
    powers = scaled(maps[known]).flatten(1).double() ** gamma
    sums = powers.sum(1)
    # min = (a + b - |a - b|) / 2 and max = (a + b + |a - b|) / 2, so that no (n, n, positions) is ever made.
    both, apart = sums[:, None] + sums, torch.cdist(powers, powers, p=1)
    overlap = (both - apart) / (both + apart)
    weights = probabilities[known].to(powers)
    pairs = (weights[:, None] * weights).triu(1)
    return ((pairs * overlap).sum() / pairs.sum()).float(), cases
