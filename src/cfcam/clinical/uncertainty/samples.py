"""Samples of maps, and what they have in common: running mean, SD, inclusion, agreement, entropies.

Samples come in parts and are forgotten one by one, so that those of a volume need not be kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from cfcam.errors import InputError
from cfcam.maps import Status
from cfcam.metrics.functional.similarity import scaled, soft_iou

Source = Literal["mc-dropout", "ensemble", "augmentation", "methods"]

_MEANING: dict[Source, str] = {
    "mc-dropout": "how map and prediction vary when the network's dropout stays on",
    "ensemble": "how far networks that were trained apart disagree",
    "augmentation": "how map and prediction vary under small changes of the image",
    "methods": "methods of one layer agree by construction: not certainty, and not a probability",
}
_KEPT = 1 << 20
"""Positions of a map that are kept for the agreement; larger maps are averaged over blocks."""
_AT_ONCE = 1 << 10
_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@dataclass(frozen=True, eq=False)
class Samples:
    """S samples of the maps of N images and K targets, or some of them.

    Attributes:
        heatmaps: (S, N, K, *spatial) in [0, 1] on the grid of the network's input; NaN where a sample shows nothing.
        probabilities: (S, N, classes); None if the samples share one prediction, or the network gives none.
        statuses: (S, N, K) array of `Status`; a map that is not finite is left out, whatever is in ``heatmaps``.
        targets: (N, K) int64 class indices; -1 for a callable.
        source: what makes the samples differ.
        method: whose maps they are; "several" if the samples are methods.
        multilabel: the probabilities are one sigmoid a class, and need not sum to 1.

    Raises:
        InputError: the shapes do not fit.
    """

    heatmaps: Tensor
    probabilities: Tensor | None
    statuses: NDArray[Any]
    targets: Tensor
    source: Source
    method: str
    multilabel: bool = False

    def __post_init__(self) -> None:
        shape, proba = tuple(self.heatmaps.shape), self.probabilities
        fits = len(shape) >= 4 and 0 not in shape and self.statuses.shape == shape[:3]
        fits = fits and tuple(self.targets.shape) == shape[1:3]
        if not fits or (proba is not None and (proba.ndim != 3 or tuple(proba.shape[:2]) != shape[:2])):
            raise InputError(
                f"heatmaps {shape}, probabilities {None if proba is None else tuple(proba.shape)}, statuses"
                f" {self.statuses.shape}, targets {tuple(self.targets.shape)}: give (S, N, K, *spatial),"
                " (S, N, classes), (S, N, K) and (N, K)"
            )

    def __len__(self) -> int:
        return len(self.heatmaps)


@dataclass(frozen=True, eq=False)
class Summary:
    """What samples have in common, on the grid of the network's input.

    Attributes:
        source: what made the samples differ.
        method: whose maps they are; "several" if the samples are methods.
        samples: how many, S.
        targets: (N, K) int64 class indices; -1 for a callable.
        mean: (N, K, *spatial) mean of the heat maps; a map without positive evidence counts as 0 everywhere.
        sd: (N, K, *spatial) their standard deviation, divided by the number of samples.
        inclusion: (N, K, *spatial) share of the samples whose map reaches ``threshold``.
        threshold: in (0, 1].
        agreement: (N, K) mean pairwise soft IoU of the maps that are ok; NaN with fewer than two.
        statuses: (S, N, K) array of `Status`.
        probability_mean: (N, K) of the class; NaN for a callable. None if the samples have no probabilities.
        probability_sd: (N, K) likewise.
        entropy: (N, K) predictive entropy in nats, of the mean prediction over all classes; of the one class and its
            opposite for a multi-label network (NaN for a callable). None as above.
        mutual_information: (N, K) its part in nats that the samples disagree on. None as above.
        block: positions over which maps were averaged along each axis for the agreement; 1: not at all.
    """

    source: Source
    method: str
    samples: int
    targets: Tensor
    mean: Tensor
    sd: Tensor
    inclusion: Tensor
    threshold: float
    agreement: Tensor
    statuses: NDArray[Any]
    probability_mean: Tensor | None = None
    probability_sd: Tensor | None = None
    entropy: Tensor | None = None
    mutual_information: Tensor | None = None
    block: int = 1

    def note(self, image: int = 0, target: int = 0) -> str:
        """Returns in one line what varies in the samples of an image and target, and what was left out."""
        said = [f"{self.samples} samples: {_MEANING[self.source]}"]
        counts = Counter(self.statuses[:, image, target].tolist())
        if empty := counts[Status.NO_POSITIVE_EVIDENCE]:
            said.append(f"{empty} of the maps have no positive evidence and count as 0")
        if broken := counts[Status.NOT_FINITE]:
            said.append(f"{broken} of the maps are not finite and are left out")
        if self.source == "mc-dropout" and not self._varies(image, target):
            said.append("all samples are the same: dropout changes nothing here")
        if self.block > 1:
            said.append(f"agreement of maps averaged over blocks of {self.block}")
        return "; ".join(said)

    def _varies(self, image: int, target: int) -> bool:
        probability = None if self.probability_sd is None else self.probability_sd[image, target]
        return bool(self.sd[image, target].any()) or (probability is not None and float(probability) > 0)


def summarise(samples: Samples | Iterable[Samples], threshold: float = 0.5) -> Summary:
    """Summarises samples in one go through their parts.

    Mean and SD are Welford's running ones, and the inclusion is a count: no map is kept for them. The mean pairwise
    agreement needs every pair; for it maps are kept up to 2**20 positions each, so that pictures are compared exactly,
    while those of larger volumes are averaged over blocks first (the note says so). Heat maps are interpolations of far
    coarser maps, so that blocks change little.

    Args:
        samples: all of them, or their parts in order: what `mc_dropout`, `ensemble`, `augmentation` and
            `method_disagreement` return.
        threshold: in (0, 1], of the inclusion.

    Raises:
        InputError: fewer than two samples, parts that do not belong together, or a threshold out of range.

    Source: Welford 1962, Technometrics 4(3); entropy and mutual information as in Houlsby et al. 2011, arXiv 1112.5745,
    eq. 2, and Gal et al. 2017, arXiv 1703.02910, sec. 3.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"a threshold of {threshold}: it must be in (0, 1], as 0 marks everything")
    parts = iter([samples] if isinstance(samples, Samples) else samples)
    first = next(parts, None)
    if first is None:
        raise InputError("there are no samples: parts can be gone through once, make them again")
    maps, predictions, kept = _RunningMaps(first, threshold), _Predictions(), _Kept()
    statuses = []
    for part in chain([first], parts):
        _check_together(first, part)
        heat = _finite_only(part)
        maps.add(heat)
        kept.add(heat)
        predictions.add(part.probabilities)
        statuses.append(part.statuses)
    found = np.concatenate(statuses)
    if len(found) < 2:
        raise InputError("1 sample: give at least 2, or there is nothing that could vary")
    readable = torch.from_numpy(found == Status.OK).to(first.heatmaps.device)
    summary = Summary(
        source=first.source,
        method=first.method,
        samples=len(found),
        targets=first.targets,
        mean=maps.mean,
        sd=maps.sd(),
        inclusion=maps.inclusion(),
        threshold=threshold,
        agreement=kept.agreement(readable),
        statuses=found,
        block=kept.block,
    )
    return replace(summary, **predictions.numbers(first.targets, first.multilabel))


