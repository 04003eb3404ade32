"""Expected Grad-CAM: Grad-CAM's weights averaged on the ways from perturbed pictures without detail to the picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.capture.draws import in_blocks
from cfcam.methods.base import Method, joined, weighted_sum
from cfcam.methods.numbers import check_draws
from cfcam.methods.rounding import mean_gradient
from cfcam.methods.scored.score_cam import blurred
from cfcam.methods.scored.smooth import noise_draws


@dataclass(frozen=True)
class ExpectedGradCAM(Method):
    """Expected Grad-CAM: ``w_k = E_{b, t} mean_s(dy/dA_k (b + t (x - b)))``, map ``ReLU(sum_k w_k A_k(x))``.

    A gradient that has vanished where the network is sure has not on the way there. Baselines b are the picture,
    blurred, with Gaussian noise on it; t is uniform on [0, 1], one in each of ``samples`` equal parts. Noise and
    places are the same for every image.

    **This is a reading** of "expected gradients with data-aware perturbations in place of Grad-CAM's": the paper's own
    distribution of baselines and its smoothing kernel were not at hand when this was written, and figures of the paper
    are not to be expected from it.

    Args:
        samples: pairs of a baseline and a place on the way.
        noise: standard deviation of the noise on the baselines, as a share of each input's range.
        seed: of noise and places.

    Source: Buono et al. 2026, TMLR ("Not All CAMs Are Complete"; arXiv 2406.01274), in the reading above.
    """

    name: ClassVar[str] = "expected-grad-cam"
    cost: ClassVar[str] = "1 + samples, each backward"
    parts_targets: ClassVar[bool] = True
    samples: int = 16
    noise: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_draws(self)

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        maps = []
        for part, draws in in_blocks(capture, lambda: self._draws(capture.input)):
            total = torch.zeros((), device=capture.input.device)
            for one in draws:
                total = total + mean_gradient(part, one.gradients)
            maps.append(weighted_sum(total / self.samples, part.activations).relu_())
        return joined(maps)

    def _draws(self, x: Tensor) -> Iterator[Tensor]:
        low, high = x.flatten(1).aminmax(dim=1)
        deviation = (self.noise * (high - low)).reshape(-1, *[1] * (x.ndim - 1))
        base = blurred(x)
        for share, draw in zip(self.places(), noise_draws(self.samples, x.shape[1:], self.seed), strict=True):
            start = base + deviation * draw.to(x)
            yield start + share * (x - start)

    def places(self) -> list[float]:
        """Returns t of each sample in [0, 1], one in each of as many equal parts, in that order."""
        within = torch.rand(self.samples, generator=torch.Generator().manual_seed(self.seed + 1), dtype=torch.float64)
        return [(i + float(u)) / self.samples for i, u in enumerate(within)]
