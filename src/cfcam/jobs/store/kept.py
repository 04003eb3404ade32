"""What a store keeps of one input: its maps in few bytes, and a row of the index for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfcam.explanation import Explanation
from cfcam.jobs.engine.batch import Batch
from cfcam.maps import Status


class KeptMap(NamedTuple):
    """One map: what the index says of it, but where it lies, and then its values.

    Attributes:
        method: that made it.
        target: column of the explanation's targets.
        class_index: the class; None for a score of none.
        label: what it explains.
        status: "ok", or why there is no map to show.
        score: that is explained.
        probability: of the class.
        margin: of a contrast.
        maximum: greatest value of the raw map.
        max_abs_error: what rounding errs by.
        box: of a detector, which is explained: corners in pixels of the source; None of no box.
        values: (*cells) float16 in [0, 1]; None where there is no map to show.
        about: what all maps of its array have in common.
    """

    method: str
    target: int
    class_index: int | None
    label: str
    status: str
    score: float
    probability: float | None
    margin: float | None
    maximum: float | None
    max_abs_error: float | None
    box: list[float] | None
    values: NDArray[np.float16] | None
    about: dict[str, Any]


OF_INDEX = KeptMap._fields[: KeptMap._fields.index("values")]
"""What the index says."""


@dataclass(frozen=True, eq=False)
class Kept:
    """One input.

    Attributes:
        input: how the manifest knows it.
        sha256: of the source.
        size: of the source, along the axes of the network's input.
        maps: one for each class and method.
        logits: (classes,) float32; None where the network's output is no vector of classes.
        probabilities: (classes,) float32, likewise.
    """

    input: str
    sha256: str
    size: tuple[int, ...]
    maps: tuple[KeptMap, ...]
    logits: NDArray[np.float32] | None
    probabilities: NDArray[np.float32] | None


class Keeping:
    """Takes a batch into what is kept of each of its images; what can be is worked out for all of them together.

    Args:
        batch: what was explained.

    Attributes:
        batch: as given.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch, explanation = batch, batch.explanation
        of_methods = [_kept_of(batch, method) for method in explanation.methods]
        self._maps = list(zip(*of_methods, strict=True))  # by target, method and image
        vector = explanation.logits.ndim == 2
        self._logits = explanation.logits.float().numpy() if vector else None
        probabilities = explanation.probabilities
        self._probabilities = None if probabilities is None else probabilities.float().numpy()

    def __call__(
        self,
        n: int,
        *,
        source: str,
        sha256: str,
        size: tuple[int, ...],
        boxes: Sequence[tuple[float, ...] | None] | None = None,
    ) -> Kept:
        """Returns what is kept of an image; see `Kept`.

        Args:
            n: its number in the batch.
            source: how the manifest knows it.
            sha256: of the source.
            size: of the source.
            boxes: of a detector, one for each of the batch's columns of this image, in pixels of the source.
        """
        columns = self.batch.columns(n)
        kept = [maps[n] for k in columns for maps in self._maps[k]]
        if boxes is not None:
            at = {k: None if box is None else list(box) for k, box in zip(columns, boxes, strict=True)}
            kept = [one._replace(box=at[one.target]) for one in kept]
        return Kept(
            source,
            sha256,
            size,
            tuple(kept),
            None if self._logits is None else self._logits[n],
            None if self._probabilities is None else self._probabilities[n],
        )


def _kept_of(batch: Batch, method: str) -> list[list[KeptMap]]:
    """Returns the maps (K, N) of a method."""
    values, maxima, errors = _rounded(batch.explanation.maps[method])
    about = _about(batch.explanation, method)
    told = batch.targets, batch.labels, batch.statuses[method], batch.scores, batch.probabilities, batch.margins
    return [
        [
            KeptMap(
                method,
                k,
                None if index < 0 else index,
                label,
                status,
                score,
                probability,
                margin,
                maximum if status == Status.OK else None,
                error if status == Status.OK else None,
                None,  # `Keeping` is told of boxes with each image
                shown if status == Status.OK else None,
                about,
            )
            for index, label, status, score, probability, margin, maximum, error, shown in zip(
                *([row[k] for row in rows] for rows in (*told, maxima, errors)), values[:, k], strict=True
            )
        ]
        for k in range(values.shape[1])
    ]


def _rounded(maps: Tensor) -> tuple[NDArray[np.float16], list[list[float]], list[list[float]]]:
    """Raw maps (N, K, *cells) in [0, 1] as they are stored, the greatest value of each, and what rounding errs by."""
    evidence = maps.float().clamp(min=0).numpy()
    cells = tuple(range(2, evidence.ndim))
    greatest = evidence.max(axis=cells, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):  # maps that are empty or not finite, and are not kept
        exact = evidence / greatest
        values = exact.astype(np.float16)
        errors = np.abs(values.astype(np.float32) - exact).max(axis=cells)
    return values, greatest.reshape(errors.shape).tolist(), errors.tolist()


def _about(explanation: Explanation, method: str) -> dict[str, Any]:
    placement = explanation.placements.get(method)
    return {
        "method": method,
        "layer": explanation.layer,
        "grid": list(explanation.maps[method].shape[2:]),
        "input_size": list(explanation.input_size),
        "placement": None if placement is None else placement.plain(),
        "frames": explanation.frames,
    }