def predictive_entropy(probabilities: Tensor, multilabel: bool = False) -> Tensor:
    """Returns the entropy of the mean prediction in nats: (N, 1), or (N, classes) if multi-label.

    ``H(mean_s p_s)``, at most log(classes); for a multi-label network of each class and its opposite, at most log 2.

    Args:
        probabilities: (S, N, classes).
        multilabel: one sigmoid a class instead of a softmax.

    Source: Gal et al. 2017, arXiv 1703.02910, sec. 3.2.

    Example:
        >>> predictive_entropy(torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]], dtype=torch.float64))
        tensor([[0.6931]], dtype=torch.float64)
    """
    return _entropy(probabilities.double().mean(0), multilabel)


def mutual_information(probabilities: Tensor, multilabel: bool = False) -> Tensor:
    """Returns what the samples disagree on, in nats: (N, 1), or (N, classes) if multi-label; 0 if they are alike.

    ``H(mean_s p_s) - mean_s H(p_s)``: of the predictive entropy the part that is not in every single prediction.

    Args:
        probabilities: (S, N, classes).
        multilabel: one sigmoid a class instead of a softmax.

    Source: Houlsby et al. 2011, arXiv 1112.5745, eq. 2.

    Example:
        >>> mutual_information(torch.tensor([[[0.5, 0.5]], [[0.5, 0.5]]], dtype=torch.float64))
        tensor([[0.]], dtype=torch.float64)
    """
    every = probabilities.double()
    known = predictive_entropy(every, multilabel) - _entropy(every, multilabel).mean(0)
    return known.clamp(min=0)  # below 0 by rounding only: the entropy is concave


