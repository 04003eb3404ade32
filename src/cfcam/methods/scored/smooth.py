"""Smooth Grad-CAM++, SS-CAM and IS-CAM: weights averaged over perturbed inputs or masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.capture.draws import in_blocks
from cfcam.errors import MethodError
from cfcam.methods.base import Method, joined, places, weighted_sum
from cfcam.methods.numbers import check_draws, check_whole_numbers
from cfcam.methods.rounding import beyond_rounding
from cfcam.methods.scored.score_cam import ScoreCAM, chunk_size, uninformative


@dataclass(frozen=True)
class SmoothGradCAMPlusPlus(Method):
    """Smooth Grad-CAM++: Grad-CAM++ with the powers of the gradient averaged over noisy inputs.

    With ``D_p = mean_n(g_n^p)`` over all samples n: ``alpha = D_2 / (2 D_2 + sum_s(A_k) D_3)``, 0 where its denominator
    is; ``w_k = sum_s(alpha ReLU(D_1))``; map ``ReLU(sum_k w_k A_k)``, with A of the input without noise. The paper
    prints D_1 in the numerator of alpha, which is not Grad-CAM++ when there is no noise; this is. As in Grad-CAM++ the
    powers of the gradient stand for the higher derivatives.

    The noise of a sample is the same for every image, so that an image's map does not depend on its batch.

    Args:
        samples: noisy inputs.
        noise: standard deviation of the noise, as a share of each input's range (maximum - minimum).
        seed: of the noise.

    Source: Omeiza et al. 2019, arXiv 1908.01224; the noise as in Smilkov et al. 2017, arXiv 1706.03825.
    """

    name: ClassVar[str] = "smooth-grad-cam++"
    cost: ClassVar[str] = "1 + samples, each backward"
    parts_targets: ClassVar[bool] = True
    samples: int = 8
    noise: float = 0.15
    seed: int = 0

    def __post_init__(self) -> None:
        check_draws(self)

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        blocks = in_blocks(capture, lambda: self._draws(capture.input))
        maps = joined([self._maps(part, draws) for part, draws in blocks])
        return capture.frames_together(maps) if capture.framed else maps

    def _draws(self, x: Tensor) -> Iterator[Tensor]:
        low, high = x.flatten(1).aminmax(dim=1)
        deviation = (self.noise * (high - low)).reshape(-1, *[1] * (x.ndim - 1))
        for draw in noise_draws(self.samples, x.shape[1:], self.seed):
            yield x + deviation * draw.to(x)

    def _maps(self, capture: Capture, draws: Iterable[Capture]) -> Tensor:
        """Returns maps of some of the targets; of clips those of their frames."""
        sums: list[Tensor] = []
        for noisy in draws:
            g = places((noisy.frames_apart() if noisy.framed else noisy).gradients)
            powers = (g, g.square(), g**3)
            sums = [s.add_(p) for s, p in zip(sums, powers, strict=True)] if sums else [g.clone(), *powers[1:]]
        first, second, third = (s / self.samples for s in sums)
        A = capture.frames_apart().activations if capture.framed else capture.activations
        total = A.flatten(2).sum(-1)[:, None, :, None]
        denominator = 2 * second + total * third
        alpha = torch.where(denominator == 0, 0, second / denominator)
        alike = A.flatten(2).shape[2] // first.shape[3]
        return weighted_sum((alpha * first.relu()).sum(-1) * alike, A).relu_()


@dataclass(frozen=True)
class SSCAM(ScoreCAM):
    """SS-CAM: Score-CAM averaged over noisy masks, ``alpha_k = mean_n(Y(X . (H_k + d_n)) - Y(X_b + X . d_n))``.

    ``d_n`` is Gaussian noise at the input's resolution, the same for every channel and every image: two weights differ
    by their masks only. The paper subtracts ``Y(X_b)`` without noise. Under its softmax over the channels that is the
    same; without it, what the noise alone does to the score would be added to every weight, and often empty the map.

    Args:
        samples: noisy versions of each mask.
        noise: standard deviation of the noise; a mask is scaled to [0, 1]. The paper has 2, which drowns it.
        seed: of the noise.

    The other fields are those of `ScoreCAM`.

    Source: Wang et al. 2020, arXiv 2006.14255 (variant 1, noise on the feature maps).
    """

    name: ClassVar[str] = "ss-cam"
    cost: ClassVar[str] = "1 + samples x (1 + channels)"
    samples: int = 10
    noise: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_draws(self)

    def _alpha(self, capture: Capture, masks: Tensor, valid: Tensor) -> Tensor:
        """Returns (N, K, M) the mean rise of the scores by seeing the input through noisy masks (N, M, *spatial)."""
        x, baseline = capture.input, uninformative(capture.input, self.baseline)
        images = torch.arange(len(masks), device=masks.device)
        total = masks.new_zeros(*masks.shape[:2], capture.scores.shape[1])
        for draw in noise_draws(self.samples, x.shape[2:], self.seed):
            noise = self.noise * draw.to(masks)
            blank = baseline + x * noise.to(x.dtype)
            reference = capture.rescore(blank, images, probability=self._probability)
            for place in valid.nonzero().split(self.batch_size or chunk_size(x)):
                if len(place) == 0:  # as in `ScoreCAM`
                    continue
                image, mask = place.unbind(1)
                seen = capture.over_input(masks[image, mask].unsqueeze(1))
                scores = capture.rescore(x[image] * (seen + noise).to(x.dtype), image, probability=self._probability)
                total[image, mask] += (scores - reference[image]).to(total.dtype)

        def again(image: Tensor) -> Tensor:
            same = image.expand(min(self.batch_size or chunk_size(x), masks.shape[1]))
            return capture.rescore(blank[same], same, probability=self._probability)

        found = (total / self.samples).transpose(1, 2)
        return beyond_rounding(capture, found, reference, again, probability=self._probability)


@dataclass(frozen=True)
class ISCAM(ScoreCAM):
    """IS-CAM: Score-CAM with each weight averaged while its mask grows, ``alpha_k = mean_i Y(X . f_i H_k) - Y(X_b)``.

    Args:
        steps: number n of fractions f_1 ... f_n of the mask.
        path: "linear": ``f_i = i / n``, as integrated gradients go from the baseline to the input; "cumulative":
            ``f_i = sum_{j < i} j / n``, the sum that is printed for IS-CAM elsewhere, which goes up to (n - 1) / 2 and
            so far beyond the input.

    The other fields are those of `ScoreCAM`.

    Source: Naidu et al. 2020, arXiv 2010.03023.
    """

    name: ClassVar[str] = "is-cam"
    cost: ClassVar[str] = "1 + steps x (1 + channels)"
    steps: int = 10
    path: Literal["linear", "cumulative"] = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole_numbers(self, "steps")
        if self.path not in ("linear", "cumulative"):
            raise MethodError(f"ISCAM(path={self.path!r}): 'linear' or 'cumulative'")

    def _alpha(self, capture: Capture, masks: Tensor, valid: Tensor) -> Tensor:
        """Returns (N, K, M) the mean rise of the scores by seeing the input through fractions of (N, M, *spatial)."""
        total = torch.zeros((), dtype=masks.dtype, device=masks.device)
        for fraction in self._fractions():
            total = total + super()._alpha(capture, fraction * masks, valid)
        return total / self.steps

    def _fractions(self) -> Iterator[float]:
        for i in range(1, self.steps + 1):
            yield i / self.steps if self.path == "linear" else i * (i - 1) / (2 * self.steps)


def noise_draws(samples: int, shape: Sequence[int], seed: int) -> Iterator[Tensor]:
    """Yields standard normal noise (1, *shape), sample by sample, the same on every device and in every precision."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(samples):
        yield torch.randn(1, *shape, generator=generator)
