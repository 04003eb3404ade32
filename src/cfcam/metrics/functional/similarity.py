"""How alike are two maps? One number per pair; NaN where one of them is not finite or has no positive evidence.

Several answers, because each alone misleads: soft IoU asks whether the same places are marked, Pearson whether the
values go together, Spearman whether the places come in the same order, SSIM whether the local structure is the same.
SSIM counts the empty background as agreement: two small blobs that do not overlap score 0.87. Constant maps have no
correlation (NaN); the other two accept them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from cfcam.errors import InputError
from cfcam.metrics.functional.perturbation import has_evidence

Compare = Callable[[Tensor, Tensor], Tensor]
"""Two batches of maps (B, *spatial) -> (B,) how alike they are, NaN where not assessed."""
Similarity = Literal["soft_iou", "pearson", "ssim", "spearman"] | Compare

_RADIUS, _SIGMA = 5, 1.5  # positions, of the window of Wang et al. 2004
_C1, _C2 = 0.01**2, 0.03**2  # their constants for values between 0 and 1


def soft_iou(a: Tensor, b: Tensor) -> Tensor:
    """Returns (B,) the soft intersection over union ``sum min(a, b) / sum max(a, b)``, between 0 and 1.

    1: the same map; 0: nothing marked by both. Also known as Ruzicka's or the weighted Jaccard similarity.

    Args:
        a: (B, *spatial); negative values count as 0, and the maximum of each map is scaled to 1.
        b: (B, *spatial), likewise.

    Raises:
        InputError: the maps are no floats (B, *spatial) of one shape.

    Example:
        >>> soft_iou(torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([[0.0, 2.0, 0.0]]))
        tensor([0.6667])
    """
    a, b, assessed = _read_pair(a, b)
    first, second = scaled(a).flatten(1), scaled(b).flatten(1)
    overlap = torch.minimum(first, second).sum(1) / torch.maximum(first, second).sum(1)
    return torch.where(assessed, overlap, torch.nan)


# By hand: torchmetrics 1.9.0 warns and gives NaN where little stands out: one spot of 4 x 4 in 224 x 224 positions.
def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Returns (B,) the correlation of two maps' values over the positions, between -1 and 1.

    Args:
        a: (B, *spatial), signed values as they are; the correlation with a constant map is NaN.
        b: (B, *spatial), likewise.

    Raises:
        InputError: the maps are no floats (B, *spatial) of one shape.

    Example:
        >>> pearson(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 2.0, 6.0]]))
        tensor([0.9449])
    """
    a, b, assessed = _read_pair(a, b)
    centred = []
    for maps in (a, b):
        flat = maps.flatten(1)
        assessed = assessed & (flat.amax(1) > flat.amin(1))
        flat = flat / flat.abs().amax(1, keepdim=True)  # so that squares of tiny raw values do not underflow
        centred.append(flat - flat.mean(1, keepdim=True))
    x, y = centred
    # torch adds up sums in pairs, a norm one by one: over 128 x 128 x 128 positions in float32 that is off by 4e-5.
    correlation = (x * y).sum(1) / (x.square().sum(1) * y.square().sum(1)).sqrt()
    return torch.where(assessed, correlation.clamp(-1, 1), torch.nan)


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Returns (B,) the correlation of the ranks of two maps' values over the positions, between -1 and 1.

    Equal values share the mean of their ranks. Ranks are found on the CPU.

    Args:
        a: (B, *spatial), signed values as they are; the correlation with a constant map is NaN.
        b: (B, *spatial), likewise.

    Raises:
        InputError: the maps are no floats (B, *spatial) of one shape.

    Example:
        >>> spearman(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[1.0, 6.0, 2.0]]))
        tensor([0.5000])
    """
    a, b, assessed = _read_pair(a, b)
    assessed = assessed & ~_constant(a) & ~_constant(b)
    correlation = rank_correlation(a.flatten(1), b.flatten(1))
    return torch.where(assessed, correlation.to(a), torch.nan)


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Returns (B,) float64, on the CPU, the correlation of the ranks of two tables (B, n) row by row.

    NaN where a row is constant.
    """
    x, y = (ranks - ranks.mean(1, keepdim=True) for ranks in (_ranks(a), _ranks(b)))
    return ((x * y).sum(1) / (x.square().sum(1) * y.square().sum(1)).sqrt()).clamp(-1, 1)


