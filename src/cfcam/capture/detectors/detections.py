"""Boxes that a detector returns for a batch, with what it says of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from cfcam.capture.half_precision import at_least_float32
from cfcam.errors import OutputError, shown

Reading = Literal["sigmoid", "softmax", "given"]
SAME = 0.5
"""Intersection over union from which on two boxes are taken to be round the same object."""

_SMALL = 1e-12


@dataclass(frozen=True)
class Found:
    """An object that a detector has found.

    Attributes:
        box: its corners x0, y0, x1, y1, in pixels of the input.
        label: number of its class.
        probability: of the class, in [0, 1].
    """

    box: tuple[float, float, float, float]
    label: int
    probability: float


@dataclass(frozen=True, eq=False)
class Detections:
    """Q boxes of each image: queries, anchors, or what is left of them.

    Attributes:
        boxes: (N, Q, 4) corners x0, y0, x1, y1 in pixels of the input.
        values: (N, Q, C) what is said of each class; (N, Q, C + 1) with "softmax", "no object" last.
        reading: how values become probabilities: "sigmoid", "softmax", or "given": they are probabilities.
        no_class_scores: what to ask for in place of a class of the image.

    Raises:
        OutputError: the shapes do not fit, or the reading is unknown.
    """

    boxes: Tensor
    values: Tensor
    reading: Reading = "sigmoid"
    no_class_scores: ClassVar[str] = (
        "is a detector, whose classes are asked for box by box: give the target box-1 (the most probable one) or"
        " boxes-0.5 (all of a probability of 0.5 or more), in Python also TopBoxes(1), Box(...) or MissingBox(...)"
    )

    def __post_init__(self) -> None:
        given: Any
        for name, given in (("boxes", self.boxes), ("values", self.values)):
            if not isinstance(given, Tensor):
                due = "(N, Q, 4)" if name == "boxes" else "(N, Q, classes)"
                raise OutputError(f"Detections: {name} is {shown(given)}: give a tensor {due}")
        if not isinstance(self.reading, str) or self.reading not in ("sigmoid", "softmax", "given"):
            raise OutputError(f"reading {shown(self.reading)} of a detector's values: 'sigmoid', 'softmax' or 'given'")
        shapes = tuple(self.boxes.shape), tuple(self.values.shape)
        if self.boxes.ndim != 3 or self.values.ndim != 3 or shapes[0] != (*shapes[1][:2], 4):
            raise OutputError(f"boxes {shapes[0]} and values {shapes[1]}: give (N, Q, 4), and (N, Q, classes) for them")

    @property
    def classes(self) -> int:
        """Number of classes, without "no object"."""
        return self.values.shape[2] - (self.reading == "softmax")

    @property
    def probabilities(self) -> Tensor:
        """(N, Q, C) in [0, 1], detached."""
        values = at_least_float32(self.values.detach())
        if self.reading == "softmax":
            return values.softmax(2)[..., :-1]
        return values if self.reading == "given" else values.sigmoid()

    @property
    def order(self) -> Tensor:
        """(N, Q, C) what grows with probabilities and differs where they are 1 to all digits; -inf where they are 0."""
        values, probabilities = at_least_float32(self.values.detach()), self.probabilities
        if self.reading == "softmax":
            largest = values.argmax(2, keepdim=True)
            others = values.scatter(2, largest, -torch.inf).logsumexp(2, keepdim=True)
            odds = values.log_softmax(2) - torch.log1p(-values.softmax(2))  # exact but for the largest
            values = odds.scatter(2, largest, values.gather(2, largest) - others)[..., :-1]
        return torch.where(probabilities > 0, values, -torch.inf)

    @property
    def most_of_each_class(self) -> Tensor:
        """(N, C) the log-odds of each class at the box where it is most probable, detached."""
        return torch.logit(self.probabilities.amax(1), eps=_SMALL if self.values.dtype == torch.float64 else 1e-6)

    def log_odds(self, queries: Tensor, labels: Tensor) -> Tensor:
        """Returns (N,) log p / (1 - p) of one class of one box of each image, with its graph.

        Of a sigmoid it is the logit itself, of a softmax the logit less the log of the sum of all other exponentials.

        Args:
            queries: (N,) int64 number of the box.
            labels: (N,) int64 the class.
        """
        own = at_least_float32(self.values[torch.arange(len(queries), device=queries.device), queries])
        one = own.gather(1, labels[:, None])
        if self.reading == "softmax":
            return (one - own.scatter(1, labels[:, None], -torch.inf).logsumexp(1, keepdim=True))[:, 0]
        # What is 0 has no log-odds, and no gradient: a clamp gives both without a NaN.
        return torch.logit(one[:, 0].clamp(min=_SMALL)) if self.reading == "given" else one[:, 0]

    def found(self, least: float = 0.5) -> list[list[Found]]:
        """Returns the objects of each image, the most probable first; of boxes round one object only the best.

        Args:
            least: probability that an object has at least.
        """
        order, labels = self.order.max(2)
        probability = self.probabilities.gather(2, labels[..., None])[..., 0]
        return [
            [
                Found(tuple(self.boxes[n, q].tolist()), int(labels[n, q]), float(probability[n, q]))
                for q in best_queries(self.boxes[n].detach(), order[n], labels[n])
                if float(probability[n, q]) >= least
            ]
            for n in range(len(self.boxes))
        ]


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Returns the intersection over union (...) of boxes (..., 4) by their corners; 0 where one is empty.

    Example:
        >>> iou(torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([[1.0, 0.0, 3.0, 2.0], [2.0, 2.0, 3.0, 3.0]]))
        tensor([0.3333, 0.0000])
    """
    low, high = torch.maximum(boxes[..., :2], others[..., :2]), torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = sum((one[..., 2:] - one[..., :2]).clamp(min=0).prod(-1) for one in (boxes, others)) - shared
    return torch.where(shared > 0, shared / union, 0)


def best_queries(boxes: Tensor, order: Tensor, labels: Tensor, most: int | None = None) -> list[int]:
    """Returns the numbers of an image's boxes from the most probable on, of those round one object only the best.

    Args:
        boxes: (Q, 4).
        order: (Q,) of each box's class, see `Detections.order`; -inf: there is none.
        labels: (Q,) that class.
        most: how many are wanted at most.
    """
    left = order.clone()
    chosen: list[int] = []
    while (most is None or len(chosen) < most) and bool((left > -torch.inf).any()):
        best = int(left.argmax())
        chosen.append(best)
        left[(iou(boxes, boxes[best]) >= SAME) & (labels == labels[best])] = -torch.inf
        left[best] = -torch.inf
    return chosen
