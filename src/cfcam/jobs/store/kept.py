"""What a store keeps of one input: its maps in few bytes, and a row of the index for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cfcam.explanation import Explanation
from cfcam.jobs.engine.batch import Batch
from cfcam.maps import Status


@dataclass(frozen=True, eq=False)
class KeptMap:
    """One map.

    Attributes:
        method: that made it.
        index: what the index says of it, but where it lies.
        values: (*cells) float16 in [0, 1]; None where there is no map to show.
        about: what all maps of its array have in common, beside the method.
    """

    method: str
    index: dict[str, Any]
    values: NDArray[np.float16] | None
    about: dict[str, Any]


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
    """Takes a batch into what is kept of each of its images; the numbers are worked out for all of them together.

    Args:
        batch: what was explained.

    Attributes:
        batch: as given.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch, explanation = batch, batch.explanation
        self._maps = {method: _rounded(maps) for method, maps in explanation.maps.items()}
        self._about = {method: _about(explanation, method) for method in explanation.methods}
        vector = explanation.logits.ndim == 2
        self._logits = explanation.logits.float().numpy() if vector else None
        probabilities = explanation.probabilities
        self._probabilities = None if probabilities is None else probabilities.float().numpy()

    def __call__(self, n: int, *, source: str, sha256: str, size: tuple[int, ...]) -> Kept:
        """Returns what is kept of an image; see `Kept`."""
        return Kept(
            source,
            sha256,
            size,
            tuple(self._map(n, k, method) for k in self.batch.columns(n) for method in self._about),
            None if self._logits is None else self._logits[n],
            None if self._probabilities is None else self._probabilities[n],
        )

    def _map(self, n: int, k: int, method: str) -> KeptMap:
        batch, (values, maxima, errors) = self.batch, self._maps[method]
        status = batch.statuses[method][n][k]
        good, index = status == Status.OK, batch.targets[n][k]
        return KeptMap(
            method,
            {
                "target": k,
                "class_index": None if index < 0 else index,
                "label": batch.label(n, k),
                "method": method,
                "status": status,
                "score": batch.scores[n][k],
                "probability": batch.probability(n, k),
                "margin": batch.margin(n, k),
                "maximum": maxima[n][k] if good else None,
                "max_abs_error": errors[n][k] if good else None,
            },
            values[n, k] if good else None,
            self._about[method],
        )


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