def pairwise_agreement(maps: Tensor, readable: Tensor) -> Tensor:
    """Returns (B,) the mean soft IoU over all pairs of samples that can be read; NaN with fewer than two.

    All pairs at once, by the sums A and B of two maps with maximum 1 and their distance D = sum |a - b|: because
    min(a, b) = (a + b - |a - b|) / 2, and likewise the maximum, their soft IoU is (A + B - D) / (A + B + D).

    Args:
        maps: (S, B, *spatial); NaN where a sample shows nothing: such a pair is compared where both show something.
        readable: (S, B) bool.
    """
    flat = maps.flatten(2)
    if bool((flat.isnan().any(2) & readable).any()):
        alike = _one_by_one(maps)
    else:
        drawn = scaled(flat.flatten(0, 1)).reshape(flat.shape).movedim(1, 0)
        # Its sums go one by one: over a million positions in single precision they are off by a ten-thousandth.
        size, parts = drawn.double().sum(2), drawn.split(_AT_ONCE, dim=2)
        distance = sum((torch.cdist(part, part, p=1).double() for part in parts), start=size.new_zeros(()))
        both = size[:, :, None] + size[:, None]
        alike = (both - distance) / (both + distance)
    known = readable.movedim(1, 0)
    pairs = (known[:, :, None] & known[:, None] & ~alike.isnan()).triu(1)
    return torch.where(pairs, alike, 0).sum((1, 2)) / pairs.sum((1, 2))


def _one_by_one(maps: Tensor) -> Tensor:
    """(B, S, S) the soft IoU of the pairs i < j in what both show; only small changes of an image leave holes."""
    alike = torch.full((maps.shape[1], len(maps), len(maps)), torch.nan, dtype=torch.float64, device=maps.device)
    for i, j in combinations(range(len(maps)), 2):
        both = ~(maps[i].isnan() | maps[j].isnan())
        alike[:, i, j] = soft_iou(torch.where(both, maps[i], 0), torch.where(both, maps[j], 0)).double()
    return alike


def _entropy(probabilities: Tensor, multilabel: bool) -> Tensor:
    """(..., 1) over the last axis, or of each of its numbers and what is missing to 1."""
    if multilabel:
        return torch.special.entr(probabilities) + torch.special.entr((1 - probabilities).clamp(min=0))
    return torch.special.entr(probabilities).sum(-1, keepdim=True)


def _finite_only(part: Samples) -> Tensor:
    """The heat maps (S, N, K, *spatial), at least in single precision, with NaN in place of what is not finite."""
    heat = part.heatmaps.detach()
    heat = heat.float() if heat.dtype in (torch.float16, torch.bfloat16) else heat
    broken = torch.from_numpy(part.statuses == Status.NOT_FINITE).to(heat.device)
    return heat.masked_fill(broken.reshape(*broken.shape, *[1] * (heat.ndim - 3)), torch.nan)


