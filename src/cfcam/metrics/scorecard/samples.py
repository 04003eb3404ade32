"""What the scorecard is computed on, and what it says of each image."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cfcam.errors import InputError, whole_number
from cfcam.metrics.functional.ground_truth import check_ground_truth


@dataclass(frozen=True, eq=False)
class Part:
    """A part of an image, and the image without it.

    Attributes:
        name: what to call it.
        mask: (*spatial) bool, or 0 and one other value, where it is.
        without: (C, *spatial) the same image made without this part, as the network takes it.
    """

    name: str
    mask: Tensor
    without: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", _marked(self.mask, f"part {self.name!r} has"))


def _marked(mask: Tensor, whose: str) -> Tensor:
    """Returns a mask as bool; raises `InputError` for one of several labels, or of fractions."""
    try:
        return check_ground_truth(torch.as_tensor(mask), mask.shape)
    except InputError as error:
        raise InputError(f"{whose} {error}") from None


@dataclass(frozen=True, eq=False)
class Sample:
    """One image of an evaluation.

    Attributes:
        image: (C, *spatial) as the network takes it.
        label: true class index; None if unknown.
        ground_truth: (*spatial) bool, or 0 and one other value, where the finding is; None if unknown.
        name: what to call it in the tables, which no other image is called; empty: its number.
        patient: images of one patient are resampled together; None: the image stands for itself.
        group: any grouping of your own, such as the hospital.
        parts: that can be taken away one at a time, for "part-removal".
    """

    image: Tensor
    label: int | None = None
    ground_truth: Tensor | None = None
    name: str = ""
    patient: str | None = None
    group: str | None = None
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.image, Tensor) or self.image.ndim < 2:
            raise InputError(f"sample {self.name!r}: its image is no tensor (C, *spatial)")
        if self.label is not None:
            object.__setattr__(self, "label", whole_number(self.label, f"sample {self.name!r}: its label", 0))
        if self.ground_truth is not None and self.ground_truth.shape != self.image.shape[1:]:
            raise InputError(
                f"sample {self.name!r}: ground truth of shape {tuple(self.ground_truth.shape)} for an image of"
                f" {tuple(self.image.shape[1:])}: bring both onto the network's input grid"
            )
        if self.ground_truth is not None:
            truth = _marked(self.ground_truth, f"sample {self.name!r}: its ground truth is")
            object.__setattr__(self, "ground_truth", truth)
        for part in self.parts:
            if part.without.shape != self.image.shape or part.mask.shape != self.image.shape[1:]:
                raise InputError(
                    f"sample {self.name!r}: part {part.name!r} has a mask {tuple(part.mask.shape)} and a picture"
                    f" without it {tuple(part.without.shape)} for an image {tuple(self.image.shape)}: bring all onto"
                    " its grid"
                )


@dataclass(frozen=True)
class Row:
    """What one method's map of one image is worth.

    Attributes:
        image: name of the image.
        method: name of the method, or of a control.
        target: class index that was explained.
        target_name: its name.
        probability: of that class, in [0, 1].
        status: whether the map could be read: "ok", "no positive evidence" or "not finite".
        values: metric -> number; a metric that was not assessed is missing.
        correct: whether the prediction was the label; None if the label is unknown.
        patient, group: of the sample.
        extra: what numbers of the whole data set, and mean curves, are made of.
        notes: what was found of the image while its maps were made, as a view that was left out; in the row of its
            first method.
    """

    image: str
    method: str
    target: int
    target_name: str
    probability: float
    status: str
    values: dict[str, float]
    correct: bool | None = None
    patient: str | None = None
    group: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def as_samples(dataset: Iterable[Any]) -> Iterator[Sample]:
    """Yields samples of anything that holds images.

    Args:
        dataset: of `Sample`s, tensors (C, *spatial), or (image, label) and (image, label, ground truth) tuples; what
            has no name is called by its number.

    Raises:
        InputError: an element is none of these, or is called like one before it.
    """
    known = set[str]()
    for number, sample in enumerate(map(_as_sample, count(), dataset)):
        if sample.name in known:
            raise InputError(
                f"element {number} of the data set is called {sample.name!r}, as one before it: give each image a name"
                " of its own, and `patient` to those that belong together"
            )
        known.add(sample.name)
        yield sample


def _as_sample(number: int, element: Any) -> Sample:
    if isinstance(element, Sample):
        return element if element.name else replace(element, name=str(number))
    if isinstance(element, Tensor):
        return Sample(element, name=str(number))
    if isinstance(element, (tuple, list)) and 1 <= len(element) <= 3 and isinstance(element[0], Tensor):
        label, truth = (*element[1:], None, None)[:2]
        return Sample(element[0], label, None if truth is None else torch.as_tensor(truth), str(number))
    raise InputError(
        f"element {number} of the data set is a {type(element).__name__}: give Samples, images (C, *spatial) or"
        " (image, label) and (image, label, ground truth) tuples"
    )


def batches(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    """Yields lists of at most ``size`` consecutive samples whose images have one shape."""
    held: list[Sample] = []
    for sample in samples:
        if held and (len(held) == size or held[0].image.shape != sample.image.shape):
            yield held
            held = []
        held.append(sample)
    if held:
        yield held


def packed(maps: Tensor) -> list[dict[str, Any]]:
    """Returns maps (N, *spatial) as plain values: their shape and their float16 bytes in base64."""
    peak = maps.flatten(1).amax(1).clamp(min=torch.finfo(torch.float32).tiny)
    scaled = (maps / peak.reshape(-1, *[1] * (maps.ndim - 1))).clamp(min=0).half().cpu().numpy()
    return [{"shape": list(m.shape), "data": base64.b64encode(m.tobytes()).decode("ascii")} for m in scaled]


def unpacked(stored: dict[str, Any]) -> Tensor:
    """Returns the map (*spatial) that `packed` stored."""
    flat = np.frombuffer(base64.b64decode(stored["data"]), dtype=np.float16)
    return torch.from_numpy(flat.astype(np.float32)).reshape(stored["shape"])
