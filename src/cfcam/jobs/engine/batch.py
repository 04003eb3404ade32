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
    def _probabilities(self) -> list[list[float]] | None:
        if (found := self.explanation.probabilities) is None:
            return None
        asked = found.gather(1, self.explanation.targets.clamp(min=0).to(found.device))
        return asked.tolist()

    def columns(self, n: int) -> list[int]:
        """Returns an image's columns, each class once; see `cfcam.explanation.unique_columns`."""
        if len(self.targets[n]) == 1:
            return [0]
        first: dict[tuple[int, str], int] = {}
        for k, index in enumerate(self.targets[n]):
            first.setdefault((index, self.label(n, k) if index < 0 else ""), k)
        return list(first.values())

    def label(self, n: int, k: int) -> str:
        """Returns what a map explains; see `Explanation.label`."""
        of, index = self.explanation, self.targets[n][k]
        if index < 0:
            return of.target_names[k] or "score"
        return of.classes[index] if of.classes else f"class {index}"

    def probability(self, n: int, k: int) -> float | None:
        """Returns the probability of an explained class; see `Explanation.probability`."""
        if self.explanation.boxes is not None:
            return self.explanation.probability(n, k)
        return None if self.targets[n][k] < 0 or self._probabilities is None else self._probabilities[n][k]

    def margin(self, n: int, k: int) -> float | None:
        """Returns the margin of a contrast; see `Explanation.margin`."""
        margins = self.explanation.margins
        return self.scores[n][k] if margins and margins[k] else None

    @cached_property
    def statuses(self) -> dict[str, list[list[str]]]:
        """Method -> (N, K) `cfcam.maps.Status` of its maps, in words."""
        return {
            method: [[str(one) for one in row] for row in found.tolist()]
            for method, found in self.explanation.status.items()
        }


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
