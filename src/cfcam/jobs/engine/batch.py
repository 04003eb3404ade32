"""A batch that was explained, image by image: what it says as plain values, taken off its tensors once for all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cfcam.explanation import Explanation


class Batch:
    """Explanations of several images, and what they say; of each image `Explanation` says the same, only slower.

    Args:
        explanation: of N images and K targets, on the CPU.

    Attributes:
        explanation: as given.
    """

    def __init__(self, explanation: Explanation) -> None:
        self.explanation = explanation

    @cached_property
    def targets(self) -> list[list[int]]:
        """(N, K) classes; -1 for scores of no class."""
        return self.explanation.targets.tolist()

    @cached_property
    def scores(self) -> list[list[float]]:
        """(N, K)."""
        return self.explanation.scores.tolist()

    @cached_property
    def labels(self) -> list[list[str]]:
        """(N, K) what each map explains; see `Explanation.label`."""
        names, classes = self.explanation.target_names, self.explanation.classes
        return [
            [
                (names[k] or "score") if index < 0 else classes[index] if classes else f"class {index}"
                for k, index in enumerate(row)
            ]
            for row in self.targets
        ]

    @cached_property
    def probabilities(self) -> list[list[float | None]]:
        """(N, K) of the explained classes; see `Explanation.probability`."""
        of = self.explanation
        if of.boxes is not None:
            return [[of.probability(n, k) for k in range(len(row))] for n, row in enumerate(self.targets)]
        if of.probabilities is None:
            return [[None] * len(row) for row in self.targets]
        found = of.probabilities.gather(1, of.targets.clamp(min=0).to(of.probabilities.device)).tolist()
        return [
            [None if index < 0 else one for index, one in zip(row, values, strict=True)]
            for row, values in zip(self.targets, found, strict=True)
        ]

    @cached_property
    def margins(self) -> list[list[float | None]]:
        """(N, K) of contrasts; see `Explanation.margin`."""
        of = self.explanation.margins or (False,) * self.explanation.targets.shape[1]
        return [[one if is_margin else None for one, is_margin in zip(row, of, strict=True)] for row in self.scores]

    @cached_property
    def statuses(self) -> dict[str, list[list[str]]]:
        """Method -> (N, K) `cfcam.maps.Status` of its maps, in words."""
        return {
            method: [[str(one) for one in row] for row in found.tolist()]
            for method, found in self.explanation.status.items()
        }

    def columns(self, n: int) -> list[int]:
        """Returns an image's columns, each class once; see `cfcam.explanation.unique_columns`."""
        if len(self.targets[n]) == 1:
            return [0]
        first: dict[tuple[int, str], int] = {}
        for k, index in enumerate(self.targets[n]):
            first.setdefault((index, self.labels[n][k] if index < 0 else ""), k)
        return list(first.values())


@dataclass(frozen=True, eq=False)
class One:
    """One image of a batch.

    Attributes:
        batch: it is one of.
        number: of it there.
    """

    batch: Batch
    number: int

    @property
    def said(self) -> tuple[str, ...]:
        """What methods found out about it."""
        return self.batch.explanation.said[self.number] if self.batch.explanation.said else ()

    def alone(self) -> Explanation:
        """Returns its explanation, which keeps no others alive."""
        return self.batch.explanation.select(slice(self.number, self.number + 1))
