"""Is it the marked evidence that the network used? One number per map, NaN where that question has no answer.

A map that is not finite or has no positive evidence is NaN in every function here: `masked_probability` and
`perturbation_curve` give NaN for it, and NaN stays NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.functional.perturbation import (
    Score,
    check_maps,
    has_evidence,
    inverse_order,
    masked_input,
    noisy_linear_imputation,
    rank_positions,
    score_pairs,
    spread,
)
from cfcam.metrics.functional.similarity import pearson

__all__ = [
    "adcc",
    "arcc",
    "auc",
    "average_drop",
    "average_gain",
    "coherency",
    "complexity",
    "increase_in_confidence",
    "insertion_minus_deletion",
    "masked_input",
    "road",
    "road_curves",
]


def average_drop(original: Tensor, masked: Tensor) -> Tensor:
    """Returns (B,) how much of the probability is lost when only what the map marks is shown; lower is better.

    ``100 max(0, f(x) - f(x . M)) / f(x)``, in % from 0 to 100; NaN where f(x) is 0.

    Args:
        original: (B,) probability of the explained class.
        masked: (B,) the same of the image times the map, see `masked_probability`.

    Source: Chattopadhay et al. 2018, arXiv 1710.11063, "Objective evaluation for object recognition".

    Example:
        >>> average_drop(torch.tensor([0.8, 0.5]), torch.tensor([0.6, 0.9]))
        tensor([25.0000,  0.0000])
    """
    return 100 * (original - masked).clamp(min=0) / original


def increase_in_confidence(original: Tensor, masked: Tensor) -> Tensor:
    """Returns (B,) 100 where the marked part alone is recognised better than the image, else 0; higher is better.

    ``100 [f(x . M) > f(x)]``: the mean over images is a share in %.

    Args:
        original: (B,) probability of the explained class.
        masked: (B,) the same of the image times the map, see `masked_probability`.

    Source: Chattopadhay et al. 2018, arXiv 1710.11063, "Objective evaluation for object recognition".

    Example:
        >>> increase_in_confidence(torch.tensor([0.8, 0.5]), torch.tensor([0.6, 0.9]))
        tensor([  0., 100.])
    """
    return torch.where((original - masked).isnan(), torch.nan, 100 * (masked > original).to(masked.dtype))


def average_gain(original: Tensor, masked: Tensor) -> Tensor:
    """Returns (B,) how much of the missing probability is won when only what the map marks is shown; higher is better.

    ``100 max(0, f(x . M) - f(x)) / (1 - f(x))``, in % from 0 to 100; NaN where f(x) is 1.

    Args:
        original: (B,) probability of the explained class.
        masked: (B,) the same of the image times the map, see `masked_probability`.

    Source: Zhang et al. 2023 (Opti-CAM), arXiv 2301.07002.

    Example:
        >>> average_gain(torch.tensor([0.8, 0.5]), torch.tensor([0.6, 0.75]))
        tensor([ 0., 50.])
    """
    gain = 100 * (masked - original).clamp(min=0) / (1 - original)
    return torch.where(original < 1, gain, torch.nan)  # a softmax can round to more than 1


def auc(curve: Tensor) -> Tensor:
    """Returns (B,) the area under curves (B, S + 1) over the fractions 0 to 1, by the trapezoidal rule.

    Of a deletion curve lower is better, of an insertion curve higher; between 0 and 1.

    Example:
        >>> auc(torch.tensor([[1.0, 0.5, 0.0], [1.0, 0.0, 0.0]]))
        tensor([0.5000, 0.2500])
    """
    return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1)


def insertion_minus_deletion(insertion: Tensor, deletion: Tensor) -> Tensor:
    """Returns (B,) the area between two curves (B, S + 1), between -1 and 1; higher is better.

    Both curves end in the same two inputs, so an order that knows nothing comes out near 0 whatever the network says
    of images with holes.

    Example:
        >>> insertion_minus_deletion(torch.tensor([[0.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
        tensor([0.5000])
    """
    return auc(insertion) - auc(deletion)


def coherency(heatmap: Tensor, masked_heatmap: Tensor) -> Tensor:
    """Returns (B,) how well a map agrees with the map of what it marks; higher is better, from 0 to 1.

    ``(Pearson(M(x), M(x . M)) + 1) / 2`` over the positions. NaN if either map has no evidence, or is constant: then
    no correlation is defined.

    Args:
        heatmap: (B, *spatial) the map of the image.
        masked_heatmap: (B, *spatial) the map of `masked_input`, by the same method and for the same class.

    Raises:
        InputError: the maps are no floats (B, *spatial) of one shape.

    Source: Poppi et al. 2021, arXiv 2104.10252, "Maximum Coherency".

    Example:
        >>> coherency(torch.tensor([[0.0, 0.5, 1.0]]), torch.tensor([[0.2, 0.6, 1.0]]))
        tensor([1.])
    """
    return (pearson(heatmap, masked_heatmap) + 1) / 2


def complexity(heatmap: Tensor) -> Tensor:
    """Returns (B,) how much of the image the map marks, ``mean |M|``; lower is better, from 0 to 1.

    Args:
        heatmap: (B, *spatial) in [0, 1]; NaN if it has no evidence.

    Source: Poppi et al. 2021, arXiv 2104.10252, "Minimum Complexity".

    Example:
        >>> complexity(torch.tensor([[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 0.0, 0.0]]))
        tensor([0.3750,    nan])
    """
    flat = heatmap.flatten(1)
    mean = flat.to(torch.promote_types(flat.dtype, torch.float32)).abs().mean(1)
    return torch.where(has_evidence(heatmap), mean, torch.nan)


def adcc(coherency: Tensor, complexity: Tensor, average_drop: Tensor) -> Tensor:
    """Returns (B,) the harmonic mean of coherency, simplicity and what is left of the score; higher is better, 0 to 1.

    ``3 / (1 / Coh + 1 / (1 - Com) + 1 / (1 - AD))``, and 0 if one of the three is 0, which is the limit.

    Args:
        coherency: (B,) see `coherency`.
        complexity: (B,) see `complexity`.
        average_drop: (B,) in %, see `average_drop`.

    Source: Poppi et al. 2021, arXiv 2104.10252. Taken map by map, as in the authors' code, not of the means.

    Example:
        >>> adcc(torch.tensor([0.9, 0.9]), torch.tensor([0.4, 0.4]), torch.tensor([10.0, 100.0]))
        tensor([0.7714, 0.0000])
    """
    return _harmonic_mean(coherency, 1 - complexity, 1 - average_drop / 100)


def road_curves(
    score: Score,
    x: Tensor,
    heatmap: Tensor,
    percentiles: Sequence[float] = (20, 40, 60, 80),
    *,
    noise: float = 0.01,
    seed: int = 0,
    batch_size: int = 16,
) -> tuple[Tensor, Tensor]:
    """Returns the probabilities (B, P) with the most and with the least relevant pixels imputed away (MoRF, LeRF).

    Args:
        score: see `Score`; 2 P inputs an image.
        x: (B, C, *spatial).
        heatmap: (B, *spatial); only its order counts. A map without evidence has NaN in its rows.
        percentiles: shares of the positions that are removed, in %.
        noise: standard deviation of the imputation's noise, in the units of ``x``.
        seed: for ties and noise.
        batch_size: inputs in one pass; bounds the memory.

    Raises:
        InputError: the maps are not of the images' size, or a percentile is not above 0 and below 100.

    Source: Rong et al. 2022, arXiv 2202.00449, see `noisy_linear_imputation`. The published figures are the accuracy
    on many images; the probability is what becomes of it for one.
    """
    check_maps(x, heatmap)
    if not percentiles or not all(0 < percentile < 100 for percentile in percentiles):
        raise InputError(f"percentiles {tuple(percentiles)}: give shares of the pixels above 0 and below 100 %")
    positions = heatmap[0].numel()
    counts = torch.tensor([round(positions * p / 100) for p in percentiles], device=x.device)
    counts = counts.clamp(max=positions - 1)  # the imputation needs a pixel to start from
    assessed = has_evidence(heatmap).nonzero().squeeze(1)
    order = rank_positions(heatmap[assessed], seed)
    ranks = torch.stack([inverse_order(order), inverse_order(order.flip(1))], 1).flatten(0, 1)

    def make(pairs: Tensor) -> Tensor:
        row, column = pairs // len(counts), pairs % len(counts)
        keep = (ranks[row] >= counts[column, None]).unflatten(1, x.shape[2:])
        return noisy_linear_imputation(x[assessed[row // 2]], keep, noise, seed)

    values = score_pairs(score, make, assessed.repeat_interleave(2 * len(counts)), batch_size)
    curves = spread(values.reshape(len(assessed), 2, len(counts)), assessed, len(x))
    return curves[:, 0], curves[:, 1]


def road(morf: Tensor, lerf: Tensor) -> Tensor:
    """Returns (B,) half the distance between removing the least and the most relevant first; higher is better.

    The mean over the percentiles of ``(LeRF - MoRF) / 2``, between -0.5 and 0.5; an order that knows nothing comes out
    near 0. Blurring a map alone raises it: read it beside the controls.

    Args:
        morf: (B, P) probabilities with the most relevant pixels removed, see `road_curves`.
        lerf: (B, P) with the least relevant removed.

    Source: Rong et al. 2022, arXiv 2202.00449, in the form of 2605.14641.

    Example:
        >>> road(torch.tensor([[0.4, 0.2]]), torch.tensor([[0.9, 0.7]]))
        tensor([0.2500])
    """
    return (lerf - morf).mean(1) / 2


def arcc(coherency: Tensor, complexity: Tensor, road: Tensor) -> Tensor:
    """Returns (B,) the harmonic mean of coherency, simplicity and ROAD; higher is better, from 0 to 1.

    ``3 / (1 / Coh + 1 / (1 - Com) + 1 / R)`` with ``R = clip(2 ROAD, 0, 1)``, and 0 if one of the three is 0.

    Args:
        coherency: (B,) see `coherency`.
        complexity: (B,) see `complexity`.
        road: (B,) see `road`.

    Source: Domeniconi et al. 2026, arXiv 2605.14641.

    Example:
        >>> arcc(torch.tensor([0.9, 0.9]), torch.tensor([0.4, 0.4]), torch.tensor([0.3, -0.1]))
        tensor([0.6750, 0.0000])
    """
    return _harmonic_mean(coherency, 1 - complexity, (2 * road).clamp(0, 1))


def _harmonic_mean(*terms: Tensor) -> Tensor:
    """Returns (B,) of terms (B,) that are not negative; its limit 0 where one of them is 0, NaN where one is NaN."""
    # Rounding can leave 1 - complexity a little below 0, and the reciprocal of 0 is infinite: the mean is then 0.
    return len(terms) / torch.stack(torch.broadcast_tensors(*terms)).clamp(min=0).reciprocal().sum(0)
