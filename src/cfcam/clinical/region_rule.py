"""How a region's threshold may be given. Nothing here imports torch."""

from __future__ import annotations

import math
from typing import Literal

from cfcam.errors import InputError


def read_rule(threshold: str | float) -> tuple[Literal["otsu", "quantile", "value"], float]:
    """Reads the rule by which a map is cut; see `cfcam.clinical.regions.measure`.

    Returns:
        The kind of rule, and its number (of "otsu" NaN).

    Raises:
        InputError: an unknown rule, or a number out of its range.
    """
    if threshold == "otsu":
        return "otsu", math.nan
    if isinstance(threshold, str) and threshold.startswith("quantile:"):
        share = _to_float(threshold.removeprefix("quantile:"))
        if not 0 < share < 1:
            raise InputError(f"threshold {threshold!r}: a quantile lies between 0 and 1, such as quantile:0.9")
        return "quantile", share
    value = _to_float(threshold)
    if not 0 < value <= 1:
        raise InputError(f"threshold {threshold!r}: give otsu, a number in (0, 1], or quantile:0.9")
    return "value", value


def _to_float(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
