"""What one map is worth, in a few numbers that cost little: the line of a scorecard while a network is trained."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.explanation import Explanation
from cfcam.metrics.functional import auc, baseline_image, energy_in_ground_truth, pearson, perturbation_curve

NUMBERS = ("insertion", "deletion", "energy", "entropy", "agreement")
"""Columns of the line, in its order; NaN where a number was not assessed."""


def map_entropy(maps: Tensor) -> Tensor:
    """Returns (B,) the Shannon entropy of maps over their P cells, divided by log P: 0 is one cell, 1 is all alike.

    Args:
        maps: (B, *spatial); negative values count as 0. NaN for a map without positive evidence.

    Example:
        >>> map_entropy(torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 2.0, -1.0], [3.0, 0.0, 0.0, 0.0]]))
        tensor([1.0000, 0.5000, 0.0000])
    """
    flat = maps.flatten(1).double()
    flat = torch.where(flat.isfinite().all(1, keepdim=True), flat.clamp(min=0), torch.nan)
    share = flat / flat.sum(1, keepdim=True)  # 0 / 0 is NaN: there is nothing to be spread
    entropy = -torch.special.xlogy(share, share).sum(1) / math.log(max(2, flat.shape[1]))
    return (entropy.clamp(min=0) + 0.0).float()


def numbers_of(
    capture: Capture,
    explanation: Explanation,
    method: str,
    masks: Tensor | None,
    before: Tensor | None,
    steps: int,
) -> dict[str, list[float]]:
    """Returns `NUMBERS` of the first target of each image.

    Insertion and deletion are the areas under the probability of the class while pixels of the blurred picture are
    restored, and those of the picture blurred, in the order of the map: 2 ``steps`` - 1 forward passes a picture.

    Args:
        capture: the pass that was explained; it is run again on changed pictures.
        explanation: of this pass.
        method: whose maps are meant.
        masks: (N, *spatial) bool, of the input's size, where the evidence is to lie; None: not known.
        before: (N, *layer_spatial) the raw maps of the last time, NaN where they are of another class; None: there is
            no last time.
        steps: of insertion and deletion; 0: not computed.
    """
    raw, heat = explanation.maps[method][:, 0].cpu(), explanation.heatmaps(method)[:, 0]
    missing = torch.full((len(raw),), torch.nan)
    found = {"insertion": missing, "deletion": missing, "energy": missing, "agreement": missing}
    if steps and explanation.logits.ndim == 2 and bool((explanation.targets[:, 0] >= 0).all()):
        found |= _faithfulness(capture, heat, steps)
    if masks is not None:
        found["energy"] = energy_in_ground_truth(heat.cpu(), masks)
    if before is not None and before.shape == raw.shape:
        found["agreement"] = pearson(raw, before)
    found["entropy"] = map_entropy(raw)
    return {name: found[name].tolist() for name in NUMBERS}


def _faithfulness(capture: Capture, heat: Tensor, steps: int) -> dict[str, Tensor]:
    x = capture.input
    blurred = baseline_image(x, "blur")

    def score(inputs: Tensor, images: Tensor) -> Tensor:
        return capture.rescore(inputs, images, probability=True)[:, 0].float()

    with capture.quiet():
        removed = score(blurred, torch.arange(len(x), device=x.device))
        ends = torch.stack([capture.probabilities[:, 0].float(), removed], 1)
        return {
            mode: auc(perturbation_curve(score, x, heat, baseline=blurred, mode=mode, steps=steps, ends=ends)).cpu()
            for mode in ("insertion", "deletion")
        }
