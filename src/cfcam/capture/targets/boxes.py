"""Boxes of a detector: why there is one, why of this class, and why there is none.

How a box is followed: a detector may order its boxes anew in each pass. The one that is meant is found again by its
place and its class: of all boxes of the pass the one with the greatest ``IoU * p``, where the IoU is that with the box
of the first pass and p the probability of the class. Only boxes with an IoU of at least a half count. If there is none,
the object is not found any more: its probability is 0, and its log-odds are set to -16 (a probability of 1e-7).

Source: intersection over union times probability is the similarity of Petsiuk et al. 2021, "Black-box explanation of
object detectors via saliency maps" (D-RISE), arXiv 2006.03204, for one class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from cfcam.capture.detectors.detections import SAME, Detections, best_queries, iou
from cfcam.capture.targets.scores import FirstPass, ImageScore, ScoreTarget, class_words, known_class
from cfcam.errors import TargetError, one_line, shown
from cfcam.shown import counted

_NEARLY = 0.9
"""Share of the best match from which on another object's box is as good a match."""
_LEAST = -16.0


@dataclass(frozen=True, eq=False)
class BoxScore(ImageScore):
    """The log-odds of a class at a box that is followed from pass to pass.

    Attributes:
        boxes: (N, 4) where the box of each image was in the first pass, in pixels.
        labels: (N,) int64 its class.
        size: height and width of the input.
        words: what is explained.
        overlap: IoU that a box must have to be the same.
        missing: that there is none is explained: the log-odds of no such box, the negative ones.
    """

    asked: ClassVar[str] = "a box of a detector"
    boxes: Tensor
    labels: Tensor
    size: tuple[int, ...]
    words: str
    overlap: float = SAME
    missing: bool = False

    @property
    def name(self) -> str:
        """What is explained, as shown to people."""
        return self.words

    def __call__(self, output: Any, logits: Tensor, images: Tensor, *, probability: bool) -> Tensor:
        """Returns the log-odds (M,), or the probabilities; see `ImageScore`."""
        found = detections_of(output)
        labels = self.labels[images]
        match = _matches(found, self.boxes[images], labels, self.overlap)
        best = match.max(1)
        score = found.log_odds(best.indices, labels)
        score = torch.where(best.values > 0, score, torch.full_like(score, -torch.inf if probability else _LEAST))
        score = -score if self.missing else score
        return score.sigmoid() if probability else score

    def moved(self, move: Callable[[Tensor], Tensor]) -> BoxScore:
        """Returns the same score of an input that was moved; see `cfcam.capture.targets.scores.Scores.moved`."""
        rows, columns = (torch.arange(side, device=self.boxes.device) + 0.5 for side in self.size)
        x0, y0, x1, y1 = (side[:, None] for side in self.boxes.unbind(1))
        inside = ((rows > y0) & (rows < y1))[:, :, None] & ((columns > x0) & (columns < x1))[:, None, :]
        marked = move(inside[:, None].float())[:, 0] > 0.5
        return replace(self, boxes=torch.stack([_bounds(one) for one in marked]).to(self.boxes))


@dataclass(frozen=True, eq=False)
class Box(ScoreTarget):
    """An object that a detector has found: the log-odds of its class at its box.

    Args:
        boxes: corners x0, y0, x1, y1 in pixels of the input: (4,) for every image, (N, 4) image by image, or (N, K, 4).
            Of the boxes that overlap one by a half or more, that with the greatest IoU times probability is taken.
        label: index or name of the class; None: that of the box. With a class the best box of this class is taken.

    Raises:
        TargetError: a box is empty or not in the image; the detector has none there, or two as good.
    """

    needs_logits: ClassVar[bool] = False
    boxes: Any
    label: int | str | None = None

    def __post_init__(self) -> None:
        try:
            boxes = torch.as_tensor(self.boxes, dtype=torch.float32).detach()
        except (TypeError, ValueError, RuntimeError) as error:  # torch's own words differ from kind to kind
            raise TargetError(
                f"{type(self).__name__}: boxes are corners x0, y0, x1, y1 in pixels, as (10, 20, 60, 80), and no"
                f" {one_line(repr(self.boxes), 60)}"
            ) from error
        object.__setattr__(self, "boxes", boxes)

    def check(self, batch: int, spatial: Sequence[int] | None) -> None:
        """Raises `TargetError` for boxes of another number of images, outside of them, or empty."""
        shape = tuple(self.boxes.shape)
        if not shape or shape[-1] != 4 or len(shape) > 3 or (len(shape) > 1 and shape[0] != batch) or 0 in shape:
            raise TargetError(
                f"boxes of shape {shape} for {batch} images: give (4,) for all images, ({batch}, 4) image by image, or"
                f" ({batch}, K, 4) for K boxes of each"
            )
        if spatial is not None and len(spatial) != 2:
            raise TargetError(f"boxes lie on pictures (N, C, H, W), and the input has the axes {tuple(spatial)}")
        for corners in self.boxes.reshape(-1, 4).tolist():
            _check_box(corners, spatial)

    def resolve(self, first: FirstPass) -> list[BoxScore]:
        """Returns a score for each of the K boxes."""
        found = detections_of(first.output)
        wanted = self.boxes.to(found.boxes)
        wanted = wanted.expand(len(found.boxes), 4) if wanted.ndim == 1 else wanted
        wanted = wanted[:, None] if wanted.ndim == 2 else wanted
        return [self._column(found, wanted[:, k], k, first) for k in range(wanted.shape[1])]

    def _column(self, found: Detections, wanted: Tensor, k: int, first: FirstPass) -> BoxScore:
        probability, labels, _ = asked_probabilities(found, self.label, first.classes)
        overlap = iou(found.boxes.detach(), wanted[:, None])
        match = torch.where(overlap >= SAME, overlap * probability, 0)
        for n in (match.amax(1) == 0).nonzero()[:1, 0].tolist():
            raise TargetError(_none_there(found, overlap[n], wanted, n, self.label, first.classes))
        best = match.argmax(1)
        for n, one in enumerate(best.tolist()):
            boxes = found.boxes[n].detach()
            rivals = (match[n] >= _NEARLY * match[n, one]) & (iou(boxes, boxes[one]) < SAME)
            if bool(rivals.any()):
                rival = int(rivals.nonzero()[0])
                raise TargetError(
                    f"image {n}: {_corners(wanted[n])} fits two boxes of the detector, {_corners(boxes[one])} and"
                    f" {_corners(boxes[rival])}, about equally: give the corners of the one that is meant"
                )
        return score_of(found, best, labels, k, first)


