"""Boxes of a detector that a text asks for, in pixels of the input or of the picture that it was made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from cfcam.capture.detectors.detections import SAME, Detections, best_queries
from cfcam.capture.targets.box_words import BoxWords
from cfcam.capture.targets.boxes import Box, BoxScore, MissingBox, asked_probabilities, detections_of, score_of
from cfcam.capture.targets.scores import FirstPass, NotPredictedError, ScoreTarget, class_words, known_class
from cfcam.errors import TargetError

Edges = tuple[float, float, float, float]
"""Top, left, bottom, right."""


@dataclass(frozen=True, eq=False)
class AskedBoxes(ScoreTarget):
    """Boxes that a text asks for; see `cfcam.capture.targets.box_words`.

    Attributes:
        words: as read.
        shown: what the input shows, in pixels of the picture, in which boxes are then given and named; None: places are
            in pixels of the input.
        seen: which part of the picture that is, without padding.
    """

    needs_logits: ClassVar[bool] = False
    words: BoxWords
    shown: Edges | None = None
    seen: Edges | None = None

    def check(self, batch: int, spatial: Sequence[int] | None) -> None:
        """Raises `TargetError` for a place outside of what the network sees, or where there are no pictures."""
        place = self.words.place
        if spatial is not None and len(spatial) != 2:
            raise TargetError(f"boxes lie on pictures (N, C, H, W), and the input has the axes {tuple(spatial)}")
        if not place or (self.seen is None and spatial is None):
            return
        top, left, bottom, right = self.seen or (0.0, 0.0, *map(float, spatial or ()))
        outside = min(place[::2]) < left - 1 or max(place[::2]) > right + 1
        if outside or min(place[1::2]) < top - 1 or max(place[1::2]) > bottom + 1:
            whose = "network's input" if self.seen is None else "picture that the network sees"
            raise NotPredictedError(
                f"target {self.words.shown!r} is not in the part of the {whose}: give x from {left:g} to {right:g} and"
                f" y from {top:g} to {bottom:g}"
            )

    def resolve(self, first: FirstPass) -> list[BoxScore]:
        """Returns a score for each box; that there is no such box lies in the image, and is a `NotPredictedError`."""
        found = detections_of(first.output)
        if self.words.label is not None:
            known_class(self.words.label, found.classes, first.classes)
        scale, offset = self._pixels(found.boxes, first.spatial)
        there = Detections(found.boxes * scale + offset, found.values, found.reading)
        try:
            scores = self._scores(there, replace(first, output=there))
        except TargetError as error:
            text = str(error)
            raise NotPredictedError(text.removeprefix("image 0: ") if len(found.boxes) == 1 else text) from error
        return [replace(score, boxes=(score.boxes - offset) / scale) for score in scores]

    def _pixels(self, boxes: Tensor, spatial: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
        """Scale and offset of corners x0, y0, x1, y1 from pixels of the input to those in which places are given."""
        if self.shown is None or spatial is None:
            return boxes.new_ones(4), boxes.new_zeros(4)
        top, left, bottom, right = self.shown
        scale = [(right - left) / spatial[1], (bottom - top) / spatial[0]]
        return boxes.new_tensor(scale * 2), boxes.new_tensor([left, top, left, top])

    def _scores(self, found: Detections, first: FirstPass) -> list[BoxScore]:
        words = self.words
        if len(words.place) == 4:
            kind = Box(words.place, words.label)
            if words.missing and words.label is not None:
                kind = MissingBox(words.place, words.label)
            return [self._named(score, first) for score in kind.resolve(first)]
        chosen, labels = self._chosen(found, first)
        columns = [score_of(found, queries, labels, k, first) for k, queries in enumerate(chosen.unbind(1))]
        if words.rank is not None and words.label is not None:
            return [self._named(score, first) for score in Box(columns[0].boxes, words.label).resolve(first)]
        return [self._named(score, first, k) for k, score in enumerate(columns)]

    def _named(self, score: BoxScore, first: FirstPass, k: int = 0) -> BoxScore:
        words, one = self.words, len(set(score.labels.tolist())) == 1
        what = class_words(int(score.labels[0]), first.classes) if one else "object"
        if words.place:
            name = f"{'no ' * words.missing}{what} {words.shown}"
        elif words.rank is not None and words.label is not None:
            name = f"{what} in {words.shown}"
        else:
            name = f"box {words.rank or k + 1}: {what}"
        return replace(score, words=name)

    def _chosen(self, found: Detections, first: FirstPass) -> tuple[Tensor, Tensor]:
        """Returns the numbers (N, K) of the boxes that are meant, and (N, Q) the class of each box."""
        words = self.words
        label = None if words.rank is not None else words.label  # another class is asked of a box found for its own
        probability, labels, order = asked_probabilities(found, label, first.classes)
        chosen = []
        for n, boxes in enumerate(found.boxes.detach()):
            least = 0.0 if words.rank is not None else SAME if words.least is None else words.least
            there = torch.where(probability[n] >= least, order[n], -torch.inf)
            best = best_queries(boxes, there, labels[n], words.rank)
            if words.rank is not None and len(best) < words.rank:
                there_are = f"box-1 to box-{len(best)}" if len(best) > 1 else "box-1" if best else "another image"
                raise TargetError(
                    f"image {n}: there is no box {words.rank}: the detector has {len(best)} there: give {there_are}"
                )
            if not best:
                most = float(probability[n].amax()) if probability.shape[1] else 0.0
                what = "box" if label is None else f"box of {class_words(label, first.classes)}"
                raise TargetError(
                    f"image {n}: no {what} has a probability of {least:g} or more, the greatest is"
                    f" {_below(most, least)}:"
                    ' ask for less (boxes-0.1), for box-1, or why there is none ("no NAME at X0,Y0,X1,Y1")'
                )
            if words.rank is not None:
                best = best[-1:]
            elif words.place:
                # Of several boxes that hold the point it is the first, the most probable.
                best = [best[int(_distance(boxes[best], words.place).argmin())]]
            chosen.append(best)
        counts = sorted({len(best) for best in chosen})
        if len(counts) > 1:
            raise TargetError(
                f"images of one batch have from {counts[0]} to {counts[-1]} boxes of a probability of"
                f" {words.least:g} or more: explain them one by one"
            )
        return torch.tensor(chosen, device=found.boxes.device), labels


def _distance(boxes: Tensor, point: Sequence[float]) -> Tensor:
    """Returns how far a point x, y lies outside of boxes (Q, 4); 0 inside."""
    at = boxes.new_tensor(list(point))
    beside = torch.maximum(boxes[:, :2] - at, at - boxes[:, 2:]).clamp(min=0)
    return beside.norm(dim=1)


def _below(most: float, least: float) -> str:
    """Returns a probability below another in as few digits, from two, as show that it is."""
    return next((text for digits in range(2, 17) if float(text := f"{most:.{digits}g}") < least), f"{most!r}")
