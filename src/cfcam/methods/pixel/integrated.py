"""Integrated gradients, by Captum: what each place of the input gives the score on the way from a baseline to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cfcam.capture import Capture
from cfcam.errors import MethodError, MissingExtraError
from cfcam.methods.numbers import check_baseline, check_numbers, check_whole_numbers
from cfcam.methods.pixel.input_gradients import PixelMethod, differentiable, scores_of
from cfcam.methods.scored.score_cam import chunk_size, uninformative


@dataclass(frozen=True)
class IntegratedGradients(PixelMethod):
    """Integrated gradients: ``sum_channels (x - b) . mean_t dy/dx(b + t (x - b))``, signed, by Captum.

    The map adds up to the score's difference from that of the baseline, to the precision of the steps: that is checked,
    and a map that misses it by more than a share of the sum of its absolute values is refused.

    Args:
        baseline: b: "zero" (the training mean, after normalisation), "blur" (the input averaged over an eighth of its
            size) or a number.
        steps: places of the Gauss-Legendre rule between baseline and input.
        tolerance: that share; infinite: whatever.

    Raises:
        MethodError: The sum misses the difference by more than the tolerance.
        MissingExtraError: Captum is not installed.

    Source: Sundararajan et al. 2017, arXiv 1703.01365, eq. 1; Captum's ``IntegratedGradients``.
    """

    name: ClassVar[str] = "integrated-gradients"
    cost: ClassVar[str] = "2 + steps, each whole backward"
    baseline: Literal["zero", "blur"] | float = "zero"
    steps: int = 32
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        check_baseline(self)
        check_whole_numbers(self, "steps")
        check_numbers(self, "tolerance", above=0, infinite=True)

    def __call__(self, capture: Capture) -> Tensor:
        """Returns signed maps (N, K, *input_spatial)."""
        try:
            from captum.attr import IntegratedGradients as Captums  # type: ignore[import-untyped]
        except ModuleNotFoundError as error:
            raise MissingExtraError("captum", "captum", "integrated-gradients") from error
        x, columns = capture.input, []
        base = uninformative(x, self.baseline)
        images = torch.arange(len(x), device=x.device)
        # Points of its path are versions of an image, too: whether they may share a batch shows in as many of them.
        network, count = capture.network, max(2, chunk_size(x) // len(x))
        count = count if network.unmixed.get("", 0) < count * len(x) else 2
        path = torch.cat([torch.lerp(x, base, n / (count - 1)) for n in range(count)])
        ends = capture.rescore(path, images.repeat(count)).unflatten(0, (count, len(x)))[[0, -1]]
        single = network.mixes or network.batch is not None or network.one_at_a_time
        at_once = len(x) if single else max(len(x), chunk_size(x))
        with differentiable(capture):
            for k in range(capture.scores.shape[1]):
                captums = Captums(lambda seen, which, k=k: scores_of(capture, seen, which, self.name)[:, k])
                try:
                    found = captums.attribute(
                        x.detach().clone(),
                        baselines=base,
                        additional_forward_args=(images,),
                        n_steps=self.steps,
                        method="gausslegendre",
                        internal_batch_size=at_once,
                    )
                except RuntimeError as error:
                    if not re.search("not have been used|nference tensor|does not require grad", str(error)):
                        raise
                    raise MethodError(
                        f"{self.name} needs gradients from the score to the input, and the network records none on the"
                        " way: use occlusion or score-cam"
                    ) from error
                columns.append(found.detach().sum(1))
        maps = torch.stack(columns, dim=1)
        due = ends[0] - ends[1]
        missed = (maps.flatten(2).sum(2) - due).abs()
        wrong = missed > self.tolerance * maps.flatten(2).abs().sum(2)
        if bool(wrong.any()):
            image, k = wrong.nonzero()[0].tolist()
            raise MethodError(
                f"integrated-gradients of image {image} add up to {float(maps[image, k].sum()):.4g}, and the score's"
                f" difference from the baseline's is {float(due[image, k]):.4g}: take more steps than {self.steps}"
            )
        return maps