@dataclass(frozen=True)
class TopBoxes(ScoreTarget):
    """The k most probable objects that a detector has found in each image, the most probable first.

    Of boxes of one class round one object (IoU of a half or more) only the most probable counts.

    Args:
        k: how many.
        label: index or name of a class: only objects of it.
    """

    needs_logits: ClassVar[bool] = False
    k: int = 1
    label: int | str | None = None

    def resolve(self, first: FirstPass) -> list[ImageScore]:
        """Returns k scores; raises `TargetError` if an image has fewer objects, or k is no number of them."""
        if isinstance(self.k, bool) or not isinstance(self.k, int) or self.k < 1:
            raise TargetError(f"TopBoxes({shown(self.k)}): k is how many objects, a whole number from 1")
        found = detections_of(first.output)
        _, labels, order = asked_probabilities(found, self.label, first.classes)
        chosen = []
        for n, boxes in enumerate(found.boxes.detach()):
            best = best_queries(boxes, order[n], labels[n], self.k)
            if len(best) < self.k or not best:
                what = "" if self.label is None else f" of {class_words(self.label, first.classes)}"
                advice = f"give a k of 1 to {len(best)}" if best else "leave the image out, or ask for a MissingBox"
                raise TargetError(f"top-{self.k} boxes{what}: the detector has {len(best)} in image {n}; {advice}")
            chosen.append(best)
        queries = torch.tensor(chosen, device=found.boxes.device)
        return [score_of(found, queries[:, k], labels, k, first) for k in range(self.k)]


@dataclass(frozen=True, eq=False)
class MissingBox(Box):
    """Why there is no box here: what speaks against a class at the box of the detector that fits a given one best.

    The score is the log-odds that there is none, log (1 - p) / p, and the probability 1 - p: a map is high where the
    picture speaks against such a box, and negative where it speaks for one. p is that of the class at the box that fits
    best: of all that the detector returns (queries, anchors) and that overlap the given one at all, the one with the
    greatest IoU times p. In each pass it is looked for anew. torchvision's detectors return no boxes
    below their threshold: lower it first (`box_score_thresh`, `score_thresh`).

    Args:
        boxes: see `Box`: where an object was to be found.
        label: index or name of its class.
    """

    label: int | str

    def __init__(self, boxes: Any, label: int | str | None = None) -> None:
        if label is None:
            raise TargetError("MissingBox(boxes, label): give the class that is missing there, by index or name")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "label", label)
        self.__post_init__()

    def _column(self, found: Detections, wanted: Tensor, k: int, first: FirstPass) -> BoxScore:
        _, labels, _ = asked_probabilities(found, self.label, first.classes)
        match = _matches(found, wanted, labels[:, 0], 0.0)
        for n in (match.amax(1) == 0).nonzero()[:1, 0].tolist():
            raise TargetError(
                f"image {n}: no box that the detector returns for {class_words(self.label, first.classes)} touches"
                f" {_corners(wanted[n])}, so that there is no score to explain: lower its threshold"
            )
        words = f"no {class_words(self.label, first.classes)} {_place(wanted, k)}"
        return BoxScore(wanted, labels[:, 0], first.spatial or (), words, overlap=0.0, missing=True)


def detections_of(output: Any) -> Detections:
    """Returns what a detector returned; raises `TargetError` for the output of another network."""
    if not isinstance(output, Detections):
        raise TargetError(
            f"a box is explained of a detector, and the network returns a {type(output).__name__}: wrap it in"
            " cfcam.Detector(model), or cfcam.Detector(model, read=...)"
        )
    return output


