"""What a store keeps of one input: its maps in few bytes, and a row of the index for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.explanation import Explanation, unique_columns
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


def kept(explanation: Explanation, *, source: str, sha256: str, size: tuple[int, ...]) -> Kept:
    """Returns what is kept of one image's explanation; see `Kept`."""
    vector = explanation.logits.ndim == 2
    return Kept(
        source,
        sha256,
        size,
        tuple(_map(explanation, method, k) for k in unique_columns(explanation) for method in explanation.methods),
        explanation.logits[0].float().numpy() if vector else None,
        None if explanation.probabilities is None else explanation.probabilities[0].float().numpy(),
    )


def _map(explanation: Explanation, method: str, k: int) -> KeptMap:
    raw = explanation.maps[method][0, k].float()
    status = explanation.status[method][0, k]
    values = maximum = error = None
    if status == Status.OK:
        evidence = raw.clamp(min=0).numpy()
        maximum = float(evidence.max())
        exact = evidence / np.float32(maximum)
        values = exact.astype(np.float16)
        error = float(np.abs(values.astype(np.float32) - exact).max())
    placement = explanation.placements.get(method)
    return KeptMap(
        method,
        {
            "target": k,
            "class_index": None if (index := int(explanation.targets[0, k])) < 0 else index,
            "label": explanation.label(0, k),
            "method": method,
            "status": str(status),
            "score": float(explanation.scores[0, k]),
            "probability": explanation.probability(0, k),
            "margin": explanation.margin(0, k),
            "maximum": maximum,
            "max_abs_error": error,
        },
        values,
        {
            "method": method,
            "layer": explanation.layer,
            "grid": list(raw.shape),
            "input_size": list(explanation.input_size),
            "placement": None if placement is None else placement.plain(),
            "frames": explanation.frames,
        },
    )
