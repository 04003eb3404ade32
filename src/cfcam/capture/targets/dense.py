"""Segmentation networks: a class inside of a mask, or where the network itself predicts it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cfcam.capture.answers.probabilities import Kind, probabilities, signed_logits
from cfcam.capture.half_precision import at_least_float32
from cfcam.capture.targets.scores import (
    FirstPass,
    ImageScore,
    NotPredictedError,
    Scores,
    ScoreTarget,
    check_range,
    class_words,
    known_class,
)
from cfcam.errors import TargetError, whole_number

Reduction = Literal["sum", "mean"]
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True, eq=False)
class Segmentation(ScoreTarget):
    """A class of a segmentation network inside of a mask: ``sum_p m_p y_c(p)`` over the places p of its output.

    The mask is fixed when the network has seen the input itself: masked, noisy and occluded versions of the input are
    scored at the same places. Methods that work on probabilities (Score-CAM) sum the class's probability there.

    Args:
        label: index or name of the class; None: the one with the largest predicted area, image by image.
        mask: (*spatial) for every image or (N, *spatial) image by image, in [0, 1], of the input's size or the
            output's. On another grid than the output's it is averaged to that grid. None: where the network predicts
            the class (highest logit; above probability 0.5 for a single channel and with ``probability="sigmoid"``).
        reduction: "sum" over the mask, or the "mean": the same map up to a factor, and scores that compare.
        background: class that is not chosen if ``label`` is None, where there are others; None: each may be; "auto":
            see `background_of`.

    Source: the sum over pixels, Vinogradova et al. 2020, "Towards interpretable semantic segmentation via gradient-
    weighted class activation mapping", arXiv 2002.11434, eq. 2.
    """

    label: int | str | None = None
    mask: Any = None
    reduction: Reduction = "sum"
    background: int | Literal["auto"] | None = "auto"

    def __post_init__(self) -> None:
        if self.reduction not in ("sum", "mean"):
            raise TargetError(f"Segmentation(reduction={self.reduction!r}): 'sum' or 'mean'")
        if self.background not in (None, "auto"):
            whole_number(self.background, "Segmentation: background", error=TargetError)
        if self.mask is not None:
            object.__setattr__(self, "mask", _checked_mask(self.mask))

    def check(self, batch: int, spatial: Sequence[int] | None) -> None:
        """Raises `TargetError` for a mask of another number of images, or of other axes than the input."""
        if self.mask is None or spatial is None:
            return
        shape, axes = tuple(self.mask.shape), len(spatial)
        if len(shape) not in (axes, axes + 1) or (len(shape) == axes + 1 and shape[0] != batch):
            raise TargetError(
                f"the mask has shape {shape} for {batch} images of {tuple(spatial)}: give {tuple(spatial)} for all"
                f" images, or {(batch, *spatial)} image by image"
            )

    def resolve(self, first: FirstPass) -> list[ImageScore]:
        """Returns one score; raises `TargetError` if there is no such class, or nothing of it in the mask."""
        _check_dense(first)
        predicted = predicted_places(first)
        mask = None if self.mask is None else self._on_output(first)
        areas = _areas(predicted if mask is None else predicted * mask[:, None])
        indices = self._classes(areas, first)
        if mask is None:
            mask = own_mask(predicted, indices, first.classes)
        where = "where predicted" if self.mask is None else "in the mask"
        what = "the largest class" if self.label is None else class_words(self.label, first.classes)
        return [MaskedScore(indices, mask, f"{what} {where}", self.reduction, first.probability)]

    def _on_output(self, first: FirstPass) -> Tensor:
        grid, mask = first.logits.shape[2:], self.mask.to(first.logits.device)
        if mask.ndim == len(grid):
            mask = mask.expand(len(first.logits), *mask.shape)
        if first.spatial is not None and tuple(mask.shape[1:]) not in (tuple(grid), first.spatial):
            raise TargetError(
                f"the mask is {tuple(mask.shape[1:])} for an input of {first.spatial} and an output of {tuple(grid)}:"
                " give it on the input's grid"
            )
        mask = mask if mask.shape[1:] == grid else F.interpolate(mask[:, None], grid, mode="area")[:, 0]
        empty = (mask.flatten(1).sum(1) == 0).nonzero()
        if len(empty):
            raise TargetError(f"the mask of {_image(empty, mask)} is empty: there is no place whose score it asks for")
        return mask

    def _classes(self, areas: Tensor, first: FirstPass) -> Tensor:
        """Returns the class of each image (N,)."""
        if self.label is not None:
            index = known_class(self.label, areas.shape[1], first.classes)
            return torch.full((len(areas),), index, device=areas.device)
        background = background_of(first) if self.background == "auto" else self.background
        return ranked(areas, background, "" if self.mask is None else " inside of its mask").argmax(1)


@dataclass(frozen=True, eq=False)
class MaskedScore(ImageScore):
    """The score of one class at fixed places of the output.

    Attributes:
        indices: (N,) int64 the class of each image.
        mask: (N, *spatial) weights of the places of the output, in [0, 1].
        words: what is explained.
        reduction: "sum" or "mean".
        kind: how logits become probabilities.
    """

    asked: ClassVar[str] = "a region of a segmentation"
    indices: Tensor
    mask: Tensor
    words: str
    reduction: Reduction = "sum"
    kind: Kind = "softmax"

    @property
    def name(self) -> str:
        """What is explained, as shown to people."""
        return self.words

    def __call__(self, output: Any, logits: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        """Returns the scores (M,); see `ImageScore`."""
        values = at_least_float32(logits)
        values = probabilities(values, self.kind) if probability else signed_logits(values)
        own = values[torch.arange(len(values), device=values.device), self.indices[images]]
        mask = self.mask[images].to(own.dtype)
        if mask.shape != own.shape:  # an input of another size than the first one
            mask = F.interpolate(mask[:, None], own.shape[1:], mode=_LINEAR[own.ndim - 1], align_corners=False)[:, 0]
        total = (own * mask).flatten(1).sum(1)
        return total if self.reduction == "sum" else total / mask.flatten(1).sum(1)

    def class_indices(self) -> Tensor:
        """Returns the class of each image (N,)."""
        return self.indices

    def moved(self, move: Callable[[Tensor], Tensor]) -> MaskedScore:
        """Returns the same score of an input that was moved; see `Scores.moved`."""
        return replace(self, mask=move(self.mask[:, None])[:, 0])


def averaged(scores: Scores) -> Scores:
    """Returns scores whose sums over places are means: a probability of a class then lies in [0, 1]."""
    means = {k: replace(f, reduction="mean") if isinstance(f, MaskedScore) else f for k, f in scores.functions.items()}
    return replace(scores, functions=means)


def predicted_places(first: FirstPass) -> Tensor:
    """Returns where each class is predicted, (N, classes, *spatial) bool."""
    signed = signed_logits(first.logits)
    if first.probability == "sigmoid" and first.logits.shape[1] > 1:
        return signed > 0
    # A single channel becomes (-z, z): the class of z is predicted where z > 0.
    return torch.zeros_like(signed, dtype=torch.bool).scatter_(1, signed.argmax(1, keepdim=True), value=True)


def own_mask(predicted: Tensor, indices: Tensor, classes: Sequence[str] | None) -> Tensor:
    """Returns where the network predicts one class of each image, (N, *spatial) float.

    Args:
        predicted: (N, classes, *spatial) bool, from `predicted_places`.
        indices: (N,) int64.
        classes: class names, for the message.

    Raises:
        TargetError: the class is predicted nowhere in an image.
    """
    mask = predicted[torch.arange(len(predicted), device=predicted.device), indices]
    if len(empty := (~mask.flatten(1).any(1)).nonzero()):
        index = int(indices[empty[0]])
        named = class_words(index, classes)
        raise NotPredictedError(
            f"{named} is predicted nowhere in {_image(empty, mask)}, so there is nothing to explain: name another"
            f" class, or in Python give a mask of where to look for it, cfcam.Segmentation({index}, mask)"
        )
    return mask.float()


def dense_columns(first: FirstPass, choose: Callable[[Tensor], Tensor]) -> list[ImageScore]:
    """Returns the scores of K classes, each where the network predicts it.

    Args:
        first: the network's answer, a segmentation.
        choose: from the predicted areas (N, classes) to class indices (N, K).

    Raises:
        TargetError: a class is predicted nowhere, or out of range.
    """
    _check_dense(first)
    predicted = predicted_places(first)
    areas = _areas(predicted)
    indices = choose(areas)
    check_range(indices, predicted.shape[1])
    try:
        masks = [own_mask(predicted, column, first.classes) for column in indices.unbind(1)]
    except NotPredictedError as error:
        if len(indices) == 1:
            asked = [(index, bool(areas[0, index] > 0)) for index in dict.fromkeys(indices[0].tolist())]
            error.there = tuple(index for index, there in asked if there)
            error.absent = tuple(class_words(index, first.classes) for index, there in asked if not there)
        raise
    return [
        MaskedScore(column, mask, "where predicted", kind=first.probability)
        for column, mask in zip(indices.unbind(1), masks, strict=True)
    ]


_BACKGROUND = re.compile(r"[\W_]*(back[ _-]?ground|bc?kg|bg|void|un-?labell?ed)[\W_]*", re.IGNORECASE)
_NOTHING = re.compile(
    r"[\W_]*(others?|rest|outside|empty|none|null|nothing|negative|ignored?|(normal|healthy|no|non|not)([\W_].*)?)[\W_]*",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"[\W_]*((class|label|output|channel)[\W_]*)?\d+[\W_]*", re.IGNORECASE)


def background_of(first: FirstPass) -> int | None:
    """Returns the class of a segmentation that is the background, as its names tell; None: there is none.

    That is the class that is called so. Where none is, it is the one of two classes whose name says that there is
    nothing (normal, other, no lesion), else class 0: of two classes, of classes without names, or only numbered, that
    exclude each other, and where its name says that there is nothing. So there is none among labels that may overlap,
    of which each has a sigmoid of its own, nor in scenes whose class 0 is a wall.
    """
    channels = first.logits.shape[1]
    names = () if channels == 1 or first.classes is None else first.classes
    if called := [index for index, name in enumerate(names) if _BACKGROUND.fullmatch(name)]:
        return called[0]
    if channels > 1 and first.probability == "sigmoid":
        return None
    nothing = [index for index, name in enumerate(names) if _NOTHING.fullmatch(name)]
    if channels == 2 and len(nothing) == 1:
        return nothing[0]
    named = not all(_NUMBERED.fullmatch(name) for name in names)
    return None if channels > 2 and named and 0 not in nothing else 0


def ranked(areas: Tensor, background: int | None, place: str = "") -> Tensor:
    """Returns areas (N, classes) to choose the largest from: the background, where there are other classes, is last.

    Args:
        areas: in places of the output.
        background: which class that is; None: none.
        place: where they were counted, in words, for the message.

    Raises:
        NotPredictedError: there is nothing else in an image.
    """
    if background is not None and areas.shape[1] > 1:
        check_range(torch.tensor([background]), areas.shape[1])
        areas = areas.clone()
        areas[:, background] = -1
    if len(none := (areas.amax(1) <= 0).nonzero()):
        what, which = ("nothing", "") if background is None else ("nothing but background", f" (class {background})")
        raise NotPredictedError(
            f"{what} is predicted in {_image(none, areas)}{place}{which}: name a class, and a mask to ask where it"
            " would be, e.g. cfcam.Segmentation(1, mask)"
        )
    return areas


def _image(numbers: Tensor, batch: Tensor) -> str:
    """Returns the first of some images in words; a number says nothing where there is one image."""
    return "this image" if len(batch) == 1 else f"image {int(numbers[0])} of the batch"


def _areas(places: Tensor) -> Tensor:
    """Returns the area of each class (N, classes), in places of the output."""
    return places.flatten(2).sum(2, dtype=torch.float64)


def _check_dense(first: FirstPass) -> None:
    if not first.dense:
        raise TargetError(
            f"a class in a mask needs an output (N, classes, *spatial), and the network's has shape"
            f" {tuple(first.logits.shape)} for an input of {first.spatial}: if it is inside of another output, wrap the"
            " model in cfcam.capture.Adapter(model, ..., lambda output: output[...])"
        )


def _checked_mask(mask: Any) -> Tensor:
    mask = torch.as_tensor(mask).detach()
    values = mask if mask.is_floating_point() else mask.float()
    if values.numel() == 0 or not bool(((values >= 0) & (values <= 1)).all()):
        raise TargetError(
            f"a mask of {mask.dtype} with values outside of [0, 1]: give True or 1 inside of the region and 0 outside,"
            " e.g. labels == 3"
        )
    return at_least_float32(values)