def _matches(found: Detections, boxes: Tensor, labels: Tensor, least: float) -> Tensor:
    """Returns (M, Q) IoU times probability of the class; 0 where the IoU is too small."""
    index = labels[:, None, None].expand(-1, found.values.shape[1], 1)
    overlap = iou(found.boxes.detach(), boxes[:, None])
    return torch.where(overlap >= least, overlap * found.probabilities.gather(2, index)[..., 0], 0)


def asked_probabilities(
    found: Detections, label: int | str | None, classes: Sequence[str] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (N, Q) the probability of the class that is asked for at each box, which that is, and its `order`."""
    if classes is not None and len(classes) != found.classes:
        raise TargetError(
            f"{counted(len(classes), 'class name')} for a detector with {found.classes} classes: give one for each"
        )
    order = found.order
    if label is None:
        labels = order.argmax(2)
    else:
        labels = torch.full(order.shape[:2], known_class(label, found.classes, classes), device=order.device)
    own = labels[..., None]
    return found.probabilities.gather(2, own)[..., 0], labels, order.gather(2, own)[..., 0]


def score_of(found: Detections, queries: Tensor, labels: Tensor, k: int, first: FirstPass) -> BoxScore:
    """Returns the score of a box of each image.

    Args:
        found: what the detector returned.
        queries: (N,) number of the box.
        labels: (N, Q) class of each box.
        k: number of the score, from 0, by which it is named where boxes differ.
        first: of the pass.

    Raises:
        TargetError: a probability is 1 to all digits, and has no log-odds.
    """
    images = torch.arange(len(queries), device=queries.device)
    boxes, own = found.boxes[images, queries].detach(), labels[images, queries]
    with torch.no_grad():
        odds = found.log_odds(queries, own)
    if bool((~odds.isfinite()).any()):
        n = int((~odds.isfinite()).nonzero()[0])
        raise TargetError(
            f"image {n}: the probability of the box {_corners(boxes[n])} is 1 to all digits of {found.values.dtype},"
            " and has no gradient any more: explain the detector in float64, detector.double()"
        )
    one = len(set(own.tolist())) == 1
    what = class_words(int(own[0]), first.classes) if one else "object"
    return BoxScore(boxes, own, first.spatial or (), f"{what} {_place(boxes, k)}")


def _place(boxes: Tensor, k: int) -> str:
    """Returns where a box is, in words; its number where it lies elsewhere in each image."""
    same = bool((boxes == boxes[:1]).all())
    return f"at {_corners(boxes[0])}" if same else f"in box {k + 1}"


def _corners(box: Tensor) -> str:
    return "(" + ", ".join(f"{corner:.0f}" for corner in box.tolist()) + ")"


def _none_there(
    found: Detections,
    overlap: Tensor,
    wanted: Tensor,
    n: int,
    label: int | str | None,
    classes: Sequence[str] | None,
) -> str:
    what = "box" if label is None else f"box of {class_words(label, classes)}"
    near = int(overlap.argmax())
    if label is not None and float(overlap[near]) >= SAME:
        return (
            f"image {n}: the detector returns a box at {_corners(wanted[n])}, but says nothing of"
            f" {class_words(label, classes)} there: lower its threshold, or ask for another class"
        )
    least = f"{float(overlap[near]):.2f}"
    nearest = (
        f"the nearest, {_corners(found.boxes[n, near])}, by {least}" if float(overlap[near]) > 0 else "none touches it"
    )
    return (
        f"image {n}: no {what} of the detector overlaps {_corners(wanted[n])} by a half ({nearest}): give a box that it"
        ' returned, or ask why there is none, "no NAME at X0,Y0,X1,Y1" or MissingBox(box, label)'
    )


def _check_box(corners: Sequence[float], spatial: Sequence[int] | None) -> None:
    shown = "(" + ", ".join(f"{corner:g}" for corner in corners) + ")"
    x0, y0, x1, y1 = corners
    if not (x1 > x0 and y1 > y0):  # not a number is not greater either
        raise TargetError(
            f"the box {shown} is empty: give corners x0, y0, x1, y1 with x0 < x1 and y0 < y1 (of a centre and a size"
            " they are centre - size / 2, centre + size / 2)"
        )
    if spatial is None:
        return
    height, width = spatial
    if min(x0, y0) < -1 or x1 > width + 1 or y1 > height + 1:  # a box that a detector returned may end a little outside
        raise TargetError(
            f"the box {shown} is not in the image of {width} x {height} pixels (width x height): give x0, y0, x1, y1 in"
            " pixels of the network's input, not of the original picture"
        )
    if max(corners) <= 1 < min(height, width):
        raise TargetError(
            f"the box {shown} is smaller than a pixel: multiply shares of the picture by its width {width} and its"
            f" height {height}"
        )


def _bounds(marked: Tensor) -> Tensor:
    """Returns the corners of what is marked (H, W), in pixels; four zeros of nothing."""
    rows, columns = marked.any(1).nonzero(), marked.any(0).nonzero()
    if not len(rows):
        return marked.new_zeros(4, dtype=torch.float32)
    ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return torch.stack(ends).float()
