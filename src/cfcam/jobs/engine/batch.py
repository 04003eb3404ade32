"""A batch that was explained, image by image: what it says as plain values, taken off its tensors once for all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cfcam.explanation import Explanation

NOT_FINITE = "the network's output is not finite: check the weights and the normalisation"


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


def by_image(explanation: Explanation) -> list[Explanation | str]:
    """Splits an explanation by image; one whose scores are not finite is a failure. -inf masks a class, and may.

    Returns:
        For each image its explanation, on the CPU, or in one line why there is none.
    """
    return [one if isinstance(one, str) else one.alone() for one in ones_of(explanation)]


def ones_of(explanation: Explanation) -> list[One | str]:
    """Returns the images of an explanation, on the CPU; see `by_image`."""
    bad = explanation.logits.flatten(1).isnan().any(1) | ~explanation.scores.isfinite().all(1)
    batch = Batch(explanation.select())
    return [NOT_FINITE if wrong else One(batch, n) for n, wrong in enumerate(bad.tolist())]
