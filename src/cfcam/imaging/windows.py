"""Windows of grey values: named ones, and what they make of values (PS3.3 C.11.2)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cfcam.errors import InputError

Window = tuple[float, float]


WINDOWS: dict[str, Window] = {
    "brain": (40, 80),
    "soft-tissue": (50, 400),
    "mediastinum": (50, 350),
    "liver": (60, 160),
    "lung": (-600, 1500),
    "bone": (400, 1800),
}
"""Usual windows of CT by name: centre and width in HU."""


def named_window(window: str | Window | None) -> Window | None:
    """Return centre and width of a window given by name or by numbers.

    Raises:
        InputError: an unknown name, or a width that is not positive.
    """
    if window is None:
        return None
    if isinstance(window, str):
        if window not in WINDOWS:
            raise InputError(f"no window is called {window!r}: there are {', '.join(WINDOWS)}, or centre and width")
        return WINDOWS[window]
    centre, width = map(float, window)
    if not (math.isfinite(centre) and math.isfinite(width) and width > 0):
        raise InputError(f"window {centre:g}, {width:g}: give a finite centre, and a width above 0")
    return centre, width


# By hand: highdicom 0.28.2 takes 0.8 to 1.4 x as long, and gives NaN at centre - 0.5 of a LINEAR window of width 1.
def windowed(values: NDArray[Any], window: Window, function: str = "LINEAR") -> NDArray[np.float64]:
    """Return values brought to [0, 1] by a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).

    Args:
        values: any shape, after rescaling.
        window: centre and width, width > 0.
        function: LINEAR, LINEAR_EXACT or SIGMOID.
    """
    centre, width = window
    x = np.asarray(values, dtype=np.float64)
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (x - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT" or width < 1:
        return np.clip((x - centre) / width + 0.5, 0, 1)
    if width == 1:
        return (x > centre - 0.5).astype(np.float64)
    return np.clip((x - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