def _ranks(rows: Tensor) -> Tensor:
    from scipy.stats import rankdata  # not above: every run would wait 0.4 s for it, and hold 40 MB more

    return torch.from_numpy(rankdata(rows.detach().cpu().double().numpy(), axis=1))


def _constant(maps: Tensor) -> Tensor:
    flat = maps.flatten(1)
    return flat.amax(1) == flat.amin(1)


# By hand: torchmetrics 1.9.0 takes 3.5 x as long on 64 of 224 x 224, 16 x on 2 of 64 x 64 x 64; no axis below 6.
def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Returns (B,) the structural similarity of two maps, at most 1, with data range 1.

    The mean over positions, with a Gaussian window of 11 positions (standard deviation 1.5), borders reflected, and a
    data range of 1. It is what torchmetrics computes, but one axis after the other. On an axis of fewer than 6
    positions the window is cut to what reflection can fill; an axis of length 1 does not count, so that a volume of
    depth 1 scores as its slice does.

    Args:
        a: (B, *spatial); negative values count as 0, and the maximum of each map is scaled to 1.
        b: (B, *spatial), likewise.

    Raises:
        InputError: the maps are no floats (B, *spatial) of one shape.

    Source: Wang et al. 2004, IEEE Transactions on Image Processing 13(4), eq. 13.

    Example:
        >>> a, b = torch.zeros(2, 1, 64, 64)
        >>> a[:, 8:16, 8:16] = b[:, 48:56, 48:56] = 1
        >>> ssim(a, b), soft_iou(a, b)
        (tensor([0.8743]), tensor([0.]))
    """
    a, b, assessed = _read_pair(a, b)
    first, second = scaled(a), scaled(b)
    fields = torch.stack([first, second, first * first, second * second, first * second])
    mean_a, mean_b, square_a, square_b, product = _windowed(fields)
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    variances = (square_a - mean_a**2).clamp(min=0) + (square_b - mean_b**2).clamp(min=0)
    structure = (2 * (product - mean_a * mean_b) + _C2) / (variances + _C2)
    return torch.where(assessed, (luminance * structure).flatten(1).mean(1), torch.nan)


def comparison(similarity: Similarity) -> Compare:
    """Returns the function of a name ("soft_iou", "pearson", "ssim", "spearman"), or the function given.

    Raises:
        InputError: another name.
    """
    if callable(similarity):
        return similarity
    named: dict[str, Compare] = {"soft_iou": soft_iou, "pearson": pearson, "ssim": ssim, "spearman": spearman}
    if similarity not in named:
        raise InputError(
            f"similarity {similarity!r}: 'soft_iou', 'pearson', 'ssim', 'spearman', or a function of two batches of"
            " maps"
        )
    return named[similarity]


def scaled(maps: Tensor) -> Tensor:
    """Returns maps (B, *spatial) as they are drawn: negative values as 0, the maximum as 1; 0 if not assessed."""
    flat = torch.where(has_evidence(maps)[:, None], maps.flatten(1), 0).clamp(min=0)
    peak = flat.amax(1, keepdim=True)
    return torch.where(peak > 0, flat / peak, 0).reshape(maps.shape)


def _read_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the maps at least in single precision, and (B,) whether both are assessed."""
    if a.shape != b.shape or a.ndim < 2 or not (a.is_floating_point() and b.is_floating_point()):
        raise InputError(
            f"maps {tuple(a.shape)} of {a.dtype} and {tuple(b.shape)} of {b.dtype} cannot be compared: give floats"
            " (B, *spatial) of one shape"
        )
    a, b = (maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps for maps in (a, b))
    return a, b, has_evidence(a) & has_evidence(b)


def _windowed(fields: Tensor) -> Tensor:
    """Returns the Gaussian average around each position of fields (F, B, *spatial)."""
    for axis in range(2, fields.ndim):
        size = fields.shape[axis]
        radius = min(_RADIUS, size - 1)
        offsets = torch.arange(-radius, radius + 1, device=fields.device)
        kernel = (-(offsets / _SIGMA).square() / 2).softmax(0).to(fields)
        place = (torch.arange(size, device=fields.device)[:, None] + offsets).abs()
        place = size - 1 - (size - 1 - place).abs()  # reflected at the other border, too
        weights = fields.new_zeros(size, size).scatter_add_(1, place, kernel.expand(size, -1))
        fields = (fields.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return fields
