"""The table of an explanation as a pandas DataFrame."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from cfcam.errors import MissingExtraError
from cfcam.maps.raw import Status


def frame_of(explanation: Any) -> Any:
    """Returns the DataFrame of a `cfcam.Explanation`; its ``to_frame`` says what stands in it.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise MissingExtraError("pandas", "", "Explanation.to_frame") from error
    of, axes = explanation, len(explanation.input_size)
    names = ("position",) if axes == 1 else ("frame" if of.frames else "slice", "row", "column")[-axes:]
    rows = []
    peaks = {method: of.heatmaps(method).flatten(2).argmax(2).tolist() for method in of.methods}
    highest = {method: maps.flatten(2).amax(2).tolist() for method, maps in of.maps.items()}
    for n, k, method in product(range(len(of.targets)), range(of.targets.shape[1]), of.methods):
        index, status = int(of.targets[n, k]), str(of.status[method][n, k])
        known = status == Status.OK
        peak = np.unravel_index(peaks[method][n][k], of.input_size) if known else (None,) * axes
        rows.append(
            {
                "image": n,
                "target": k,
                "class_index": index if index >= 0 else None,
                "label": of.label(n, k),
                "method": method,
                "score": float(of.scores[n, k]),
                "probability": of.probability(n, k),
                "margin": of.margin(n, k),
                "status": status,
                "maximum": highest[method][n][k],
                **{f"peak_{name}": at for name, at in zip(names, peak, strict=True)},
            }
        )
    whole = ["class_index", *(f"peak_{name}" for name in names)]
    kinds = dict.fromkeys(whole, "Int64") | dict.fromkeys(["probability", "margin"], "float64")
    return pd.DataFrame(rows).astype(kinds)
