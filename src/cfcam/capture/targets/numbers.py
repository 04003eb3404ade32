"""Scores that are no single class logit: one class against another, a regression, anything of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from cfcam.capture.answers.probabilities import Kind, probabilities, signed_logits
from cfcam.capture.targets.scores import (
    FirstPass,
    ImageScore,
    ScoreTarget,
    check_label,
    class_words,
    function_name,
    known_class,
)
from cfcam.errors import TargetError, check_called, shown, whole_number


@dataclass(frozen=True)
class Contrast(ScoreTarget):
    """Why one class rather than another: the difference of their logits, ``y_a - y_b``.

    Methods that work on probabilities (Score-CAM) take the difference of the two probabilities.

    Args:
        a: index or name of the class that is spoken for; None: the predicted one, image by image.
        b: the class it is compared with; None: the most probable other one.

    Source: Prabhushankar et al. 2020, "Contrastive explanations in neural networks", arXiv 2008.00178, for the
    question; the difference of logits is the evidence that a softmax of two classes sees.
    """

    a: int | str | None = None
    b: int | str | None = None

    def __post_init__(self) -> None:
        for label in (self.a, self.b):
            if label is not None:
                check_label(label)
        if self.a is not None and self.a == self.b:
            raise TargetError(f"Contrast({self.a!r}, {self.b!r}): a class against itself is 0 everywhere")

    def resolve(self, first: FirstPass) -> list[ImageScore]:
        """Returns one score; raises `TargetError` if there is no such class, or the two are one."""
        logits = signed_logits(first.vector("a contrast of two classes"))
        count = logits.shape[1]
        if count < 2:
            raise TargetError(f"a contrast needs two classes, and the network has {count}")
        own = logits.argmax(1) if self.a is None else _of_all(known_class(self.a, count, first.classes), logits)
        if self.b is None:
            other = logits.scatter(1, own[:, None], -torch.inf).argmax(1)
        else:
            other = _of_all(known_class(self.b, count, first.classes), logits)
        if bool((own == other).any()):
            image = int((own == other).nonzero()[0])
            same = class_words(int(own[image]), first.classes)
            raise TargetError(f"image {image}: {same} is compared with itself; name another class for the contrast")
        a = "the predicted class" if self.a is None else class_words(self.a, first.classes)
        b = "the runner-up" if self.b is None else class_words(self.b, first.classes)
        return [Difference(own, other, f"{a} against {b}", first.probability)]


def _of_all(index: int, logits: Tensor) -> Tensor:
    return torch.full((len(logits),), index, device=logits.device)


@dataclass(frozen=True, eq=False)
class Difference(ImageScore):
    """The difference between the scores of two classes.

    Attributes:
        own: (N,) int64 the class that is spoken for.
        other: (N,) int64 the class it is compared with.
        words: what is explained.
        kind: how logits become probabilities.
    """

    asked: ClassVar[str] = "a contrast of two classes"
    is_margin: ClassVar[bool] = True
    own: Tensor
    other: Tensor
    words: str
    kind: Kind = "softmax"

    @property
    def name(self) -> str:
        """What is explained, as shown to people."""
        return self.words

    def __call__(self, output: Any, logits: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        """Returns the differences (M,); see `ImageScore`."""
        values = probabilities(logits, self.kind) if probability else signed_logits(logits)
        pair = torch.stack([self.own[images], self.other[images]], dim=1)
        own, other = values.gather(1, pair).unbind(1)
        return own - other


@dataclass(frozen=True)
class Regression(ScoreTarget):
    """A number that the network estimates, as it is: never a probability, and without a class 0 that is its opposite.

    Args:
        index: which of the outputs (N, outputs).
        lower: explain what makes the number smaller, instead of larger.
    """

    index: int = 0
    lower: bool = False

    def __post_init__(self) -> None:
        whole_number(self.index, "Regression: index", error=TargetError)
        if not isinstance(self.lower, bool):
            raise TargetError(f"Regression: lower={shown(self.lower)}: give True or False")

    def resolve(self, first: FirstPass) -> list[ImageScore]:
        """Returns one score; raises `TargetError` if there is no such output."""
        logits = first.vector("a regression")
        outputs = (logits if first.numbers is None else first.numbers(first.output, len(logits))).shape[1]
        if not 0 <= self.index < outputs:
            raise TargetError(f"output {self.index} is out of range: the network has {outputs}, 0 to {outputs - 1}")
        return [Estimate(self, first.numbers)]


@dataclass(frozen=True)
class Estimate(ImageScore):
    """One output of a network, as it is.

    Attributes:
        target: which one.
        numbers: where it is in the network's output; None: among the logits.
    """

    asked: ClassVar[str] = "a number that the network estimates"
    target: Regression
    numbers: Callable[[Any, int], Tensor] | None = None

    @property
    def name(self) -> str:
        """What is explained, as shown to people."""
        return f"output {self.target.index}" + (", lower" if self.target.lower else "")

    def __call__(self, output: Any, logits: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        """Returns the numbers (M,); see `ImageScore`."""
        values = (logits if self.numbers is None else self.numbers(output, len(images)))[:, self.target.index]
        return -values if self.target.lower else values


@dataclass(frozen=True, eq=False)
class PerImage(ScoreTarget, ImageScore):
    """A callable that is told which image of the batch each row of the output was made from.

    Score-CAM and Occlusion run many versions of one image at once; what belongs to an image (a box, an age) has to
    follow it: ``PerImage(lambda output, images: score(output, boxes[images]))``.

    Args:
        function: called with what the network returned for M inputs and with ``images`` (M,) int64; returns (M,).
        words: what is explained, as shown to people; None: the function's name.
    """

    asked: ClassVar[str] = "a callable"
    needs_logits: ClassVar[bool] = False
    function: Callable[[Any, Tensor], Tensor]
    words: str | None = None

    def __post_init__(self) -> None:
        check_called(self.function, "PerImage: function", "a function of the output and of images (M,)", TargetError)

    @property
    def name(self) -> str:
        """What is explained, as shown to people."""
        return self.words or function_name(self.function)  # type: ignore[arg-type]  # any callable has a name

    def resolve(self, first: FirstPass) -> Sequence[ImageScore]:
        """Returns itself."""
        return [self]

    def __call__(self, output: Any, logits: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        """Returns the function's numbers (M,)."""
        return self.function(output, images)