def _check_together(first: Samples, part: Samples) -> None:
    alike = (
        part.heatmaps.shape[1:] == first.heatmaps.shape[1:]
        and (part.source, part.method, part.multilabel) == (first.source, first.method, first.multilabel)
        and torch.equal(part.targets.cpu(), first.targets.cpu())
        and (part.probabilities is None) == (first.probabilities is None)
        and (part.probabilities is None or part.probabilities.shape[1:] == first.probabilities.shape[1:])  # type: ignore[union-attr]
    )
    if not alike:
        raise InputError(
            f"samples of {first.method!r} by {first.source} with maps {tuple(first.heatmaps.shape[1:])}, and of"
            f" {part.method!r} by {part.source} with {tuple(part.heatmaps.shape[1:])}: summarise only samples of the"
            " same images, targets and classes"
        )


class _RunningMaps:
    """Welford's mean and sum of squares at each position, over the samples that show something there."""

    def __init__(self, first: Samples, threshold: float) -> None:
        self.mean = torch.zeros_like(_finite_only(first)[0])
        self._squares, self._shown, self._reached = (torch.zeros_like(self.mean) for _ in range(3))
        # As a tensor of the maps' own type, so that the comparison rounds as in `marked_positions`.
        self._threshold = torch.tensor(threshold, dtype=self.mean.dtype, device=self.mean.device)

    def add(self, maps: Tensor) -> None:
        for one in maps.to(self.mean):
            shown = ~one.isnan()
            self._shown += shown
            change = torch.where(shown, one - self.mean, 0)
            self.mean += change / self._shown.clamp(min=1)
            self._squares += change * torch.where(shown, one - self.mean, 0)
            self._reached += one >= self._threshold  # false for NaN

    def sd(self) -> Tensor:
        return (self._squares / self._shown.clamp(min=1)).sqrt()

    def inclusion(self) -> Tensor:
        return self._reached / self._shown.clamp(min=1)


@dataclass
class _Kept:
    """Maps small enough to compare every pair of them."""

    block: int = 1
    _maps: list[Tensor] = field(default_factory=list)

    def add(self, maps: Tensor) -> None:
        spatial = maps.shape[3:]
        while math.prod(math.ceil(size / self.block) for size in spatial) > _KEPT:
            self.block += 1
        if self.block > 1:
            kernel = tuple(min(self.block, size) for size in spatial)
            pooled = _POOL[len(spatial)](maps.flatten(0, 2)[:, None], kernel, ceil_mode=True)
            maps = pooled[:, 0].unflatten(0, maps.shape[:3])
        self._maps.append(maps)

    def agreement(self, readable: Tensor) -> Tensor:
        maps = torch.cat([part.to(self._maps[0]) for part in self._maps])
        return pairwise_agreement(maps.flatten(1, 2), readable.flatten(1)).unflatten(0, maps.shape[1:3])


class _Predictions:
    """The probabilities of all samples: few numbers, so that they are kept."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def add(self, probabilities: Tensor | None) -> None:
        if probabilities is not None:
            self._parts.append(probabilities.detach().double().cpu())

    def numbers(self, targets: Tensor, multilabel: bool) -> dict[str, Any]:
        if not self._parts:
            return {}
        every = torch.cat(self._parts)
        targets = targets.cpu()
        # Not a mean of squares less the square of the mean: equal samples must give 0 exactly.
        shift = every[:1]
        mean = shift[0] + (every - shift).mean(0)
        sd = (every - mean).square().mean(0).sqrt()
        entropies = [f(every, multilabel) for f in (predictive_entropy, mutual_information)]
        if not multilabel:
            entropy, information = (value.expand_as(targets) for value in entropies)
        else:
            entropy, information = (_of_targets(value, targets) for value in entropies)
        return {
            "probability_mean": _of_targets(mean, targets),
            "probability_sd": _of_targets(sd, targets),
            "entropy": entropy,
            "mutual_information": information,
        }


def _of_targets(values: Tensor, targets: Tensor) -> Tensor:
    """(N, K) of (N, classes); NaN for callables."""
    return torch.where(targets >= 0, values.gather(1, targets.clamp(min=0)), torch.nan)
