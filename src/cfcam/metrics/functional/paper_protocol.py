"""The faithfulness protocol of the published CF-CAM, to reproduce its figures. Do not use it to judge a method.

What is wrong with it, as a whole: the numbers rest on three different maskings (a threshold of 0.5 with black, one of
0.3 with a grey that is none, and zeros), none of which is what other papers do under the same names; a map that marks
nothing is averaged in as if it were one; images that raise an error are left out without a word. Each function says
what is wrong with it. Nothing is "not assessed" here: a map without evidence marks nothing, and is scored.

Source: the code beside "CF-CAM", arXiv 2504.00060 (``metrics/ad.py``, ``ai.py``, ``auc.py``). It masks pictures at
their own size before they are resized and normalised; here the network's input is masked.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from cfcam.metrics.functional.faithfulness import auc
from cfcam.metrics.functional.perturbation import Score, baseline_image, check_maps, inverse_order, score_pairs

__all__ = [
    "paper_auc",
    "paper_average_drop",
    "paper_average_increase",
    "paper_background",
    "paper_curve",
    "paper_inserted_input",
    "paper_masked_input",
]

GREY = (0.485, 0.456, 0.406)
"""The mean colour of ImageNet, for pixels in [0, 1]; the protocol gives it to the network as it is."""


def paper_masked_input(x: Tensor, heatmap: Tensor, black: float | Tensor = 0.0) -> Tensor:
    """Returns the images with every position black where the map is 0.5 or less: (B, C, *spatial).

    Wrong with it: the threshold makes every map a silhouette, so that the size of the region decides and the order in
    it does not count; its edge is a new, sharp contour. A map without evidence gives a black image.

    Args:
        x: (B, C, *spatial).
        heatmap: (B, *spatial) in [0, 1].
        black: what a black pixel becomes in preprocessing, a number or one for each channel (C,).

    Example:
        >>> paper_masked_input(torch.tensor([[[2.0, 4.0, 6.0]]]), torch.tensor([[0.5, 0.6, 1.0]]), black=-1.0)
        tensor([[[-1.,  4.,  6.]]])
    """
    check_maps(x, heatmap)
    return torch.where((heatmap > 0.5).unsqueeze(1), x, baseline_image(x, "black", black))


def paper_average_drop(original: Tensor, masked: Tensor) -> Tensor:
    """Returns (B,) ``100 (f(x) - f(masked)) / f(x)`` in %, at most 100 and without a lower bound; lower is better.

    Wrong with it: Average Drop counts a rise as 0, here it is negative. One image whose probability rises from 0.1 to
    0.9 makes up for eight complete failures in the mean.

    Args:
        original: (B,) probability of the predicted class.
        masked: (B,) the same of `paper_masked_input`.

    Example:
        >>> paper_average_drop(torch.tensor([0.8, 0.25]), torch.tensor([0.6, 1.0]))
        tensor([  25.0000, -300.0000])
    """
    return 100 * (original - masked) / original


def paper_inserted_input(x: Tensor, heatmap: Tensor, grey: float | Tensor | None = None) -> Tensor:
    """Returns the images where the map is above 0.3, in front of a grey background: (B, C, *spatial).

    Wrong with it: the grey is the data set's mean colour *before* normalisation, put into an input *after* it. There
    the mean is 0, and this a colour 0.4 to 0.5 standard deviations brighter.

    Args:
        x: (B, C, *spatial).
        heatmap: (B, *spatial) in [0, 1].
        grey: the background, a number or one for each channel (C,); None: `GREY` for three channels, else its mean.

    Example:
        >>> paper_inserted_input(torch.tensor([[[2.0, 4.0, 6.0]]]), torch.tensor([[0.2, 0.3, 0.4]]), grey=0.5)
        tensor([[[0.5000, 0.5000, 6.0000]]])
    """
    check_maps(x, heatmap)
    return torch.where((heatmap > 0.3).unsqueeze(1), x, paper_background(x, grey))


def paper_background(x: Tensor, grey: float | Tensor | None = None) -> Tensor:
    """Returns the background of `paper_inserted_input` alone, (B, C, *spatial)."""
    if grey is None:
        grey = torch.tensor(GREY) if x.shape[1] == len(GREY) else sum(GREY) / len(GREY)
    return baseline_image(x, "black", grey)


def paper_average_increase(background: Tensor, inserted: Tensor) -> Tensor:
    """Returns (B,) ``f(inserted) - f(background)``, between -1 and 1; higher is better.

    Wrong with it: the increase is not over the image but over a blank, so to mark everything is rewarded. It is a
    difference of probabilities, printed with a % sign, and shares no more than its name with the Average Increase
    (Increase in Confidence) of other papers.

    Args:
        background: (B,) probability of the predicted class for `paper_background`.
        inserted: (B,) the same for `paper_inserted_input`.

    Example:
        >>> paper_average_increase(torch.tensor([0.25, 0.5]), torch.tensor([0.75, 0.25]))
        tensor([ 0.5000, -0.2500])
    """
    return inserted - background


def paper_curve(
    score: Score,
    x: Tensor,
    heatmap: Tensor,
    mode: Literal["deletion", "insertion"] = "deletion",
    *,
    batch_size: int = 16,
) -> Tensor:
    """Returns (B, 101) the probability with a hundredth more of the positions zero (or restored from zero) a step.

    Wrong with it: equal values are taken from the last row up, so the many zeros of a rectified map are an order, from
    bottom to top. A step is P // 100 positions, and the last one takes what is left. Zero is "blank" only if it is the
    mean of the data after preprocessing.

    Args:
        score: see `Score`; 101 inputs an image.
        x: (B, C, *spatial).
        heatmap: (B, *spatial).
        mode: "deletion" or "insertion".
        batch_size: inputs in one pass; bounds the memory.
    """
    check_maps(x, heatmap)
    positions = heatmap[0].numel()
    counts = torch.arange(101, device=x.device) * (positions // 100)
    counts[-1] = positions
    ranks = inverse_order(heatmap.flatten(1).argsort(dim=1, stable=True).flip(1))

    def make(pairs: Tensor) -> Tensor:
        row, column = pairs // len(counts), pairs % len(counts)
        taken = (ranks[row] < counts[column, None]).unflatten(1, x.shape[2:]).unsqueeze(1)
        return torch.where(taken if mode == "insertion" else ~taken, x[row], 0)

    images = torch.arange(len(x), device=x.device).repeat_interleave(len(counts))
    return score_pairs(score, make, images, batch_size).reshape(len(x), len(counts))


def paper_auc(curve: Tensor) -> Tensor:
    """Returns (B,) the area under curves (B, 101), by the trapezoidal rule, see `paper_curve`.

    Wrong with it: the last interval is drawn as wide as the others, whatever the number of positions it takes (at
    224 x 224, 577 for 501). Small, but not what the axis says.
    """
    return auc(curve)
