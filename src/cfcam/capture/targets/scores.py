"""The explained scores of one batch: class logits, and numbers computed from the network's output image by image."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from cfcam.capture.answers.heads import leaves
from cfcam.capture.answers.probabilities import Kind, probabilities, signed_logits
from cfcam.capture.targets.box_words import box_hint
from cfcam.errors import CfcamError, InputError, TargetError, shown, whole_number
from cfcam.shown import counted

ScoreFunction = Callable[[Any], Tensor]


class NotPredictedError(TargetError):
    """A segmentation target has no place in this image: its class, or any but the background, is predicted nowhere.

    Attributes:
        rule: which of the targets that were asked for it is.
        absent: the classes, in words, where it asks for classes.
        there: the classes that it asks for and this image has.
    """

    rule: int = 0
    absent: tuple[str, ...] = ()
    there: tuple[int, ...] = ()


@contextmanager
def of_rule(number: int) -> Iterator[None]:
    """Says of a target that has no place in an image which of those it is that were asked for."""
    try:
        yield
    except NotPredictedError as error:
        error.rule = number
        raise


@dataclass(frozen=True)
class FirstPass:
    """What is known when targets are settled: the network's answer to the input itself.

    Attributes:
        output: what the network returned.
        logits: the tensor of class scores in it, (N, classes) or (N, classes, *spatial), detached.
        classes: class names, if known.
        probability: how logits become probabilities.
        spatial: *spatial of the input; None: unknown.
        numbers: from an output of the network to the numbers in it from which the logits are read, which may be
            probabilities; None: they are the logits.
    """

    output: Any
    logits: Tensor
    classes: Sequence[str] | None
    probability: Kind
    spatial: tuple[int, ...] | None = None
    numbers: Callable[[Any, int], Tensor] | None = None

    @property
    def dense(self) -> bool:
        """Whether there are class scores for each place, (N, classes, *spatial): a segmentation."""
        axes = self.logits.ndim - 2
        return axes > 0 and (self.spatial is None or axes == len(self.spatial))

    def vector(self, what: str) -> Tensor:
        """Returns the logits if they are (N, classes).

        Raises:
            TargetError: they are not; ``what`` is the target that needs them.
        """
        if self.logits.ndim != 2:
            raise TargetError(
                f"{what} needs an output (N, classes), and the network's has shape {tuple(self.logits.shape)}: give a"
                " callable from the output to one number per image, e.g. targets=lambda out: out[:, 1].amax((-2, -1))"
            )
        return self.logits


class ImageScore(ABC):
    """One column of scores that knows which image of the batch each row of an output was made from."""

    is_margin: ClassVar[bool] = False
    """Whether the scores are how far the logit of one class lies above that of another."""
    asked: ClassVar[str] = "a score of its own"
    """What a target of this kind is, as messages call it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What is explained, as shown to people."""

    @abstractmethod
    def __call__(self, output: Any, logits: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        """Returns the scores (M,).

        Args:
            output: what the network returned for M inputs.
            logits: the tensor of class scores in it.
            images: (M,) int64, the image of the batch that each input was made from.
            probability: of probabilities instead of logits, where the score is made of logits.
        """

    def class_indices(self) -> Tensor | None:
        """Returns the class (N,) int64 that the score of each image is about; None: of no class."""
        return None

    def moved(self, move: Callable[[Tensor], Tensor]) -> ImageScore:
        """Returns the same score of an input that was moved; see `Scores.moved`."""
        return self


class ScoreTarget(ABC):
    """A rule that becomes scores once the network has answered to the input itself; see `ImageScore`."""

    needs_logits: ClassVar[bool] = True
    """Whether the scores are made of logits, and not of the network's output as it is."""

    def check(self, batch: int, spatial: Sequence[int] | None) -> None:  # noqa: B027  (most have nothing to check)
        """Raises `TargetError`, before the network runs, if the target does not fit N images of this size."""

    @abstractmethod
    def resolve(self, first: FirstPass) -> Sequence[ImageScore]:
        """Returns the scores, one a column."""


@dataclass(frozen=True)
class Scores:
    """The explained scores of one batch: K per image, each a class or a callable.

    Attributes:
        indices: (N, K) int64 class indices; -1 where a score is of no class.
        functions: column -> what computes its score, where that is no class logit: a callable from the network's output
            to (N,) numbers, or an `ImageScore`.
        probability: how logits become probabilities.
    """

    indices: Tensor
    functions: dict[int, ScoreFunction | ImageScore] = field(default_factory=dict)
    probability: Kind = "softmax"

    def __call__(
        self, output: Any, logits: Tensor, images: Tensor | None = None, *, probability: bool = False
    ) -> Tensor:
        """Returns the scores (M, K) of an output of M inputs.

        Args:
            output: what the network returned, handed to the callables.
            logits: (M, classes), or anything if there are only callables.
            images: (M,) the image of the batch that each input was made from; None: M = N, in order.
            probability: class scores as probabilities in [0, 1] instead of logits.
        """
        if images is None:
            images = torch.arange(len(self.indices), device=self.indices.device)
        indices = self.indices[images]
        columns: list[Tensor] = []
        if len(self.functions) < indices.shape[1]:
            values = probabilities(logits, self.probability) if probability else signed_logits(logits)
            classes = values.gather(1, indices.clamp(min=0))
            if not self.functions:
                return classes
            columns = list(classes.unbind(1))
        else:
            columns = [logits.new_zeros(())] * indices.shape[1]
        for k, function in self.functions.items():
            score = (
                function(output, logits, images, probability=probability)
                if isinstance(function, ImageScore)
                else _called(function, output)
            )
            if not isinstance(score, Tensor) or score.shape != (indices.shape[0],):
                got = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
                raise TargetError(
                    f"target {function_name(function)} returned {got}: a callable must return one number per image,"
                    f" a tensor of shape ({indices.shape[0]},)"
                )
            columns[k] = score
        return torch.stack(columns, dim=1)

    def select(self, columns: slice) -> Scores:
        """Returns the scores of some of the K columns."""
        kept = range(*columns.indices(self.indices.shape[1]))
        functions = {i: self.functions[k] for i, k in enumerate(kept) if k in self.functions}
        return Scores(self.indices[:, columns], functions, self.probability)

    def moved(self, move: Callable[[Tensor], Tensor]) -> Scores:
        """Returns the same scores of an input that was moved, for targets that belong to a place (a mask).

        Args:
            move: what was done to the input, done to maps (N, 1, *spatial): a flip, a zoom.
        """
        moved = {k: f.moved(move) if isinstance(f, ImageScore) else f for k, f in self.functions.items()}
        return replace(self, functions=moved)


