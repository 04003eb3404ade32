"""Finer-CAM: what tells a class from the classes most like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from cfcam.capture import Capture, Scores, probabilities
from cfcam.capture.answers.probabilities import signed_logits
from cfcam.capture.targets.scores import what_is_asked
from cfcam.errors import MethodError, TargetError
from cfcam.methods.cam import CAM
from cfcam.methods.numbers import check_count, check_numbers
from cfcam.methods.wrapping import Wrapper


@dataclass(frozen=True)
class FinerCAM(Wrapper):
    """Finer-CAM: another method (Grad-CAM) of ``y_c - gamma mean_d(y_d)``, d the classes with the scores nearest y_c.

    Features that the class shares with these are suppressed; what is left tells it from them.

    Args:
        base: the method that explains the difference.
        gamma: strength of the comparison; 0 is the method itself.
        references: how many of the most similar classes are compared with (all others if there are fewer), or a tuple
            of their indices.

    Raises:
        MethodError: a target is no class, or the output is no vector of classes.
        TargetError: a reference is out of range, or is the explained class.

    Source: Zhang et al. 2025, arXiv 2501.11309.
    """

    name: ClassVar[str] = "finer-cam"
    selective: ClassVar[bool] = True  # it applies to classes alone
    gamma: float = 0.6
    references: int | tuple[int, ...] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.base, CAM):
            raise MethodError(
                "FinerCAM(base=CAM()): cam reads a class' weights and no score; grad-cam is the same there"
            )
        check_numbers(self, "gamma", least=0)
        check_count(self, "references", "a number of classes, 1 or more, or a tuple of their indices", of=int)

    def __call__(self, capture: Capture) -> Tensor:
        """Returns the wrapped method's maps (N, K, *layer_spatial) of the differences."""
        if capture.targets.functions:
            asked = what_is_asked(capture.targets.functions)
            raise MethodError(f"finer-cam compares classes, and a target is {asked}: use {self.base.label} for it")
        if capture.logits.ndim != 2:
            raise MethodError(
                f"finer-cam compares classes, and the output is no vector of them: use {self.base.label} here"
            )
        targets, logits = capture.targets, signed_logits(capture.logits)
        if isinstance(self.references, tuple):
            references = self._given(logits, targets.indices)
        else:
            references = nearest_classes(logits, targets.indices, self.references)
        contrast = Contrast(targets.indices, probability=targets.probability, references=references, gamma=self.gamma)
        return self.base_maps(capture.again(targets=contrast))

    def _given(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Returns the user's references (N, K, T), once they are checked."""
        references = torch.tensor(self.references, device=targets.device)
        if int(references.min()) < 0 or int(references.max()) >= logits.shape[1]:
            raise TargetError(
                f"finer-cam references {self.references}: the network has classes 0 to {logits.shape[1] - 1}"
            )
        if bool((targets[..., None] == references).any()):
            raise TargetError(f"finer-cam references {self.references} contain the explained class: leave it out")
        return references.expand(*targets.shape, -1)


def nearest_classes(logits: Tensor, targets: Tensor, count: int) -> Tensor:
    """Returns the ``count`` classes (N, K, T) whose logits (N, classes) are nearest to those of targets (N, K)."""
    distance = (logits[:, None] - logits.gather(1, targets)[..., None]).abs()
    distance = distance.scatter(2, targets[..., None], torch.inf)
    return distance.topk(min(count, logits.shape[1] - 1), dim=2, largest=False).indices


@dataclass(frozen=True, kw_only=True)
class Contrast(Scores):
    """Class scores minus a share of the mean score of reference classes.

    Attributes:
        references: (N, K, T) int64 class indices.
        gamma: the share.
    """

    references: Tensor
    gamma: float

    def __call__(
        self, output: Any, logits: Tensor, images: Tensor | None = None, *, probability: bool = False
    ) -> Tensor:
        """Returns the differences (M, K); see `Scores`."""
        own = super().__call__(output, logits, images, probability=probability)
        references = self.references if images is None else self.references[images]
        values = probabilities(logits, self.probability) if probability else signed_logits(logits)
        others = values.gather(1, references.flatten(1)).unflatten(1, references.shape[1:])
        return own - self.gamma * others.mean(-1)

    def select(self, columns: slice) -> Contrast:
        """Returns the differences of some of the K columns."""
        return Contrast(
            self.indices[:, columns],
            probability=self.probability,
            references=self.references[:, columns],
            gamma=self.gamma,
        )
