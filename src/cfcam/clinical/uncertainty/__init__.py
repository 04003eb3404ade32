"""How much a map and its prediction vary: samples from dropout, ensembles, augmentation and methods, and their summary.

Small variation is no sign that a map is right: a network can be wrong in the same way every time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cfcam.clinical.study_result import Uncertainty
from cfcam.clinical.uncertainty.dropout import dropout_modules
from cfcam.clinical.uncertainty.passes import whole
from cfcam.clinical.uncertainty.samples import (
    Samples,
    Source,
    Summary,
    mutual_information,
    pairwise_agreement,
    predictive_entropy,
    summarise,
)
from cfcam.clinical.uncertainty.sources import (
    NotAvailableError,
    augmentation,
    collect,
    ensemble,
    mc_dropout,
    method_disagreement,
)
from cfcam.clinical.uncertainty.warps import Augmentations, Change

__all__ = [
    "Augmentations",
    "Change",
    "NotAvailableError",
    "Samples",
    "Source",
    "Summary",
    "augmentation",
    "collect",
    "dropout_modules",
    "ensemble",
    "mc_dropout",
    "method_disagreement",
    "mutual_information",
    "pairwise_agreement",
    "predictive_entropy",
    "summarise",
    "to_uncertainty",
    "whole",
]


def to_uncertainty(
    summary: Summary, to_source: Callable[[Tensor], Any], image: int = 0, target: int = 0, class_name: str | None = None
) -> Uncertainty:
    """Returns one image's and target's uncertainty on the grid of the source.

    The three maps are brought there by interpolation, like the map itself: an inclusion between two shares is one
    between two positions.

    Args:
        summary: of `summarise`.
        to_source: brings maps (3, *spatial) of the network's input onto the grid of the source, as a tensor or array:
            ``lambda maps: preprocess.to_original(maps, picture.size)``.
        image: which of the N.
        target: which of the K.
        class_name: of the class; None: its number.
    """
    maps = torch.stack([one[image, target] for one in (summary.mean, summary.sd, summary.inclusion)])
    mean, sd, inclusion = torch.as_tensor(to_source(maps.cpu())).clamp(0, 1).numpy().astype(np.float32)
    index = int(summary.targets[image, target])
    numbers = ("agreement", "probability_mean", "probability_sd", "entropy", "mutual_information")
    return Uncertainty(
        source=summary.source,
        samples=summary.samples,
        method=summary.method,
        class_index=index,
        class_name=class_name or ("score" if index < 0 else f"class {index}"),
        mean=mean,
        sd=sd,
        inclusion=inclusion,
        threshold=summary.threshold,
        note=summary.note(image, target),
        **{name: _number(getattr(summary, name), image, target) for name in numbers},
    )


def _number(values: Tensor | None, image: int, target: int) -> float | None:
    number = math.nan if values is None else float(values[image, target])
    return None if math.isnan(number) else number