def _called(function: ScoreFunction, output: Any) -> Any:
    """Returns what a user's callable returns for an output, which it must leave as it is."""
    name, tensors = function_name(function), [leaf.tensor for leaf in leaves(output)]
    before = [0 if t.is_inference() else t._version for t in tensors]
    try:
        score = function(output)
    except (CfcamError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        shown = ", ".join(str(tuple(t.shape)) for t in tensors[:4]) or "no tensor"
        reason = " ".join(str(error).split())[:160]
        raise TargetError(
            f"target {name} fails on the network's output, a {type(output).__name__} ({shown}):"
            f" {type(error).__name__}: {reason}"
        ) from error
    if before != [0 if t.is_inference() else t._version for t in tensors]:
        raise TargetError(f"target {name} changes the network's output in place: compute the score of a copy (clone())")
    return score


def boxes_of(scores: Scores) -> Tensor | None:
    """Returns (N, K, 4) the boxes that scores are of, in pixels of the input; NaN for others, None of none at all."""
    found = {
        k: boxes for k, function in scores.functions.items() if (boxes := getattr(function, "boxes", None)) is not None
    }
    if not found:
        return None
    none = next(iter(found.values())).new_full((len(scores.indices), 4), torch.nan)
    return torch.stack([found.get(k, none) for k in range(scores.indices.shape[1])], dim=1)


def function_name(function: ScoreFunction | ImageScore) -> str:
    """Returns a callable's name as it is shown to people."""
    if isinstance(function, ImageScore):
        return function.name
    return getattr(function, "__name__", type(function).__name__)


def class_index(name: str, classes: Sequence[str] | None) -> int:
    """Returns the index of a class name, exact or else without regard to case.

    Raises:
        TargetError: the name is unknown (the nearest names are offered), ambiguous, or no names are known.
    """
    if classes is None:
        raise TargetError(
            f"target {name!r} is a name, but no class names are known: give them (classes=[...], --classes) or an"
            f" index{box_hint(name)}"
        )
    for fold in (str, str.casefold):
        found = [i for i, known in enumerate(classes) if fold(known) == fold(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise TargetError(f"class name {name!r} stands for classes {found}: give the index")
    near = difflib.get_close_matches(name, list(classes), n=3, cutoff=0.5) or list(classes[:3])
    raise TargetError(
        f"no class is called {name!r}; nearest of {len(classes)}: {', '.join(map(repr, near))}{box_hint(name)}"
    )


def what_is_asked(functions: Mapping[int, Any]) -> str:
    """Returns what the targets are that are no classes, in words: the first kind of them.

    Args:
        functions: of `Scores.functions`, at least one.
    """
    first = functions[min(functions)]
    return first.asked if isinstance(first, ImageScore) else "a callable"


def known_class(label: int | str, count: int, classes: Sequence[str] | None) -> int:
    """Returns the index of a class given by index or name, of a network with ``count`` classes.

    Raises:
        TargetError: there is no such class.
    """
    check_label(label)
    index = class_index(label, classes) if isinstance(label, str) else int(label)
    _check_class(index, count)
    return index


def check_label(label: Any) -> None:
    """Raises `TargetError` for a class that is given neither by index nor by name."""
    if isinstance(label, str):
        return
    try:
        whole_number(label, "class")
    except InputError as error:
        raise TargetError(f"a class is {shown(label)}: give its index or its name") from error


def class_words(label: int | str, classes: Sequence[str] | None) -> str:
    """Returns a class as it is shown to people: its name, or "class 7"."""
    if isinstance(label, str):
        return label
    return classes[label] if classes is not None and 0 <= label < len(classes) else f"class {label}"


def check_range(indices: Tensor, count: int) -> None:
    """Raises `TargetError` for a class index that is not in [0, count)."""
    if indices.numel() and (int(indices.min()) < 0 or int(indices.max()) >= count):
        _check_class(next(int(i) for i in indices.flatten() if not 0 <= i < count), count)


def _check_class(index: int, count: int) -> None:
    if not 0 <= index < count:
        raise TargetError(
            f"class {index} is out of range: the network has {counted(count, 'class', 'classes')}, 0 to {count - 1}"
        )
