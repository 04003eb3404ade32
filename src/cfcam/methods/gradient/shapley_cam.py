"""ShapleyCAM: Grad-CAM with the curvature of the score, a second-order account of what each channel is worth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from cfcam.capture import Capture, Scores
from cfcam.capture.answers.probabilities import signed_logits
from cfcam.errors import MethodError
from cfcam.methods.base import Method, joined, weighted_sum
from cfcam.methods.rounding import mean_gradient


@dataclass(frozen=True)
class ShapleyCAM(Method):
    """ShapleyCAM: ``w_k = mean_s(g - H A / 2)_k``, g and H gradient and Hessian of the score, ``ReLU(sum_k w_k A_k)``.

    Taking the channels for players, of whom those that are absent are 0, this is the Shapley value of each to second
    order around the layer as it is. Behind a tail that is piecewise linear H is 0 for a logit; it is not for the
    paper's score, the logit plus the log-probability (ReST), whose gradient vanishes neither where the network is sure
    nor where it is not.

    Args:
        score: "rest", ``y_c + log p_c``; or "logit". Targets that are no classes are taken as they are.

    Raises:
        LayerError: float16 takes part, which leaves second derivatives no room; or a part of the network has none
            (fused attention).

    Source: Cai 2025, arXiv 2501.06261, and the code published with it, which has the mean over places as Grad-CAM has.
    """

    name: ClassVar[str] = "shapley-cam"
    cost: ClassVar[str] = "1 + 2 backward"
    parts_targets: ClassVar[bool] = True
    score: Literal["rest", "logit"] = "rest"

    def __post_init__(self) -> None:
        if self.score not in ("rest", "logit"):
            raise MethodError(f"ShapleyCAM(score={self.score!r}): 'rest' or 'logit'")

    def __call__(self, capture: Capture) -> Tensor:
        """Returns maps (N, K, *layer_spatial), zero or positive."""
        if self.score == "rest" and type(capture.targets) is Scores:
            capture = capture.again(targets=ReST(**vars(capture.targets)))
        return joined([self._maps(capture.only(columns)) for columns in capture.blocks()])

    def _maps(self, capture: Capture) -> Tensor:
        weights = mean_gradient(capture) - mean_gradient(capture, capture.curvatures) / 2
        return weighted_sum(weights, capture.activations).relu_()


@dataclass(frozen=True)
class ReST(Scores):
    """Class logits plus log-probabilities, "residual softmax"; other scores as they are."""

    def __call__(
        self, output: Any, logits: Tensor, images: Tensor | None = None, *, probability: bool = False
    ) -> Tensor:
        """Returns the scores (M, K); see `Scores`."""
        own = super().__call__(output, logits, images, probability=probability)
        if probability or len(self.functions) == own.shape[1]:
            return own
        indices = self.indices if images is None else self.indices[images]
        signed = signed_logits(logits)
        single = self.probability == "sigmoid" or logits.shape[1] == 1
        log = torch.nn.functional.logsigmoid(signed) if single else signed.log_softmax(1)
        classes = torch.tensor([k not in self.functions for k in range(own.shape[1])], device=own.device)
        return own + torch.where(classes, log.gather(1, indices.clamp(min=0)), 0)

    def select(self, columns: slice) -> ReST:
        """Returns the scores of some of the K columns."""
        return ReST(**vars(super().select(columns)))

    def moved(self, move: Any) -> ReST:
        """Returns the same scores of an input that was moved; see `Scores.moved`."""
        return replace(self, functions=super().moved(move).functions)
